"""The Authorization header: built once per token, and replaced once when the service refuses the token."""

from __future__ import annotations

import collections
import functools
from collections.abc import Awaitable, Callable

from multidict import CIMultiDict, istr

from asyncbackups._base.cancellation import await_shared_work
from asyncbackups._http.messages import Request, RequestKind, Response, redact_response
from asyncbackups._http.oauth import ClientCredentials, RenewableTokenSource, TokenSource, check_token
from asyncbackups._http.redaction import Redactor
from asyncbackups.errors import AuthenticationError, BackupsError, ConfigurationError, TransportError

_REMEMBERED_TOKENS = 4
"""How many past tokens are redacted: responses still in flight may echo them."""
_COMMON_STATUSES = frozenset({200, 304})  # of a successful GET or LIST
_LINK = istr("Link")  # a str would be case-folded for each response
_FORM = "application/x-www-form-urlencoded"


class Credential:
    """A bearer token, with its headers and its bytes (to search for in bodies) prepared once for all requests."""

    __slots__ = ("headers", "needle", "token")

    def __init__(self, token: str) -> None:
        self.token: str = token
        self.needle: bytes = token.encode()
        self.headers: CIMultiDict[str] = CIMultiDict({"Authorization": f"Bearer {token}"} if token else {})

    def __repr__(self) -> str:
        return "<credential>"

    def headers_for(self, request: Request) -> CIMultiDict[str]:
        """Return the headers of a request; they must not be changed."""
        if request.body is None and request.etag is None:
            return self.headers
        headers = self.headers.copy()
        if request.body is not None:
            headers["Content-Type"] = _FORM if request.kind is RequestKind.TOKEN else "application/json"
        # An entity tag that no header could have contained is not sent in one.
        if request.etag is not None and request.etag.isascii() and request.etag.isprintable():
            headers["If-None-Match"] = request.etag
        return headers


NO_CREDENTIAL = Credential("")


class Credentials:
    """Gets tokens from a token source and keeps the current credential.

    Args:
        auth: A token or a token source.
        faults: Exceptions by which a token source reports that it could not be reached, for example those of its HTTP
            library.

    Attributes:
        fixed: The credential if it never changes, else None.
        source: The token source, or None for a fixed token.
        passwords: Other secrets to redact.
    """

    def __init__(self, auth: object, *, faults: tuple[type[Exception], ...]) -> None:
        self.fixed: Credential | None = None
        self.source: TokenSource | None = None
        self.passwords: set[str] = set()
        self._faults = faults
        self._last = NO_CREDENTIAL
        self._tokens: collections.deque[str] = collections.deque(maxlen=_REMEMBERED_TOKENS)
        if isinstance(auth, str):
            self.fixed = self._credential_for(check_token(auth, "auth"))
        elif isinstance(auth, TokenSource):
            self.source = auth
        else:
            # The value is not shown: it may be a secret passed in the wrong place.
            valid = "a token, or an object with `async def token(self) -> str`"
            raise ConfigurationError(f"must be {valid}, not {type(auth).__name__}", field="auth")

    async def get_current(self) -> Credential:
        """Return the credential for the current token.

        Raises:
            AuthenticationError: If no token can be obtained.
            TransportError: If no token can be obtained at the moment; nothing was sent to the service.
        """
        return self._last if self.source is None else self._credential_for(await self._request_token(self.source.token))

    async def replace_refused(self, refused: Credential) -> Credential:
        """Return the credential to use after one was refused: the same one if there is no other."""
        if not isinstance(self.source, RenewableTokenSource):
            return await self.get_current()
        get_token = functools.partial(self.source.renewed, refused.token)
        return self._credential_for(await self._request_token(get_token))

    def is_token_error(self, error: BackupsError) -> bool:
        """Return True if an error is from the token endpoint, whose requests have been retried already."""
        return isinstance(self.source, ClientCredentials) and getattr(error, "url", "") == self.source.token_url

    def make_redactor(self) -> Redactor:
        """Return a redactor for the recent tokens, the client secret and the passwords."""
        own = self.source.secrets() if isinstance(self.source, ClientCredentials) else ()
        return Redactor({*self._tokens, *own, *self.passwords})

    def redact_response(self, response: Response, request: Request, credential: Credential) -> Response:
        """Return a response without secrets, so that it may be quoted; usually that is the same object."""
        if response.status in _COMMON_STATUSES:
            # The token endpoint may return the token that was in use before: it must stay in.
            if request.kind is RequestKind.TOKEN:
                return response
            if credential.needle not in response.body and _LINK not in response.headers:
                return response
        return redact_response(response, self.make_redactor())

    async def _request_token(self, get_token: Callable[[], Awaitable[str]]) -> str:
        """Get a token from the token source. Its errors are not about the request, which has not been sent."""
        try:
            return check_token(await await_shared_work(get_token, _cancellation_error), "token")
        except ConfigurationError as exc:
            reason = f"the token source returned an unusable token: {exc}"
            raise AuthenticationError(status=None, reason=reason) from None
        except BackupsError:
            raise
        except self._faults as exc:
            raise TransportError(_failure_reason(exc), sent=False) from exc
        except Exception as exc:
            raise AuthenticationError(status=None, reason=_failure_reason(exc)) from exc

    def _credential_for(self, token: str) -> Credential:
        if token != self._last.token:
            self._last = Credential(token)
            self._tokens.append(token)
        return self._last


def _cancellation_error() -> TransportError:
    return TransportError("no token could be obtained: another task cancelled the shared token request", sent=False)


def _failure_reason(exc: Exception) -> str:
    return f"no token could be obtained: the token source failed with {type(exc).__name__}"
