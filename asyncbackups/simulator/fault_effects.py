"""Carries out the actions of faults: altered responses, truncated, slow and endless bodies, dropped connections."""

from __future__ import annotations

import zlib
from functools import lru_cache

import anyio
from aiohttp import web
from attrs import evolve

from asyncbackups.simulator.api import JSON_TYPE, ServerResponse
from asyncbackups.simulator.fault_rules import (
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

_PAGE = b"<html>\r\n<head><title>%d</title></head>\r\n<body><center><h1>%d</h1></center></body>\r\n</html>\r\n"


def prevents_effect(action: Action | None) -> bool:
    """Return True if an action keeps the request from taking effect."""
    match action:
        case Respond(when=when) | Drop(when=when) | Html(when=when):
            return when is When.BEFORE
        case Redirect():
            return True
        case _:
            return False


def alter_response(action: Action, correct: ServerResponse | None) -> ServerResponse | None:
    """Return the complete response that replaces the correct one (None if the request did not take effect).

    Returns:
        None if the action concerns the connection; see `send_broken`.
    """
    altered = None
    match action:
        case Respond():
            media_type = {} if "Content-Type" in action.headers or not action.body else JSON_TYPE
            altered = ServerResponse(action.status, action.body, {**media_type, **action.headers})
        case Html(status=status):
            altered = ServerResponse(status, _PAGE % (status, status), {"Content-Type": "text/html"})
        case Redirect():
            altered = ServerResponse(action.status, b"", {"Location": action.location})
        case Malformed():
            whole = correct or ServerResponse(200)
            altered = evolve(whole, body=whole.body[: len(whole.body) // 2] or b"{")
        case Oversized():
            altered = ServerResponse(200, b'{"padding": "' + b"x" * (action.size - 15) + b'"}')
        case GzipBomb():
            altered = ServerResponse(200, _compress_spaces(action.size), {**JSON_TYPE, "Content-Encoding": "gzip"})
    return altered


async def send_broken(action: Action, request: web.BaseRequest, correct: ServerResponse | None) -> web.StreamResponse:
    """Send a response that breaks off, is slow or endless, or drop the connection."""
    response = correct or ServerResponse(200)
    match action:
        case Truncate():
            return await _send_truncated(action, request, response)
        case Slow():
            return await _send_slowly(action, request, response)
        case Endless():
            return await _send_endlessly(action, request)
        case _:
            return _drop_connection(request)


def _drop_connection(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:  # pragma: no branch - the client may have disconnected already
        request.transport.abort()
    # aiohttp requires a response, although the connection is closed.
    return web.Response()


async def _send_truncated(action: Truncate, request: web.BaseRequest, response: ServerResponse) -> web.StreamResponse:
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = max(len(response.body), 1)
    stream.force_close()
    await stream.prepare(request)
    # Never the whole body, not even at a share of 1, or it would be no fault.
    part = min(int(len(response.body) * action.share), len(response.body) - 1)
    if part > 0:
        await stream.write(response.body[:part])
    if request.transport is not None:  # pragma: no branch - as above
        request.transport.close()
    return stream


async def _send_slowly(action: Slow, request: web.BaseRequest, response: ServerResponse) -> web.StreamResponse:
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(response.body)
    await stream.prepare(request)
    for start in range(0, len(response.body), action.chunk_size):
        await stream.write(response.body[start : start + action.chunk_size])
        await anyio.sleep(action.interval)
    return stream


async def _send_endlessly(action: Endless, request: web.BaseRequest) -> web.StreamResponse:
    stream = web.StreamResponse(headers=JSON_TYPE)
    stream.enable_chunked_encoding()
    await stream.prepare(request)
    while True:  # until write() raises ConnectionError because the client has disconnected
        await stream.write(action.chunk)
        await anyio.sleep(action.interval)


@lru_cache(maxsize=4)
def _compress_spaces(size: int) -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    block = b" " * 65536
    parts = [compressor.compress(block) for _ in range(size // len(block))]
    parts.append(compressor.compress(block[: size % len(block)]))
    return b"".join(parts) + compressor.flush()
