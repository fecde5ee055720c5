"""Tokens: read, kept, renewed once for everybody, and never shown."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
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


def answered(body: Any = None, *, status: int = 200, raw: bytes | None = None) -> Response:
    text = json.dumps(body).encode() if raw is None else raw
    return Response(status=status, headers={}, body=text, method="POST", url=URL)


class Hub:
    """A token endpoint: hands out t1, t2, ...; waits while `gate` is shut; fails with what is in `failures`."""

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
        return answered({"access_token": f"t{number}", "expires_in": self.lifetime, "token_type": "Bearer"})


def credentials(hub: Hub, clock: FakeClock) -> ClientCredentials:
    made = ClientCredentials(URL, "app", SECRET, scopes=["tenant.acme", "gcc.deployments.read"])
    made.bind(hub.send, clock)
    return made


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (None, "must be text, not NoneType"),
        (b"abcdef", "must be text, not bytes"),
        ("", "must not be blank"),
        (" \n", "must not be blank"),
        ("hunter2-token\n", "begin or end with white space"),
        ("hunter2-token\r\nX-Evil: 1", "visible ASCII"),
        ("hunter2-tokén", "visible ASCII"),
        ("hunter2 token", "visible ASCII"),
        ("hunter2\x00token", "visible ASCII"),
    ],
)
def test_a_token_that_cannot_be_a_header_is_refused(token: object, why: str) -> None:
    """Header injection is impossible, and the message does not show the token."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        check_token(token)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_token_is_taken_as_it_is() -> None:
    """Every visible ASCII character may be in a token."""
    token = "".join(map(chr, range(33, 127)))
    assert check_token(token) == token


# --- answers of the token endpoint ----------------------------------------------------------------------------------


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
def test_the_lifetime_is_read_liberally(expires_in: object, lifetime: float) -> None:
    """A lifetime that is missing or makes no sense is taken for a short one, an absurd one for a day."""
    raw = json.dumps({"access_token": "abcd", "expires_in": expires_in}).encode()
    lease = parse_token_response(answered(raw=raw), asked_at=100.0)
    assert lease.expires_at == 100.0 + lifetime
    assert lease.renew_at == pytest.approx(100.0 + lifetime - min(300, lifetime / 10))


def test_a_lease_does_not_show_its_token() -> None:
    """A token is in no repr."""
    assert "abcd" not in repr(parse_token_response(answered({"access_token": "abcd"}), asked_at=0.0))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>hunter2</html>", "gave no access_token"),
        (b"[]", "gave no access_token"),
        (b'{"token": "hunter2"}', "gave no access_token"),
        (b'{"access_token": 7, "id_token": "hunter2"}', "gave no access_token"),
        (b'{"access_token": "hunter2", "token_type": "mac"}', "no bearer token"),
        (b'{"access_token": "hunter2", "token_type": 7}', "no bearer token"),
        (b'{"access_token": "hunter2\\r\\nX: y"}', "visible ASCII"),
    ],
)
def test_an_answer_without_a_usable_token(body: bytes, why: str) -> None:
    """It is refused without being quoted: what is in it may be a token."""
    with pytest.raises(AuthenticationError, match=why) as caught:
        parse_token_response(answered(raw=body), asked_at=0.0)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "hunter2" not in str(shown.stack[-1].locals)
    assert "hunter2" not in str(caught.value)
    assert (caught.value.status, caught.value.url) == (200, URL)


# --- what client credentials accept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"token_url": "http://hub.example/token"}, "token_url must begin with https"),
        ({"token_url": "https://user:pw-hunter2@hub.example/token"}, "token_url must not carry credentials"),
        ({"token_url": "hub.example"}, "token_url must be a URL"),
        ({"client_id": " "}, "client_id must not be blank"),
        ({"client_secret": ""}, "client_secret must not be blank"),
        ({"client_secret": None}, "client_secret must be a text, not NoneType"),
        ({"insecure_http": "no"}, "insecure_http must be True or False"),
        ({"scopes": ""}, "scopes must be"),
        ({"scopes": []}, "scopes must be"),
        ({"scopes": ["a", 7]}, "scopes must be"),
        ({"scopes": None}, "scopes must be"),
    ],
)
def test_bad_client_credentials_are_refused(changed: dict[str, Any], why: str) -> None:
    """Each mistake is named, and no secret is shown."""
    given = {"token_url": URL, "client_id": "app", "client_secret": "hunter2", "scopes": "a", **changed}
    with pytest.raises(ConfigurationError, match=why) as caught:
        ClientCredentials(**given)
    assert "hunter2" not in str(caught.value)


def test_scopes_are_texts_or_one_text() -> None:
    """Scopes may be given as a list or separated by spaces."""
    assert ClientCredentials(URL, "app", "x", scopes="a  b").scopes == ("a", "b")
    assert ClientCredentials(URL, "app", "x", scopes=iter(["a b", "c"])).scopes == ("a", "b", "c")


def test_secrets_are_not_shown() -> None:
    """Neither repr nor pickle nor copy gives the secret away."""
    made = ClientCredentials(URL, "app", SECRET, scopes="a b")
    assert repr(made) == f"ClientCredentials('{URL}', 'app', ..., scopes='a b')"
    assert SECRET not in str(vars(made))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(made)
    assert isinstance(made, TokenSource)
    assert isinstance(made, RenewableTokenSource)


async def test_without_a_client_there_is_no_token() -> None:
    """Credentials fetch through a client; without an open one they say so."""
    with pytest.raises(ClientClosedError, match="no open client"):
        await ClientCredentials(URL, "app", SECRET, scopes="a").token()


# --- fetching and renewing ------------------------------------------------------------------------------------------


async def test_a_token_is_fetched_once_and_kept(clock: FakeClock) -> None:
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


async def test_many_callers_share_one_renewal(clock: FakeClock) -> None:
    """However many wait, one request is made; cancelling one of them, also the first, leaves it to the others."""
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


async def test_a_renewal_nobody_waits_for_is_not_wasted(clock: FakeClock) -> None:
    """When every waiter gave up, the renewal goes on and the next caller has its token."""
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


async def test_a_failed_renewal_nobody_waits_for_is_silent(clock: FakeClock) -> None:
    """A failure that nobody is left to hear makes no noise, and the next caller tries again."""
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


async def test_renewed_ahead_of_expiry_without_waiting(clock: FakeClock) -> None:
    """In the last tenth of its life a token is still used while the next one is fetched, once."""
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


async def test_expired_means_waiting_for_the_next(clock: FakeClock) -> None:
    """A token that has expired is never handed out."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(100)
    assert await made.token() == "t2"


async def test_an_outage_of_the_token_endpoint_within_the_margin_goes_unnoticed(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """While the old token lives a renewal may fail; it is tried again after a while, not at each call."""
    hub = Hub(lifetime=100)
    made = credentials(hub, clock)
    await made.token()
    clock.advance(91)
    hub.failures = [ConnectError("refused")]
    with caplog.at_level(logging.WARNING, "asyncbackups"):
        assert await made.token() == "t1"
        await settle()
    assert "could not be renewed ahead of its expiry (ConnectError)" in caplog.text
    assert await made.token() == "t1"
    await settle()
    assert len(hub.forms) == 2
    clock.advance(1)
    assert await made.token() == "t1"
    await settle()
    assert await made.token() == "t3"


async def test_a_refused_token_is_renewed_once_for_everybody(clock: FakeClock) -> None:
    """All who used the old token get the new one from one renewal; who comes later gets it without any."""
    hub = Hub()
    made = credentials(hub, clock)
    await made.token()
    assert await asyncio.gather(*(made.renewed("t1") for _ in range(20))) == ["t2"] * 20
    assert await made.renewed("t1") == "t2"
    assert len(hub.forms) == 2


async def test_every_waiter_gets_an_error_of_its_own(clock: FakeClock) -> None:
    """One failure is raised to each waiter as a copy with the cause, so that tracebacks do not grow together."""
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


async def test_a_bug_is_not_dressed_up(clock: FakeClock) -> None:
    """An exception that is none of ours reaches the caller as it is."""
    hub = Hub()
    hub.failures = [ZeroDivisionError("bug")]
    with pytest.raises(ZeroDivisionError):
        await credentials(hub, clock).token()


# --- failures of the token endpoint ---------------------------------------------------------------------------------


async def failure_of(error: BackupsError, clock: FakeClock) -> BackupsError:
    hub = Hub()
    hub.failures = [error]
    with pytest.raises(BackupsError) as caught:
        await credentials(hub, clock).token()
    return caught.value


@pytest.mark.parametrize("status", [400, 401])
async def test_refused_credentials_name_the_oauth_error(status: int, clock: FakeClock) -> None:
    """400 and 401 of the token endpoint are refused credentials; the OAuth error code is named."""
    excerpt = json.dumps({"error": "invalid_client", "error_description": "no such client"})
    error = await failure_of(ApiError.class_for(status)(status=status, url=URL, excerpt=excerpt), clock)
    assert type(error) is AuthenticationError
    assert error.status == status
    assert "the token endpoint gave no token (invalid_client)" in str(error)


@pytest.mark.parametrize("excerpt", ["<html>", "[]", '{"error": 7}'])
async def test_an_endpoint_that_speaks_no_oauth(excerpt: str, clock: FakeClock) -> None:
    """Any other refusal is told as it came."""
    error = await failure_of(ApiError(status=404, url=URL, excerpt=excerpt), clock)
    assert isinstance(error, AuthenticationError)
    assert str(error).endswith(f"the token endpoint gave no token; the answer: {excerpt}")


async def test_a_redirect_of_the_token_endpoint_is_a_refusal(clock: FakeClock) -> None:
    """The secret does not follow a redirect: a token URL that redirects is wrong."""
    error = await failure_of(RedirectRefusedError("redirect", url=URL, status=302), clock)
    assert isinstance(error, AuthenticationError)
    assert error.status == 302


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_an_endpoint_that_is_unwell_may_heal(status: int, clock: FakeClock) -> None:
    """That is no refusal: no token could be had, and what needed it was not sent."""
    error = await failure_of(ApiError.class_for(status)(status=status, url=URL, excerpt="busy"), clock)
    assert isinstance(error, TransportError)
    assert not error.sent
    assert f"the token endpoint answered {status}; it said: busy" in str(error)


async def test_a_timeout_of_the_token_endpoint_sends_nothing(clock: FakeClock) -> None:
    """Whether the form got through is of no interest: the request that needed the token was not sent."""
    error = await failure_of(AnswerTimeoutError("slow", url=URL), clock)
    assert isinstance(error, AnswerTimeoutError)
    assert not error.sent


# --- several clients, and the end -----------------------------------------------------------------------------------


async def test_closing_the_last_client_stops_the_renewal(clock: FakeClock) -> None:
    """A waiter is told that the client was closed, and no task is left."""
    hub = Hub()
    hub.gate.clear()
    made = credentials(hub, clock)
    waiter = asyncio.create_task(made.token())
    await settle()
    await made.release(hub.send)
    with pytest.raises(ClientClosedError, match="while a token was being fetched"):
        await waiter
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await made.release(hub.send)


async def test_a_renewal_ahead_that_is_stopped_is_silent(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Closing while a renewal ahead of expiry runs warns of nothing."""
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
    """Two clients use one token; when one is closed the other goes on."""
    one, two = Hub(), Hub(lifetime=50)
    made = credentials(one, clock)
    made.bind(two.send, clock)
    assert await made.token() == "t1"
    await made.release(two.send)
    clock.advance(60)
    assert await made.token() == "t1"
    assert (len(one.forms), len(two.forms)) == (1, 1)


@pytest.mark.parametrize("error", [ClientClosedError("the client was left"), TransportError("disconnected")])
async def test_when_the_client_that_fetches_is_closed_another_one_goes_on(
    error: BackupsError, clock: FakeClock
) -> None:
    """The renewal is everybody's: that the one that asked was left is nobody else's trouble."""
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


async def test_nothing_secret_is_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the package nor asyncio's debug mode logs the token or the secret."""
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    with caplog.at_level(logging.DEBUG):
        hub = Hub()
        made = credentials(hub, clock)
        waiters = [asyncio.create_task(made.token()) for _ in range(3)]
        await settle()
        assert {waiter.result() for waiter in waiters} == {"t1"}
    said = "".join(record.getMessage() for record in caplog.records if "_wait_for_renewal" not in record.getMessage())
    assert "got a token for app" in said
    assert SECRET not in said


def test_errors_can_be_copied() -> None:
    """The copies that waiters get are whole."""
    error = AuthenticationError(status=401, url=URL, excerpt="x", reason="r")
    assert str(copy.copy(error)) == str(error)
