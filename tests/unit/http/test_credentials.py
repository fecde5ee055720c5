"""The Authorization header."""

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
    """Returns its values in order, the last one repeatedly; raises exceptions."""

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


async def test_fixed_token_cannot_be_replaced() -> None:
    """After a refusal there is no other credential."""
    subject = credentials("token-1")
    assert subject.fixed is not None
    assert subject.fixed.headers == {"Authorization": "Bearer token-1"}
    assert await subject.get_current() is subject.fixed
    assert await subject.replace_refused(subject.fixed) is subject.fixed


async def test_headers_are_built_once_per_token() -> None:
    """While the source returns the same token, the credential stays the same object."""
    subject = credentials(Source("token-1", "token-1", "token-2"))
    one = await subject.get_current()
    assert await subject.get_current() is one
    two = await subject.get_current()
    assert two.headers == {"Authorization": "Bearer token-2"}


async def test_source_is_called_again_after_a_refusal() -> None:
    """A renewable source renews, another one is called again: the same token is the same credential."""
    subject = credentials(Renewable("token-1"))
    assert (await subject.replace_refused(await subject.get_current())).token == "token-1-renewed"
    subject = credentials(Source("token-1"))
    one = await subject.get_current()
    assert await subject.replace_refused(one) is one


@pytest.mark.parametrize("auth", [None, 7, b"token", object(), ["hunter2"]])
def test_other_values_of_auth_are_rejected(auth: object) -> None:
    """The message says what is valid and does not show the value."""
    with pytest.raises(ConfigurationError, match=r"^auth must be a token, or an object with") as caught:
        credentials(auth)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "hunter2\n", "hunter2\r\nX: y"])
def test_invalid_fixed_token_is_rejected(token: str) -> None:
    """It is rejected immediately and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        credentials(token)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", ["hunter2\n", None, 7])
async def test_invalid_token_from_a_source(given: object) -> None:
    """The source has no usable token; the token is not shown."""
    with pytest.raises(AuthenticationError, match="unusable token") as caught:
        await credentials(Source(given)).get_current()
    assert caught.value.status is None
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_unreachable_source_is_a_transport_error() -> None:
    """It is transient, and nothing was sent."""
    with pytest.raises(TransportError, match="failed with TimeoutError") as caught:
        await credentials(Source(TimeoutError("hunter2"))).get_current()
    assert not caught.value.sent
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "hunter2" not in str(caught.value)


async def test_failing_source_is_an_authentication_error() -> None:
    """Retrying does not help: no token can be obtained."""
    with pytest.raises(AuthenticationError, match="failed with KeyError") as caught:
        await credentials(Source(KeyError("hunter2"))).get_current()
    assert "hunter2" not in str(caught.value)


async def test_cancelled_shared_token_request_is_a_transport_error() -> None:
    """If one caller's cancellation ends a shared token request, the other callers are not cancelled."""
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


async def test_library_errors_pass() -> None:
    """Client credentials raise the right errors already."""
    with pytest.raises(ConnectError, match="refused"):
        await credentials(Source(ConnectError("refused"))).get_current()
    with pytest.raises(ClientClosedError):
        await credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a")).get_current()


async def test_redacted_secrets() -> None:
    """Recent tokens, the client secret and other passwords are redacted."""
    subject = credentials("token-1")
    subject.passwords.add("proxy-password")
    assert subject.make_redactor().redact_text("token-1 proxy-password") == "[redacted] [redacted]"
    subject = credentials(Source("token-1", "token-2"))
    await subject.get_current()
    await subject.get_current()
    assert subject.make_redactor().redact_text("token-1 token-2") == "[redacted] [redacted]"
    own = credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a"))
    assert own.make_redactor().redact_text("hunter2") == "[redacted]"


def test_errors_of_the_token_endpoint() -> None:
    """An error for the token URL comes from the credentials, any other does not."""
    subject = credentials(ClientCredentials("https://hub.example/t", "app", "hunter2", scopes="a"))
    assert subject.is_token_error(TransportError("x", url="https://hub.example/t"))
    assert not subject.is_token_error(TransportError("x", url="https://db.example/t"))
    assert not subject.is_token_error(ClientClosedError("x"))
    assert not credentials("token-1").is_token_error(TransportError("x", url="https://hub.example/t"))


def test_repr_of_a_credential_hides_the_token() -> None:
    """The repr is the same for all."""
    assert repr(credentials("hunter2").fixed) == repr(NO_CREDENTIAL) == "<credential>"
