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
from collections.abc import Mapping
from random import Random
from typing import Any

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncbackups.addresses import BaseAddress, checked_proxy, checked_url, environment_proxy
from asyncbackups.auth import ClientCredentials, TokenSource
from asyncbackups.checks import integer
from asyncbackups.clock import Clock, SystemClock
from asyncbackups.credentials import NO_CREDENTIAL, Credential, Credentials
from asyncbackups.errors import (
    AnswerTimeoutError,
    AnswerTooLargeError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ProtocolError,
    TransportError,
)
from asyncbackups.pace import Pace
from asyncbackups.policies import Limits, RetryPolicy, Timeouts
from asyncbackups.redaction import Redactor, Secret
from asyncbackups.retries import Retries
from asyncbackups.wire.answers import check_status, retry_after_of
from asyncbackups.wire.codec import excerpt_of
from asyncbackups.wire.http import Kind, Request, Response

__all__ = ["Transport"]

_log = logging.getLogger(__name__)

_MEBIBYTE = 1024 * 1024
# Gateways commonly close idle connections after 60 s or more: being first avoids writing into a closing one.
_KEEPALIVE = 30.0
_CLEAN = frozenset({200, 304})
_DETAIL = 300

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


class Transport:
    """Sends requests: paced, authorized, retried where that is harmless; every fault a typed error.

    Args:
        base_url: Of the Database API; https, or http to loopback.
        auth: A token, or an object that has one (see `TokenSource`).
        retry: When an idempotent request is sent again.
        limits: How fast the calls go, all together.
        timeouts: How long one attempt may take.
        session: The caller's session. Its connector, proxy, default headers, middlewares and traces are used and it is
            not closed; its cookies, base URL, timeouts and credentials do not matter. None for an own one.
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
        max_answer_bytes: int = 64 * _MEBIBYTE,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._base = BaseAddress(checked_url(base_url, "base_url", insecure_http=insecure_http))
        self._credentials = Credentials(auth, faults=(OSError, aiohttp.ClientError))
        self._given = _checked_session(session, ssl=ssl, trust_env=trust_env)
        self._proxy = None if proxy is None else checked_proxy(proxy)
        if self._proxy is not None and self._base.url.scheme == "http" and not insecure_http:
            raise ConfigurationError("plain http through a proxy shows the token to it: use https, or insecure_http")
        self._max_answer_bytes = integer(max_answer_bytes, "max_answer_bytes", lowest=1)
        self._ssl, self._trust_env = ssl, trust_env
        self._limits, self._timeouts = limits, timeouts
        self._clock = clock or SystemClock()
        self._retries = Retries(retry, random or Random())  # noqa: S311 - jitter, no cryptography
        self._session: aiohttp.ClientSession | None = None
        self._base_proxy: URL | None = None
        self.pace = Pace(limits, longest_silence=retry.retry_after_maximum, clock=self._clock)
        self.requests: collections.Counter[Kind] = collections.Counter()

    def __repr__(self) -> str:
        return f"<Transport to {self._base.url}>"

    async def open(self) -> None:
        """Make the session. Opening what is open changes nothing."""
        if self._session is not None:
            return
        self.pace.bind()
        self._session = self._own_session() if self._given is None else self._derived_session(self._given)
        source = self._credentials.source
        if isinstance(source, ClientCredentials):
            source.bind(self._send_form, self._clock)
        self._base_proxy = self._proxy_for(self._base.url)

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
        return await self._send(request, self._url_of(request), attempts)

    async def _send(self, request: Request, url: URL, attempts: int | None) -> Response:
        attempt = 1
        while True:
            try:
                response = await self._attempt(request, url, attempt)
            except BackupsError as exc:
                if self._credentials.comes_from(exc) and request.kind is not Kind.TOKEN:
                    raise
                delay = self._retries.delay(exc, request, attempt=attempt, attempts=attempts)
                if delay is None:
                    raise
            else:
                self._retries.quota.success()
                return response
            await self._clock.sleep(delay)
            attempt += 1

    async def _attempt(self, request: Request, url: URL, attempt: int) -> Response:
        if request.kind is Kind.TOKEN:  # it is made inside another request's slot, for another service
            return self._judged(await self._exchange(request, url, NO_CREDENTIAL, attempt))
        started = await self.pace.enter()
        try:
            credential = await self._credential_for(request)
            response = await self._exchange(request, url, credential, attempt)
            if response.status == 401 and request.authorized:
                other = await self._credentials.another(credential)
                if other is not credential:
                    response = await self._exchange(request, url, other, attempt)
        finally:
            self.pace.leave()
        if 200 <= response.status < 300:
            return response
        if response.status >= 400:
            self._slow_down(response, started)
        return self._judged(response)

    async def _credential_for(self, request: Request) -> Credential:
        if not request.authorized:
            return NO_CREDENTIAL
        return self._credentials.fixed or await self._credentials.current()

    def _judged(self, response: Response) -> Response:
        check_status(response, now=self._clock.utcnow())
        return response

    def _slow_down(self, response: Response, started: float) -> None:
        retry_after = retry_after_of(response.headers, now=self._clock.utcnow())
        if retry_after is not None or response.status == 429:
            self.pace.throttled(started=started, retry_after=retry_after)

    async def _send_form(self, url: str, form: Secret) -> Response:
        """Post a form to the token endpoint: for `ClientCredentials`."""
        body = form.reveal().encode()
        request = Request(kind=Kind.TOKEN, method="POST", path=url, body=body, authorized=False)
        return await self._send(request, URL(url), None)

    async def _exchange(self, request: Request, url: URL, credential: Credential, attempt: int) -> Response:
        session = self._session
        if session is None:
            raise ClientClosedError("the client is not open: use it within `async with`")
        self.requests[request.kind] += 1
        started = self._clock.monotonic()
        try:
            answer = await session.request(
                request.method,
                url,
                headers=credential.headers_for(request),
                data=request.body,
                allow_redirects=False,
                proxy=self._base_proxy if request.kind is not Kind.TOKEN else self._proxy_for(url),
            )
            body = await self._body_of(answer, request, url, attempt)
        except RuntimeError as exc:
            if not session.closed:
                raise
            _scrub(exc, self._redactor())
            raise ClientClosedError("the client, or the aiohttp session given to it, is closed") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self._translated(exc, request, url, attempt) from exc
        response = Response(
            status=answer.status,
            headers=answer.headers,
            body=body,
            method=request.method,
            url=str(url),
            attempt=attempt,
            seconds=self._clock.monotonic() - started,
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s %s: %d, %d bytes in %.3f s", request.method, url, answer.status, len(body), response.seconds)
        if answer.status in _CLEAN and credential.needle not in body and hdrs.LINK not in answer.headers:
            return response
        # The token endpoint's own answer may hold the token that was in use before, and has to.
        return (
            response if request.kind is Kind.TOKEN and answer.status in _CLEAN else self._redactor().response(response)
        )

    async def _body_of(self, answer: aiohttp.ClientResponse, request: Request, url: URL, attempt: int) -> bytes:
        headers = answer.headers
        length = headers.get(hdrs.CONTENT_LENGTH)
        if length is not None and hdrs.CONTENT_ENCODING not in headers and hdrs.TRANSFER_ENCODING not in headers:
            if int(length) <= self._max_answer_bytes:
                return await answer.read()
            answer.close()
            raise self._too_large(answer, request, url, attempt)
        return await self._counted_body_of(answer, request, url, attempt)

    async def _counted_body_of(self, answer: aiohttp.ClientResponse, request: Request, url: URL, attempt: int) -> bytes:
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
            raise self._too_large(answer, request, url, attempt)
        answer.release()
        return b"".join(chunks)

    def _too_large(self, answer: aiohttp.ClientResponse, request: Request, url: URL, attempt: int) -> BackupsError:
        return AnswerTooLargeError(
            f"the answer is larger than the limit of {self._max_answer_bytes} bytes",
            method=request.method,
            url=str(url),
            status=answer.status,
            attempt=attempt,
        )

    def _translated(self, exc: Exception, request: Request, url: URL, attempt: int) -> TransportError:
        """Return the error of ours that stands for one of aiohttp's; the one table says which."""
        redactor = self._redactor()
        _scrub(exc, redactor)
        cls, what = next((cls, what) for kind, cls, what in _FAULTS if isinstance(exc, kind))
        detail = redactor.text(str(getattr(exc, "os_error", None) or exc))[:_DETAIL]
        reason = f"{what} ({detail})" if detail else what
        return cls(reason, method=request.method, url=str(url), attempt=attempt)

    def _redactor(self) -> Redactor:
        return self._credentials.redactor(*([self._proxy.password] if self._proxy and self._proxy.password else []))

    def _url_of(self, request: Request) -> URL:
        try:
            return self._base.at(request.path)
        except ValueError as exc:
            raise ProtocolError(
                f"a link is not followed ({exc}): the token would go along",
                method=request.method,
                excerpt=excerpt_of(self._redactor().text(request.path).encode("utf-8", "replace")),
            ) from None

    def _proxy_for(self, url: URL) -> URL | None:
        return self._proxy or (environment_proxy(url) if self._trust_env else None)

    def _own_session(self) -> aiohttp.ClientSession:
        # One more than the requests in flight: a token may be on its way beside them.
        connector = aiohttp.TCPConnector(
            limit=self._limits.concurrency + 1,
            keepalive_timeout=_KEEPALIVE,
            ssl=True if self._ssl is None else self._ssl,
        )
        return self._configured(connector=connector, connector_owner=True)

    def _derived_session(self, given: aiohttp.ClientSession) -> aiohttp.ClientSession:
        """Make a session over the caller's connector: its cookies, base URL and credentials stay out of it."""
        if given.closed:
            raise ClientClosedError("the aiohttp session that was given is closed")
        # aiohttp shows neither of the first two; without them the caller's proxy would silently be left out.
        proxy, proxy_auth = given._default_proxy, given._default_proxy_auth  # noqa: SLF001
        if proxy is not None and proxy_auth is not None:
            proxy = URL(proxy).with_user(proxy_auth.login).with_password(proxy_auth.password)
        self._trust_env = self._trust_env or given.trust_env
        return self._configured(
            connector=given.connector,
            connector_owner=False,
            headers={name: value for name, value in given.headers.items() if name.lower() != "authorization"},
            proxy=proxy,
            trace_configs=given.trace_configs,
        )

    def _configured(self, *, headers: Mapping[str, str] | None = None, **settings: Any) -> aiohttp.ClientSession:
        timeouts = self._timeouts
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**(headers or {}), hdrs.ACCEPT: "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=timeouts.total, connect=min(timeouts.connect, timeouts.total), sock_read=timeouts.read
            ),
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
