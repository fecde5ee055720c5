"""The error tree: every error that this package raises deliberately, and what each error means.

    BackupsError
    ├── ConfigurationError            an argument is invalid; nothing was sent (also a ValueError)
    ├── ClientClosedError             the client is not open
    ├── EngineError                   the polling engine failed; the cause is chained
    ├── JournalError                  the journal cannot be used
    ├── TransportError                no complete response arrived
    │   ├── ConnectError              no connection was made: nothing was sent
    │   │   └── CertificateError      the server's certificate could not be verified
    │   └── AnswerTimeoutError        (also a TimeoutError)
    ├── ProtocolError                 a response arrived that cannot be understood
    │   ├── RedirectRefusedError
    │   └── AnswerTooLargeError
    ├── ApiError                      the service responded with an error status
    │   ├── BadRequestError           400
    │   ├── AuthenticationError       401, or no token could be obtained
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
    ├── AmbiguousCreateError          a backup may or may not have been created
    └── WatchError                    a backup that was waited for did not succeed
        ├── BackupFailedError         it ran and failed
        ├── BackupGoneError           it does not exist, or was deleted while watched
        └── WatchExpiredError         the deadline passed (also a TimeoutError)

Every error can be pickled, and none contains a token: the transport redacts what it quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from asyncbackups._base.errors import BackupsError, ClientClosedError, ConfigurationError
from asyncbackups._base.http_statuses import CREDENTIALS_REFUSED, Meaning, meaning_of_status
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
    """The polling engine failed because of a bug. Every wait and watch raises it; the cause is in ``__cause__``."""


class JournalError(BackupsError):
    """The journal of a bulk run cannot be used, or can no longer be written.

    Attributes:
        path: The journal's file, or None if no file is concerned.
        created: The backups that were created, as far as the journal can still be read.
    """

    def __init__(self, message: str, *, path: str | None = None, created: Sequence[BackupRef] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.created: tuple[BackupRef, ...] = tuple(created)


class TransportError(BackupsError):
    """No complete response arrived: the network failed, or the time limit passed.

    Attributes:
        method: HTTP method.
        url: The request's URL, never with credentials in it.
        attempt: The number of the attempt, counted from 1.
        sent: Whether the request may have reached the server.
    """

    sent_default: ClassVar[bool] = True

    def __init__(
        self, reason: str, *, method: str = "", url: str = "", attempt: int = 1, sent: bool | None = None
    ) -> None:
        where = f"{method} {url}: " if url else ""
        super().__init__(f"{where}{reason}{_attempt_suffix(attempt)}")
        self.method = method
        self.url = url
        self.attempt = attempt
        self.sent: bool = self.sent_default if sent is None else sent


class ConnectError(TransportError):
    """No connection was made (refused, unknown host, TLS, proxy), so the request was not sent."""

    sent_default = False


class CertificateError(ConnectError):
    """The server's certificate could not be verified. Retrying does not help: check the URL, or pass `ssl`."""


class AnswerTimeoutError(TransportError, TimeoutError):
    """No complete response arrived within the client's `Timeouts`; the request may have been processed."""


class ProtocolError(BackupsError):
    """A response arrived that cannot be understood. The message quotes its beginning.

    Attributes:
        method: HTTP method, or "" if the text is not from a response.
        url: The request's URL.
        status: HTTP status, or None.
        excerpt: The first characters of the response, at most 500.
        attempt: The number of the attempt, counted from 1.
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
        quoted = f"; it starts with: {excerpt}" if excerpt else ""
        super().__init__(f"{where}{reason}{quoted}{_attempt_suffix(attempt)}")
        self.method = method
        self.url = url
        self.status = status
        self.excerpt = excerpt
        self.attempt = attempt


class RedirectRefusedError(ProtocolError):
    """The server redirected. Redirects are never followed, because the token would be sent along: check the URL."""


class AnswerTooLargeError(ProtocolError):
    """The response is larger than the client's `max_answer_bytes`."""


class ApiError(BackupsError):
    """The service responded with an error status. Documented statuses have a subclass of their own.

    Attributes:
        status: HTTP status, or None if there was no response (no token could be obtained).
        method: HTTP method.
        url: The request's URL.
        headers: Response headers that help to diagnose the error (``Retry-After``, request ids, ...).
        excerpt: The first characters of the body, at most 500.
        attempt: The number of the attempt, counted from 1.
        retry_after: Seconds to wait according to the server, or None.
        repeated: Whether an earlier attempt with a lost response may have been processed.
    """

    documented: ClassVar[str] = "the service responded with an error"
    _by_status: ClassVar[dict[int, type[ApiError]]] = {}

    def __init_subclass__(cls, *, statuses: Sequence[int] = (), text: str | None = None) -> None:
        super().__init_subclass__()
        cls.documented = text or cls.documented
        ApiError._by_status.update(dict.fromkeys(statuses, cls))

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
        quoted = f"; response: {excerpt}" if excerpt else ""
        super().__init__(f"{where}{shown}{reason or self.documented}{quoted}{_attempt_suffix(attempt)}")
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
        """Return the class for an HTTP status; `ApiError` itself if there is no subclass for it."""
        return ApiError._by_status.get(status, ApiError)


class BadRequestError(ApiError, statuses=(400,), text="the request does not match the schema"):
    """400: the request body does not match the schema. Correct the request."""


class AuthenticationError(ApiError, statuses=(401,), text="the credentials are missing, invalid or expired"):
    """401, or no token could be obtained: the credentials are missing, invalid or expired."""


class PermissionDeniedError(
    ApiError, statuses=(403,), text="the credentials are not in the access group for this operation"
):
    """403: the credentials are not in the access group for this operation."""


class NotFoundError(ApiError, statuses=(404, 410), text="not found"):
    """404 or 410: the backup or the path does not exist."""


class MethodNotAllowedError(ApiError, statuses=(405,), text="the method is not supported for this path"):
    """405: the service does not support the method for this path."""


class RequestTimeoutError(ApiError, statuses=(408,), text="the server timed out waiting for the request; try again"):
    """408: the server timed out waiting for the request; try again."""


class ConflictError(ApiError, statuses=(409,), text="the request conflicts with the current state of the resource"):
    """409: the request conflicts with the current state of the resource."""


class UnprocessableError(ApiError, statuses=(422,), text="the service rejects the content of the request"):
    """422: the request body is well-formed, but the service rejects its content. Correct the request."""


class FailedDependencyError(
    ApiError, statuses=(424,), text="a request that this one depends on failed; try again or contact support"
):
    """424: a request that this one depends on failed; try again or contact support."""


class RateLimitedError(ApiError, statuses=(429,), text="too many requests"):
    """429: too many requests; `retry_after` is how long to wait, if the server sent it."""


class InternalServerError(ApiError, statuses=(500,), text="an internal error of the service; contact support"):
    """500: an internal error of the service; contact support."""


class BadGatewayError(ApiError, statuses=(502,), text="a gateway received an invalid response from the service"):
    """502: a gateway in front of the service received an invalid response from it; try again."""


class ServiceUnavailableError(
    ApiError, statuses=(503,), text="the service is temporarily unavailable; try again in a few minutes"
):
    """503: the service is temporarily unavailable; try again in a few minutes."""


class GatewayTimeoutError(ApiError, statuses=(504,), text="a gateway timed out waiting for the service"):
    """504: a gateway in front of the service timed out waiting for it; try again."""


class AmbiguousCreateError(BackupsError):
    """A backup may or may not have been created, and the lists of backups did not settle it.

    The error that caused the uncertainty is in ``__cause__``. The message is `planet`, `reason`, and `hint`.

    Attributes:
        planet: The planet of the backup.
        candidates: The backups that may be the created one, newest first; empty if none was seen.
        reason: Why it is unknown, and the ids of the candidates.
        hint: What to do, for people.
    """

    hint: ClassVar[str] = "List the planet's backups before you create it again."

    def __init__(self, why: str, *, planet: PlanetRef, candidates: Sequence[Backup] = ()) -> None:
        ids = [str(backup.id) for backup in candidates[:10]] + ["…"] * (len(candidates) > 10)
        seen = f" (candidates: {', '.join(ids)})" if ids else ""
        self.reason: str = f"whether the backup was created is unknown: {why}{seen}"
        super().__init__(f"{planet}: {self.reason}. {self.hint}")
        self.planet = planet
        self.candidates: tuple[Backup, ...] = tuple(candidates)


class WatchError(BackupsError):
    """A backup that was waited for did not succeed.

    Attributes:
        ref: The backup's reference.
        backup: The backup as last seen, or None if it was never seen.
    """

    def __init__(self, message: str, *, ref: BackupRef, backup: Backup | None = None) -> None:
        super().__init__(message)
        self.ref = ref
        self.backup = backup

    @classmethod
    def of(cls, ref: BackupRef, backup: Backup | None = None) -> Self:
        """Build the error with the default message of its class."""
        return cls(f"{ref} {cls._describe_outcome(backup)}", ref=ref, backup=backup)

    @classmethod
    def _describe_outcome(cls, backup: Backup | None) -> str:
        return "was not seen to succeed" if backup is None else f"ended with status {_quote_status(backup.status)}"


class BackupFailedError(WatchError):
    """The backup ran and failed; ``backup.error_message`` may say why."""

    @classmethod
    def _describe_outcome(cls, backup: Backup | None) -> str:
        if backup is None:
            return "failed"
        why = f": {_truncate_text(backup.error_message)}" if backup.error_message else ""
        return f"failed with status {_quote_status(backup.status)}{why}"


class BackupGoneError(WatchError):
    """The backup does not exist: it was deleted while it was watched, or never existed."""

    @classmethod
    def _describe_outcome(cls, backup: Backup | None) -> str:
        return "does not exist" if backup is None else "was deleted while it was watched"


class WatchExpiredError(WatchError, TimeoutError):
    """The deadline of the wait passed while the backup was still in progress."""

    @classmethod
    def _describe_outcome(cls, backup: Backup | None) -> str:
        seen = "it was never seen" if backup is None else f"its status was {_quote_status(backup.status)}"
        return f"was not finished when the deadline passed; {seen}"


def _attempt_suffix(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def _quote_status(status: str | None) -> str:
    return "not given" if status is None else repr(_truncate_text(status))


def _truncate_text(text: str) -> str:
    """Return at most 500 characters of a text from the server; the backup holds it in full."""
    return text if len(text) <= 500 else f"{text[:499]}…"


# What an error means: decided here and nowhere else, by its class and its status (`_base/http_statuses`). Callers
# decide what to do about it.


_PROTOCOL_ERRORS = 3
"""After this many responses in a row that cannot be understood, the next one will not be understood either."""


def _meaning_of(error: BaseException) -> Meaning:
    if isinstance(error, AuthenticationError):  # its status may be the token endpoint's, or None
        return CREDENTIALS_REFUSED
    return meaning_of_status((error.status if isinstance(error, ApiError) else None) or 0)


def is_transient(error: BackupsError) -> bool:
    """Return True if sending the request again may help; whether that is safe is another question (see a POST)."""
    if isinstance(error, TransportError):
        return not isinstance(error, CertificateError)
    return Meaning.TRANSIENT in _meaning_of(error)


def is_transient_for_token(error: BackupsError) -> bool:
    """Return True if a token request may be sent again: also after any 5xx, since an extra token does no harm."""
    return is_transient(error) or (isinstance(error, ApiError) and (error.status or 0) >= 500)


def may_have_been_processed(error: BackupsError) -> bool:
    """Return True if the service may have processed the request although it failed with this error."""
    if isinstance(error, TransportError):
        return error.sent  # not, for example, if no token could be obtained
    return isinstance(error, ProtocolError) or Meaning.MAYBE_PROCESSED in _meaning_of(error)


def may_resend_create(error: BackupsError) -> bool:
    """Return True if a create that failed with this error was not processed, and sending it again may help."""
    if isinstance(error, ConnectError):
        return is_transient(error)
    return Meaning.NOT_PROCESSED in _meaning_of(error)


def rejects_create(error: BaseException | None) -> bool:
    """Return True if sending a create again after this error makes no sense: it would be rejected in the same way.

    The create may have been processed all the same, for instance by a gateway that sent it twice.
    """
    return isinstance(error, RedirectRefusedError) or (
        isinstance(error, ApiError) and (error.status or 0) < 500 and not is_transient(error) and error.status != 499
    )


def surely_created(error: BaseException | None) -> bool:
    """Return True if the service responded that it created a backup, but the response has no usable id."""
    return isinstance(error, ProtocolError) and error.status is not None and 200 <= error.status < 300


def ends_reconcile(error: BackupsError, *, failures: int) -> bool:
    """Return True if listing the backups again, to find a lost create, will fail in the same way.

    Args:
        error: The error of the last list.
        failures: The number of lists in a row that failed, this one included.
    """
    if isinstance(error, ApiError):
        return (error.status or 0) < 500 and not is_transient(error)
    return isinstance(error, ProtocolError) and failures >= _PROTOCOL_ERRORS


def is_api_response(error: ApiError) -> bool:
    """Return True if an error comes from the API itself, as far as its body shows: JSON, and no page of a gateway."""
    return error.excerpt.lstrip()[:1] in {"{", "["}


def is_gateway_page(error: ApiError) -> bool:
    """Return True if an error is a page of HTML: from a gateway, perhaps one whose service restarts."""
    return error.excerpt.lstrip()[:1] == "<"


def is_service_fault(error: BackupsError) -> bool:
    """Return True if an error is about the state of the service or the way to it, not about the request."""
    return isinstance(error, TransportError) or Meaning.SERVICE_FAULT in _meaning_of(error)


def is_overload(status: int) -> bool:
    """Return True if a response with this status requests a lower rate."""
    return Meaning.OVERLOAD in meaning_of_status(status)


def is_informative(error: BackupsError) -> bool:
    """Return True if an error of a poll is a result for the subscriber: it is not counted as trouble with polling."""
    return Meaning.INFORMATIVE in _meaning_of(error)


def ends_wait(error: BackupsError) -> bool:
    """Return True if a backup can no longer be checked after this error, so that a wait for it ends."""
    return isinstance(error, ClientClosedError) or Meaning.ENDS_WAIT in _meaning_of(error)


def is_refusal(error: BaseException) -> bool:
    """Return True if the service understood the request and refused it for good: a result, not a failure to get one."""
    return Meaning.REFUSAL in _meaning_of(error)


def is_client_shutdown(error: BackupsError) -> bool:
    """Return True if an error reports the end of this client or its engine: it says nothing about a backup."""
    return isinstance(error, ClientClosedError | EngineError)


def find_client_closed(error: BackupsError) -> ClientClosedError | None:
    """Return the error of the closed client that kept a create from having an outcome, or None."""
    cause = error.__cause__ if isinstance(error, AmbiguousCreateError) else error
    return cause if isinstance(cause, ClientClosedError) else None
