"""Tokens: token sources, and OAuth 2 client credentials with one shared renewal ahead of expiry."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlencode

import attrs

from asyncbackups._base.clock import Clock
from asyncbackups._base.validation import check_flag, check_not_blank, quote_value
from asyncbackups._http.messages import Response, decode_json
from asyncbackups._http.redaction import Secret, make_excerpt
from asyncbackups._http.urls import check_url
from asyncbackups.errors import (
    ApiError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    ProtocolError,
    TransportError,
    is_transient_for_token,
)

_log = logging.getLogger(__name__)

_DEFAULT_LIFETIME = 300.0
"""Lifetime of a token if the token endpoint returns none, or an invalid one: short enough to be safe."""
_MAXIMUM_LIFETIME = 86_400.0
# Renewal starts when a tenth of the lifetime is left, at most five minutes: an outage of that length goes unnoticed.
_MARGIN_SHARE = 0.1
_MAXIMUM_MARGIN = 300.0
_ATTEMPTS_IN_MARGIN = 10


@runtime_checkable
class TokenSource(Protocol):
    """Anything that returns a token. It is called before each request, so it should keep its token while valid."""

    async def token(self) -> str:
        """Return a valid bearer token."""
        ...


@runtime_checkable
class RenewableTokenSource(TokenSource, Protocol):
    """A token source that can replace a token that the service refused."""

    async def renewed(self, refused: str) -> str:
        """Return another token than the refused one."""
        ...


FormSender = Callable[[str, Secret], Coroutine[Any, Any, Response]]
"""Posts a form to a URL with retries and raises the typed errors. Implemented by the transport."""


def check_token(token: object, name: str) -> str:
    """Return a token that can be sent in a header; the error for any other does not contain it."""
    if not isinstance(token, str):
        raise ConfigurationError(f"must be a string, not {type(token).__name__}", field=name)
    if not token.strip():
        raise ConfigurationError("must not be blank", field=name)
    if token != token.strip():
        raise ConfigurationError("must not start or end with white space (a newline from a file?)", field=name)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError("must consist of visible ASCII characters, because it is sent in a header", field=name)
    return token


@attrs.frozen
class TokenLease:
    """A token and its times, in monotonic seconds.

    Attributes:
        retry_every: How long to wait after a failed renewal ahead of expiry, in seconds.
    """

    token: str = attrs.field(repr=False)
    renew_at: float
    expires_at: float
    retry_every: float


def parse_token_response(response: Response, *, sent_at: float) -> TokenLease:
    """Parse the token endpoint's response (RFC 6749 section 5.1). The lifetime counts from `sent_at`.

    Raises:
        AuthenticationError: If it contains no bearer token that can be sent in a header. The response is not quoted,
            because it may contain a token.
    """
    token, lifetime, flaw = _parse_token(response.body)
    if flaw:
        reason = f"the token endpoint returned {flaw}"
        raise AuthenticationError(status=response.status, method=response.method, url=response.url, reason=reason)
    margin = min(_MAXIMUM_MARGIN, lifetime * _MARGIN_SHARE)
    return TokenLease(token, sent_at + lifetime - margin, sent_at + lifetime, margin / _ATTEMPTS_IN_MARGIN)


def _parse_token(body: bytes) -> tuple[str, float, str]:
    """Return token, lifetime, and what is wrong with them. It does not raise: tracebacks may show local variables."""
    try:
        raw = decode_json(body)
    except ProtocolError:
        raw = None
    if not isinstance(raw, dict) or not isinstance(raw.get("access_token"), str):
        return "", 0.0, "no access_token"
    kind = raw.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "", 0.0, "a token that is not a bearer token"
    try:
        return check_token(raw["access_token"], "access_token"), _parse_lifetime(raw.get("expires_in")), ""
    except ConfigurationError as exc:
        return "", 0.0, f"an unusable token: {exc}"


def _parse_lifetime(raw: object) -> float:
    try:
        lifetime = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else math.nan
    except (ValueError, OverflowError):
        lifetime = math.nan
    return min(lifetime, _MAXIMUM_LIFETIME) if lifetime > 0 else _DEFAULT_LIFETIME


class ClientCredentials:
    """OAuth 2 client credentials (RFC 6749 section 4.4): gets tokens from a token URL, keeps them, renews them in time.

    Only one renewal runs at a time, no matter how many callers wait for it. It starts ahead of expiry, while the old
    token is still used. Several clients may share one object within one event loop.

    Args:
        token_url: URL of the token endpoint: https, or http to loopback.
        client_id: The application's id.
        client_secret: The application's secret; it never appears in a repr, error, log record or pickle.
        scopes: The token's scopes: strings, or one string with spaces (see `asyncbackups.regions.scopes_for`).
        insecure_http: Whether the token URL may be plain http to another machine.

    Raises:
        ConfigurationError: If one of them is blank, or the token URL is invalid.
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
        check_flag(insecure_http, "insecure_http")
        self.token_url: str = str(check_url(token_url, "token_url", insecure_http=insecure_http))
        self.client_id: str = check_not_blank(client_id, "client_id")
        if not isinstance(client_secret, str):  # the value is not shown: it may be a secret all the same
            raise ConfigurationError(f"must be a string, not {type(client_secret).__name__}", field="client_secret")
        if not client_secret.strip():
            raise ConfigurationError("must not be blank", field="client_secret")
        self._client_secret = Secret(client_secret)
        self.scopes: tuple[str, ...] = _check_scopes(scopes)
        self._bindings: list[tuple[FormSender, Clock]] = []
        self._lease: TokenLease | None = None
        self._not_before = -math.inf
        self._renewal: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"ClientCredentials({self.token_url!r}, {self.client_id!r}, ..., scopes={' '.join(self.scopes)!r})"

    def bind(self, send: FormSender, clock: Clock) -> None:
        """Use a transport for token requests. Called by the transport when it is opened."""
        self._bindings.append((send, clock))

    async def release(self, send: FormSender) -> None:
        """Stop using a transport. Without any transport left, a running renewal is cancelled."""
        self._bindings = [binding for binding in self._bindings if binding[0] != send]
        renewal = self._renewal
        if renewal is not None and not self._bindings:
            renewal.cancel()
            await asyncio.wait({renewal})

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets to redact: the client secret and the token."""
        return (self._client_secret.reveal(), *(() if self._lease is None else (self._lease.token,)))

    async def token(self) -> str:
        """Return a token that has not expired; get a new one if necessary.

        Raises:
            AuthenticationError: If the token endpoint refuses the credentials, or its response is invalid.
            TransportError: If the token endpoint cannot be reached; the request that needed the token was not sent.
            ClientClosedError: If no client that uses these credentials is open.
        """
        lease = self._lease
        _, clock = self._current_binding()
        now = clock.monotonic()
        if lease is not None and now < lease.expires_at:
            if now >= lease.renew_at and now >= self._not_before and self._renewal is None:
                self._start_renewal(self._finish_early_renewal)
            return lease.token
        return await self._wait_for_renewal()

    async def renewed(self, refused: str) -> str:
        """Return another token than the refused one; get a new one unless another caller already has.

        Raises:
            AuthenticationError: If the token endpoint refuses the credentials, or its response is invalid.
            TransportError: If the token endpoint cannot be reached.
            ClientClosedError: If no client that uses these credentials is open.
        """
        if self._lease is not None and self._lease.token != refused:
            return await self.token()
        return await self._wait_for_renewal()

    async def _wait_for_renewal(self) -> str:
        task = self._renewal or self._start_renewal(self._finish_renewal)
        # `wait` does not cancel the task if this caller is cancelled. The task returns nothing, because asyncio's
        # debug mode logs the results of futures.
        await asyncio.wait({task})
        if task.cancelled() and self._bindings:  # the last client was closed, then another one was opened
            return await self._wait_for_renewal()
        if task.cancelled():
            raise ClientClosedError("the client was closed while a token was requested")
        failure = task.exception()
        if failure is not None:
            raise _copy_error(failure)
        if self._lease is None:  # pragma: no cover - a successful renewal has set it
            raise AssertionError("renewed, but no token")
        return self._lease.token

    def _start_renewal(self, on_end: Callable[[asyncio.Task[None]], None]) -> asyncio.Task[None]:
        # All callers share the task: in an empty context it belongs to the trace or request of none of them.
        create_task = asyncio.get_running_loop().create_task
        task = contextvars.Context().run(create_task, self._renew_token(), name="asyncbackups: renew the token")
        if task.done():  # an eager task factory (Python 3.12) has run it to the end already
            on_end(task)
        else:
            self._renewal = task
            task.add_done_callback(on_end)
        return task

    def _finish_renewal(self, task: asyncio.Task[None]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # mark it as retrieved: if every caller was cancelled, no other code does

    def _finish_early_renewal(self, task: asyncio.Task[None]) -> None:
        self._finish_renewal(task)
        lease = self._lease
        if task.cancelled() or task.exception() is None or lease is None or not self._bindings:
            return
        _, clock = self._current_binding()
        self._not_before = clock.monotonic() + lease.retry_every
        _log.warning("renewing the token ahead of its expiry failed (%s)", type(task.exception()).__name__)

    async def _renew_token(self) -> None:
        while True:
            send, clock = self._current_binding()
            sent_at = clock.monotonic()
            try:
                response = await self._request_token(send)
                break
            except (ClientClosedError, TransportError):
                if not self._bindings or (send, clock) in self._bindings:
                    raise
                # The client that sent the request was closed: use another one that shares these credentials.
        self._lease = parse_token_response(response, sent_at=sent_at)
        _log.info("obtained a token for %s from %s", self.client_id, self.token_url)

    async def _request_token(self, send: FormSender) -> Response:
        try:
            return await send(self.token_url, self._build_form())
        except TransportError as exc:
            exc.sent = False  # the request that needs the token was not sent, even if the form was
            raise
        except (ApiError, ProtocolError) as exc:
            raise self._translate_error(exc) from exc

    def _build_form(self) -> Secret:
        fields = {"grant_type": "client_credentials", "scope": " ".join(self.scopes), "client_id": self.client_id}
        return Secret(urlencode({**fields, "client_secret": self._client_secret.reveal()}))

    @staticmethod
    def _translate_error(error: ApiError | ProtocolError) -> BackupsError:
        """Distinguish a faulty token endpoint from refused credentials (400, 401: RFC 6749 section 5.2)."""
        excerpt = error.excerpt  # the transport has redacted it
        if isinstance(error, ApiError) and is_transient_for_token(error):
            reason = f"no token could be obtained: the token endpoint responded {error.status}: {excerpt}"
            return TransportError(reason, method=error.method, url=error.url, attempt=error.attempt, sent=False)
        return AuthenticationError(
            status=error.status,
            method=error.method,
            url=error.url,
            headers=error.headers if isinstance(error, ApiError) else None,
            excerpt=excerpt,
            attempt=error.attempt,
            reason=f"the token endpoint returned no token{_oauth_error_code(excerpt)}",
        )

    def _current_binding(self) -> tuple[FormSender, Clock]:
        if not self._bindings:
            reason = "no open client uses these client credentials: enter one with `async with BackupClient(...)`"
            raise ClientClosedError(reason)
        return self._bindings[-1]


def _check_scopes(scopes: object) -> tuple[str, ...]:
    given = [scopes] if isinstance(scopes, str) else list(scopes) if isinstance(scopes, Iterable) else []
    strings = [scope for scope in given if isinstance(scope, str)]
    words = " ".join(strings).split()
    if not words or len(strings) < len(given):
        raise ConfigurationError(f"must be strings such as 'tenant.example', not {quote_value(scopes)}", field="scopes")
    return tuple(words)


def _oauth_error_code(excerpt: str) -> str:
    try:
        raw = decode_json(excerpt.encode())
    except ProtocolError:
        return ""
    code = raw.get("error") if isinstance(raw, dict) else None
    return f" ({make_excerpt(code.encode())})" if isinstance(code, str) else ""


def _copy_error(failure: BaseException) -> BaseException:
    """Copy an error that many callers raise: raising one object repeatedly would grow its traceback."""
    if not isinstance(failure, BackupsError):
        return failure
    copied = copy.copy(failure)
    copied.__cause__ = failure.__cause__
    return copied
