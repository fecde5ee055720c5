"""What goes into the Authorization header: made once for each token, and changed once when a token was refused."""

from __future__ import annotations

import collections
import functools
from collections.abc import Awaitable, Callable

from multidict import CIMultiDict, istr

from asyncbackups._base.cancellation import own_cancellation_only
from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._http.oauth import ClientCredentials, RenewableTokenSource, TokenSource, checked_token
from asyncbackups._http.redaction import Redactor
from asyncbackups.errors import AuthenticationError, BackupsError, ConfigurationError, TransportError

# How many past tokens may still be echoed by answers that are on their way.
_REMEMBERED = 4
# The answers that a get or a list has when all is well.
_COMMON = frozenset({200, 304})
_LINK = istr("Link")  # looked up as it is, where a str would be folded for each answer
_FORM = "application/x-www-form-urlencoded"


class Credential:
    """A token, and everything that is made of it once instead of for each request.

    Attributes:
        token: The bearer token.
        headers: With the token; not to be changed.
        needle: How the token looks in a body.
    """

    __slots__ = ("headers", "needle", "token")

    def __init__(self, token: str) -> None:
        self.token: str = token
        self.needle: bytes = token.encode()
        self.headers: CIMultiDict[str] = CIMultiDict({"Authorization": f"Bearer {token}"} if token else {})

    def __repr__(self) -> str:
        return "<credential>"

    def headers_for(self, request: Request) -> CIMultiDict[str]:
        """Return the headers of a request; not to be changed."""
        if request.body is None and request.etag is None:
            return self.headers
        headers = self.headers.copy()
        if request.body is not None:
            headers["Content-Type"] = _FORM if request.kind is RequestKind.TOKEN else "application/json"
        # A tag that could not have come in a header does not go out in one.
        if request.etag is not None and request.etag.isascii() and request.etag.isprintable():
            headers["If-None-Match"] = request.etag
        return headers


NO_CREDENTIAL = Credential("")


class Credentials:
    """Asks a token source, and keeps what was made of its token.

    Args:
        auth: A token, or an object that has one.
        faults: The exceptions by which a token source says that it could not be reached; for example
            those of its HTTP library.

    Attributes:
        fixed: The credential, where it never changes, else None.
        source: The token source, where there is one, else None.
        passwords: Other secrets that must not be shown.

    Raises:
        ConfigurationError: If `auth` is neither, or the token cannot be put into a header.
    """

    def __init__(self, auth: object, *, faults: tuple[type[Exception], ...]) -> None:
        self.fixed: Credential | None = None
        self.source: TokenSource | None = None
        self.passwords: set[str] = set()
        self._faults = faults
        self._last = NO_CREDENTIAL
        self._tokens: collections.deque[str] = collections.deque(maxlen=_REMEMBERED)
        if isinstance(auth, str):
            self.fixed = self._made_of(checked_token(auth))
        elif isinstance(auth, TokenSource):
            self.source = auth
        else:
            # Not shown: it may be a secret that was given in the wrong place.
            raise ConfigurationError(
                f"auth must be a token, or an object with `async def token(self) -> str`, not a {type(auth).__name__}"
            )

    async def current(self) -> Credential:
        """Return the credential for the token that is valid now.

        Raises:
            AuthenticationError: If no token can be had.
            TransportError: If no token can be had just now; nothing was sent to the service.
            ClientClosedError: If the token source belongs to no open client.
        """
        return self._last if self.source is None else self._made_of(await self._asked(self.source.token))

    async def another(self, refused: Credential) -> Credential:
        """Return a credential after one was refused: the same one where there is no other.

        Raises:
            AuthenticationError: If no token can be had.
            TransportError: If no token can be had just now.
            ClientClosedError: If the token source belongs to no open client.
        """
        if isinstance(self.source, RenewableTokenSource):
            return self._made_of(await self._asked(functools.partial(self.source.renewed, refused.token)))
        return await self.current()

    def comes_from(self, error: BackupsError) -> bool:
        """Whether an error tells of the token endpoint, which was asked again already, and not of the service."""
        return isinstance(self.source, ClientCredentials) and getattr(error, "url", "") == self.source.token_url

    def redactor(self) -> Redactor:
        """Return what takes the tokens of late, the client secret and the passwords out of a text."""
        own = self.source.secrets() if isinstance(self.source, ClientCredentials) else ()
        return Redactor({*self._tokens, *own, *self.passwords})

    def quotable(self, response: Response, request: Request, credential: Credential) -> Response:
        """Return an answer without what echoes a secret, so that anybody may quote it; mostly that is itself.

        Args:
            response: What came.
            request: What was asked.
            credential: What was sent along.
        """
        if response.status in _COMMON:
            # The token endpoint's answer may hold the token that was in use before, and has to.
            if request.kind is RequestKind.TOKEN:
                return response
            if credential.needle not in response.body and _LINK not in response.headers:
                return response
        return self.redactor().response(response)

    async def _asked(self, ask: Callable[[], Awaitable[str]]) -> str:
        """Ask a token source. What it raises is not about the request, which has not been sent."""
        try:
            return checked_token(await own_cancellation_only(ask, _cancelled))
        except ConfigurationError as exc:
            raise AuthenticationError(status=None, reason=f"the token source gave no usable token: {exc}") from None
        except BackupsError:
            raise
        except self._faults as exc:
            raise TransportError(_failed(exc), sent=False) from exc
        except Exception as exc:
            raise AuthenticationError(status=None, reason=_failed(exc)) from exc

    def _made_of(self, token: str) -> Credential:
        if token != self._last.token:
            self._last = Credential(token)
            self._tokens.append(token)
        return self._last


def _cancelled() -> TransportError:
    return TransportError("no token could be had: what its source shares with another task was cancelled", sent=False)


def _failed(exc: Exception) -> str:
    return f"no token could be had: the token source failed with {type(exc).__name__}"
