"""What goes into the Authorization header."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._http.credentials import NO_CREDENTIAL, Credentials
from asyncbackups._http.oauth import ClientCredentials
from asyncbackups.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    TransportError,
)


class Source:
    """Gives what it was given, in order, the last for ever; an exception is raised."""

    def __init__(self, *given: object) -> None:
        self._given = list(given)

    async def token(self) -> str:
        given = self._given.pop(0) if len(self._given) > 1 else self._given[0]
        if isinstance(given, BaseException):
            raise given
        return given  # type: ignore[return-value]


class Renewable(Source):
    async def renewed(self, refused: str) -> str:
        return refused + "-renewed"


def credentials(auth: object) -> Credentials:
    return Credentials(auth, faults=(OSError,))


async def test_a_fixed_token_never_changes() -> None:
    """After a refusal there is no other."""
    subject = credentials("token-1")
    assert subject.fixed is not None
    assert subject.fixed.headers == {"Authorization": "Bearer token-1"}
    assert await subject.get_current() is subject.fixed
    assert await subject.replace_refused(subject.fixed) is subject.fixed


async def test_headers_are_made_once_for_each_token() -> None:
    """While the source gives the same token nothing is made anew."""
    subject = credentials(Source("token-1", "token-1", "token-2"))
    one = await subject.get_current()
    assert await subject.get_current() is one
    two = await subject.get_current()
    assert two.headers == {"Authorization": "Bearer token-2"}


async def test_a_source_is_asked_again_after_a_refusal() -> None:
    """A source that can renew does so, another one is asked again: the same token is no other credential."""
    subject = credentials(Renewable("token-1"))
    assert (await subject.replace_refused(await subject.get_current())).token == "token-1-renewed"
    subject = credentials(Source("token-1"))
    one = await subject.get_current()
    assert await subject.replace_refused(one) is one


@pytest.mark.parametrize("auth", [None, 7, b"token", object(), ["hunter2"]])
def test_anything_else_is_refused(auth: object) -> None:
    """The message says what is wanted and does not show what was given."""
    with pytest.raises(ConfigurationError, match="auth must be a token, or an object with") as caught:
        credentials(auth)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "hunter2\n", "hunter2\r\nX: y"])
def test_a_bad_fixed_token_is_refused(token: str) -> None:
    """It is refused when it is given, without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        credentials(token)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", ["hunter2\n", None, 7])
async def test_a_bad_token_from_a_source(given: object) -> None:
    """A source that gives what cannot be sent has no usable token; it is not shown."""
    with pytest.raises(AuthenticationError, match="no usable token") as caught:
        await credentials(Source(given)).get_current()
    assert caught.value.status is None
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_source_that_cannot_be_reached() -> None:
    """That may heal, and nothing was sent."""
    with pytest.raises(TransportError, match="failed with TimeoutError") as caught:
        await credentials(Source(TimeoutError("hunter2"))).get_current()
    assert not caught.value.sent
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "hunter2" not in str(caught.value)


async def test_a_source_that_fails() -> None:
    """That does not heal by asking again: no token can be had."""
    with pytest.raises(AuthenticationError, match="failed with KeyError") as caught:
        await credentials(Source(KeyError("hunter2"))).get_current()
    assert "hunter2" not in str(caught.value)


async def test_source_whose_own_task_was_cancelled_has_no_token_now() -> None:
    """A fetch that callers share and one of them cancelled is not the cancellation of the others."""
    shared = asyncio.get_running_loop().create_future()

    class Shared:
        async def token(self) -> str:
            return str(await shared)

    asking = asyncio.create_task(credentials(Shared()).get_current())
    await asyncio.sleep(0)
    shared.cancel()
    with pytest.raises(TransportError) as caught:
        await asking
    assert not caught.value.sent


async def test_errors_of_ours_pass() -> None:
    """Client credentials raise the right errors already."""
    with pytest.raises(ConnectError, match="refused"):
        await credentials(Source(ConnectError("refused"))).get_current()
    with pytest.raises(ClientClosedError):
        await credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a")).get_current()


async def test_what_is_redacted() -> None:
    """The tokens of late, the client secret, and other passwords."""
    subject = credentials("token-1")
    subject.passwords.add("proxy-password")
    assert subject.make_redactor().redact_text("token-1 proxy-password") == "[redacted] [redacted]"
    subject = credentials(Source("token-1", "token-2"))
    await subject.get_current()
    await subject.get_current()
    assert subject.make_redactor().redact_text("token-1 token-2") == "[redacted] [redacted]"
    own = credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a"))
    assert own.make_redactor().redact_text("hunter2") == "[redacted]"


def test_whose_error_it_is() -> None:
    """An error about the token URL comes from the credentials, any other does not."""
    subject = credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a"))
    assert subject.is_token_error(TransportError("x", url="https://hub.example/t"))
    assert not subject.is_token_error(TransportError("x", url="https://db.example/t"))
    assert not subject.is_token_error(ClientClosedError("x"))
    assert not credentials("token-1").is_token_error(TransportError("x", url="https://hub.example/t"))


def test_a_credential_does_not_show_itself() -> None:
    """Its repr is the same for all."""
    assert repr(credentials("hunter2").fixed) == repr(NO_CREDENTIAL) == "<credential>"
