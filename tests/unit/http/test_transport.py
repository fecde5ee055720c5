"""The transport, over a mocked aiohttp or over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import pickle
import ssl
import traceback
import warnings
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import pytest
import trustme
from aioresponses import CallbackResult, aioresponses
from multidict import CIMultiDict

from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._http.oauth import ClientCredentials
from asyncbackups._http.transport import Transport
from asyncbackups.errors import (
    AnswerTimeoutError,
    AnswerTooLargeError,
    ApiError,
    AuthenticationError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RedirectRefusedError,
    ServiceUnavailableError,
    TransportError,
)
from asyncbackups.policies import Limits, RetryPolicy, Timeouts
from tests.fake_clock import FakeClock, settle
from tests.raw_server import RawServer, http_response, reset_connection, respond_with

BASE = "https://db.example"
HUB = "https://hub.example/token"
TOKEN = "tok3n.with-enough_letters"
SECRET = "s3cr3t/with+signs"
GET = Request(kind=RequestKind.GET, method="GET", path="/x")
DELETE = Request(kind=RequestKind.DELETE, method="DELETE", path="/x")
CREATE = Request(kind=RequestKind.CREATE, method="POST", path="/x", body=b'{"a": 1}')
LIST = Request(kind=RequestKind.LIST, method="GET", path="/list", etag='W/"7"')
HEALTH = Request(kind=RequestKind.HEALTH, method="GET", path="/management/health", authorized=False)


def transport(base: str = BASE, *, auth: Any = TOKEN, **settings: Any) -> Transport:
    settings.setdefault("clock", FakeClock(auto_advance=True))
    settings.setdefault("retry", RetryPolicy())
    settings.setdefault("limits", Limits())
    return Transport(base, auth=auth, **settings)


@contextlib.asynccontextmanager
async def opened(base: str = BASE, **settings: Any) -> AsyncIterator[Transport]:
    subject = transport(base, **settings)
    await subject.open()
    try:
        yield subject
    finally:
        await subject.close()


async def failure(subject: Transport, request: Request = GET, **how: Any) -> BackupsError:
    with pytest.raises(BackupsError) as caught:
        await subject.send(request, **how)
    assert_shows_no_secret(caught.value)
    return caught.value


def assert_shows_no_secret(error: BaseException) -> None:
    """Search message, repr, traceback with local variables, causes and pickle."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    everything = [str(error), repr(error), "".join(shown.format()), repr(vars(error))]
    if isinstance(error, BackupsError):
        everything.append(repr(pickle.dumps(error)))
    cause = error.__cause__
    if cause is not None:
        everything += [str(cause), repr(cause), repr(vars(cause))]
    for text in everything:
        assert TOKEN not in text
        assert SECRET not in text
        assert quote_plus(SECRET) not in text


def calls(network: aioresponses, method: str, url: str) -> list[dict[str, Any]]:
    return [
        call.kwargs
        for (verb, where), made in network.requests.items()
        if (verb, str(where)) == (method, url)
        for call in made
    ]


# --- invalid arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"base": "http://db.example"}, "base_url must start with https"),
        ({"base": "https://a:b@db.example"}, "base_url must not contain credentials"),
        ({"auth": "a\nb"}, "auth must consist of"),
        ({"auth": None}, "auth must be a token"),
        ({"session": "session"}, "session must be an aiohttp.ClientSession, not str"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext, not bool"),
        ({"proxy": "proxy"}, "proxy must be a URL"),
        ({"max_answer_bytes": 0}, "max_answer_bytes must be an integer of at least 1"),
        (
            {"base": "http://127.0.0.1", "proxy": "http://proxy.example"},
            "base_url must start with https:// if a proxy",
        ),
    ],
)
def test_invalid_arguments_are_rejected(settings: dict[str, Any], why: str) -> None:
    """Arguments are checked when the transport is created, even outside an event loop."""
    with pytest.raises(ConfigurationError, match=why):
        transport(settings.pop("base", BASE), **settings)


async def test_session_cannot_be_combined_with_its_own_settings() -> None:
    """The settings of a caller's session cannot be set for the transport."""
    async with aiohttp.ClientSession() as session:
        for settings in ({"ssl": ssl.create_default_context()}, {"trust_env": True}):
            with pytest.raises(ConfigurationError, match=r"^(ssl|trust_env) cannot be combined with session"):
                transport(session=session, **settings)


def test_repr_hides_the_token() -> None:
    """The repr shows the base URL."""
    assert repr(transport()) == f"<Transport to {BASE}>"


# --- opening and closing --------------------------------------------------------------------------------------------


async def test_send_requires_an_open_transport() -> None:
    """Nothing is sent before opening and after closing; opening and closing twice has no effect."""
    subject = transport()
    assert isinstance(await failure(subject), ClientClosedError)
    await subject.open()
    await subject.open()
    await subject.close()
    await subject.close()
    assert isinstance(await failure(subject), ClientClosedError)
    assert subject.requests == {}


async def test_open_and_close_in_different_tasks(network: aioresponses) -> None:
    """A client may be entered and left in different tasks, and be opened again."""
    subject = transport()
    for _ in range(2):
        await asyncio.create_task(subject.open())
        network.get(f"{BASE}/x")
        await asyncio.create_task(subject.send(GET))
        await asyncio.create_task(subject.close())


async def test_callers_session_is_not_closed(network: aioresponses) -> None:
    """The caller's session stays open."""
    async with aiohttp.ClientSession() as session:
        async with opened(session=session) as subject:
            network.get(f"{BASE}/x")
            await subject.send(GET)
        assert not session.closed


async def test_session_closed_by_the_caller() -> None:
    """A session closed before opening or meanwhile is reported as such."""
    session = aiohttp.ClientSession()
    subject = transport(session=session)
    await subject.open()
    await session.close()
    assert "is closed" in str(await failure(subject))
    await subject.close()
    with pytest.raises(ClientClosedError, match="session passed to the client is closed"):
        await subject.open()


async def test_unexpected_runtime_error_is_not_translated(network: aioresponses) -> None:
    """A bug reaches the caller unchanged."""
    async with opened() as subject:
        network.get(f"{BASE}/x", exception=RuntimeError("bug"))
        with pytest.raises(RuntimeError, match="bug"):
            await subject.send(GET)


@pytest.mark.parametrize("request_", [GET, CREATE], ids=["get", "create"])
async def test_close_during_a_request(request_: Request) -> None:
    """The request fails immediately, and its error says that it may have been sent."""
    async with RawServer(never_respond) as server:
        subject = transport(server.url)
        await subject.open()
        waiting = asyncio.create_task(failure(subject, request_))
        while not server.requests:
            await asyncio.sleep(0)
        await subject.close()
        error = await waiting
    assert isinstance(error, TransportError)
    assert error.sent
    assert subject.requests.total() == 1


async def test_invalid_proxy_in_the_environment(proxied: pytest.MonkeyPatch) -> None:
    """It is reported when the transport is opened, and nothing is left open."""
    proxied.setenv("https_proxy", "socks5://proxy.example")
    subject = transport(trust_env=True)
    with pytest.raises(ConfigurationError, match="proxy must be a URL"):
        await subject.open()
    assert isinstance(await failure(subject), ClientClosedError)


# --- requests -------------------------------------------------------------------------------------------------------


async def test_sent_requests(network: aioresponses) -> None:
    """The token is sent; a body has its type, an entity tag its header; redirects are not followed."""
    async with opened() as subject:
        network.get(f"{BASE}/list", payload=[], headers={"ETag": '"8"'})
        response = await subject.send(LIST)
        network.post(f"{BASE}/x", status=201, payload={"id": 1})
        await subject.send(CREATE)
        network.get(f"{BASE}/management/health", payload={"status": "up"})
        await subject.send(HEALTH)
    assert (response.status, response.body, response.headers["etag"], response.attempt) == (200, b"[]", '"8"', 1)
    assert (response.method, response.url) == ("GET", f"{BASE}/list")
    accept = {"Accept": "application/json"}
    [listed] = calls(network, "GET", f"{BASE}/list")
    assert listed["headers"] == {**accept, "Authorization": f"Bearer {TOKEN}", "If-None-Match": 'W/"7"'}
    assert listed["allow_redirects"] is False
    [created] = calls(network, "POST", f"{BASE}/x")
    assert created["headers"] == {**accept, "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert created["data"] == b'{"a": 1}'
    [health] = calls(network, "GET", f"{BASE}/management/health")
    assert health["headers"] == accept
    assert subject.requests == {RequestKind.LIST: 1, RequestKind.CREATE: 1, RequestKind.HEALTH: 1}


@pytest.mark.parametrize("etag", ['"a\r\nX: y"', '"é"'])
async def test_invalid_entity_tag_is_not_sent(etag: str, network: aioresponses) -> None:
    """A server cannot inject a header."""
    async with opened() as subject:
        network.get(f"{BASE}/x", payload=[])
        await subject.send(Request(kind=RequestKind.LIST, method="GET", path="/x", etag=etag))
    [made] = calls(network, "GET", f"{BASE}/x")
    assert "If-None-Match" not in made["headers"]


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://db.example/", "/a%2Fb/c", "https://db.example/a%2Fb/c"),
        ("https://db.example/pre/", "/a", "https://db.example/pre/a"),
        ("https://db.example/pre", "/a?page=2&q=%20", "https://db.example/pre/a?page=2&q=%20"),
        ("https://db.example", "//evil.example/a", "https://db.example//evil.example/a"),
        ("https://db.example/pre", "https://db.example/a?page=2#here", "https://db.example/a?page=2"),
        ("https://db.example", "https://DB.example/a", "https://db.example/a"),
    ],
)
async def test_paths_and_links(base: str, path: str, url: str, network: aioresponses) -> None:
    """A path is appended to the base URL without encoding it again; a link to the same origin is followed."""
    async with opened(base) as subject:
        network.get(url)
        response = await subject.send(Request(kind=RequestKind.LIST, method="GET", path=path))
    assert response.url == url


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/a",
        "http://db.example/a",
        "https://db.example:8443/a",
        "https://user@db.example/a",
        "relative",
        "https://[::1",
        "",
    ],
)
async def test_link_to_another_origin_is_not_followed(link: str) -> None:
    """The token is never sent to another origin."""
    async with opened() as subject:
        error = await failure(subject, Request(kind=RequestKind.LIST, method="GET", path=link))
    assert isinstance(error, ProtocolError)
    assert "link to another origin than https://db.example not followed" in str(error)
    assert subject.requests == {}


async def test_every_request_is_logged_at_debug_level(network: aioresponses, caplog: pytest.LogCaptureFixture) -> None:
    """The line contains method, URL, status, size and duration, and nothing else."""
    async with opened() as subject:
        with caplog.at_level(logging.DEBUG, "asyncbackups"):
            network.get(f"{BASE}/x", body="{}")
            await subject.send(GET)
    assert [record.getMessage() for record in caplog.records] == [f"GET {BASE}/x: 200, 2 bytes in 0.000 s"]


# --- responses --------------------------------------------------------------------------------------------------------


async def test_error_status_is_a_typed_error(network: aioresponses) -> None:
    """The error contains the details of request and response."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=404, body="no such backup", headers={"X-Request-Id": "r1"})
        error = await failure(subject)
    assert isinstance(error, NotFoundError)
    assert (error.url, error.method, error.excerpt, error.attempt) == (f"{BASE}/x", "GET", "no such backup", 1)
    assert error.headers["X-Request-Id"] == "r1"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_refused(status: int, network: aioresponses) -> None:
    """The error names the target, with secrets redacted."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=status, headers={"Location": f"https://evil.example/?t={TOKEN}"})
        error = await failure(subject)
    assert isinstance(error, RedirectRefusedError)
    assert "https://evil.example/?t=[redacted]" in str(error)


async def test_echoed_token_is_redacted(network: aioresponses) -> None:
    """A body or header that echoes the token reveals it neither in an error nor in a response."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=400, body=f"you sent Bearer {TOKEN}", headers={"Server": TOKEN})
        error = await failure(subject)
        assert isinstance(error, ApiError)
        assert error.excerpt == "you sent Bearer [redacted]"
        assert error.headers["Server"] == "[redacted]"
        network.get(f"{BASE}/x", body=f"<html>{TOKEN}")
        assert (await subject.send(GET)).body == b"<html>[redacted]"


async def test_repeated_headers_are_joined(network: aioresponses) -> None:
    """A header that is repeated becomes one string."""
    network.get(f"{BASE}/x", headers=CIMultiDict([("Link", "<a>"), ("Link", "<b>")]))
    async with opened() as subject:
        assert (await subject.send(GET)).headers["link"] == "<a>, <b>"


async def test_not_modified_is_a_response(network: aioresponses) -> None:
    """304 is not an error."""
    async with opened() as subject:
        network.get(f"{BASE}/list", status=304)
        assert (await subject.send(LIST)).status == 304


# --- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 424, 429, 502, 503, 504])
async def test_transient_errors_are_retried(status: int, network: aioresponses) -> None:
    """Each attempt of an idempotent request is counted, and the last error contains its number."""
    clock = FakeClock(auto_advance=True)
    async with opened(retry=RetryPolicy(attempts=3), clock=clock) as subject:
        network.get(f"{BASE}/x", status=status, repeat=True)
        error = await failure(subject)
    assert isinstance(error, ApiError)
    assert (error.status, error.attempt) == (status, 3)
    assert subject.requests == {RequestKind.GET: 3}


async def test_successful_retry(network: aioresponses) -> None:
    """The response contains the number of the attempt."""
    async with opened() as subject:
        network.delete(f"{BASE}/x", exception=aiohttp.ServerDisconnectedError())
        network.delete(f"{BASE}/x")
        assert (await subject.send(DELETE)).attempt == 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 422, 500])
async def test_permanent_errors_are_not_retried(status: int, network: aioresponses) -> None:
    """No second request is sent."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=status)
        await failure(subject)
    assert subject.requests == {RequestKind.GET: 1}


@pytest.mark.parametrize(
    "trouble", [{"status": 503}, {"status": 429}, {"exception": aiohttp.ServerDisconnectedError()}, {"timeout": True}]
)
async def test_post_is_sent_once(trouble: dict[str, Any], network: aioresponses) -> None:
    """The transport never resends a create whose outcome is unknown."""
    async with opened() as subject:
        network.post(f"{BASE}/x", **trouble)
        await failure(subject, CREATE)
    assert subject.requests == {RequestKind.CREATE: 1}


async def test_callers_limit_of_attempts(network: aioresponses) -> None:
    """With one attempt nothing is retried."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=503, repeat=True)
        await failure(subject, attempts=1)
        assert subject.requests == {RequestKind.GET: 1}
        await failure(subject, attempts=2)
        assert subject.requests == {RequestKind.GET: 3}


async def test_retry_quota_limits_the_load_of_an_outage(network: aioresponses) -> None:
    """When the quota is used up, requests fail immediately."""
    async with opened(retry=RetryPolicy(quota=3)) as subject:
        network.get(f"{BASE}/x", status=503, repeat=True)
        for _ in range(10):
            await failure(subject)
    assert subject.requests == {RequestKind.GET: 10 + 3}


async def test_retry_after_pauses_all_requests(network: aioresponses, clock: FakeClock) -> None:
    """One response with `Retry-After` pauses all requests; the retry is sent when the pause ends."""
    async with opened(clock=clock) as subject:
        network.get(f"{BASE}/x", status=503, headers={"Retry-After": "5"})
        network.get(f"{BASE}/x")
        network.get(f"{BASE}/list")
        first = asyncio.create_task(subject.send(GET))
        await settle(50)
        assert subject.rate_limiter.remaining_pause(clock.monotonic()) == 5.0
        second = asyncio.create_task(subject.send(LIST))
        await clock.run(4.9, turns=50)
        assert subject.requests == {RequestKind.GET: 1}
        await clock.run(20, turns=50)
        assert [(await first).attempt, (await second).attempt] == [2, 1]


async def test_pause_applies_to_a_request_that_waited_for_a_token(network: aioresponses, clock: FakeClock) -> None:
    """A request that had acquired its slot before the pause is not sent during it."""
    tokens = asyncio.Event()

    class Slow:
        async def token(self) -> str:
            await tokens.wait()
            return TOKEN

    async with opened(clock=clock, auth=Slow()) as subject:
        network.get(f"{BASE}/x", status=200)
        network.get(f"{BASE}/management/health", status=429, headers={"Retry-After": "30"})
        waiting = asyncio.create_task(subject.send(GET))
        await settle(50)
        assert isinstance(await failure(subject, HEALTH, attempts=1), RateLimitedError)
        tokens.set()
        await clock.run(29.5, turns=50)
        assert not waiting.done()
        await clock.run(2, turns=50)
        assert (await waiting).status == 200


@pytest.mark.parametrize(
    ("status", "headers", "slower"),
    [
        (429, {}, True),
        (429, {"Retry-After": "0"}, True),
        (500, {"Retry-After": "3"}, True),
        (503, {}, True),
        (503, {"Retry-After": "soon"}, True),
        (502, {}, False),
        (404, {}, False),
        (202, {"Retry-After": "3"}, False),
    ],
)
async def test_responses_that_throttle(
    status: int, headers: dict[str, str], slower: bool, network: aioresponses, clock: FakeClock
) -> None:
    """429, 503 and any error with `Retry-After` do; that of a successful response is about one resource."""
    async with opened(clock=clock) as subject:
        network.get(f"{BASE}/x", status=status, headers=headers)
        with contextlib.suppress(ApiError):
            await subject.send(GET, attempts=1)
    following = asyncio.create_task(subject.rate_limiter.acquire_slot())
    await settle()
    assert following.done() is not slower
    following.cancel()


async def test_slot_is_free_while_a_retry_waits(network: aioresponses, clock: FakeClock) -> None:
    """A call that waits for its next attempt does not block others."""
    async with opened(clock=clock, limits=Limits(concurrency=1), retry=RetryPolicy(initial=30)) as subject:
        network.get(f"{BASE}/x", status=502)
        network.get(f"{BASE}/list")
        waiting = asyncio.create_task(subject.send(GET))
        await settle(50)
        assert (await subject.send(LIST)).status == 200
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


# --- tokens ---------------------------------------------------------------------------------------------------------


def mock_hub(network: aioresponses, *tokens: str) -> None:
    for token in tokens:
        network.post(HUB, payload={"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


def client_credentials() -> ClientCredentials:
    return ClientCredentials(HUB, "app", SECRET, scopes="tenant.acme")


def mock_service(network: aioresponses, token: str, url: str = f"{BASE}/x") -> None:
    """Respond as a service that accepts one token only."""

    def reply(url: Any, **call: Any) -> CallbackResult:
        good = call["headers"].get("Authorization") == f"Bearer {token}"
        return CallbackResult(status=200 if good else 401, payload={"ok": good})

    network.get(url, callback=reply, repeat=True)
    network.post(url, callback=reply, repeat=True)


async def test_token_is_requested_with_the_first_request(network: aioresponses) -> None:
    """The form is posted to the token URL without a slot of its own, and counts as a token request."""
    mock_hub(network, "token-1")
    mock_service(network, "token-1")
    async with opened(auth=client_credentials(), limits=Limits(concurrency=1)) as subject:
        assert [response.status for response in await asyncio.gather(*(subject.send(GET) for _ in range(5)))] == [
            200
        ] * 5
    [token_call] = calls(network, "POST", HUB)
    assert token_call["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in token_call["headers"]
    assert b"grant_type=client_credentials" in token_call["data"]
    assert subject.requests == {RequestKind.GET: 5, RequestKind.TOKEN: 1}


@pytest.mark.parametrize("request_", [GET, CREATE], ids=["get", "create"])
async def test_request_is_resent_with_a_renewed_token(request_: Request, network: aioresponses) -> None:
    """After a 401 even a create is sent again with a new token: a 401 means that it was not processed."""
    mock_hub(network, "token-1", "token-2")
    mock_service(network, "token-2")
    async with opened(auth=client_credentials()) as subject:
        response = await subject.send(request_)
    assert (response.status, response.attempt) == (200, 1)
    assert subject.requests == {request_.kind: 2, RequestKind.TOKEN: 2}


async def test_refused_requests_share_one_renewal(network: aioresponses) -> None:
    """All requests with the refused token wait for one renewal."""
    mock_hub(network, "token-1", "token-2")
    mock_service(network, "token-2")
    async with opened(auth=client_credentials()) as subject:
        answers = await asyncio.gather(*(subject.send(GET) for _ in range(20)))
    assert {response.status for response in answers} == {200}
    assert subject.requests[RequestKind.TOKEN] == 2


async def test_second_401_is_an_authentication_error(network: aioresponses) -> None:
    """The token is renewed only once per request."""
    mock_hub(network, "token-1", "token-2")
    mock_service(network, "another")
    async with opened(auth=client_credentials()) as subject:
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert subject.requests == {RequestKind.GET: 2, RequestKind.TOKEN: 2}


async def test_refused_fixed_token_is_an_authentication_error(network: aioresponses) -> None:
    """There is no other token to try."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=401, body="who are you?")
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert subject.requests == {RequestKind.GET: 1}


async def test_custom_token_source(network: aioresponses) -> None:
    """Any object with `token()` is called, and called again after a 401."""

    class Vault:
        calls = 0

        async def token(self) -> str:
            self.calls += 1
            return f"token-{self.calls}"

    mock_service(network, "token-2")
    async with opened(auth=Vault()) as subject:
        assert (await subject.send(GET)).status == 200
    assert subject.requests == {RequestKind.GET: 2}


async def test_unreachable_token_source_is_transient(network: aioresponses) -> None:
    """An idempotent request is retried; the error of a create says that nothing was sent."""

    class Vault:
        def __init__(self) -> None:
            self.left = 2

        async def token(self) -> str:
            self.left -= 1
            if self.left >= 0:
                raise aiohttp.ClientConnectionError("vault")
            return TOKEN

    mock_service(network, TOKEN)
    async with opened(auth=Vault()) as subject:
        error = await failure(subject, CREATE)
        assert isinstance(error, TransportError)
        assert not error.sent
        assert (await subject.send(GET)).attempt == 2


@pytest.mark.parametrize("status", [400, 401])
async def test_refused_client_credentials(status: int, network: aioresponses) -> None:
    """The error contains the OAuth error; a client secret that the endpoint echoes is redacted."""
    said = {"error": "invalid_client", "error_description": f"wrong: {SECRET}"}
    network.post(HUB, status=status, payload=said)
    async with opened(auth=client_credentials()) as subject:
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert "(invalid_client)" in str(error)
    assert error.url == HUB
    assert subject.requests == {RequestKind.TOKEN: 1}


async def test_token_endpoint_outage(network: aioresponses) -> None:
    """Token requests are retried by the policy, and not again for each attempt of the request that needs the token."""
    network.post(HUB, status=500, repeat=True)
    async with opened(auth=client_credentials(), retry=RetryPolicy(attempts=3)) as subject:
        error = await failure(subject)
        assert isinstance(error, TransportError)
        assert not error.sent
    assert subject.requests == {RequestKind.TOKEN: 3}


async def test_token_endpoint_recovers(network: aioresponses) -> None:
    """A transient fault of the token endpoint goes unnoticed."""
    network.post(HUB, exception=aiohttp.ServerDisconnectedError())
    network.post(HUB, status=503)
    mock_hub(network, "token-1")
    mock_service(network, "token-1")
    async with opened(auth=client_credentials()) as subject:
        assert (await subject.send(CREATE)).status == 200
    assert subject.requests == {RequestKind.TOKEN: 3, RequestKind.CREATE: 1}


async def test_token_endpoint_may_return_the_same_token(network: aioresponses) -> None:
    """Its response is not redacted, because it contains the token."""
    mock_hub(network, "token-1", "token-1")
    mock_service(network, "token-2")
    async with opened(auth=client_credentials()) as subject:
        assert isinstance(await failure(subject), AuthenticationError)


async def test_close_stops_a_renewal() -> None:
    """No task is left, and the waiting call fails."""

    async def silence(reader: Any, writer: Any, request: bytes) -> None:
        await asyncio.Event().wait()

    async with RawServer(silence) as server:
        auth = ClientCredentials(f"{server.url}/token", "app", SECRET, scopes="a")
        subject = transport(server.url, auth=auth)
        await subject.open()
        waiting = asyncio.create_task(subject.send(GET))
        while not server.requests:
            await asyncio.sleep(0)
        await subject.close()
        with pytest.raises(ClientClosedError):
            await waiting


# --- network faults ---------------------------------------------------------------------------------------------


async def test_refused_connection() -> None:
    """Nothing was sent; the cause is chained."""
    async with RawServer(respond_with(b"")) as server:
        url = server.url
    async with opened(url, retry=RetryPolicy(attempts=2)) as subject:
        error = await failure(subject)
    assert type(error) is ConnectError
    assert (error.sent, error.attempt) == (False, 2)
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)


async def test_unknown_host(network: aioresponses) -> None:
    """Nothing was sent."""
    key: Any = aiohttp.client_reqrep.ConnectionKey("nowhere.invalid", 443, True, True, None, None, None)
    fault = aiohttp.ClientConnectorDNSError(key, OSError(-2, "Name or service not known"))
    async with opened() as subject:
        network.get(f"{BASE}/x", exception=fault)
        error = await failure(subject, attempts=1)
    assert type(error) is ConnectError
    assert str(error) == f"GET {BASE}/x: the host was not found ([Errno -2] Name or service not known)"


@pytest.mark.parametrize("request_", [GET, DELETE, CREATE], ids=["get", "delete", "create"])
async def test_connection_reset(request_: Request) -> None:
    """The outcome of the request is unknown, and aiohttp does not resend it on its own.

    A create has a connection of its own: it is reset there, too.
    """
    async with RawServer(respond_with(http_response(), None)) as server, opened(server.url) as subject:
        await subject.send(GET)
        error = await failure(subject, request_, attempts=1)
        assert type(error) is TransportError
        assert error.sent
        assert len(server.requests) == 2


async def test_case_8_each_create_has_a_new_connection() -> None:
    """Other requests share connections; a create never uses one that a gateway may have given up meanwhile."""
    async with RawServer(respond_with(http_response())) as server, opened(server.url) as subject:
        for _ in range(3):
            await subject.send(GET)
        assert server.connections == 1
        for number in (2, 3, 4):
            await subject.send(CREATE)
            assert server.connections == number
        await subject.send(DELETE)
        await subject.send(GET)
        assert server.connections == 4
    assert len(server.requests) == 8


async def test_case_8_second_use_of_a_connection_is_reset() -> None:
    """A gateway that resets each connection at its second request does not lose a single create."""

    class Once:
        def __init__(self) -> None:
            self.used: set[int] = set()

        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
            if id(writer) in self.used:
                reset_connection(writer)
                return
            self.used.add(id(writer))
            writers.append(writer)  # keeps its identity
            writer.write(http_response())

    writers: list[asyncio.StreamWriter] = []
    async with RawServer(Once()) as server, opened(server.url) as subject:
        for _ in range(5):
            assert (await subject.send(CREATE)).status == 200
        assert await failure_of_second_get(subject) is not None
        assert (await subject.send(CREATE)).status == 200


async def failure_of_second_get(subject: Transport) -> BackupsError:
    await subject.send(GET, attempts=1)
    return await failure(subject, GET, attempts=1)


@pytest.mark.parametrize("stays", [True, False], ids=["the server keeps it", "the server closes it"])
async def test_connection_of_a_create_is_closed(stays: bool) -> None:
    """It says so to the server, and does not stay open as an idle one."""
    headers = "" if stays else "Connection: close\r\n"
    async with RawServer(respond_with(http_response(headers=headers))) as server, opened(server.url) as subject:
        await subject.send(CREATE)
        assert b"connection: close" in server.requests[0].lower()
        await subject.send(GET)
        assert b"connection: close" not in server.requests[1].lower()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the response is incomplete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "the response is incomplete"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
            "the response is incomplete",
        ),
        (b"HTTP/1.1 2", "the server closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the response is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b " + TOKEN.encode() + b"\r\n\r\n", "the response is not valid HTTP"),
    ],
)
async def test_incomplete_response(raw: bytes, why: str) -> None:
    """A truncated body or invalid HTTP is a transport error without secrets."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with RawServer(handler) as server, opened(server.url) as subject:
        error = await failure(subject, attempts=1)
        assert type(error) is TransportError
        assert why in str(error)
        assert error.sent
        assert error.__cause__ is not None
        assert error.__cause__.__traceback__ is None


async def never_respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    await asyncio.Event().wait()


async def respond_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("handler", [never_respond, respond_slowly], ids=["no response", "slow body"])
@pytest.mark.parametrize("own", [True, False], ids=["own session", "caller's session"])
async def test_time_limit_of_a_response(handler: Any, own: bool, clock: FakeClock) -> None:
    """The limit applies to the complete response, even if a caller's session has none."""
    session = None if own else aiohttp.ClientSession(timeout=aiohttp.ClientTimeout())
    server = RawServer(handler)
    async with server, opened(server.url, timeouts=Timeouts(total=60), session=session, clock=clock) as subject:
        waiting = asyncio.create_task(failure(subject, CREATE))
        while not server.requests:
            await asyncio.sleep(0)
        await clock.run(59)
        assert not waiting.done()
        clock.advance(2)
        error = await waiting
        assert type(error) is AnswerTimeoutError
        assert isinstance(error, TimeoutError)
        assert error.sent
    assert clock.pending_timers == 0
    if session is not None:
        await session.close()


@pytest.mark.parametrize("own", [True, False], ids=["own session", "caller's session"])
async def test_read_timeout(own: bool) -> None:
    """It applies between two reads, even if a caller's session has no timeouts."""
    session = None if own else aiohttp.ClientSession(timeout=aiohttp.ClientTimeout())
    async with (
        RawServer(never_respond) as server,
        opened(server.url, timeouts=Timeouts(read=0.05), session=session) as subject,
    ):
        error = await failure(subject, CREATE)
        assert type(error) is AnswerTimeoutError
        assert error.sent
    if session is not None:
        await session.close()


async def test_connect_timeout(network: aioresponses) -> None:
    """Nothing was sent."""
    async with opened() as subject:
        network.post(f"{BASE}/x", exception=aiohttp.ConnectionTimeoutError("late"))
        error = await failure(subject, CREATE)
    assert type(error) is ConnectError
    assert not error.sent


@pytest.mark.parametrize(
    "raw",
    [
        http_response(b"x" * 2000),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n",
        http_response(gzip.compress(b"x" * 10_000_000), headers="Content-Encoding: gzip\r\n"),
        http_response(b"x" * 2000, status="500 Oops"),
    ],
    ids=["announced", "until closed", "chunked", "gzip bomb", "error"],
)
async def test_response_larger_than_the_limit(raw: bytes) -> None:
    """It is refused as soon as its size is known, counted after decompression, and the connection is closed."""
    async with RawServer(respond_with(raw)) as server, opened(server.url, max_answer_bytes=1000) as subject:
        error = await failure(subject)
        assert isinstance(error, AnswerTooLargeError)
        assert "larger than the limit of 1000 bytes" in str(error)
        assert subject.requests == {RequestKind.GET: 1}


@pytest.mark.parametrize(
    "raw",
    [
        http_response(b"x" * 1000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n",
        http_response(gzip.compress(b"x" * 1000), headers="Content-Encoding: gzip\r\n"),
    ],
    ids=["announced", "chunked", "gzip"],
)
async def test_response_as_large_as_the_limit(raw: bytes) -> None:
    """It is read completely, and the connection is reused."""
    async with RawServer(respond_with(raw)) as server, opened(server.url, max_answer_bytes=1000) as subject:
        for _ in range(2):
            assert (await subject.send(GET)).body == b"x" * 1000
        assert server.connections == 1


# --- sessions, TLS and proxies --------------------------------------------------------------------------------------


async def test_settings_of_a_callers_session() -> None:
    """Its headers and traces are used; its cookies, base URL, credentials and `raise_for_status` are not."""
    seen = []

    async def trace(*args: Any) -> None:
        seen.append(args)

    traces = aiohttp.TraceConfig()
    traces.on_request_start.append(trace)
    session = aiohttp.ClientSession(
        "https://other.example/",
        cookies={"stranger": "1"},
        headers={"X-Team": "red", "Authorization": "Basic x", "Accept": "text/html"},
        raise_for_status=True,
        trace_configs=[traces],
    )
    cookie = "Set-Cookie: a=b\r\n"
    async with (
        session,
        RawServer(respond_with(http_response(headers=cookie), http_response(status="404 No"))) as server,
    ):
        async with opened(server.url, session=session) as subject:
            await subject.send(GET)
            assert isinstance(await failure(subject), NotFoundError)
        assert [cookie.key for cookie in session.cookie_jar] == ["stranger"]
    for sent in server.requests:
        assert b"Cookie" not in sent
        assert b"X-Team: red" in sent
        assert b"Accept: application/json" in sent
        assert f"Authorization: Bearer {TOKEN}".encode() in sent
    assert len(seen) == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_invalid_certificate(server_context: ssl.SSLContext) -> None:
    """The error is permanent, so it is raised immediately, and nothing was sent."""
    async with (
        RawServer(respond_with(http_response()), context=server_context) as server,
        opened(server.url) as subject,
    ):
        error = await failure(subject)
        assert type(error) is CertificateError
        assert not error.sent
        assert "certificate verify failed" in str(error)
        assert (server.requests, subject.requests) == ([], {RequestKind.GET: 1})


async def test_custom_certificate_authority(authority: trustme.CA, server_context: ssl.SSLContext) -> None:
    """A TLS context with another CA is used."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = RawServer(respond_with(http_response()), context=server_context)
    async with server, opened(server.url, ssl=context) as subject:
        assert (await subject.send(GET)).status == 200


async def test_server_without_tls() -> None:
    """No connection was made."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"https://127.0.0.1:{port}") as subject:
        error = await failure(subject, CREATE)
    assert type(error) is ConnectError
    assert not error.sent


async def test_proxy() -> None:
    """With `insecure_http`, plain http to another machine goes through the proxy with its credentials."""
    async with RawServer(respond_with(http_response(b"[]"))) as proxy:
        address = proxy.url.replace("http://", "http://user:pr0xy-pass@")
        async with opened("http://db.example", insecure_http=True, proxy=address) as subject:
            assert (await subject.send(GET)).body == b"[]"
    assert proxy.requests[0].startswith(b"GET http://db.example/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic" in proxy.requests[0]


async def test_proxy_refuses_the_tunnel() -> None:
    """No connection was made; the proxy's password is not shown."""
    async with RawServer(respond_with(http_response(status="407 Who are you"))) as proxy:
        address = proxy.url.replace("http://", "http://user:pr0xy-pass@")
        async with opened(proxy=address) as subject:
            error = await failure(subject, CREATE)
    assert type(error) is ConnectError
    assert proxy.requests[0].startswith(b"CONNECT db.example:443 HTTP/1.1\r\n")
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "pr0xy-pass" not in shown + repr(error.__cause__)


async def test_unreachable_proxy() -> None:
    """No connection was made; the proxy's password is not shown."""
    async with RawServer(respond_with(b"")) as proxy:
        address = proxy.url.replace("http://", "http://user:pr0xy-pass@")
    async with opened(proxy=address) as subject:
        error = await failure(subject, attempts=1)
    assert type(error) is ConnectError
    assert "pr0xy-pass" not in "".join(traceback.format_exception(error)) + repr(error.__cause__)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    return monkeypatch


@pytest.mark.parametrize(
    ("base", "trust_env", "no_proxy", "proxy"),
    [
        (BASE, True, "", "http://proxy.example:3128"),
        (BASE, True, "db.example", None),
        (BASE, False, "", None),
        ("http://127.0.0.1:1", True, "", None),
    ],
)
async def test_proxies_of_the_environment(
    base: str, trust_env: bool, no_proxy: str, proxy: str | None, proxied: pytest.MonkeyPatch, network: aioresponses
) -> None:
    """They are used only with `trust_env`, never for loopback, and `NO_PROXY` is respected."""
    proxied.setenv("no_proxy", no_proxy)
    async with opened(base, trust_env=trust_env) as subject:
        network.get(f"{base}/x")
        await subject.send(GET)
    [made] = calls(network, "GET", f"{base}/x")
    assert (str(made["proxy"]) if made["proxy"] else None) == proxy


async def test_environment_without_a_proxy(proxied: pytest.MonkeyPatch, network: aioresponses) -> None:
    """`trust_env` has no effect then."""
    proxied.delenv("https_proxy")
    async with opened(trust_env=True) as subject:
        network.get(f"{BASE}/x")
        await subject.send(GET)
    [made] = calls(network, "GET", f"{BASE}/x")
    assert made["proxy"] is None


async def test_proxy_of_a_callers_session() -> None:
    """The proxy of the session is not bypassed."""
    async with (
        RawServer(respond_with(http_response(b"[]"))) as proxy,
        aiohttp.ClientSession(proxy=proxy.url) as session,
    ):
        async with opened("http://db.example", insecure_http=True, session=session) as subject:
            await subject.send(GET)
        assert len(proxy.requests) == 1


async def test_proxy_credentials_of_a_callers_session() -> None:
    """They may be passed separately, as in older versions of aiohttp."""
    async with RawServer(respond_with(http_response(b"[]"))) as proxy:
        with warnings.catch_warnings(action="ignore"):  # newer versions of aiohttp deprecate it
            session = aiohttp.ClientSession(proxy=proxy.url, proxy_auth=aiohttp.BasicAuth("user", "pr0xy-pass"))
        async with session, opened("http://db.example", insecure_http=True, session=session) as subject:
            await subject.send(GET)
        assert b"Proxy-Authorization: Basic" in proxy.requests[0]


# --- cancellation -----------------------------------------------------------------------------------------------------


async def cancel_and_reuse(subject: Transport, task: asyncio.Task[Response], good: Request) -> None:
    """Cancel a call, then verify that every slot is free and the transport works."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answers = await asyncio.gather(*(subject.send(good) for _ in range(3)))
    assert {response.status for response in answers} == {200}


@pytest.mark.parametrize("stage", ["headers", "body", "announced body"])
async def test_cancelled_while_reading(stage: str) -> None:
    """Cancelling while waiting for headers or body leaves no slot acquired and no connection open."""
    head = {"headers": b"", "body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"}
    reached = asyncio.Event()
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if request.startswith(b"GET /list"):
            writer.write(http_response())
            return
        writer.write(head.get(stage, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
        await writer.drain()
        reached.set()
        assert await reader.read() == b""
        ended.set()

    async with RawServer(handler) as server, opened(server.url, limits=Limits(concurrency=1)) as subject:
        task = asyncio.create_task(subject.send(GET))
        await reached.wait()
        await asyncio.sleep(0.01)
        await cancel_and_reuse(subject, task, LIST)
        await ended.wait()


async def test_cancelled_while_connecting() -> None:
    """Cancelling while connecting leaves no slot acquired."""
    async with (
        RawServer(respond_with(http_response())) as server,
        opened(server.url, limits=Limits(concurrency=1)) as subject,
    ):
        task = asyncio.create_task(subject.send(GET))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cancel_and_reuse(subject, task, GET)


async def test_cancelled_while_waiting_for_a_slot(network: aioresponses) -> None:
    """A call that waits for a slot can be cancelled."""
    hold = asyncio.Event()

    async def held(url: Any, **call: Any) -> CallbackResult:
        await hold.wait()
        return CallbackResult(payload={})

    async with opened(limits=Limits(concurrency=1)) as subject:
        network.get(f"{BASE}/x", callback=held, repeat=True)
        first = asyncio.create_task(subject.send(GET))
        await settle()
        second = asyncio.create_task(subject.send(GET))
        await settle()
        second.cancel()
        await settle()
        hold.set()
        assert (await first).status == 200
        await cancel_and_reuse(subject, asyncio.create_task(subject.send(GET)), GET)


async def test_cancelled_while_a_token_is_requested(network: aioresponses) -> None:
    """The slot is released, and the renewal continues for other callers."""
    hold = asyncio.Event()

    async def held(url: Any, **call: Any) -> CallbackResult:
        await hold.wait()
        return CallbackResult(payload={"access_token": "token-1", "expires_in": 3600})

    network.post(HUB, callback=held)
    mock_service(network, "token-1")
    async with opened(auth=client_credentials(), limits=Limits(concurrency=2)) as subject:
        one = asyncio.create_task(subject.send(GET))
        two = asyncio.create_task(subject.send(GET))
        await settle()
        one.cancel()
        await settle()
        hold.set()
        assert (await two).status == 200
        await cancel_and_reuse(subject, asyncio.create_task(subject.send(GET)), GET)
    assert subject.requests[RequestKind.TOKEN] == 1


async def test_cancelled_between_two_attempts(network: aioresponses, clock: FakeClock) -> None:
    """A call that waits for its next attempt ends immediately."""
    async with opened(clock=clock, limits=Limits(concurrency=1)) as subject:
        network.get(f"{BASE}/x", status=502)
        network.get(f"{BASE}/list", repeat=True)
        task = asyncio.create_task(subject.send(GET))
        await settle(50)
        assert len(clock.slept) == 1
        before = clock.pending_timers
        await cancel_and_reuse(subject, task, LIST)
        assert clock.pending_timers == before - 1


# --- secrets and sharing ---------------------------------------------------------------------------------------


async def test_no_log_line_contains_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the package's loggers nor aiohttp's nor asyncio's in debug mode."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    body = json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if request.startswith(b"POST /token"):
            writer.write(http_response(body))
        elif request.startswith(b"GET /x"):
            writer.write(
                http_response(TOKEN.encode(), status="503 Busy", headers=f"X-Echo: {TOKEN}\r\nRetry-After: 1\r\n")
            )
        else:
            reset_connection(writer)

    with caplog.at_level(logging.DEBUG):
        async with RawServer(handler) as server:
            auth = ClientCredentials(f"{server.url}/token", "app", SECRET, scopes="a")
            async with opened(server.url, auth=auth) as subject:
                assert isinstance(await failure(subject), ServiceUnavailableError)
                assert isinstance(await failure(subject, LIST), TransportError)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "obtained a token" in logged
    assert "throttled by the server" in logged
    assert "attempt 2 in " in logged
    assert TOKEN not in logged
    assert SECRET not in logged


def test_rate_limit_error() -> None:
    """429 has its own class."""
    assert ApiError.class_for(429) is RateLimitedError


async def test_cancellation_of_shared_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task's cancellation is a transport error, or that of a closed client; the caller is not cancelled."""

    async def cancelled(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    async with opened() as subject:
        monkeypatch.setattr(aiohttp.ClientSession, "request", cancelled)
        assert type(await failure(subject, CREATE)) is TransportError

        async def leave(*_: Any, **__: Any) -> None:
            await subject.close()
            raise asyncio.CancelledError

        monkeypatch.setattr(aiohttp.ClientSession, "request", leave)
        assert isinstance(await failure(subject, CREATE), ClientClosedError)
