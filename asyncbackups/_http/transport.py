"""The one door to the network: the only module of the client that knows aiohttp.

Retrying is a plain loop over `RetryPolicy`, `RetryQuota` and `may_heal`, which are pure and tested apart. tenacity and
stamina were weighed and left out: they would decide nothing here (what may be sent again, how long to wait and what the
whole group does is ours), their clocks and sleeps are not the ones passed in, and tenacity alone costs 12 microseconds
for each call that succeeds at once, a quarter of what aiohttp takes for a whole small get.
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

from asyncbackups._base.cancellation import own_cancellation_only
from asyncbackups._base.clock import Clock, SystemClock
from asyncbackups._base.validation import integer
from asyncbackups._http.credentials import NO_CREDENTIAL, Credential, Credentials
from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._http.oauth import ClientCredentials, TokenSource
from asyncbackups._http.rate_limit import RateLimiter
from asyncbackups._http.redaction import Redactor, Secret
from asyncbackups._http.retry import Retries
from asyncbackups._http.status import check_status
from asyncbackups._http.text import whole_text
from asyncbackups._http.timeouts import TimeLimit
from asyncbackups._http.urls import Address, BaseAddress, checked_proxy, checked_url, environment_proxy
from asyncbackups.errors import (
    AnswerTimeoutError,
    AnswerTooLargeError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    TransportError,
    may_have_acted,
)
from asyncbackups.policies import Limits, RetryPolicy, Timeouts

_log = logging.getLogger(__name__)
_E = TypeVar("_E", bound=BackupsError)

# Gateways commonly close idle connections after 60 s or more: being first avoids writing into a closing one.
_KEEPALIVE = 30.0
_DETAIL_CHARACTERS = 300

# What aiohttp raises, and what it means here; the first that fits counts.
_FAULTS: tuple[tuple[type[Exception], type[TransportError], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, CertificateError, "the server's certificate does not verify"),
    (aiohttp.ServerFingerprintMismatch, CertificateError, "the server's certificate is not the expected one"),
    (aiohttp.ClientHttpProxyError, ConnectError, "the proxy refused to connect"),
    (aiohttp.ClientConnectorDNSError, ConnectError, "the host cannot be found"),
    (aiohttp.ClientConnectorError, ConnectError, "cannot connect"),
    (aiohttp.ConnectionTimeoutError, ConnectError, "no connection in time"),
    (aiohttp.InvalidURL, ConnectError, "the URL cannot be used"),
    (aiohttp.NonHttpUrlClientError, ConnectError, "the URL cannot be used"),
    (TimeoutError, AnswerTimeoutError, "no complete answer in time"),
    (aiohttp.ServerDisconnectedError, TransportError, "the server closed the connection"),
    (aiohttp.ClientPayloadError, TransportError, "the answer broke off"),
    (aiohttp.ClientResponseError, TransportError, "the answer is not HTTP"),
    (aiohttp.ClientError, TransportError, "the connection broke"),
    (OSError, TransportError, "the connection broke"),
)


@attrs.define(eq=False)
class _Sending:
    """One attempt to send a request."""

    request: Request
    address: Address
    attempt: int = 1
    repeated: bool = False  # whether an earlier one may have been acted upon

    def error(self, cls: Callable[..., _E], reason: str, **details: Any) -> _E:
        """Build an error that says what was asked."""
        return cls(reason, method=self.request.method, url=self.address.text, attempt=self.attempt, **details)


class Transport:
    """Sends requests: paced, authorized, retried where that is harmless; every fault a typed error.

    Args:
        base_url: Of the Database API; https, or http to loopback.
        auth: A token, or an object that has one (see `TokenSource`).
        retry: When an idempotent request is sent again.
        limits: How fast the calls go, all together.
        timeouts: How long one attempt may take.
        session: The caller's session: its connector, proxy, default headers and traces are used, its cookies, base
            URL, timeouts, credentials and middlewares are not, and it is not closed. None for an own one.
        insecure_http: Whether plain http is allowed to other machines.
        max_answer_bytes: The largest answer that is read, after decompression.
        ssl: The TLS context of the own session; None for Python's default one (which knows `SSL_CERT_FILE`).
        proxy: The proxy's URL, or None.
        trust_env: Whether the own session takes proxies from the environment (`HTTPS_PROXY`, `NO_PROXY`, ...).
        clock: The time.
        random: Where jitter comes from.

    Attributes:
        pace: How fast everything may go.
        requests: How many requests were sent, by kind; every attempt counts.

    Raises:
        ConfigurationError: If one of the arguments is wrong.
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
        self._base = BaseAddress(checked_url(base_url, "base_url", insecure_http=insecure_http))
        self._credentials = Credentials(auth, faults=(OSError, aiohttp.ClientError))
        self._given = _checked_session(session, ssl=ssl, trust_env=trust_env)
        self._proxy = _given_proxy(self._given) if proxy is None else checked_proxy(proxy)
        if self._proxy and self._base.url.scheme == "http" and not insecure_http:
            raise ConfigurationError("plain http through a proxy shows the token to it: use https, or insecure_http")
        self._max_answer_bytes = integer(max_answer_bytes, "max_answer_bytes", lowest=1)
        self._ssl = ssl
        self._trust_env = trust_env if self._given is None else self._given.trust_env
        self._limits, self._timeouts, self._clock = limits, timeouts, clock or SystemClock()
        self._retries = Retries(retry, random or Random())  # noqa: S311 - jitter, no cryptography
        self._time_limit = TimeLimit(timeouts.total, self._clock)
        self._session: aiohttp.ClientSession | None = None
        self._base_proxy: URL | None = None
        self.rate_limiter: RateLimiter = RateLimiter(
            limits, longest_silence=retry.retry_after_maximum, clock=self._clock
        )
        self.requests: collections.Counter[RequestKind] = collections.Counter()

    def __repr__(self) -> str:
        return f"<Transport to {self._base.url}>"

    async def open(self) -> None:
        """Make the session. Opening what is open changes nothing.

        Raises:
            ConfigurationError: If a proxy in the environment is no URL.
            ClientClosedError: If the caller's session is closed.
        """
        if self._session is not None:
            return
        self._base_proxy = self._proxy_for(self._base.url)
        self._time_limit = TimeLimit(self._timeouts.total, self._clock)
        self._session = self._own_session() if self._given is None else self._derived_session(self._given)
        self.rate_limiter.bind()
        source = self._credentials.source
        if isinstance(source, ClientCredentials):
            source.bind(self._send_form, self._clock)

    async def close(self) -> None:
        """Close what was opened. Requests on their way fail; closing what is closed changes nothing."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            source = self._credentials.source
            if isinstance(source, ClientCredentials):
                await source.release(self._send_form)
        finally:
            await session.close()
            self._time_limit.close()

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        """Send a request and return the answer, of status 2xx or 304.

        Args:
            request: What to send. A POST is sent once, except after a 401, which means that it was not acted upon.
            attempts: The most attempts; None for the policy's. 1 is for callers with a schedule of their own.

        Raises:
            ApiError: The service answered with an error status.
            ProtocolError: It answered with something else that cannot be used; also for a link to another origin.
            TransportError: No complete answer came, or no token could be had.
            ClientClosedError: The transport is not open.
        """
        # A token request goes to another service.
        address = Address(URL(request.path)) if request.kind is RequestKind.TOKEN else self._base.at(request.path)
        sending = _Sending(request, address)
        while True:
            try:
                response = await self._attempt(sending)
            except BackupsError as exc:
                if self._credentials.comes_from(exc) and request.kind is not RequestKind.TOKEN:
                    raise
                delay = self._retries.delay(exc, request, attempt=sending.attempt, attempts=attempts)
                if delay is None or self._session is None:
                    raise
                repeated = sending.repeated or may_have_acted(exc)
            else:
                self._retries.quota.success()
                return response
            await self._clock.sleep(delay)
            sending = _Sending(request, address, sending.attempt + 1, repeated)

    async def _attempt(self, sending: _Sending) -> Response:
        request = sending.request
        if request.kind is RequestKind.TOKEN:  # it is made inside another request's slot, for another service
            response = await self._exchange(sending, NO_CREDENTIAL)
            check_status(response, now=self._clock.utcnow())
            return response
        started = await self.rate_limiter.enter()
        try:
            credential = self._credentials.fixed if request.authorized else NO_CREDENTIAL
            if credential is None:
                credential = await self._credentials.current()
                started = await self.rate_limiter.held(started)
            response = await self._exchange(sending, credential)
            if response.status == 401 and request.authorized:
                response = await self._once_more(sending, credential, response)
        finally:
            self.rate_limiter.leave()
        if not 200 <= response.status < 300:
            self.rate_limiter.heard(response, started=started)
            check_status(response, now=self._clock.utcnow())
        return response

    async def _once_more(self, sending: _Sending, refused: Credential, response: Response) -> Response:
        """Send again after a 401, if there is another credential: what was refused was not acted upon."""
        other = await self._credentials.another(refused)
        return response if other is refused else await self._exchange(sending, other)

    async def _send_form(self, url: str, form: Secret) -> Response:
        """Post a form to the token endpoint: for `ClientCredentials`."""
        # In no local variable: what prints the locals of a traceback would show the secret.
        request = Request(
            kind=RequestKind.TOKEN, method="POST", path=url, body=form.reveal().encode(), authorized=False
        )
        return await self.send(request)

    async def _exchange(self, sending: _Sending, credential: Credential) -> Response:
        session = self._session
        if session is None:
            raise ClientClosedError("the client is not open: use it within `async with`")
        request, url = sending.request, sending.address.url
        self.requests[request.kind] += 1
        started = self._clock.monotonic()
        try:
            # Requests share what aiohttp does for all of them, such as to look up a host.
            answer, body = await own_cancellation_only(
                lambda: self._answer(session, sending, credential, started),
                lambda: self._cancelled(session, sending),
            )
        except RuntimeError as exc:
            if not session.closed:
                raise
            _scrub(exc, self._credentials.redactor())
            raise ClientClosedError("the client, or the aiohttp session given to it, is closed") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self._translated(exc, sending) from exc
        response = Response(
            status=answer.status,
            headers=answer.headers,
            body=body,
            method=request.method,
            url=sending.address.text,
            attempt=sending.attempt,
            repeated=sending.repeated,
            seconds=self._clock.monotonic() - started,
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s %s: %d, %d bytes in %.3f s", request.method, url, answer.status, len(body), response.seconds)
        return self._credentials.quotable(response, request, credential)

    async def _answer(
        self, session: aiohttp.ClientSession, sending: _Sending, credential: Credential, started: float
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        request, url = sending.request, sending.address.url
        with self._time_limit.since(started):
            answer = await session.request(
                request.method,
                url,
                headers=credential.headers_for(request),
                data=request.body,
                allow_redirects=False,
                proxy=self._base_proxy if request.kind is not RequestKind.TOKEN else self._proxy_for(url),
            )
            return answer, await self._body_of(answer, sending)

    def _cancelled(self, session: aiohttp.ClientSession, sending: _Sending) -> BackupsError:
        if self._session is not session:
            return ClientClosedError("the client was left")
        return sending.error(TransportError, "what it shares with another request was cancelled")

    async def _body_of(self, answer: aiohttp.ClientResponse, sending: _Sending) -> bytes:
        headers = answer.headers
        length = headers.get(hdrs.CONTENT_LENGTH)
        if length is None or hdrs.CONTENT_ENCODING in headers or hdrs.TRANSFER_ENCODING in headers:
            return await self._counted_body_of(answer, sending)
        if int(length) > self._max_answer_bytes:
            answer.close()
            raise self._too_large(answer, sending)
        return await answer.read()

    async def _counted_body_of(self, answer: aiohttp.ClientResponse, sending: _Sending) -> bytes:
        """Read a body whose size is not known before: what a bomb unpacks to is counted as it unpacks."""
        chunks, size = [], 0
        try:
            while size <= self._max_answer_bytes and (chunk := await answer.content.readany()):
                size += len(chunk)
                chunks.append(chunk)
        except BaseException:
            answer.close()
            raise
        if size > self._max_answer_bytes:
            answer.close()
            raise self._too_large(answer, sending)
        answer.release()
        return b"".join(chunks)

    def _too_large(self, answer: aiohttp.ClientResponse, sending: _Sending) -> AnswerTooLargeError:
        reason = f"the answer is larger than the limit of {self._max_answer_bytes} bytes"
        return sending.error(AnswerTooLargeError, reason, status=answer.status)

    def _translated(self, exc: Exception, sending: _Sending) -> TransportError:
        """Return the error of ours that stands for one of aiohttp's; the one table says which."""
        redactor = self._credentials.redactor()
        _scrub(exc, redactor)
        cls, what = next((cls, what) for kind, cls, what in _FAULTS if isinstance(exc, kind))
        detail = whole_text(redactor.text(str(getattr(exc, "os_error", None) or exc)))[:_DETAIL_CHARACTERS]
        return sending.error(cls, f"{what} ({detail})" if detail else what)

    def _proxy_for(self, url: URL) -> URL | None:
        proxy = self._proxy or (environment_proxy(url) if self._trust_env else None)
        if proxy is not None and proxy.password:
            self._credentials.passwords.add(proxy.password)
        return proxy

    def _own_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._limits.concurrency + 1,  # a token may be on its way beside the requests in flight
            keepalive_timeout=_KEEPALIVE,
            ssl=True if self._ssl is None else self._ssl,
        )
        return self._configured(connector=connector, connector_owner=True)

    def _derived_session(self, given: aiohttp.ClientSession) -> aiohttp.ClientSession:
        """Make a session over the caller's connector: its cookies, base URL and credentials stay out of it."""
        if given.closed:
            raise ClientClosedError("the aiohttp session that was given is closed")
        return self._configured(
            connector=given.connector,
            connector_owner=False,
            headers={name: value for name, value in given.headers.items() if name.lower() != "authorization"},
            trace_configs=given.trace_configs,
        )

    def _configured(self, *, headers: Mapping[str, str] | None = None, **settings: Any) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**(headers or {}), hdrs.ACCEPT: "application/json"},
            timeout=aiohttp.ClientTimeout(connect=self._timeouts.connect, sock_read=self._timeouts.read),
            **settings,
        )
        # aiohttp would send GET and DELETE a second time on its own when a connection breaks: uncounted, unpaced, and
        # the 404 of a second DELETE would look like the answer to the first. Its own test client switches it off too.
        session._retry_connection = False  # noqa: SLF001
        return session


def _scrub(exc: Exception, redactor: Redactor) -> None:
    """Make one of aiohttp's exceptions fit to be chained: it may hold the request's headers and a proxy's password.

    Its traceback goes as well: its frames hold the headers, and what prints locals (pytest, Sentry) would show them.
    """
    exc.__traceback__ = exc.__cause__ = exc.__context__ = None
    if isinstance(exc, aiohttp.ClientResponseError):
        # The URL of a proxy that refused may hold its password.
        url = exc.request_info.url.with_user(None)
        exc.request_info = aiohttp.RequestInfo(url, exc.request_info.method, CIMultiDictProxy(CIMultiDict()), url)
        exc.headers = None
        exc.args = (exc.request_info, ())
    elif isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        exc.args = exc.args[1:]
    else:
        exc.args = tuple(redactor.text(arg) if isinstance(arg, str) else arg for arg in exc.args)
    for name, value in vars(exc).items():
        if isinstance(value, str):
            setattr(exc, name, redactor.text(value))


def _given_proxy(session: aiohttp.ClientSession | None) -> URL | None:
    """Return the proxy of the caller's session. aiohttp does not show it, but to leave it out would go around it."""
    if (proxy := getattr(session, "_default_proxy", None)) is None:
        return None
    login = getattr(session, "_default_proxy_auth", None)
    url = checked_proxy(proxy)
    return url if login is None else url.with_user(login.login).with_password(login.password)


def _checked_session(session: object, *, ssl: object, trust_env: bool) -> aiohttp.ClientSession | None:
    if session is None:
        if ssl is not None and not isinstance(ssl, tls.SSLContext):
            raise ConfigurationError(f"ssl must be an ssl.SSLContext, not a {type(ssl).__name__}")
        return None
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"session must be an aiohttp.ClientSession, not a {type(session).__name__}")
    if ssl is not None or trust_env:
        raise ConfigurationError("ssl and trust_env are the session's own matters: set them where it is made")
    return session
