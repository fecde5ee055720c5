"""Tokens: parsed, kept, renewed once for all callers, and never shown."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import json
import logging
import pickle
import sys
import traceback
from typing import Any
from urllib.parse import parse_qs

import pytest

from asyncbackups._http.messages import Response
from asyncbackups._http.oauth import (
    ClientCredentials,
    RenewableTokenSource,
    TokenSource,
    check_token,
    parse_token_response,
)
from asyncbackups._http.redaction import Secret
from asyncbackups.errors import (
    AnswerTimeoutError,
    ApiError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    RedirectRefusedError,
    TransportError,
)
from tests.fake_clock import FakeClock, settle

URL = "https://hub.example/token"
SECRET = "s3cr3t/with+signs"


def token_response(body: Any = None, *, status: int = 200, raw: bytes | None = None) -> Response:
    text = json.dumps(body).encode() if raw is None else raw
    return Response(status=status, headers={}, body=text, method="POST", url=URL)


class Hub:
    """A token endpoint: returns t1, t2, ...; waits while `gate` is not set; raises the next of `failures`."""

    def __init__(self, lifetime: object = 3600) -> None:
        self.lifetime = lifetime
        self.forms: list[dict[str, list[str]]] = []
        self.failures: list[BaseException] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, url: str, form: Secret) -> Response:
        assert url == URL
        self.forms.append(parse_qs(form.reveal()))
        number = len(self.forms)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return token_response({"access_token": f"t{number}", "expires_in": self.lifetime, "token_type": "Bearer"})


def credentials(hub: Hub, clock: FakeClock) -> ClientCredentials:
    made = ClientCredentials(URL, "app", SECRET, scopes=["tenant.acme", "gcc.deployments.read"])
    made.bind(hub.send, clock)
    return made


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (None, "must be a string, not NoneType"),
        (b"abcdef", "must be a string, not bytes"),
        ("", "must not be blank"),
        (" \n", "must not be blank"),
        ("hunter2-token\n", "start or end with white space"),
        ("hunter2-token\r\nX-Evil: 1", "visible ASCII"),
        ("hunter2-tokén", "visible ASCII"),
        ("hunter2 token", "visible ASCII"),
        ("hunter2\x00token", "visible ASCII"),
    ],
)
def test_token_that_cannot_be_sent_in_a_header_is_rejected(token: object, why: str) -> None:
    """Header injection is impossible, and the message does not contain the token."""
    with pytest.raises(ConfigurationError, match=f"^auth .*{why}") as caught:
        check_token(token, "auth")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_token_is_returned_unchanged() -> None:
    """A token may contain every visible ASCII character."""
    token = "".join(map(chr, range(33, 127)))
    assert check_token(token, "auth") == token


# --- responses of the token endpoint ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (3600, 3600),
        ("1800", 1800),
        (0.5, 0.5),
        (None, 300),
        (0, 300),
        (-5, 300),
        (True, 300),
        ("soon", 300),
        ([], 300),
        (10**400, 300),
        ("nan", 300),
        (1e30, 86_400),
    ],
)
def test_lifetime_of_a_token(expires_in: object, lifetime: float) -> None:
    """A missing or invalid lifetime counts as five minutes, a huge one as a day."""
    raw = json.dumps({"access_token": "abcd", "expires_in": expires_in}).encode()
    lease = parse_token_response(token_response(raw=raw), sent_at=100.0)
    assert lease.expires_at == 100.0 + lifetime
    assert lease.renew_at == pytest.approx(100.0 + lifetime - min(300, lifetime / 10))


def test_repr_of_a_lease_hides_the_token() -> None:
    """No repr contains a token."""
    assert "abcd" not in repr(parse_token_response(token_response({"access_token": "abcd"}), sent_at=0.0))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>hunter2</html>", "returned no access_token"),
        (b"[]", "returned no access_token"),
        (b'{"token": "hunter2"}', "returned no access_token"),
        (b'{"access_token": 7, "id_token": "hunter2"}', "returned no access_token"),
        (b'{"access_token": "hunter2", "token_type": "mac"}', "not a bearer token"),
        (b'{"access_token": "hunter2", "token_type": 7}', "not a bearer token"),
        (b'{"access_token": "hunter2\\r\\nX: y"}', "visible ASCII"),
    ],
)
def test_response_without_a_usable_token(body: bytes, why: str) -> None:
    """The error does not quote the response, which may contain a token."""
    with pytest.raises(AuthenticationError, match=why) as caught:
        parse_token_response(token_response(raw=body), sent_at=0.0)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "hunter2" not in str(shown.stack[-1].locals)
    assert "hunter2" not in str(caught.value)
    assert (caught.value.status, caught.value.url) == (200, URL)


# --- arguments of client credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"token_url": "http://hub.example/token"}, "token_url must start with https"),
        ({"token_url": "https://user:pw-hunter2@hub.example/token"}, "token_url must not contain credentials"),
        ({"token_url": "hub.example"}, "token_url must be a URL"),
        ({"client_id": " "}, "client_id must not be blank"),
        ({"client_secret": ""}, "client_secret must not be blank"),
        ({"client_secret": None}, "client_secret must be a string, not NoneType"),
        ({"insecure_http": "no"}, "insecure_http must be True or False"),
        ({"scopes": ""}, "scopes must be"),
        ({"scopes": []}, "scopes must be"),
        ({"scopes": ["a", 7]}, "scopes must be"),
        ({"scopes": None}, "scopes must be"),
    ],
)
def test_invalid_client_credentials_are_rejected(changed: dict[str, Any], why: str) -> None:
    """The error names the argument and contains no secret."""
    given = {"token_url": URL, "client_id": "app", "client_secret": "hunter2", "scopes": "a", **changed}
    with pytest.raises(ConfigurationError, match=why) as caught:
        ClientCredentials(**given)
    assert "hunter2" not in str(caught.value)


def test_scopes_are_strings_or_one_string() -> None:
    """Scopes are a list or a string with spaces."""
    assert ClientCredentials(URL, "app", "x", scopes="a  b").scopes == ("a", "b")
    assert ClientCredentials(URL, "app", "x", scopes=iter(["a b", "c"])).scopes == ("a", "b", "c")


def test_client_secret_is_hidden() -> None:
    """Neither repr nor pickle nor attributes reveal the secret."""
    made = ClientCredentials(URL, "app", SECRET, scopes="a b")
    assert repr(made) == f"ClientCredentials('{URL}', 'app', ..., scopes='a b')"
    assert SECRET not in str(vars(made))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(made)
    assert isinstance(made, TokenSource)
    assert isinstance(made, RenewableTokenSource)


async def test_token_requires_an_open_client() -> None:
    """Credentials send their requests through an open client."""
    with pytest.raises(ClientClosedError, match="no open client"):
        await ClientCredentials(URL, "app", SECRET, scopes="a").token()


# --- fetching and renewing ------------------------------------------------------------------------------------------


async def test_token_is_requested_once_and_kept(clock: FakeClock) -> None:
    """The documented form is posted once; later callers get the same token."""
    hub = Hub()
    made = credentials(hub, clock)
    assert [await made.token() for _ in range(3)] == ["t1", "t1", "t1"]
    assert hub.forms == [
        {
            "grant_type": ["client_credentials"],
            "scope": ["tenant.acme gcc.deployments.read"],
            "client_id": ["app"],
            "client_secret": [SECRET],
        }
    ]
    assert set(made.secrets()) == {SECRET, "t1"}


async def test_callers_share_one_renewal(clock: FakeClock) -> None:
    """Many callers wait for one request; cancelling some of them, even the first, does not affect the others."""
    hub = Hub()
    hub.gate.clear()
    made = credentials(hub, clock)
    waiters = [asyncio.create_task(made.token()) for _ in range(50)]
    await settle()
    waiters[0].cancel()
    waiters[7].cancel()
    await settle()
    hub.gate.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert results.count("t1") == 48
    assert len(hub.forms) == 1


async def test_renewal_continues_without_callers(clock: FakeClock) -> None:
    """If every caller is cancelled, the renewal continues and the next caller gets its token."""
    hub = Hub()
    hub.gate.clear()
    made = credentials(hub, clock)
    waiter = asyncio.create_task(made.token())
    await settle()
    waiter.cancel()
    await settle()
    hub.gate.set()
    await settle()
    assert await made.token() == "t1"
    assert len(hub.forms) == 1


async def test_failed_renewal_without_callers_is_silent(clock: FakeClock) -> None:
    """A failure without a caller is not reported as an unhandled exception, and the next caller tries again."""
    hub = Hub()
    hub.gate.clear()
    hub.failures = [ConnectError("refused")]
    made = credentials(hub, clock)
    waiter = asyncio.create_task(made.token())
    await settle()
    waiter.cancel()
    hub.gate.set()
    await settle()
    assert await made.token() == "t2"


async def test_renewal_ahead_of_expiry_does_not_block(clock: FakeClock) -> None:
    """In the last tenth of its lifetime a token is still used while one renewal runs."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(89)
    assert await made.token() == "t1"
    await settle()
    assert len(hub.forms) == 1
    clock.advance(2)
    hub.gate.clear()
    assert [await made.token() for _ in range(3)] == ["t1"] * 3
    await settle()
    hub.gate.set()
    await settle()
    assert await made.token() == "t2"
    assert len(hub.forms) == 2


async def test_expired_token_is_not_returned(clock: FakeClock) -> None:
    """After expiry a caller waits for the next token."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(100)
    assert await made.token() == "t2"


async def test_short_outage_of_the_token_endpoint_goes_unnoticed(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A renewal ahead of expiry may fail: it is tried again after a while, and not at each call."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(91)
    hub.failures = [ConnectError("refused")]
    with caplog.at_level(logging.WARNING, "asyncbackups"):
        assert await made.token() == "t1"
        await settle()
    assert "renewing the token ahead of its expiry failed (ConnectError)" in caplog.text
    assert await made.token() == "t1"
    await settle()
    assert len(hub.forms) == 2
    clock.advance(1)
    assert await made.token() == "t1"
    await settle()
    assert await made.token() == "t3"


async def test_refused_token_is_renewed_once(clock: FakeClock) -> None:
    """All callers with the refused token get the new one from one renewal, later callers without any."""
    hub = Hub()
    made = credentials(hub, clock)
    await made.token()
    assert await asyncio.gather(*(made.renewed("t1") for _ in range(20))) == ["t2"] * 20
    assert await made.renewed("t1") == "t2"
    assert len(hub.forms) == 2


async def test_every_caller_gets_its_own_error(clock: FakeClock) -> None:
    """Each caller raises a copy of one failure, with its cause, so that tracebacks do not accumulate."""
    hub = Hub()
    cause = OSError("no route")
    failure = ConnectError("refused", url=URL)
    failure.__cause__ = cause
    hub.failures = [failure]
    made = credentials(hub, clock)
    caught = await asyncio.gather(*(made.token() for _ in range(3)), return_exceptions=True)
    assert len({id(error) for error in caught}) == 3
    assert all(isinstance(error, ConnectError) and error.__cause__ is cause for error in caught)
    assert len(hub.forms) == 1


async def test_other_exceptions_are_not_translated(clock: FakeClock) -> None:
    """An unexpected exception reaches the caller unchanged."""
    hub = Hub()
    hub.failures = [ZeroDivisionError("bug")]
    with pytest.raises(ZeroDivisionError):
        await credentials(hub, clock).token()


async def test_renewal_does_not_inherit_the_context_of_a_caller(clock: FakeClock) -> None:
    """All callers share the renewal: it must not belong to the trace or request of the first one."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    hub, traces = Hub(), []

    async def send(url: str, form: Secret) -> Response:
        traces.append(trace.get())
        return await hub.send(url, form)

    made = ClientCredentials(URL, "app", SECRET, scopes="a")
    made.bind(send, clock)
    trace.set("first request")
    await made.token()
    assert (traces, trace.get()) == (["none"], "first request")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
async def test_renewal_that_an_eager_task_factory_finishes_at_once(clock: FakeClock) -> None:
    """A renewal that has finished when its task is returned is not taken for one in progress."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    assert await made.token() == "t1"
    clock.advance(95)
    assert await made.token() == "t1"  # renews ahead of expiry
    assert await made.renewed("t2") == "t3"  # before any callback of the event loop has run
    hub.failures = [ConnectError("refused")]
    with pytest.raises(ConnectError):
        await made.renewed("t3")
    hub.gate.clear()
    waiters = [asyncio.create_task(made.renewed("t3")) for _ in range(3)]
    await settle()
    hub.gate.set()
    assert await asyncio.gather(*waiters) == ["t5"] * 3
    assert len(hub.forms) == 5


# --- failures of the token endpoint ---------------------------------------------------------------------------------


async def failure_of(error: BackupsError, clock: FakeClock) -> BackupsError:
    hub = Hub()
    hub.failures = [error]
    with pytest.raises(BackupsError) as caught:
        await credentials(hub, clock).token()
    return caught.value


@pytest.mark.parametrize("status", [400, 401])
async def test_refused_credentials_show_the_oauth_error(status: int, clock: FakeClock) -> None:
    """For 400 and 401 the error contains the OAuth error code."""
    excerpt = json.dumps({"error": "invalid_client", "error_description": "no such client"})
    error = await failure_of(ApiError.class_for(status)(status=status, url=URL, excerpt=excerpt), clock)
    assert type(error) is AuthenticationError
    assert error.status == status
    assert "the token endpoint returned no token (invalid_client)" in str(error)


@pytest.mark.parametrize("excerpt", ["<html>", "[]", '{"error": 7}'])
async def test_refusal_without_an_oauth_error(excerpt: str, clock: FakeClock) -> None:
    """Any other refusal is quoted."""
    error = await failure_of(ApiError(status=404, url=URL, excerpt=excerpt), clock)
    assert isinstance(error, AuthenticationError)
    assert str(error).endswith(f"the token endpoint returned no token; response: {excerpt}")


async def test_redirect_of_the_token_endpoint_is_a_refusal(clock: FakeClock) -> None:
    """The secret does not follow a redirect: the token URL is wrong."""
    error = await failure_of(RedirectRefusedError("redirect", url=URL, status=302), clock)
    assert isinstance(error, AuthenticationError)
    assert error.status == 302


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_faulty_token_endpoint_is_a_transport_error(status: int, clock: FakeClock) -> None:
    """It is not a refusal: no token can be obtained at the moment, and nothing was sent to the service."""
    error = await failure_of(ApiError.class_for(status)(status=status, url=URL, excerpt="busy"), clock)
    assert isinstance(error, TransportError)
    assert not error.sent
    assert f"the token endpoint responded {status}: busy" in str(error)


async def test_timeout_of_the_token_endpoint_sent_nothing(clock: FakeClock) -> None:
    """Even if the form was sent, the request that needed the token was not."""
    error = await failure_of(AnswerTimeoutError("slow", url=URL), clock)
    assert isinstance(error, AnswerTimeoutError)
    assert not error.sent


# --- several clients, and the end -----------------------------------------------------------------------------------


async def test_closing_the_last_client_stops_the_renewal(clock: FakeClock) -> None:
    """The caller gets an error that the client was closed, and no task is left."""
    hub = Hub()
    hub.gate.clear()
    made = credentials(hub, clock)
    waiter = asyncio.create_task(made.token())
    await settle()
    await made.release(hub.send)
    with pytest.raises(ClientClosedError, match="while a token was requested"):
        await waiter
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await made.release(hub.send)


async def test_cancelled_renewal_ahead_of_expiry_is_silent(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Closing the client during a renewal logs no warning."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(95)
    hub.gate.clear()
    await made.token()
    await settle()
    with caplog.at_level(logging.WARNING, "asyncbackups"):
        await made.release(hub.send)
    assert not caplog.records


async def test_clients_share_credentials(clock: FakeClock) -> None:
    """Two clients use one token; if one is closed, the other still works."""
    one, two = Hub(), Hub(lifetime=50)
    made = credentials(one, clock)
    made.bind(two.send, clock)
    assert await made.token() == "t1"
    await made.release(two.send)
    clock.advance(60)
    assert await made.token() == "t1"
    assert (len(one.forms), len(two.forms)) == (1, 1)


@pytest.mark.parametrize("error", [ClientClosedError("the client was closed"), TransportError("disconnected")])
async def test_renewal_continues_with_another_client(error: BackupsError, clock: FakeClock) -> None:
    """If the client that sent the token request is closed, another one sends it again."""
    one, two = Hub(), Hub()
    two.gate.clear()
    made = credentials(one, clock)

    async def send(url: str, form: Secret) -> Response:
        await two.send(url, form)
        raise error

    made.bind(send, clock)
    waiting = asyncio.create_task(made.token())
    await settle()
    await made.release(send)
    two.gate.set()
    assert await waiting == "t1"
    assert (len(one.forms), len(two.forms)) == (1, 1)


async def test_no_secret_is_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the package nor asyncio's debug mode logs the token or the secret."""
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    with caplog.at_level(logging.DEBUG):
        hub = Hub()
        made = credentials(hub, clock)
        waiters = [asyncio.create_task(made.token()) for _ in range(3)]
        await settle()
        assert {waiter.result() for waiter in waiters} == {"t1"}
    logged = "".join(record.getMessage() for record in caplog.records if "_wait_for_renewal" not in record.getMessage())
    assert "obtained a token for app" in logged
    assert SECRET not in logged


def test_errors_can_be_copied() -> None:
    """The copies that callers raise are complete."""
    error = AuthenticationError(status=401, url=URL, excerpt="x", reason="r")
    assert str(copy.copy(error)) == str(error)
