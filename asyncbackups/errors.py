"""The error tree: everything this package raises on purpose.

    BackupsError
    ├── ConfigurationError            what was given is wrong; nothing was sent (also a ValueError)
    ├── ClientClosedError             the client was not entered, or has been left
    ├── EngineError                   the polling engine itself broke; its cause is chained
    ├── JournalError                  the journal cannot be used
    ├── TransportError                no complete answer came
    │   ├── ConnectError              the connection was never made: nothing was sent
    │   │   └── CertificateError      the server's certificate does not verify
    │   └── AnswerTimeoutError        (also a TimeoutError)
    ├── ProtocolError                 an answer came that cannot be understood
    │   ├── RedirectRefusedError
    │   └── AnswerTooLargeError
    ├── ApiError                      the service answered with an error status
    │   ├── BadRequestError           400
    │   ├── AuthenticationError       401, or no token could be had
    │   ├── PermissionDeniedError     403
    │   ├── NotFoundError             404, 410
    │   ├── MethodNotAllowedError     405
    │   ├── RequestTimeoutError       408
    │   ├── ConflictError             409
    │   ├── UnprocessableError        422
    │   ├── FailedDependencyError     424
    │   ├── RateLimitedError          429
    │   ├── InternalServerError       500
    │   ├── BadGatewayError           502
    │   ├── ServiceUnavailableError   503
    │   └── GatewayTimeoutError       504
    ├── AmbiguousCreateError          a create may or may not have happened
    └── WatchError                    a backup that was waited for did not succeed
        ├── BackupFailedError         it ran and failed
        ├── BackupGoneError           it does not exist, or was deleted while watched
        └── WatchExpiredError         our own deadline passed (also a TimeoutError)

Every error pickles, and none holds a token: the transport redacts what it quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from asyncbackups._base.errors import BackupsError, ClientClosedError, ConfigurationError
from asyncbackups.models import Backup, BackupRef, PlanetRef

__all__ = [
    "AmbiguousCreateError",
    "AnswerTimeoutError",
    "AnswerTooLargeError",
    "ApiError",
    "AuthenticationError",
    "BackupFailedError",
    "BackupGoneError",
    "BackupsError",
    "BadGatewayError",
    "BadRequestError",
    "CertificateError",
    "ClientClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "EngineError",
    "FailedDependencyError",
    "GatewayTimeoutError",
    "InternalServerError",
    "JournalError",
    "MethodNotAllowedError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitedError",
    "RedirectRefusedError",
    "RequestTimeoutError",
    "ServiceUnavailableError",
    "TransportError",
    "UnprocessableError",
    "WatchError",
    "WatchExpiredError",
]


class EngineError(BackupsError):
    """The polling engine broke. Every waiter gets this error; the cause is in ``__cause__``."""


class JournalError(BackupsError):
    """The journal of a bulk run cannot be used, or can no longer be written.

    Attributes:
        path: The journal's file, or None where no file is concerned.
        created: Backups that were created, as far as that can still be read.
    """

    def __init__(self, message: str, *, path: str | None = None, created: Sequence[BackupRef] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.created: tuple[BackupRef, ...] = tuple(created)


class TransportError(BackupsError):
    """No complete answer came: the network failed, or time ran out.

    Attributes:
        method: HTTP method.
        url: The URL asked, never with credentials in it.
        attempt: Which attempt this was, counted from 1.
        sent: Whether the request may have reached the server.
    """

    sent_default: ClassVar[bool] = True

    def __init__(
        self, reason: str, *, method: str = "", url: str = "", attempt: int = 1, sent: bool | None = None
    ) -> None:
        where = f"{method} {url}: " if url else ""
        super().__init__(f"{where}{reason}{_attempts(attempt)}")
        self.method = method
        self.url = url
        self.attempt = attempt
        self.sent: bool = self.sent_default if sent is None else sent


class ConnectError(TransportError):
    """The connection was never made (refused, unknown host, TLS): the request was not sent."""

    sent_default = False


class CertificateError(ConnectError):
    """The server's certificate does not verify."""


class AnswerTimeoutError(TransportError, TimeoutError):
    """The server took longer than the client's timeouts allow; whether it acted is unknown."""


class ProtocolError(BackupsError):
    """An answer came that cannot be understood. It quotes what came.

    Attributes:
        method: HTTP method, or "" where the text came from elsewhere.
        url: The URL asked.
        status: The HTTP status of the answer, or None.
        excerpt: The beginning of what came, at most 500 characters.
        attempt: Which attempt this was, counted from 1.
    """

    def __init__(
        self,
        reason: str,
        *,
        method: str = "",
        url: str = "",
        status: int | None = None,
        excerpt: str = "",
        attempt: int = 1,
    ) -> None:
        where = f"{method} {url}: " if url else ""
        what = f"; it began with: {excerpt}" if excerpt else ""
        super().__init__(f"{where}{reason}{what}{_attempts(attempt)}")
        self.method = method
        self.url = url
        self.status = status
        self.excerpt = excerpt
        self.attempt = attempt


class RedirectRefusedError(ProtocolError):
    """The server redirected; a redirect is never followed, because the token would go along."""


class AnswerTooLargeError(ProtocolError):
    """The answer is larger than the client's limit."""


class ApiError(BackupsError):
    """The service answered with an error status.

    Attributes:
        status: HTTP status, or None where no answer came at all (a token that could not be had).
        method: HTTP method.
        url: The URL asked.
        headers: The answer's headers that help to understand it (``Retry-After``, request ids, ...).
        excerpt: The beginning of the body, at most 500 characters.
        attempt: Which attempt this was, counted from 1.
        retry_after: Seconds that the server asks to wait, or None.
        repeated: Whether an earlier attempt may have been acted upon, its answer lost.
    """

    documented: ClassVar[str] = "the service answered with an error"

    def __init__(
        self,
        *,
        status: int | None,
        method: str = "",
        url: str = "",
        headers: Mapping[str, str] | None = None,
        excerpt: str = "",
        attempt: int = 1,
        retry_after: float | None = None,
        repeated: bool = False,
        reason: str | None = None,
    ) -> None:
        shown = "" if status is None else f"{status}, "
        where = f"{method} {url}: " if url else ""
        what = f"; the answer: {excerpt}" if excerpt else ""
        super().__init__(f"{where}{shown}{reason or self.documented}{what}{_attempts(attempt)}")
        self.status = status
        self.method = method
        self.url = url
        self.headers: dict[str, str] = dict(headers or {})
        self.excerpt = excerpt
        self.attempt = attempt
        self.retry_after = retry_after
        self.repeated = repeated

    @staticmethod
    def class_for(status: int) -> type[ApiError]:
        """Return the class that stands for an HTTP status; `ApiError` itself where none does."""
        return _BY_STATUS.get(status, ApiError)


class BadRequestError(ApiError):
    """400: the body does not follow the schema."""

    documented = "the request does not follow the schema"


class AuthenticationError(ApiError):
    """401, or no token could be had: credentials are missing, invalid or expired."""

    documented = "credentials are missing, invalid or expired"


class PermissionDeniedError(ApiError):
    """403: the credentials are not in the access group."""

    documented = "not in the access group: these credentials may not do this"


class NotFoundError(ApiError):
    """404: there is nothing under this path."""

    documented = "not found"


class MethodNotAllowedError(ApiError):
    """405: the method is not supported here."""

    documented = "the method is not supported here"


class RequestTimeoutError(ApiError):
    """408: the server timed out waiting; try again."""

    documented = "the server timed out waiting; try again"


class ConflictError(ApiError):
    """409: the request conflicts with the state of the resource."""

    documented = "conflicts with the present state"


class UnprocessableError(ApiError):
    """422: the body is well-formed, but its content is refused."""

    documented = "the content of the request is refused"


class FailedDependencyError(ApiError):
    """424: a request that this one depended on failed; try again or contact support."""

    documented = "a request that this one depended on failed; try again or contact support"


class RateLimitedError(ApiError):
    """429: too many requests; ``retry_after`` says for how long to be silent, where the server said so."""

    documented = "too many requests"


class InternalServerError(ApiError):
    """500: an error inside the service; contact support."""

    documented = "an error inside the service; contact support"


class BadGatewayError(ApiError):
    """502: a gateway in front of the service got no usable answer from it."""

    documented = "a gateway got no usable answer from the service"


class ServiceUnavailableError(ApiError):
    """503: temporarily unavailable; try again in a few minutes."""

    documented = "temporarily unavailable; try again in a few minutes"


class GatewayTimeoutError(ApiError):
    """504: a gateway in front of the service waited too long for it."""

    documented = "a gateway waited too long for the service"


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    408: RequestTimeoutError,
    409: ConflictError,
    410: NotFoundError,
    422: UnprocessableError,
    424: FailedDependencyError,
    429: RateLimitedError,
    500: InternalServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
}


class AmbiguousCreateError(BackupsError):
    """A create may or may not have happened, and looking did not settle it.

    The fault that made it so is in ``__cause__``.

    Attributes:
        planet: Where the backup was to be created.
        candidates: Backups that may be the one, newest first; empty where none was seen.
    """

    def __init__(self, reason: str, *, planet: PlanetRef, candidates: Sequence[Backup] = ()) -> None:
        ids = [str(backup.id) for backup in candidates[:10]] + ["…"] * (len(candidates) > 10)
        seen = f" (candidates: {', '.join(ids)})" if ids else ""
        super().__init__(
            f"{planet}: whether the backup was created is unknown: {reason}{seen}. "
            "List the planet's backups before you create it again."
        )
        self.planet = planet
        self.candidates: tuple[Backup, ...] = tuple(candidates)


class WatchError(BackupsError):
    """A backup that was waited for did not succeed.

    Attributes:
        ref: The backup.
        backup: What was last seen of it, or None where it was never seen.
    """

    def __init__(self, message: str, *, ref: BackupRef, backup: Backup | None = None) -> None:
        super().__init__(message)
        self.ref = ref
        self.backup = backup

    @classmethod
    def of(cls, ref: BackupRef, backup: Backup | None = None) -> Self:
        """Build the error with its usual message."""
        return cls(f"{ref} {cls._what(backup)}", ref=ref, backup=backup)

    @classmethod
    def _what(cls, backup: Backup | None) -> str:
        return "was not seen to succeed" if backup is None else f"ended as {_shown(backup.status)}"


class BackupFailedError(WatchError):
    """The backup ran and failed; ``backup.error_message`` may say why."""

    @classmethod
    def _what(cls, backup: Backup | None) -> str:
        if backup is None:
            return "failed"
        why = f": {_bounded(backup.error_message)}" if backup.error_message else ""
        return f"failed, its status is {_shown(backup.status)}{why}"


class BackupGoneError(WatchError):
    """The backup does not exist (any more): deleted while it was watched, or never there."""

    @classmethod
    def _what(cls, backup: Backup | None) -> str:
        return "does not exist" if backup is None else "was deleted while it was watched"


class WatchExpiredError(WatchError, TimeoutError):
    """Our own deadline passed while the backup was still in progress."""

    @classmethod
    def _what(cls, backup: Backup | None) -> str:
        seen = "it was never seen" if backup is None else f"its status was {_shown(backup.status)}"
        return f"was not finished when our deadline passed; {seen}"


def _attempts(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def _shown(status: str | None) -> str:
    return "not given" if status is None else repr(_bounded(status))


def _bounded(text: str) -> str:
    """Cut what the server wrote: a message is no place for a stack trace of megabytes; the backup has it whole."""
    return text if len(text) <= 500 else f"{text[:499]}…"


# What an error means: decided here and nowhere else.

# 408, 424 and 503 are documented as "try again"; gateways in front of the service send 429, 502 and 504.
# Not 500, which is documented as "contact support".
_MAY_HEAL = frozenset({408, 424, 429, 502, 503, 504})

_REFUSALS = frozenset({501, 505})
"""Of the statuses that blame the server, those that say that it did nothing."""


def may_heal(error: BackupsError) -> bool:
    """Whether asking again may help; whether it may be done (a POST must not) is another question."""
    if isinstance(error, ApiError):
        return error.status in _MAY_HEAL
    return isinstance(error, TransportError) and not isinstance(error, CertificateError)


def may_have_acted(error: BackupsError) -> bool:
    """Whether the service may have done what was asked, although it failed so: a gateway's 5xx says nothing of that."""
    if isinstance(error, ApiError):
        status = error.status or 0
        return (status == 408 or status >= 500) and status not in _REFUSALS
    if isinstance(error, TransportError):
        return error.sent  # not, for instance, where no token could be had
    return isinstance(error, ProtocolError)


def token_may_heal(error: BackupsError) -> bool:
    """Whether asking the token endpoint again may help: also on any 5xx, for a token too many does no harm."""
    return may_heal(error) or (isinstance(error, ApiError) and error.status is not None and error.status >= 500)


def is_client_shutdown(error: BackupsError) -> bool:
    """Return True if an error reports the end of this client or its engine: it says nothing about a backup."""
    return isinstance(error, ClientClosedError | EngineError)


def find_client_closed(error: BackupsError) -> ClientClosedError | None:
    """Return the error of the closed client that kept a create from having an outcome, or None."""
    cause = error.__cause__ if isinstance(error, AmbiguousCreateError) else error
    return cause if isinstance(cause, ClientClosedError) else None
