"""Sends requests and reads responses: the only module of the client that uses aiohttp.

Retrying is a plain loop over the pure `RetryPolicy`, `RetryQuota` and `is_transient`. tenacity and stamina would decide
nothing here and use clocks of their own; tenacity takes 12 microseconds per successful call, a quarter of a small GET.
"""

from __future__ import annotations

import collections
import logging
import ssl as tls
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

import aiohttp
import attrs
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncbackups._base.cancellation import await_shared_work
from asyncbackups._base.clock import Clock, SystemClock
from asyncbackups._base.validation import check_integer
from asyncbackups._http.credentials import NO_CREDENTIAL, Credential, Credentials
from asyncbackups._http.messages import Request, RequestKind, Response, raise_for_status
from asyncbackups._http.oauth import ClientCredentials, TokenSource
from asyncbackups._http.rate_limit import RateLimiter
from asyncbackups._http.redaction import Redactor, Secret, replace_surrogates
from asyncbackups._http.retry import Retries
from asyncbackups._http.timeouts import TimeLimit
from asyncbackups._http.urls import Address, BaseAddress, check_proxy_url, check_url, environment_proxy
from asyncbackups.errors import (
    AnswerTimeoutError,
    AnswerTooLargeError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    TransportError,
    may_have_been_processed,
)
from asyncbackups.policies import Limits, RetryPolicy, Timeouts

_log = logging.getLogger(__name__)
_E = TypeVar("_E", bound=BackupsError)

_KEEPALIVE = 30.0
"""Gateways commonly close idle connections after 60 seconds or more: close first, to avoid writing to a closed one."""
_DETAIL_CHARACTERS = 300

# aiohttp's exceptions and the errors that they are translated to; the first match counts.
_TRANSLATIONS: tuple[tuple[type[Exception], type[TransportError], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, CertificateError, "the server's certificate could not be verified"),
    (aiohttp.ServerFingerprintMismatch, CertificateError, "the server's certificate is not the expected one"),
    (aiohttp.ClientHttpProxyError, ConnectError, "the proxy refused to connect"),
    (aiohttp.ClientConnectorDNSError, ConnectError, "the host was not found"),
    (aiohttp.ClientConnectorError, ConnectError, "cannot connect"),
    (aiohttp.ConnectionTimeoutError, ConnectError, "no connection within the time limit"),
    (aiohttp.InvalidURL, ConnectError, "the URL is invalid"),
    (aiohttp.NonHttpUrlClientError, ConnectError, "the URL is invalid"),
    (TimeoutError, AnswerTimeoutError, "no complete response within the time limit"),
    (aiohttp.ServerDisconnectedError, TransportError, "the server closed the connection"),
    (aiohttp.ClientPayloadError, TransportError, "the response is incomplete"),
    (aiohttp.ClientResponseError, TransportError, "the response is not valid HTTP"),
    (aiohttp.ClientError, TransportError, "the connection was lost"),
    (OSError, TransportError, "the connection was lost"),
)


@attrs.define(eq=False)
class _SendAttempt:
    """One attempt to send a request, counted from 1; `repeated` if an earlier one may have been processed."""

    request: Request
    address: Address
    attempt: int = 1
    repeated: bool = False

    def build_error(self, cls: Callable[..., _E], reason: str, **details: Any) -> _E:
        return cls(reason, method=self.request.method, url=self.address.text, attempt=self.attempt, **details)


class Transport:
    """Sends requests: rate-limited, authorized, with retries where they are safe. Every failure is a typed error.

    The arguments are those of `BackupClient`. Of a caller's `session`, the connector, proxy, default headers and traces
    are used; its cookies, base URL, timeouts, credentials and middlewares are not, and it is not closed.

    Attributes:
        requests: The number of requests sent, by kind; every attempt counts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: str | TokenSource,
        retry: RetryPolicy,
        limits: Limits,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        session: aiohttp.ClientSession | None = None,
        insecure_http: bool = False,
        max_answer_bytes: int = 64 * 1024 * 1024,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._base = BaseAddress(check_url(base_url, "base_url", insecure_http=insecure_http))
        self._credentials = Credentials(auth, faults=(OSError, aiohttp.ClientError))
        self._given = _check_session(session, ssl=ssl, trust_env=trust_env)
        self._proxy = _session_proxy(self._given) if proxy is None else check_proxy_url(proxy)
        if self._proxy and self._base.url.scheme == "http" and not insecure_http:
            reason = "must start with https:// if a proxy is used, because plain http reveals the token to the proxy"
            raise ConfigurationError(reason, field="base_url", hint="Pass `insecure_http=True` to allow it.")
        self._max_bytes = check_integer(max_answer_bytes, "max_answer_bytes", minimum=1)
        self._ssl = ssl
        self._trust_env = trust_env if self._given is None else self._given.trust_env
        self._limits, self._timeouts, self._clock = limits, timeouts, clock or SystemClock()
        self._retries = Retries(retry, random or Random())  # noqa: S311 - jitter, no cryptography
        self._time_limit = TimeLimit(timeouts.total, self._clock)
        self._session: aiohttp.ClientSession | None = None
        # For POSTs, each on a new connection: a reused one may be dead, which makes a create ambiguous.
        self._single_use_session: aiohttp.ClientSession | None = None
        self._base_proxy: URL | None = None
        self.rate_limiter: RateLimiter = RateLimiter(
            limits, retry_after_maximum=retry.retry_after_maximum, clock=self._clock
        )
        self.requests: collections.Counter[RequestKind] = collections.Counter()

    def __repr__(self) -> str:
        return f"<Transport to {self._base.url}>"

    async def open(self) -> None:
        """Create the session. If it is open already, this does nothing."""
        if self._session is not None:
            return
        self._base_proxy = self._proxy_for(self._base.url)
        self._time_limit = TimeLimit(self._timeouts.total, self._clock)
        if self._given is not None:
            self._session = self._single_use_session = self._derive_session(self._given)
        else:
            self._session = self._create_session(keepalive_timeout=_KEEPALIVE)
            self._single_use_session = self._create_session(force_close=True)
        self.rate_limiter.bind_loop()
        source = self._credentials.source
        if isinstance(source, ClientCredentials):
            source.bind(self._send_form, self._clock)

    async def close(self) -> None:
        """Close the session. Requests in flight fail. If it is closed already, this does nothing."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            source = self._credentials.source
            if isinstance(source, ClientCredentials):
                await source.release(self._send_form)
        finally:
            await session.close()
            if self._single_use_session is not None:
                await self._single_use_session.close()
            self._time_limit.close()

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        """Send a request and return the response, with status 2xx or 304.

        Args:
            request: The request. A POST is sent once, except after a 401, which means that it was not processed.
            attempts: Maximum number of attempts; None for the policy's. Callers with a schedule of their own pass 1.

        Raises:
            ApiError: If the service responds with an error status.
            ProtocolError: If the response cannot be understood, or the request is a link to another origin.
            TransportError: If no complete response arrives, or no token can be obtained.
            ClientClosedError: If the transport is not open.
        """
        is_token = request.kind is RequestKind.TOKEN
        address = Address(URL(request.path)) if is_token else self._base.resolve_path(request.path)
        attempt = _SendAttempt(request, address)
        while True:
            try:
                response = await self._send_once(attempt)
            except BackupsError as exc:
                if not is_token and self._credentials.is_token_error(exc):
                    raise
                delay = self._retries.next_delay(exc, request, attempt=attempt.attempt, attempts=attempts)
                if delay is None or self._session is None:
                    raise
                repeated = attempt.repeated or may_have_been_processed(exc)
            else:
                self._retries.quota.record_success()
                return response
            await self._clock.sleep(delay)
            attempt = _SendAttempt(request, address, attempt.attempt + 1, repeated)

    async def _send_once(self, attempt: _SendAttempt) -> Response:
        request = attempt.request
        if request.kind is RequestKind.TOKEN:  # sent within another request's slot, to another service
            response = await self._exchange_messages(attempt, NO_CREDENTIAL)
            raise_for_status(response, now=self._clock.utcnow())
            return response
        started = await self.rate_limiter.acquire_slot()
        try:
            credential = self._credentials.fixed if request.authorized else NO_CREDENTIAL
            if credential is None:
                credential = await self._credentials.get_current()
                started = await self.rate_limiter.wait_out_pause(started)
            response = await self._exchange_messages(attempt, credential)
            if response.status == 401 and request.authorized:
                response = await self._retry_unauthorized(attempt, credential, response)
        finally:
            self.rate_limiter.release_slot()
        if not 200 <= response.status < 300:
            self.rate_limiter.record_response(response, started=started)
            raise_for_status(response, now=self._clock.utcnow())
        return response

    async def _retry_unauthorized(self, attempt: _SendAttempt, refused: Credential, response: Response) -> Response:
        """Send a request again after a 401 if there is another credential: it was not processed."""
        other = await self._credentials.replace_refused(refused)
        return response if other is refused else await self._exchange_messages(attempt, other)

    async def _send_form(self, url: str, form: Secret) -> Response:
        # The form is in no local variable: tools that show the local variables of a traceback would show the secret.
        return await self.send(
            Request(kind=RequestKind.TOKEN, method="POST", path=url, body=form.reveal().encode(), authorized=False)
        )

    async def _exchange_messages(self, attempt: _SendAttempt, credential: Credential) -> Response:
        session = self._session
        if session is None:
            raise ClientClosedError("the client is not open: use it within `async with`")
        request, url = attempt.request, attempt.address.url
        self.requests[request.kind] += 1
        started = self._clock.monotonic()
        if not request.is_idempotent and self._single_use_session is not None:
            session = self._single_use_session
        try:
            # aiohttp shares some work between requests, such as a DNS lookup.
            raw, body = await await_shared_work(
                lambda: self._request_and_read(session, attempt, credential, started),
                lambda: self._cancellation_error(session, attempt),
            )
        except RuntimeError as exc:
            if not session.closed:
                raise
            _scrub_exception(exc, self._credentials.make_redactor())
            raise ClientClosedError("the client, or the aiohttp session passed to it, is closed") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self._translate_error(exc, attempt) from exc
        response = Response(
            status=raw.status,
            headers=raw.headers,
            body=body,
            method=request.method,
            url=attempt.address.text,
            attempt=attempt.attempt,
            repeated=attempt.repeated,
            seconds=self._clock.monotonic() - started,
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s %s: %d, %d bytes in %.3f s", request.method, url, raw.status, len(body), response.seconds)
        return self._credentials.redact_response(response, request, credential)

    async def _request_and_read(
        self, session: aiohttp.ClientSession, attempt: _SendAttempt, credential: Credential, started: float
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        request, url = attempt.request, attempt.address.url
        with self._time_limit.scope_from(started):
            raw = await session.request(
                request.method,
                url,
                headers=credential.headers_for(request),
                data=request.body,
                allow_redirects=False,
                proxy=self._base_proxy if request.kind is not RequestKind.TOKEN else self._proxy_for(url),
            )
            return raw, await self._receive_body(raw, attempt)

    def _cancellation_error(self, session: aiohttp.ClientSession, attempt: _SendAttempt) -> BackupsError:
        if self._session is None or session.closed:
            return ClientClosedError("the client was closed")
        return attempt.build_error(TransportError, "another request cancelled work that is shared with this one")

    async def _receive_body(self, raw: aiohttp.ClientResponse, attempt: _SendAttempt) -> bytes:
        headers = raw.headers
        length = headers.get(hdrs.CONTENT_LENGTH)
        if length is None or hdrs.CONTENT_ENCODING in headers or hdrs.TRANSFER_ENCODING in headers:
            return await self._receive_unsized_body(raw, attempt)
        if int(length) > self._max_bytes:
            raw.close()
            raise self._too_large_error(raw, attempt)
        return await raw.read()

    async def _receive_unsized_body(self, raw: aiohttp.ClientResponse, attempt: _SendAttempt) -> bytes:
        """Read a body of unknown size; decompressed bytes count, so that a decompression bomb is stopped."""
        chunks, size = [], 0
        try:
            while size <= self._max_bytes and (chunk := await raw.content.readany()):
                size += len(chunk)
                chunks.append(chunk)
        except BaseException:
            raw.close()
            raise
        if size > self._max_bytes:
            raw.close()
            raise self._too_large_error(raw, attempt)
        raw.release()
        return b"".join(chunks)

    def _too_large_error(self, raw: aiohttp.ClientResponse, attempt: _SendAttempt) -> AnswerTooLargeError:
        reason = f"the response is larger than the limit of {self._max_bytes} bytes"
        return attempt.build_error(AnswerTooLargeError, reason, status=raw.status)

    def _translate_error(self, exc: Exception, attempt: _SendAttempt) -> TransportError:
        """Translate one of aiohttp's exceptions by the table."""
        redactor = self._credentials.make_redactor()
        _scrub_exception(exc, redactor)
        cls, reason = next((cls, reason) for kind, cls, reason in _TRANSLATIONS if isinstance(exc, kind))
        detail = replace_surrogates(redactor.redact_text(str(getattr(exc, "os_error", None) or exc)))
        return attempt.build_error(cls, f"{reason} ({detail[:_DETAIL_CHARACTERS]})" if detail else reason)

    def _proxy_for(self, url: URL) -> URL | None:
        proxy = self._proxy or (environment_proxy(url) if self._trust_env else None)
        if proxy is not None and proxy.password:
            self._credentials.passwords.add(proxy.password)
        return proxy

    def _create_session(self, **settings: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._limits.concurrency + 1,  # one more for a token request
            ssl=True if self._ssl is None else self._ssl,
            **settings,
        )
        return self._build_session(connector=connector, connector_owner=True)

    def _derive_session(self, given: aiohttp.ClientSession) -> aiohttp.ClientSession:
        """Create a session with the caller's connector but without its cookies, base URL and credentials."""
        if given.closed:
            raise ClientClosedError("the aiohttp session passed to the client is closed")
        return self._build_session(
            connector=given.connector,
            connector_owner=False,
            headers={name: value for name, value in given.headers.items() if name.lower() != "authorization"},
            trace_configs=given.trace_configs,
        )

    def _build_session(self, *, headers: Mapping[str, str] | None = None, **settings: Any) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**(headers or {}), hdrs.ACCEPT: "application/json"},
            timeout=aiohttp.ClientTimeout(connect=self._timeouts.connect, sock_read=self._timeouts.read),
            **settings,
        )
        # aiohttp would resend GET and DELETE when a connection is lost: not counted, not rate-limited, and the 404 of a
        # second DELETE would pass for the response to the first. aiohttp's own test client disables it as well.
        session._retry_connection = False  # noqa: SLF001
        return session


def _scrub_exception(exc: Exception, redactor: Redactor) -> None:
    """Remove secrets from one of aiohttp's exceptions (the request's headers, a proxy's password), to chain it.

    Its traceback is removed, too: pytest and Sentry show local variables, and those of its frames hold the headers.
    """
    exc.__traceback__ = exc.__cause__ = exc.__context__ = None
    error: Exception = exc  # not narrowed below, where the type of `args` would be that of one class
    if isinstance(exc, aiohttp.ClientResponseError):
        # The URL of a proxy may contain its password.
        url = exc.request_info.url.with_user(None)
        exc.request_info = aiohttp.RequestInfo(url, exc.request_info.method, CIMultiDictProxy(CIMultiDict()), url)
        exc.headers = None
        exc.args = (exc.request_info, ())
    elif isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        error.args = exc.args[1:]
    else:
        exc.args = tuple(redactor.redact_text(arg) if isinstance(arg, str) else arg for arg in exc.args)
    for name, value in vars(exc).items():
        if isinstance(value, str):
            setattr(exc, name, redactor.redact_text(value))


def _session_proxy(session: aiohttp.ClientSession | None) -> URL | None:
    """Return the proxy of the caller's session. aiohttp has no public attribute for it; ignoring it would bypass it."""
    if (proxy := getattr(session, "_default_proxy", None)) is None:
        return None
    login = getattr(session, "_default_proxy_auth", None)
    url = check_proxy_url(proxy)
    return url if login is None else url.with_user(login.login).with_password(login.password)


def _check_session(session: object, *, ssl: object, trust_env: bool) -> aiohttp.ClientSession | None:
    if session is None:
        if ssl is not None and not isinstance(ssl, tls.SSLContext):
            raise ConfigurationError(f"must be an ssl.SSLContext, not {type(ssl).__name__}", field="ssl")
        return None
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"must be an aiohttp.ClientSession, not {type(session).__name__}", field="session")
    if ssl is not None or trust_env:
        field = "trust_env" if ssl is None else "ssl"
        raise ConfigurationError("cannot be combined with session: set it where the session is created", field=field)
    return session
