"""A service that means harm gains nothing: no token elsewhere, no memory, no time, no answer to another question."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from asyncbackups import (
    AmbiguousCreateError,
    AnswerTooLargeError,
    AuthenticationError,
    BackupClient,
    BackupsError,
    BackupSpec,
    ClientCredentials,
    CreatePolicy,
    ProtocolError,
    RedirectRefusedError,
    RetryPolicy,
    TransportError,
)
from asyncbackups.policies import Timeouts
from tests.faults.hurried_clock import HurriedClock
from tests.faults.secrecy import everything_of, found
from tests.faults.stage import ACCESS, SPEC
from tests.raw_server import Handler, RawServer, answer, saying

LIMIT = 256 * 1024
OPERATIONS: dict[str, Callable[[BackupClient], Awaitable[Any]]] = {
    "create": lambda client: client.create("solar", "earth", SPEC),
    "get": lambda client: client.get("solar", 1),
    "list": lambda client: client.list("solar"),
    "delete": lambda client: client.delete("solar", 1),
    "health": lambda client: client.health(),
    "wait": lambda client: client.wait("solar", 1, deadline=20),
}
BACKUP = b'{"id": %d, "status": "succeeded", "mechanism": "logical"}'


@pytest.fixture
async def trap() -> AsyncIterator[RawServer]:
    """Listen where nobody may come."""
    async with RawServer(saying(answer())) as server:
        yield server
        assert server.connections == 0, server.requests


def victim(server: RawServer, **settings: Any) -> BackupClient:
    given: dict[str, Any] = {
        "auth": ACCESS.token,
        "retry": RetryPolicy(attempts=2, initial=0.001),
        "creating": CreatePolicy(settle=1.0, patience=3.0, resends=0),
        "timeouts": Timeouts(total=100.0),
        "clock": HurriedClock(100.0),
        "max_answer_bytes": LIMIT,
    }
    return BackupClient(server.url, "tenant", **{**given, **settings})


async def failing(handler: Handler, operation: str, **settings: Any) -> BackupsError:
    """Let an operation fail, in bounded time, and return its error; the token is in nothing of it."""
    async with RawServer(handler) as server, asyncio.timeout(10), victim(server, **settings) as client:
        with pytest.raises(BackupsError) as caught:
            await OPERATIONS[operation](client)
    assert not found({ACCESS.token, ACCESS.client_secret}, everything_of(caught.value))
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
async def test_a_redirect_takes_nobody_along(trap: RawServer, operation: str, status: str):
    """Whatever is asked: the other place is not visited."""
    error = await failing(saying(answer(status=status, headers=f"Location: {trap.url}/\r\n")), operation)
    if operation in {"get", "list", "delete", "health"}:
        assert isinstance(error, RedirectRefusedError)


async def test_a_token_endpoint_that_redirects_gets_no_secret_sent_elsewhere(trap: RawServer):
    """The form with the client secret is posted to the token URL alone."""
    redirect = saying(answer(status="307 x", headers=f"Location: {trap.url}/\r\n"))
    async with RawServer(redirect) as hub:
        auth = ClientCredentials(f"{hub.url}/token", ACCESS.client_id, ACCESS.client_secret, scopes="tenant.t")
        error = await failing(saying(answer()), "create", auth=auth)
    assert isinstance(error, AuthenticationError)
    assert len(hub.requests) == 1


LINKS = (
    "http://127.0.0.1:{trap}/next",
    "//127.0.0.1:{trap}/next",
    "http://{own}@127.0.0.1:{trap}/next",
    "http://user:password@{own}/next",
    "http://127.0.0.1:{trap}\\@{own}/next",
    "https://{own}/next",
    "http://localhost:{trap}/next",
    "http://127.1:{trap}/next",
    "\\\\127.0.0.1:{trap}/next",
    "file:///etc/passwd",
    "http://{own}%2F@127.0.0.1:{trap}/",
    "next\x7f",
)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("where", ["header", "body"])
async def test_a_next_link_leads_nowhere_else(trap: RawServer, link: str, where: str):
    """Another port, host or scheme, credentials, back slashes: refused, or taken for a path of our own place."""
    pages, target = 0, ""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        nonlocal pages
        pages += 1
        writer.write(_page(target if pages < 4 else "", where))
        await writer.drain()

    async with RawServer(handler) as server:
        own = server.url.removeprefix("http://")
        target = link.format(trap=trap.port, own=own)
        async with victim(server) as client, asyncio.timeout(10):
            with contextlib.suppress(ProtocolError, TransportError):
                await client.list("solar")
    assert all(f"Host: {own}\r\n".encode() in request for request in server.requests)
    assert all(request.startswith(b"GET /") for request in server.requests)


def _page(target: str, where: str) -> bytes:
    """Build a page of a list that goes on at the target, if that is not empty."""
    if where == "header":
        return answer(b"[]", headers=f'Link: <{target}>; rel="next"\r\n' if target else "")
    links = {"next": {"href": target}} if target else {}
    return answer(json.dumps({"backups": [], "links": links}).encode())


async def test_pages_without_an_end_end():
    """Every page leads to another one that is new: bounded, as an error and not as a part of the list."""
    number = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        nonlocal number
        number += 1
        writer.write(answer(b"[]", headers=f'Link: </api/{number}>; rel="next"\r\n'))
        await writer.drain()

    async with RawServer(handler) as server, victim(server) as client:
        with pytest.raises(ProtocolError, match="never end"):
            await client.list("solar")


async def test_the_place_of_a_new_backup_is_read_and_not_visited(trap: RawServer):
    """Of a create's Location only the id is taken: the backup is asked for where the service is."""
    location = answer(status="201 x", headers=f"Location: {trap.url}/api/backups/5\r\n")
    async with RawServer(saying(location, answer(BACKUP % 5))) as server, victim(server) as client:
        assert (await client.create("solar", "earth", SPEC)).id == 5
    assert server.requests[1].startswith(b"GET /api/v1/tenants/tenant/starsystems/solar/backups/5 ")


# --- what is too much ------------------------------------------------------------------------------------------------


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await writer.drain()


def _bomb(encoding: str) -> bytes:
    packed = b" " * 50_000_000
    body = gzip.compress(packed, 6) if encoding == "gzip" else zlib.compress(packed, 6)
    return answer(body, headers=f"Content-Encoding: {encoding}\r\n")


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    await asyncio.Event().wait()


FLOODS: dict[str, Handler] = {
    "endless body": _endless,
    "gzip bomb": saying(_bomb("gzip")),
    "deflate bomb": saying(_bomb("deflate")),
    "promised size": saying(answer()[:17] + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "size in digits without an end": saying(answer()[:17] + b"Content-Length: " + b"9" * 6000 + b"\r\n\r\n"),
    "headers without an end": saying(b"HTTP/1.1 200 OK\r\n" + b"X-Header: value\r\n" * 200_000 + b"\r\n"),
    "a header line without an end": saying(b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 5_000_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("operation", ["create", "get", "list", "delete", "health"])
@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_cut_off(flood: str, operation: str):
    """Whatever is too large ends in a typed error, and the process does not grow with it."""
    tracemalloc.start()
    try:
        error = await failing(FLOODS[flood], operation)
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, AnswerTooLargeError | TransportError | ProtocolError | AmbiguousCreateError)
    assert grown < 16 * 1024 * 1024


async def test_silence_is_not_waited_for_without_an_end():
    """A server that promises more and says nothing is left at the timeout."""
    error = await failing(_never, "get", timeouts=Timeouts(total=5.0))
    assert isinstance(error, TransportError)


JSON_BOMBS: dict[str, bytes] = {
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "deep in a member": b'{"id": 1, "extra": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of digits": b'{"id": ' + b"9" * 200_000 + b"}",
    "a list of such": b'[{"id": ' + b"9" * 200_000 + b"}]",
    "an exponent": b'{"id": 1e999999999}',
    "a negative id": b'{"id": -1}',
    "not a number": b'{"id": NaN}',
    "a text that is no Unicode": b'{"id": "\xff\xfe"}',
    "lone surrogates": b'{"id": "\\ud800"}',
    "nothing": b"",
    "null": b"null",
    "a date far away": b'{"id": 1, "status": 5, "startedAt": "99999-99-99T99:99:99Z"}',
}


@pytest.mark.parametrize("operation", ["create", "get", "list", "wait"])
@pytest.mark.parametrize("bomb", JSON_BOMBS)
async def test_json_that_means_harm(bomb: str, operation: str):
    """Depth, digits and nonsense end in a typed error or are read as what they are; never in another exception."""
    async with RawServer(saying(answer(JSON_BOMBS[bomb]))) as server, asyncio.timeout(10), victim(server) as client:
        (came,) = await asyncio.gather(OPERATIONS[operation](client), return_exceptions=True)
    assert isinstance(came, BackupsError) or not isinstance(came, BaseException), repr(came)
    assert len(str(came)) < 5000


# --- answers that are not to the question ----------------------------------------------------------------------------


async def test_an_answer_that_was_not_asked_for_is_not_taken():
    """A second answer behind the first does not become the answer to the next question."""
    both = answer(BACKUP % 1) + answer(BACKUP % 2 + b" " * 10)
    async with RawServer(saying(both, answer(BACKUP % 2))) as server, victim(server) as client:
        assert (await client.get("solar", 1)).id == 1
        await asyncio.sleep(0)
        second = await client.get("solar", 2)
        assert second.id == 2
        assert len(server.requests) == 2


async def test_an_answer_about_another_backup_is_refused():
    """A get for 1 that shows 2 is a protocol error."""
    assert isinstance(await failing(saying(answer(BACKUP % 2)), "get"), ProtocolError)


@pytest.mark.parametrize(
    "headers",
    [
        "Set-Cookie: session=stolen; Path=/\r\n",
        'ETag: "a\tb"\r\nDate: never\r\nRetry-After: 1e400\r\n',
        "Content-Type: text/html; charset=utf-7\r\n",
        "Server: \xff\xfe\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        'Alt-Svc: h3=":443"\r\nRefresh: 0; url=http://127.0.0.1:1/\r\nContent-Location: http://127.0.0.1:1/\r\n',
    ],
)
async def test_headers_that_mean_harm(headers: str):
    """Cookies are not kept, tags and dates that make no sense are not sent back, nothing is visited."""
    async with RawServer(saying(answer(BACKUP % 1, headers=headers))) as server, victim(server) as client:
        assert (await client.get("solar", 1)).id == 1
        assert (await client.wait("solar", 1, deadline=60)).id == 1
        assert not any(b"cookie" in request.lower() for request in server.requests)
        assert all(request.startswith(b"GET /api/v1/tenants/tenant/") for request in server.requests)


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 300\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 5000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
@pytest.mark.parametrize("operation", ["create", "get", "list", "health"])
async def test_what_is_not_http_ends_in_a_typed_error(broken: bytes, operation: str):
    """Two lengths, impossible lengths, statuses and protocols: an error of ours, the token in nothing of it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(broken)
        await writer.drain()
        writer.close()

    await failing(handler, operation)


async def test_names_cannot_inject(trap: RawServer):
    """A planet, a star system or a key with line ends and dots stays in its place."""
    name = "x\r\nHost: evil\r\n\r\n../../y?z#"
    async with RawServer(saying(answer(BACKUP % 1))) as server, victim(server) as client:
        await client.create(name, name, BackupSpec(retention_period_in_days=1), key=name)
        line = server.requests[0].split(b"\r\n", 1)[0]
    assert b"Host: evil" not in server.requests[0]
    assert line.count(b"/") == 9 + 1  # eight of the path, one of HTTP/1.1, one before the path
