"""Requests and responses as plain data, and the error of a response: by its status, or because it is not understood.

The layers above the transport use nothing else of HTTP.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from asyncbackups._http.headers import parse_retry_after
from asyncbackups._http.redaction import Redactor, make_excerpt, replace_surrogates
from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError

JSON_FAULTS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""Exceptions that msgspec raises for bytes that it cannot decode: malformed, nested too deeply, not UTF-8."""

_ERROR_BODY_BYTES = 64 * 1024
"""How much of an error response is kept; only an excerpt of it is ever shown."""
_DIAGNOSTIC_HEADERS = (
    *("Content-Type", "Date", "Retry-After", "Server", "Traceparent", "Via", "WWW-Authenticate"),
    *("X-Correlation-Id", "X-Request-Id"),
)


class RequestKind(enum.StrEnum):
    """The kind of a request; requests are counted by kind."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - a kind of request


class _Message(msgspec.Struct, frozen=True):
    """An HTTP message. A struct, because creating one takes a tenth of the time of a frozen attrs class.

    No repr shows the body, which may contain a secret: neither Python's nor that of rich, which prints local variables.
    """

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "body"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Request(_Message, frozen=True, kw_only=True):
    """An HTTP request.

    Attributes:
        path: The percent-encoded path below the base URL, starting with "/"; or a complete URL (the link to a page).
        body: The JSON body (a token request has a form, with the client secret), or None.
        etag: The entity tag of an earlier response, or None; with it the server may respond 304.
        authorized: Whether to send the token.
    """

    kind: RequestKind
    method: str
    path: str
    body: bytes | None = None
    etag: str | None = None
    authorized: bool = True

    @property
    def is_idempotent(self) -> bool:
        """Whether the request may be sent twice. A POST may not: it would create two backups."""
        return self.method != "POST"


class Response(_Message, frozen=True, kw_only=True):
    """A complete HTTP response.

    Attributes:
        headers: Case-insensitive headers; repeated ones are joined with ", ".
        attempt: The number of the attempt, counted from 1.
        repeated: Whether an earlier attempt with a lost response may have been processed.
        seconds: Time from sending the request to the last byte of the response.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str
    url: str
    attempt: int = 1
    repeated: bool = False
    seconds: float = 0.0


def redact_response(response: Response, redactor: Redactor) -> Response:
    """Return a response with the secrets replaced; of an error response only the first 64 KiB are kept.

    Repeated headers are joined with ", ".
    """
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in response.headers.items():
        shown = redactor.redact_text(value)
        headers[name] = f"{headers[name]}, {shown}" if name in headers else shown
    body = response.body if 200 <= response.status < 300 else response.body[:_ERROR_BODY_BYTES]
    return msgspec.structs.replace(response, headers=CIMultiDictProxy(headers), body=redactor.redact_body(body))


def raise_for_status(response: Response, *, now: datetime) -> None:
    """Raise the error for a response's status, unless it is 2xx or 304.

    The client's time `now` (aware) is for a `Retry-After` with a date.

    Raises:
        ApiError: Its subclass for the status, for 4xx and 5xx.
        RedirectRefusedError: For 3xx other than 304.
        ProtocolError: For any other status.
    """
    status, headers = response.status, response.headers
    if 200 <= status < 300 or status == 304:
        return
    if 300 <= status < 400:
        target = make_excerpt(headers.get("Location", "nowhere").encode("utf-8", "replace"))
        reason = f"redirect to {target} not followed ({status}): the token would be sent along"
        raise as_protocol_error(reason, response, cls=RedirectRefusedError)
    if not 400 <= status < 600:
        raise as_protocol_error(f"{status} is not a final HTTP status", response)
    raise ApiError.class_for(status)(
        status=status,
        method=response.method,
        url=response.url,
        headers={name: replace_surrogates(headers[name]) for name in _DIAGNOSTIC_HEADERS if name in headers},
        excerpt=make_excerpt(response.body),
        attempt=response.attempt,
        retry_after=parse_retry_after(headers, now=now),
        repeated=response.repeated,
    )


def as_protocol_error(reason: str, response: Response, *, cls: type[ProtocolError] = ProtocolError) -> ProtocolError:
    """Build the error for a response that cannot be understood; it quotes the response."""
    return cls(
        reason,
        method=response.method,
        url=response.url,
        status=response.status,
        excerpt=make_excerpt(response.body),
        attempt=response.attempt,
    )


def decode_json(body: bytes) -> Any:
    """Decode a JSON body; raise `ProtocolError` if it is not JSON, or nested deeper than the decoder supports."""
    try:
        return msgspec.json.decode(body)
    except JSON_FAULTS as exc:
        raise ProtocolError(f"the response is not JSON ({exc})", excerpt=make_excerpt(body)) from exc
