"""The one door to the network, over a mocked aiohttp where that shows it and over loopback where it does not."""

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
    """Search message, repr, traceback with locals, causes and pickle."""
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


# --- what is refused before anything is sent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"base": "http://db.example"}, "base_url must begin with https"),
        ({"base": "https://a:b@db.example"}, "base_url must not carry credentials"),
        ({"auth": "a\nb"}, "a token must consist of"),
        ({"auth": None}, "auth must be a token"),
        ({"session": "session"}, "session must be an aiohttp.ClientSession, not a str"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext, not a bool"),
        ({"proxy": "proxy"}, "proxy must be a URL"),
        ({"max_answer_bytes": 0}, "max_answer_bytes must be a whole number of at least 1"),
        ({"base": "http://127.0.0.1", "proxy": "http://proxy.example"}, "plain http through a proxy"),
    ],
)
def test_what_is_wrong_is_refused_at_once(settings: dict[str, Any], why: str) -> None:
    """Mistakes are told when the transport is made, outside any event loop."""
    with pytest.raises(ConfigurationError, match=why):
        transport(settings.pop("base", BASE), **settings)


async def test_the_session_s_own_matters_are_not_doubled() -> None:
    """What a caller's session decides cannot be said a second time."""
    async with aiohttp.ClientSession() as session:
        for settings in ({"ssl": ssl.create_default_context()}, {"trust_env": True}):
            with pytest.raises(ConfigurationError, match="session's own matters"):
                transport(session=session, **settings)


def test_a_transport_does_not_show_its_token() -> None:
    """Its repr is the address."""
    assert repr(transport()) == f"<Transport to {BASE}>"


# --- opening and closing --------------------------------------------------------------------------------------------


async def test_sending_needs_an_open_transport() -> None:
    """Before opening and after closing nothing is sent; opening and closing twice changes nothing."""
    subject = transport()
    assert isinstance(await failure(subject), ClientClosedError)
    await subject.open()
    await subject.open()
    await subject.close()
    await subject.close()
    assert isinstance(await failure(subject), ClientClosedError)
    assert subject.requests == {}


async def test_opened_in_one_task_and_closed_in_another(network: aioresponses) -> None:
    """A client may be entered and left in different tasks, and be opened again."""
    subject = transport()
    for _ in range(2):
        await asyncio.create_task(subject.open())
        network.get(f"{BASE}/x")
        await asyncio.create_task(subject.send(GET))
        await asyncio.create_task(subject.close())


async def test_only_what_was_opened_is_closed(network: aioresponses) -> None:
    """The caller's session stays open."""
    async with aiohttp.ClientSession() as session:
        async with opened(session=session) as subject:
            network.get(f"{BASE}/x")
            await subject.send(GET)
        assert not session.closed


async def test_a_session_closed_by_its_owner() -> None:
    """Both a session closed before and one closed meanwhile are told as what they are."""
    session = aiohttp.ClientSession()
    subject = transport(session=session)
    await subject.open()
    await session.close()
    assert "is closed" in str(await failure(subject))
    await subject.close()
    with pytest.raises(ClientClosedError, match="session that was given is closed"):
        await subject.open()


async def test_an_unknown_runtime_error_is_not_dressed_up(network: aioresponses) -> None:
    """A bug keeps its face."""
    async with opened() as subject:
        network.get(f"{BASE}/x", exception=RuntimeError("bug"))
        with pytest.raises(RuntimeError, match="bug"):
            await subject.send(GET)


@pytest.mark.parametrize("request_", [GET, CREATE], ids=["get", "create"])
async def test_closed_while_a_request_is_on_its_way(request_: Request) -> None:
    """The request fails at once; of a create it is said that it may have got through."""
    async with RawServer(silent) as server:
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


async def test_a_bad_proxy_in_the_environment_opens_nothing(proxied: pytest.MonkeyPatch) -> None:
    """It is told when the transport is opened, and nothing is left open."""
    proxied.setenv("https_proxy", "socks5://proxy.example")
    subject = transport(trust_env=True)
    with pytest.raises(ConfigurationError, match="proxy must be a URL"):
        await subject.open()
    assert isinstance(await failure(subject), ClientClosedError)


# --- requests -------------------------------------------------------------------------------------------------------


async def test_what_is_sent(network: aioresponses) -> None:
    """The token goes along, a body has its type, an entity tag its header; redirects are not followed."""
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
async def test_an_entity_tag_that_cannot_be_a_header_is_left_out(etag: str, network: aioresponses) -> None:
    """Nothing that a server sent can inject a header."""
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
    """A path goes below the base URL as it is encoded; a link to the same origin is followed."""
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
async def test_a_link_elsewhere_is_not_followed(link: str) -> None:
    """The token never goes to another origin."""
    async with opened() as subject:
        error = await failure(subject, Request(kind=RequestKind.LIST, method="GET", path=link))
    assert isinstance(error, ProtocolError)
    assert "a link that leads away from https://db.example is not followed" in str(error)
    assert subject.requests == {}


async def test_a_debug_line_for_each_request(network: aioresponses, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG each answer is logged: what was asked and what came, no more."""
    async with opened() as subject:
        with caplog.at_level(logging.DEBUG, "asyncbackups"):
            network.get(f"{BASE}/x", body="{}")
            await subject.send(GET)
    assert [record.getMessage() for record in caplog.records] == [f"GET {BASE}/x: 200, 2 bytes in 0.000 s"]


# --- answers --------------------------------------------------------------------------------------------------------


async def test_an_error_status_is_a_typed_error(network: aioresponses) -> None:
    """It carries what helps to understand it."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=404, body="no such backup", headers={"X-Request-Id": "r1"})
        error = await failure(subject)
    assert isinstance(error, NotFoundError)
    assert (error.url, error.method, error.excerpt, error.attempt) == (f"{BASE}/x", "GET", "no such backup", 1)
    assert error.headers["X-Request-Id"] == "r1"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_refused(status: int, network: aioresponses) -> None:
    """A redirect is an error that names its target, without what it echoes."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=status, headers={"Location": f"https://evil.example/?t={TOKEN}"})
        error = await failure(subject)
    assert isinstance(error, RedirectRefusedError)
    assert "https://evil.example/?t=[redacted]" in str(error)


async def test_echoes_are_redacted(network: aioresponses) -> None:
    """A body or header that echoes the token shows it neither in an error nor in an answer."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=400, body=f"you sent Bearer {TOKEN}", headers={"Server": TOKEN})
        error = await failure(subject)
        assert isinstance(error, ApiError)
        assert error.excerpt == "you sent Bearer [redacted]"
        assert error.headers["Server"] == "[redacted]"
        network.get(f"{BASE}/x", body=f"<html>{TOKEN}")
        assert (await subject.send(GET)).body == b"<html>[redacted]"


async def test_repeated_links_are_joined(network: aioresponses) -> None:
    """A header that comes several times is one text."""
    network.get(f"{BASE}/x", headers=CIMultiDict([("Link", "<a>"), ("Link", "<b>")]))
    async with opened() as subject:
        assert (await subject.send(GET)).headers["link"] == "<a>, <b>"


async def test_not_modified_is_an_answer(network: aioresponses) -> None:
    """304 passes."""
    async with opened() as subject:
        network.get(f"{BASE}/list", status=304)
        assert (await subject.send(LIST)).status == 304


# --- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 424, 429, 502, 503, 504])
async def test_what_may_heal_is_sent_again(status: int, network: aioresponses) -> None:
    """An idempotent request gets its attempts; each one is counted and the last error says which it was."""
    clock = FakeClock(auto_advance=True)
    async with opened(retry=RetryPolicy(attempts=3), clock=clock) as subject:
        network.get(f"{BASE}/x", status=status, repeat=True)
        error = await failure(subject)
    assert isinstance(error, ApiError)
    assert (error.status, error.attempt) == (status, 3)
    assert subject.requests == {RequestKind.GET: 3}


async def test_a_retry_that_succeeds_is_an_answer(network: aioresponses) -> None:
    """The answer says which attempt it answers."""
    async with opened() as subject:
        network.delete(f"{BASE}/x", exception=aiohttp.ServerDisconnectedError())
        network.delete(f"{BASE}/x")
        assert (await subject.send(DELETE)).attempt == 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 422, 500])
async def test_what_lasts_is_told_at_once(status: int, network: aioresponses) -> None:
    """No second request is made."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=status)
        await failure(subject)
    assert subject.requests == {RequestKind.GET: 1}


@pytest.mark.parametrize(
    "trouble", [{"status": 503}, {"status": 429}, {"exception": aiohttp.ServerDisconnectedError()}, {"timeout": True}]
)
async def test_a_post_is_sent_once(trouble: dict[str, Any], network: aioresponses) -> None:
    """A create whose outcome is unknown is never sent again by the transport."""
    async with opened() as subject:
        network.post(f"{BASE}/x", **trouble)
        await failure(subject, CREATE)
    assert subject.requests == {RequestKind.CREATE: 1}


async def test_a_caller_with_a_schedule_of_its_own(network: aioresponses) -> None:
    """With one attempt nothing is sent again."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=503, repeat=True)
        await failure(subject, attempts=1)
        assert subject.requests == {RequestKind.GET: 1}
        await failure(subject, attempts=2)
        assert subject.requests == {RequestKind.GET: 3}


async def test_an_outage_is_not_multiplied(network: aioresponses) -> None:
    """When the quota is used up requests fail at once."""
    async with opened(retry=RetryPolicy(quota=3)) as subject:
        network.get(f"{BASE}/x", status=503, repeat=True)
        for _ in range(10):
            await failure(subject)
    assert subject.requests == {RequestKind.GET: 10 + 3}


async def test_retry_after_slows_everybody(network: aioresponses, clock: FakeClock) -> None:
    """One answer with `Retry-After` keeps all calls silent; the retry comes when it is over."""
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


async def test_silence_holds_for_who_waited_for_a_token(network: aioresponses, clock: FakeClock) -> None:
    """A request that had its slot before the server asked for silence does not go out in it."""
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
async def test_what_slows_the_group(
    status: int, headers: dict[str, str], slower: bool, network: aioresponses, clock: FakeClock
) -> None:
    """429, 503, and any error with `Retry-After`; not an answer of 2xx, whose `Retry-After` is about one resource."""
    async with opened(clock=clock) as subject:
        network.get(f"{BASE}/x", status=status, headers=headers)
        with contextlib.suppress(ApiError):
            await subject.send(GET, attempts=1)
    assert subject.rate_limiter._throttle.is_limiting is slower


async def test_the_slot_is_free_while_a_retry_waits(network: aioresponses, clock: FakeClock) -> None:
    """A call that waits for its next attempt holds nobody up."""
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


def hub(network: aioresponses, *tokens: str) -> None:
    for token in tokens:
        network.post(HUB, payload={"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


def app() -> ClientCredentials:
    return ClientCredentials(HUB, "app", SECRET, scopes="tenant.acme")


def only(network: aioresponses, token: str, url: str = f"{BASE}/x") -> None:
    """Answer as a service that takes one token, on and on."""

    def reply(url: Any, **call: Any) -> CallbackResult:
        good = call["headers"].get("Authorization") == f"Bearer {token}"
        return CallbackResult(status=200 if good else 401, payload={"ok": good})

    network.get(url, callback=reply, repeat=True)
    network.post(url, callback=reply, repeat=True)


async def test_a_token_is_fetched_for_the_first_request(network: aioresponses) -> None:
    """The form goes to the token URL, without the pace's slot, and counts as a token request."""
    hub(network, "token-1")
    only(network, "token-1")
    async with opened(auth=app(), limits=Limits(concurrency=1)) as subject:
        assert [response.status for response in await asyncio.gather(*(subject.send(GET) for _ in range(5)))] == [
            200
        ] * 5
    [asked] = calls(network, "POST", HUB)
    assert asked["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in asked["headers"]
    assert b"grant_type=client_credentials" in asked["data"]
    assert subject.requests == {RequestKind.GET: 5, RequestKind.TOKEN: 1}


@pytest.mark.parametrize("request_", [GET, CREATE], ids=["get", "create"])
async def test_a_refused_token_is_renewed_once(request_: Request, network: aioresponses) -> None:
    """After a 401 the request is sent again with a new token, also a create: a 401 was not acted upon."""
    hub(network, "token-1", "token-2")
    only(network, "token-2")
    async with opened(auth=app()) as subject:
        response = await subject.send(request_)
    assert (response.status, response.attempt) == (200, 1)
    assert subject.requests == {request_.kind: 2, RequestKind.TOKEN: 2}


async def test_a_token_that_expires_is_renewed_once_for_everybody(network: aioresponses) -> None:
    """All calls that were refused share one renewal."""
    hub(network, "token-1", "token-2")
    only(network, "token-2")
    async with opened(auth=app()) as subject:
        answers = await asyncio.gather(*(subject.send(GET) for _ in range(20)))
    assert {response.status for response in answers} == {200}
    assert subject.requests[RequestKind.TOKEN] == 2


async def test_credentials_that_stay_refused(network: aioresponses) -> None:
    """After one renewal it is an authentication error."""
    hub(network, "token-1", "token-2")
    only(network, "another")
    async with opened(auth=app()) as subject:
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert subject.requests == {RequestKind.GET: 2, RequestKind.TOKEN: 2}


async def test_a_fixed_token_that_is_refused(network: aioresponses) -> None:
    """There is no other one to try."""
    async with opened() as subject:
        network.get(f"{BASE}/x", status=401, body="who are you?")
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert subject.requests == {RequestKind.GET: 1}


async def test_an_own_source_of_tokens(network: aioresponses) -> None:
    """Any object with `token()` is asked, and asked again after a 401."""

    class Vault:
        asked = 0

        async def token(self) -> str:
            self.asked += 1
            return f"token-{self.asked}"

    only(network, "token-2")
    async with opened(auth=Vault()) as subject:
        assert (await subject.send(GET)).status == 200
    assert subject.requests == {RequestKind.GET: 2}


async def test_a_source_that_cannot_be_reached_may_heal(network: aioresponses) -> None:
    """An idempotent request is tried again; a create fails, and says that nothing was sent."""

    class Vault:
        def __init__(self) -> None:
            self.left = 2

        async def token(self) -> str:
            self.left -= 1
            if self.left >= 0:
                raise aiohttp.ClientConnectionError("vault")
            return TOKEN

    only(network, TOKEN)
    async with opened(auth=Vault()) as subject:
        error = await failure(subject, CREATE)
        assert isinstance(error, TransportError)
        assert not error.sent
        assert (await subject.send(GET)).attempt == 2


@pytest.mark.parametrize("status", [400, 401])
async def test_refused_client_credentials(status: int, network: aioresponses) -> None:
    """The OAuth error is named; the client secret is not shown although the endpoint echoes it."""
    said = {"error": "invalid_client", "error_description": f"wrong: {SECRET}"}
    network.post(HUB, status=status, payload=said)
    async with opened(auth=app()) as subject:
        error = await failure(subject)
    assert isinstance(error, AuthenticationError)
    assert "(invalid_client)" in str(error)
    assert error.url == HUB
    assert subject.requests == {RequestKind.TOKEN: 1}


async def test_a_token_endpoint_that_is_down(network: aioresponses) -> None:
    """It is asked again by the policy, once for the request and not once more for each of its attempts."""
    network.post(HUB, status=500, repeat=True)
    async with opened(auth=app(), retry=RetryPolicy(attempts=3)) as subject:
        error = await failure(subject)
        assert isinstance(error, TransportError)
        assert not error.sent
    assert subject.requests == {RequestKind.TOKEN: 3}


async def test_a_token_endpoint_that_recovers(network: aioresponses) -> None:
    """A fault of the token endpoint that heals goes unnoticed."""
    network.post(HUB, exception=aiohttp.ServerDisconnectedError())
    network.post(HUB, status=503)
    hub(network, "token-1")
    only(network, "token-1")
    async with opened(auth=app()) as subject:
        assert (await subject.send(CREATE)).status == 200
    assert subject.requests == {RequestKind.TOKEN: 3, RequestKind.CREATE: 1}


async def test_the_token_endpoint_may_give_the_same_token_again(network: aioresponses) -> None:
    """Its answer is not redacted, for it is where tokens come from."""
    hub(network, "token-1", "token-1")
    only(network, "token-2")
    async with opened(auth=app()) as subject:
        assert isinstance(await failure(subject), AuthenticationError)


async def test_closing_stops_a_renewal() -> None:
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


# --- faults on the wire ---------------------------------------------------------------------------------------------


async def test_a_refused_connection() -> None:
    """Nothing was sent; the cause is chained."""
    async with RawServer(respond_with(b"")) as server:
        url = server.url
    async with opened(url, retry=RetryPolicy(attempts=2)) as subject:
        error = await failure(subject)
    assert type(error) is ConnectError
    assert (error.sent, error.attempt) == (False, 2)
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)


async def test_an_unknown_host(network: aioresponses) -> None:
    """Nothing was sent."""
    key: Any = aiohttp.client_reqrep.ConnectionKey("nowhere.invalid", 443, True, True, None, None, None)
    fault = aiohttp.ClientConnectorDNSError(key, OSError(-2, "Name or service not known"))
    async with opened() as subject:
        network.get(f"{BASE}/x", exception=fault)
        error = await failure(subject, attempts=1)
    assert type(error) is ConnectError
    assert str(error) == f"GET {BASE}/x: the host cannot be found ([Errno -2] Name or service not known)"


@pytest.mark.parametrize("request_", [GET, DELETE, CREATE], ids=["get", "delete", "create"])
async def test_a_connection_that_is_reset(request_: Request) -> None:
    """What became of the request is unknown, and aiohttp does not send it again behind our back."""
    async with RawServer(respond_with(http_response(), None)) as server, opened(server.url) as subject:
        await subject.send(GET)
        error = await failure(subject, request_, attempts=1)
        assert type(error) is TransportError
        assert error.sent
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!", "the answer broke off"),
        (b"HTTP/1.1 2", "the server closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b " + TOKEN.encode() + b"\r\n\r\n", "the answer is not HTTP"),
    ],
)
async def test_an_answer_that_breaks_off(raw: bytes, why: str) -> None:
    """A body shorter than announced, or what is not HTTP, is no answer; nothing of it is shown that is secret."""

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


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    await asyncio.Event().wait()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("handler", [silent, dripping], ids=["no answer", "slow body"])
@pytest.mark.parametrize("own", [True, False], ids=["own session", "caller's session"])
async def test_an_answer_that_takes_too_long(handler: Any, own: bool, clock: FakeClock) -> None:
    """The time limit holds for the whole answer, also with a caller's session that has none."""
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
async def test_a_server_that_falls_silent(own: bool) -> None:
    """Without a byte for too long an answer has failed, also with a caller's session that has no timeouts."""
    session = None if own else aiohttp.ClientSession(timeout=aiohttp.ClientTimeout())
    async with (
        RawServer(silent) as server,
        opened(server.url, timeouts=Timeouts(read=0.05), session=session) as subject,
    ):
        error = await failure(subject, CREATE)
        assert type(error) is AnswerTimeoutError
        assert error.sent
    if session is not None:
        await session.close()


async def test_a_connection_that_is_not_made_in_time(network: aioresponses) -> None:
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
async def test_an_answer_larger_than_the_limit(raw: bytes) -> None:
    """It is refused as soon as that is known, counted after decompression, and the connection is closed."""
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
async def test_an_answer_as_large_as_the_limit(raw: bytes) -> None:
    """It is read whole, and the connection is used again."""
    async with RawServer(respond_with(raw)) as server, opened(server.url, max_answer_bytes=1000) as subject:
        for _ in range(2):
            assert (await subject.send(GET)).body == b"x" * 1000
        assert server.connections == 1


# --- sessions, TLS and proxies --------------------------------------------------------------------------------------


async def test_what_a_caller_s_session_brings() -> None:
    """Its headers and traces are used; its cookies, base URL, credentials and manners are not."""
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


async def test_a_certificate_that_does_not_verify(server_context: ssl.SSLContext) -> None:
    """That lasts: it is told at once, and nothing was sent."""
    async with (
        RawServer(respond_with(http_response()), context=server_context) as server,
        opened(server.url) as subject,
    ):
        error = await failure(subject)
        assert type(error) is CertificateError
        assert not error.sent
        assert "certificate verify failed" in str(error)
        assert (server.requests, subject.requests) == ([], {RequestKind.GET: 1})


async def test_an_own_authority(authority: trustme.CA, server_context: ssl.SSLContext) -> None:
    """A TLS context with another CA bundle is taken."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = RawServer(respond_with(http_response()), context=server_context)
    async with server, opened(server.url, ssl=context) as subject:
        assert (await subject.send(GET)).status == 200


async def test_tls_to_what_does_not_speak_it() -> None:
    """A server without TLS is a connection that was never made."""

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


async def test_a_proxy_is_used() -> None:
    """Plain http to another machine through a given proxy, with its credentials, when that was asked for."""
    async with RawServer(respond_with(http_response(b"[]"))) as proxy:
        address = proxy.url.replace("http://", "http://user:pr0xy-pass@")
        async with opened("http://db.example", insecure_http=True, proxy=address) as subject:
            assert (await subject.send(GET)).body == b"[]"
    assert proxy.requests[0].startswith(b"GET http://db.example/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic" in proxy.requests[0]


async def test_a_proxy_that_refuses() -> None:
    """A tunnel that is refused is a connection that was never made; the proxy's password is not shown."""
    async with RawServer(respond_with(http_response(status="407 Who are you"))) as proxy:
        address = proxy.url.replace("http://", "http://user:pr0xy-pass@")
        async with opened(proxy=address) as subject:
            error = await failure(subject, CREATE)
    assert type(error) is ConnectError
    assert proxy.requests[0].startswith(b"CONNECT db.example:443 HTTP/1.1\r\n")
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "pr0xy-pass" not in shown + repr(error.__cause__)


async def test_a_proxy_that_is_not_there() -> None:
    """Nor is it when the proxy cannot be reached."""
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
    """They are taken only when that is asked for, never for loopback, and `NO_PROXY` is respected."""
    proxied.setenv("no_proxy", no_proxy)
    async with opened(base, trust_env=trust_env) as subject:
        network.get(f"{base}/x")
        await subject.send(GET)
    [made] = calls(network, "GET", f"{base}/x")
    assert (str(made["proxy"]) if made["proxy"] else None) == proxy


async def test_no_proxy_in_the_environment(proxied: pytest.MonkeyPatch, network: aioresponses) -> None:
    """Trusting an environment without proxies changes nothing."""
    proxied.delenv("https_proxy")
    async with opened(trust_env=True) as subject:
        network.get(f"{BASE}/x")
        await subject.send(GET)
    [made] = calls(network, "GET", f"{BASE}/x")
    assert made["proxy"] is None


async def test_a_caller_s_session_keeps_its_proxy() -> None:
    """A proxy that was set where the session was made is not silently left out."""
    async with (
        RawServer(respond_with(http_response(b"[]"))) as proxy,
        aiohttp.ClientSession(proxy=proxy.url) as session,
    ):
        async with opened("http://db.example", insecure_http=True, session=session) as subject:
            await subject.send(GET)
        assert len(proxy.requests) == 1


async def test_a_caller_s_session_keeps_its_proxy_s_credentials() -> None:
    """Also when they were given apart, as aiohttp's older form has it."""
    async with RawServer(respond_with(http_response(b"[]"))) as proxy:
        with warnings.catch_warnings(action="ignore"):  # newer versions of aiohttp deprecate it
            session = aiohttp.ClientSession(proxy=proxy.url, proxy_auth=aiohttp.BasicAuth("user", "pr0xy-pass"))
        async with session, opened("http://db.example", insecure_http=True, session=session) as subject:
            await subject.send(GET)
        assert b"Proxy-Authorization: Basic" in proxy.requests[0]


# --- cancelling -----------------------------------------------------------------------------------------------------


async def cancelled_and_usable(subject: Transport, task: asyncio.Task[Response], good: Request) -> None:
    """Cancel a call, then show that every slot is free and the transport works."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answers = await asyncio.gather(*(subject.send(good) for _ in range(3)))
    assert {response.status for response in answers} == {200}


@pytest.mark.parametrize("stage", ["headers", "body", "announced body"])
async def test_cancelled_on_the_wire(stage: str) -> None:
    """Cancelling while the answer is awaited, and while its body comes, leaves no slot taken and no connection open."""
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
        await cancelled_and_usable(subject, task, LIST)
        await ended.wait()


async def test_cancelled_while_connecting() -> None:
    """Cancelling during the connection leaves no slot taken."""
    async with (
        RawServer(respond_with(http_response())) as server,
        opened(server.url, limits=Limits(concurrency=1)) as subject,
    ):
        task = asyncio.create_task(subject.send(GET))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cancelled_and_usable(subject, task, GET)


async def test_cancelled_while_waiting_for_a_slot(network: aioresponses) -> None:
    """A call that waits for its turn can give up."""
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
        await cancelled_and_usable(subject, asyncio.create_task(subject.send(GET)), GET)


async def test_cancelled_while_a_token_is_fetched(network: aioresponses) -> None:
    """The slot is free again, and the renewal goes on for the others."""
    hold = asyncio.Event()

    async def held(url: Any, **call: Any) -> CallbackResult:
        await hold.wait()
        return CallbackResult(payload={"access_token": "token-1", "expires_in": 3600})

    network.post(HUB, callback=held)
    only(network, "token-1")
    async with opened(auth=app(), limits=Limits(concurrency=2)) as subject:
        one = asyncio.create_task(subject.send(GET))
        two = asyncio.create_task(subject.send(GET))
        await settle()
        one.cancel()
        await settle()
        hold.set()
        assert (await two).status == 200
        await cancelled_and_usable(subject, asyncio.create_task(subject.send(GET)), GET)
    assert subject.requests[RequestKind.TOKEN] == 1


async def test_cancelled_between_two_attempts(network: aioresponses, clock: FakeClock) -> None:
    """A call that waits for its next attempt gives up at once."""
    async with opened(clock=clock, limits=Limits(concurrency=1)) as subject:
        network.get(f"{BASE}/x", status=502)
        network.get(f"{BASE}/list", repeat=True)
        task = asyncio.create_task(subject.send(GET))
        await settle(50)
        assert len(clock.slept) == 1
        before = clock.pending_timers
        await cancelled_and_usable(subject, task, LIST)
        assert clock.pending_timers == before - 1


# --- nothing secret is logged ---------------------------------------------------------------------------------------


async def test_no_log_line_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Not ours, and neither aiohttp's nor asyncio's in debug mode."""
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
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "got a token" in said
    assert "the server asked for less" in said
    assert "attempt 2 follows" in said
    assert TOKEN not in said
    assert SECRET not in said


def test_a_rate_limit_is_typed() -> None:
    """429 has its class, with the wish in it."""
    assert ApiError.class_for(429) is RateLimitedError


async def test_what_requests_share_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task's cancellation is a fault of the connection, and of a client that was left; nobody's own end."""

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
