"""The error for a response: by its status, or because it cannot be understood."""

from __future__ import annotations

from datetime import datetime

from asyncbackups._http.headers import retry_after_of
from asyncbackups._http.messages import Response
from asyncbackups._http.text import excerpt_of, whole_text
from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError

_HEADERS_OF_USE = (
    "Content-Type",
    "Date",
    "Retry-After",
    "Server",
    "Traceparent",
    "Via",
    "WWW-Authenticate",
    "X-Correlation-Id",
    "X-Request-Id",
)


def check_status(response: Response, *, now: datetime) -> None:
    """Raise the error that stands for an answer's status; an answer of 2xx or 304 passes.

    Args:
        response: What came.
        now: The time here (aware), for a `Retry-After` that is a date.

    Raises:
        ApiError: The class of the status, for 4xx and 5xx.
        RedirectRefusedError: For 3xx other than 304.
        ProtocolError: For any other status.
    """
    status = response.status
    if 200 <= status < 300 or status == 304:
        return
    if 300 <= status < 400:
        target = excerpt_of(response.headers.get("Location", "nowhere").encode("utf-8", "replace"))
        raise as_protocol_error(
            f"a redirect ({status}, to {target}) is not followed: the token would go along",
            response,
            cls=RedirectRefusedError,
        )
    if not 400 <= status < 600:
        raise as_protocol_error(f"the status {status} is not one of HTTP's final ones", response)
    raise ApiError.class_for(status)(
        status=status,
        method=response.method,
        url=response.url,
        headers={name: whole_text(response.headers[name]) for name in _HEADERS_OF_USE if name in response.headers},
        excerpt=excerpt_of(response.body),
        attempt=response.attempt,
        retry_after=retry_after_of(response.headers, now=now),
        repeated=response.repeated,
    )


def as_protocol_error(reason: str, response: Response, *, cls: type[ProtocolError] = ProtocolError) -> ProtocolError:
    """Build the error for an answer that cannot be understood; it quotes the answer."""
    return cls(
        reason,
        method=response.method,
        url=response.url,
        status=response.status,
        excerpt=excerpt_of(response.body),
        attempt=response.attempt,
    )
