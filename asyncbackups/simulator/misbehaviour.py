"""Carries faults out on the wire: answers that lie about their length, never end, or never come."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import assert_never

import anyio
from aiohttp import web

from asyncbackups.simulator.answers import JSON_TYPE, Answer
from asyncbackups.simulator.faults import (
    Action,
    Drop,
    Endless,
    GzipBomb,
    Html,
    Malformed,
    Oversized,
    Redirect,
    Respond,
    Slow,
    Truncate,
    When,
)

__all__ = ["falsify", "happens_before", "misbehave"]

_PAGE = b"<html>\r\n<head><title>%d</title></head>\r\n<body><center><h1>%d</h1></center></body>\r\n</html>\r\n"


def happens_before(action: Action | None) -> bool:
    """Say whether an action keeps the request from having its effect."""
    match action:
        case Respond(when=when) | Drop(when=when) | Html(when=when):
            return when is When.BEFORE
        case Redirect():
            return True
        case _:
            return False


def falsify(action: Action, true: Answer | None) -> Answer | None:
    """Make the answer that an action sends, where it is a proper one.

    Args:
        action: What is done.
        true: The true answer, if the request had its effect.

    Returns:
        `None` if the wire itself must misbehave, which `misbehave` does.
    """
    match action:
        case Respond():
            kind = {} if "Content-Type" in action.headers or not action.body else JSON_TYPE
            return Answer(action.status, action.body, {**kind, **action.headers})
        case Html():
            return Answer(action.status, _PAGE % (action.status, action.status), {"Content-Type": "text/html"})
        case Redirect():
            return Answer(action.status, b"", {"Location": action.location})
        case Malformed() | Oversized() | GzipBomb():
            return _spoil(action, true or Answer(200))
        case _:
            return None


def _spoil(action: Malformed | Oversized | GzipBomb, true: Answer) -> Answer:
    match action:
        case Malformed():
            return Answer(true.status, true.body[: len(true.body) // 2] or b"{", true.headers)
        case Oversized():
            return Answer(200, b'{"padding": "' + b"x" * (action.size - 15) + b'"}')
        case GzipBomb():
            return Answer(200, _bomb(action.size), {**JSON_TYPE, "Content-Encoding": "gzip"})
        case _:
            assert_never(action)


async def misbehave(action: Action, request: web.BaseRequest, true: Answer | None) -> web.StreamResponse:
    """Do to the connection what no proper answer can.

    Args:
        action: What is done.
        request: The request whose connection it is.
        true: The true answer, if the request had its effect.
    """
    answer = true or Answer(200)
    match action:
        case Truncate():
            return await _truncate(action, request, answer)
        case Slow():
            return await _slow(action, request, answer)
        case Endless():
            return await _endless(action, request)
        case _:
            return _drop(request)


def _drop(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:  # pragma: no branch - the client may be faster, once in a while
        request.transport.abort()
    # aiohttp wants a response all the same; the connection that it would go to is gone.
    return web.Response()


async def _truncate(action: Truncate, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = max(len(answer.body), 1)
    response.force_close()
    await response.prepare(request)
    # Never all of it, not even at a share of 1, or it would be no fault.
    part = min(int(len(answer.body) * action.share), len(answer.body) - 1)
    if part > 0:
        await response.write(answer.body[:part])
    if request.transport is not None:  # pragma: no branch - as above
        request.transport.close()
    return response


async def _slow(action: Slow, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    for start in range(0, len(answer.body), action.chunk_size):
        await response.write(answer.body[start : start + action.chunk_size])
        await anyio.sleep(action.interval)
    return response


async def _endless(action: Endless, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers=JSON_TYPE)
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:  # ends with the ConnectionError of a client that went away
        await response.write(action.chunk)
        await anyio.sleep(action.interval)


@lru_cache(maxsize=4)
def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    block = b" " * 65536
    parts = [packer.compress(block) for _ in range(size // len(block))]
    parts.append(packer.compress(block[: size % len(block)]))
    return b"".join(parts) + packer.flush()
