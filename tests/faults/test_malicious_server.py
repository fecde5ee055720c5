"""A malicious server gains nothing: no token, no memory, no time, and no response to another request."""

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
from tests.faults.fast_clock import FastClock
from tests.faults.harness import ACCESS, SPEC
from tests.faults.secret_scan import error_texts, find_secrets
from tests.raw_server import Handler, RawServer, http_response, respond_with

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
    """Start a server that must receive no connection."""
    async with RawServer(respond_with(http_response())) as server:
        yield server
        assert server.connections == 0, server.requests


def open_client(server: RawServer, **settings: Any) -> BackupClient:
    defaults: dict[str, Any] = {
        "auth": ACCESS.token,
        "retry": RetryPolicy(attempts=2, initial=0.001),
        "creating": CreatePolicy(settle=1.0, patience=3.0, resends=0),
        "timeouts": Timeouts(total=100.0),
        "clock": FastClock(100.0),
        "max_answer_bytes": LIMIT,
    }
    return BackupClient(server.url, "tenant", **{**defaults, **settings})


async def run_failing(handler: Handler, operation: str, **settings: Any) -> BackupsError:
    """Run an operation that must fail within seconds, check that its error shows no secret, and return the error."""
    async with RawServer(handler) as server, asyncio.timeout(10), open_client(server, **settings) as client:
        with pytest.raises(BackupsError) as caught:
            await OPERATIONS[operation](client)
    assert not find_secrets({ACCESS.token, ACCESS.client_secret}, error_texts(caught.value))
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
async def test_redirects_are_not_followed(trap: RawServer, operation: str, status: str):
    """No operation sends a request to the location of a redirect."""
    error = await run_failing(
        respond_with(http_response(status=status, headers=f"Location: {trap.url}/\r\n")), operation
    )
    if operation in {"get", "list", "delete", "health"}:
        assert isinstance(error, RedirectRefusedError)


async def test_redirect_of_token_endpoint_is_not_followed(trap: RawServer):
    """The form with the client secret is posted once, to the token URL: a create needs no second refusal."""
    redirect = respond_with(http_response(status="307 x", headers=f"Location: {trap.url}/\r\n"))
    async with RawServer(redirect) as hub:
        auth = ClientCredentials(f"{hub.url}/token", ACCESS.client_id, ACCESS.client_secret, scopes="tenant.t")
        error = await run_failing(respond_with(http_response()), "create", auth=auth)
    assert isinstance(error, AuthenticationError)
    assert len(hub.requests) == 1
    assert trap.requests == []


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
async def test_next_links_to_other_origins_are_not_followed(trap: RawServer, link: str, where: str):
    """Another port, host or scheme, credentials or back slashes: refused, or used as a path of the own origin."""
    pages, target = 0, ""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        nonlocal pages
        pages += 1
        writer.write(_page(target if pages < 4 else "", where))
        await writer.drain()

    async with RawServer(handler) as server:
        own = server.url.removeprefix("http://")
        target = link.format(trap=trap.port, own=own)
        async with open_client(server) as client, asyncio.timeout(10):
            with contextlib.suppress(ProtocolError, TransportError):
                await client.list("solar")
    assert all(f"Host: {own}\r\n".encode() in request for request in server.requests)
    assert all(request.startswith(b"GET /") for request in server.requests)


def _page(target: str, where: str) -> bytes:
    """Build a page of a list with a link to the next page, unless the target is empty."""
    if where == "header":
        return http_response(b"[]", headers=f'Link: <{target}>; rel="next"\r\n' if target else "")
    links = {"next": {"href": target}} if target else {}
    return http_response(json.dumps({"backups": [], "links": links}).encode())


async def test_endless_paging_is_an_error():
    """If each page links to a new one, the list fails after a maximum of pages and returns no partial result."""
    number = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        nonlocal number
        number += 1
        writer.write(http_response(b"[]", headers=f'Link: </api/{number}>; rel="next"\r\n'))
        await writer.drain()

    async with RawServer(handler) as server, open_client(server) as client:
        with pytest.raises(ProtocolError, match="never end"):
            await client.list("solar")


async def test_location_of_a_new_backup_is_parsed_and_not_followed(trap: RawServer):
    """Only the id is taken from the Location of a create; the backup is requested from the service itself."""
    location = http_response(status="201 x", headers=f"Location: {trap.url}/api/backups/5\r\n")
    handler, policy = respond_with(location, http_response(BACKUP % 5)), CreatePolicy(baseline=False)
    async with RawServer(handler) as server, open_client(server, creating=policy) as client:
        assert (await client.create("solar", "earth", SPEC)).id == 5
    assert server.requests[1].startswith(b"GET /api/v1/tenants/tenant/starsystems/solar/backups/5 ")


# --- size limits ------------------------------------------------------------------------------------------------------


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await writer.drain()


def _bomb(encoding: str) -> bytes:
    data = b" " * 50_000_000
    body = gzip.compress(data, 6) if encoding == "gzip" else zlib.compress(data, 6)
    return http_response(body, headers=f"Content-Encoding: {encoding}\r\n")


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    await asyncio.Event().wait()


FLOODS: dict[str, Handler] = {
    "endless body": _endless,
    "gzip bomb": respond_with(_bomb("gzip")),
    "deflate bomb": respond_with(_bomb("deflate")),
    "huge content length": respond_with(http_response()[:17] + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "endless content length": respond_with(http_response()[:17] + b"Content-Length: " + b"9" * 6000 + b"\r\n\r\n"),
    "endless headers": respond_with(b"HTTP/1.1 200 OK\r\n" + b"X-Header: value\r\n" * 200_000 + b"\r\n"),
    "endless header line": respond_with(b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 5_000_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("operation", ["create", "get", "list", "delete", "health"])
@pytest.mark.parametrize("flood", FLOODS)
async def test_oversized_responses_are_cut_off(flood: str, operation: str):
    """A response that is too large raises a typed error, and memory stays bounded."""
    tracemalloc.start()
    try:
        error = await run_failing(FLOODS[flood], operation)
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, AnswerTooLargeError | TransportError | ProtocolError | AmbiguousCreateError)
    assert grown < 16 * 1024 * 1024


async def test_stalled_response_times_out():
    """A server that announces a body and does not send it causes a timeout."""
    error = await run_failing(_never, "get", timeouts=Timeouts(total=5.0))
    assert isinstance(error, TransportError)


JSON_BOMBS: dict[str, bytes] = {
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "deep in a member": b'{"id": 1, "extra": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of digits": b'{"id": ' + b"9" * 200_000 + b"}",
    "a list of long numbers": b'[{"id": ' + b"9" * 200_000 + b"}]",
    "an exponent": b'{"id": 1e999999999}',
    "a negative id": b'{"id": -1}',
    "not a number": b'{"id": NaN}',
    "invalid UTF-8": b'{"id": "\xff\xfe"}',
    "lone surrogates": b'{"id": "\\ud800"}',
    "empty body": b"",
    "null": b"null",
    "a date far away": b'{"id": 1, "status": 5, "startedAt": "99999-99-99T99:99:99Z"}',
}


@pytest.mark.parametrize("operation", ["create", "get", "list", "wait"])
@pytest.mark.parametrize("bomb", JSON_BOMBS)
async def test_malicious_json_raises_typed_errors(bomb: str, operation: str):
    """Deep nesting, long numbers and invalid values are parsed or raise a `BackupsError`, never another exception."""
    async with (
        RawServer(respond_with(http_response(JSON_BOMBS[bomb]))) as server,
        asyncio.timeout(10),
        open_client(server) as client,
    ):
        (result,) = await asyncio.gather(OPERATIONS[operation](client), return_exceptions=True)
    assert isinstance(result, BackupsError) or not isinstance(result, BaseException), repr(result)
    assert len(str(result)) < 5000


# --- responses to other requests --------------------------------------------------------------------------------------


async def test_unsolicited_response_is_discarded():
    """A second response after the first one is not used for the next request."""
    both = http_response(BACKUP % 1) + http_response(BACKUP % 2 + b" " * 10)
    async with RawServer(respond_with(both, http_response(BACKUP % 2))) as server, open_client(server) as client:
        assert (await client.get("solar", 1)).id == 1
        await asyncio.sleep(0)
        second = await client.get("solar", 2)
        assert second.id == 2
        assert len(server.requests) == 2


async def test_response_about_another_backup_is_refused():
    """A GET of backup 1 that returns backup 2 is a protocol error."""
    assert isinstance(await run_failing(respond_with(http_response(BACKUP % 2)), "get"), ProtocolError)


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
async def test_malicious_headers_are_ignored(headers: str):
    """Cookies are not kept, invalid entity tags and dates are not sent back, and no URL is requested."""
    async with (
        RawServer(respond_with(http_response(BACKUP % 1, headers=headers))) as server,
        open_client(server) as client,
    ):
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
async def test_invalid_http_raises_typed_errors(broken: bytes, operation: str):
    """Contradictory lengths, invalid statuses and other protocols raise a `BackupsError` that shows no token.

    A list may be 204 where it is empty.
    """
    if operation == "list" and b"204 No Content" in broken:
        async with RawServer(respond_with(broken)) as server, open_client(server) as client:
            assert await client.list("solar") == []
        return

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(broken)
        await writer.drain()
        writer.close()

    await run_failing(handler, operation)


async def test_names_cannot_inject_headers_or_paths(trap: RawServer):
    """A planet, star system or key with line breaks, slashes and dots stays one path segment or value."""
    name = "x\r\nHost: evil\r\n\r\n../../y?z#"
    async with RawServer(respond_with(http_response(BACKUP % 1))) as server, open_client(server) as client:
        await client.create(name, name, BackupSpec(retention_period_in_days=1), key=name)
        line = server.requests[0].split(b"\r\n", 1)[0]
    assert b"Host: evil" not in server.requests[0]
    assert line.count(b"/") == 9 + 1  # nine in the path, one in HTTP/1.1
