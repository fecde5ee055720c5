"""Tokens: where they come from, how long they are used, and how they are renewed once for everybody."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlencode

import attrs

from asyncbackups._base.clock import Clock
from asyncbackups._base.validation import flag, not_blank
from asyncbackups._http.messages import Response
from asyncbackups._http.redaction import Secret
from asyncbackups._http.text import decode_json, excerpt_of
from asyncbackups._http.urls import checked_url
from asyncbackups.errors import (
    ApiError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    ProtocolError,
    TransportError,
    token_may_heal,
)

_log = logging.getLogger(__name__)

# Where the token endpoint does not say how long a token lives, or says nonsense: short enough to be safe.
_LIFETIME_UNKNOWN = 300.0
_LONGEST_LIFETIME = 86_400.0
# A tenth of the lifetime, at most five minutes, is left for the renewal: that long the token endpoint may be down.
_MARGIN_SHARE = 0.1
_MARGIN = 300.0
_TRIES_IN_MARGIN = 10


@runtime_checkable
class TokenSource(Protocol):
    """Anything that has a token when it is asked: it is asked before each request, so it should keep one."""

    async def token(self) -> str:
        """Return a bearer token that is valid now."""
        ...


@runtime_checkable
class RenewableTokenSource(TokenSource, Protocol):
    """A token source that can be told that a token was refused."""

    async def renewed(self, refused: str) -> str:
        """Return another token than the one that was refused."""
        ...


FormSender = Callable[[str, Secret], Coroutine[Any, Any, Response]]
"""Posts a form to a URL, retries what may heal, and raises the typed errors: the transport's part."""


def checked_token(token: object) -> str:
    """Return a token that can be put into a header as it is.

    Raises:
        ConfigurationError: If it cannot; the message says why, without the token.
    """
    if not isinstance(token, str):
        raise ConfigurationError(f"a token must be text, not {type(token).__name__}")
    if not token.strip():
        raise ConfigurationError("a token must not be blank")
    if token != token.strip():
        raise ConfigurationError("a token must not begin or end with white space (a newline from a file?)")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError("a token must consist of visible ASCII characters: it goes into a header")
    return token


@attrs.frozen
class Lease:
    """A token, and until when it is used.

    Attributes:
        token: The bearer token.
        renew_at: From when on a new one is fetched, in monotonic seconds.
        expires_at: From when on it is no longer used, in monotonic seconds.
        retry_every: How long to leave the token endpoint alone after a renewal ahead of expiry failed, in seconds.
    """

    token: str = attrs.field(repr=False)
    renew_at: float
    expires_at: float
    retry_every: float


def lease_of(response: Response, *, asked_at: float) -> Lease:
    """Read the token endpoint's answer (RFC 6749 section 5.1).

    Args:
        response: An answer of 2xx.
        asked_at: When the request left, in monotonic seconds: the lifetime is counted from there.

    Raises:
        AuthenticationError: If there is no token in it, the token cannot be put into a header, or is no bearer token.
            The answer is not quoted: what is in it may be a token.
    """
    token, lifetime, flaw = _read(response.body)
    if flaw:
        raise AuthenticationError(
            status=response.status, method=response.method, url=response.url, reason=f"the token endpoint gave {flaw}"
        )
    margin = min(_MARGIN, lifetime * _MARGIN_SHARE)
    return Lease(token, asked_at + lifetime - margin, asked_at + lifetime, margin / _TRIES_IN_MARGIN)


def _read(body: bytes) -> tuple[str, float, str]:
    """Return token, lifetime, and what is wrong with them: apart from what raises, whose locals may be printed."""
    try:
        raw = decode_json(body)
    except ProtocolError:
        raw = None
    if not isinstance(raw, dict) or not isinstance(raw.get("access_token"), str):
        return "", 0.0, "no access_token"
    kind = raw.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "", 0.0, "a token that is no bearer token"
    try:
        return checked_token(raw["access_token"]), _lifetime(raw.get("expires_in")), ""
    except ConfigurationError as exc:
        return "", 0.0, f"a token that cannot be used: {exc}"


def _lifetime(raw: object) -> float:
    try:
        lifetime = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else math.nan
    except (ValueError, OverflowError):
        lifetime = math.nan
    return min(lifetime, _LONGEST_LIFETIME) if lifetime > 0 else _LIFETIME_UNKNOWN


class ClientCredentials:
    """OAuth 2 client credentials (RFC 6749 section 4.4): tokens fetched from a token URL, kept, and renewed in time.

    One renewal runs at a time, however many callers wait for it. It begins ahead of expiry, while the old token is
    still used. Several clients may share one object, in one event loop.

    Args:
        token_url: Of the token endpoint; https, or loopback.
        client_id: The application's id.
        client_secret: The application's secret; it is in no repr, error, log record or pickle.
        scopes: What the token is for: texts, or one text with spaces (see `asyncbackups.regions.scopes_for`).
        insecure_http: Whether the token URL may be plain http to another machine.

    Raises:
        ConfigurationError: If one of them is blank, or the token URL is refused.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scopes: str | Iterable[str],
        insecure_http: bool = False,
    ) -> None:
        self.token_url: str = str(
            checked_url(token_url, "token_url", insecure_http=flag(insecure_http, "insecure_http"))
        )
        self.client_id: str = not_blank(client_id, "client_id")
        if not isinstance(client_secret, str):  # not shown: it may be a secret all the same
            raise ConfigurationError(f"client_secret must be a text, not {type(client_secret).__name__}")
        if not client_secret.strip():
            raise ConfigurationError("client_secret must not be blank")
        self._client_secret = Secret(client_secret)
        self.scopes: tuple[str, ...] = _scopes(scopes)
        self._users: list[tuple[FormSender, Clock]] = []
        self._lease: Lease | None = None
        self._not_before = -math.inf
        self._renewal: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"ClientCredentials({self.token_url!r}, {self.client_id!r}, ..., scopes={' '.join(self.scopes)!r})"

    def bind(self, send: FormSender, clock: Clock) -> None:
        """Let tokens be fetched through a transport. Called by the transport when it is opened."""
        self._users.append((send, clock))

    async def release(self, send: FormSender) -> None:
        """Fetch no more tokens through a transport. With the last one a renewal that runs is cancelled."""
        self._users = [user for user in self._users if user[0] != send]
        renewal = self._renewal
        if renewal is not None and not self._users:
            renewal.cancel()
            await asyncio.wait({renewal})

    def secrets(self) -> tuple[str, ...]:
        """Return what must not be shown: the client secret and the token."""
        return (self._client_secret.reveal(), *(() if self._lease is None else (self._lease.token,)))

    async def token(self) -> str:
        """Return a token that has not expired; fetch one where there is none.

        Raises:
            AuthenticationError: If the token endpoint refuses the credentials, or its answers make no sense.
            TransportError: If the token endpoint cannot be asked now; what needed the token was not sent.
            ClientClosedError: If no client that uses these credentials is open.
        """
        lease = self._lease
        now = self._clock().monotonic()
        if lease is not None and now < lease.expires_at:
            if now >= lease.renew_at and now >= self._not_before and self._renewal is None:
                self._start(ahead=True)
            return lease.token
        return await self._wait_for_renewal()

    async def renewed(self, refused: str) -> str:
        """Return another token than the refused one; fetch one unless somebody else already has.

        Raises:
            AuthenticationError: If the token endpoint refuses the credentials, or its answers make no sense.
            TransportError: If the token endpoint cannot be asked now.
            ClientClosedError: If no client that uses these credentials is open.
        """
        lease = self._lease
        if lease is not None and lease.token != refused:
            return await self.token()
        return await self._wait_for_renewal()

    async def _wait_for_renewal(self) -> str:
        task = self._renewal or self._start(ahead=False)
        # `wait` leaves the task alone when this caller is cancelled. The task returns nothing, because
        # asyncio's debug mode logs the results of futures.
        await asyncio.wait({task})
        if task.cancelled() and self._users:  # who was the last one then has been followed by others
            return await self._wait_for_renewal()
        if task.cancelled():
            raise ClientClosedError("the client was closed while a token was being fetched")
        failure = task.exception()
        if failure is not None:
            raise _for_one_waiter(failure)
        if self._lease is None:  # pragma: no cover - a renewal that succeeded has set it
            raise AssertionError("renewed, but no token")
        return self._lease.token

    def _start(self, *, ahead: bool) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._renew(), name="asyncbackups: renew the token")
        self._renewal = task
        task.add_done_callback(self._ended_ahead if ahead else self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # retrieved: where every waiter was cancelled, nobody else asks for it

    def _ended_ahead(self, task: asyncio.Task[None]) -> None:
        self._ended(task)
        lease = self._lease
        if task.cancelled() or task.exception() is None or lease is None or not self._users:
            return
        self._not_before = self._clock().monotonic() + lease.retry_every
        _log.warning("the token could not be renewed ahead of its expiry (%s)", type(task.exception()).__name__)

    async def _renew(self) -> None:
        while True:
            send, clock = self._user()
            asked_at = clock.monotonic()
            try:
                response = await self._ask(send)
                break
            except (ClientClosedError, TransportError):
                if not self._users or (send, clock) in self._users:
                    raise
                # The client that asked was left: another one that shares these credentials goes on.
        self._lease = lease_of(response, asked_at=asked_at)
        _log.info("got a token for %s from %s", self.client_id, self.token_url)

    async def _ask(self, send: FormSender) -> Response:
        try:
            return await send(self.token_url, self._form())
        except TransportError as exc:
            exc.sent = False  # what needs the token was not sent, wherever the form may have got to
            raise
        except (ApiError, ProtocolError) as exc:
            raise self._explained(exc) from exc

    def _form(self) -> Secret:
        fields = {
            "grant_type": "client_credentials",
            "scope": " ".join(self.scopes),
            "client_id": self.client_id,
            "client_secret": self._client_secret.reveal(),
        }
        return Secret(urlencode(fields))

    @staticmethod
    def _explained(error: ApiError | ProtocolError) -> BackupsError:
        """Tell an endpoint that is unwell from one that goes on refusing (RFC 6749 section 5.2: 400 or 401)."""
        said = error.excerpt  # the transport has taken the secrets out of it
        if isinstance(error, ApiError) and token_may_heal(error):
            return TransportError(
                f"no token could be had, the token endpoint answered {error.status}; it said: {said}",
                method=error.method,
                url=error.url,
                attempt=error.attempt,
                sent=False,
            )
        return AuthenticationError(
            status=error.status,
            method=error.method,
            url=error.url,
            headers=error.headers if isinstance(error, ApiError) else None,
            excerpt=said,
            attempt=error.attempt,
            reason=f"the token endpoint gave no token{_oauth_error(said)}",
        )

    def _user(self) -> tuple[FormSender, Clock]:
        if not self._users:
            raise ClientClosedError("these client credentials belong to no open client: use `async with BackupClient`")
        return self._users[-1]

    def _clock(self) -> Clock:
        return self._user()[1]


def _scopes(scopes: object) -> tuple[str, ...]:
    given = [scopes] if isinstance(scopes, str) else list(scopes) if isinstance(scopes, Iterable) else []
    texts = [text for text in given if isinstance(text, str)]
    words = " ".join(texts).split()
    if not words or len(texts) < len(given):
        raise ConfigurationError(f"scopes must be at least one text, such as 'tenant.example', not {scopes!r}")
    return tuple(words)


def _oauth_error(excerpt: str) -> str:
    try:
        raw = decode_json(excerpt.encode())
    except ProtocolError:
        return ""
    code = raw.get("error") if isinstance(raw, dict) else None
    return f" ({excerpt_of(code.encode())})" if isinstance(code, str) else ""


def _for_one_waiter(failure: BaseException) -> BaseException:
    """Copy an error that many waiters raise: raising one object again and again would grow its traceback."""
    if not isinstance(failure, BackupsError):
        return failure
    mine = copy.copy(failure)
    mine.__cause__ = failure.__cause__
    return mine
