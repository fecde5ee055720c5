"""Turn a response into an error: by its status, or because it cannot be understood."""

from __future__ import annotations

from datetime import datetime

from asyncbackups._http.headers import parse_retry_after
from asyncbackups._http.messages import Response
from asyncbackups._http.text import make_excerpt, replace_surrogates
from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError

_DIAGNOSTIC_HEADERS = (
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


def raise_for_status(response: Response, *, now: datetime) -> None:
    """Raise the error for a response's status, unless it is 2xx or 304.

    Args:
        response: The response.
        now: The client's time (aware), for a `Retry-After` with a date.

    Raises:
        ApiError: Its subclass for the status, for 4xx and 5xx.
        RedirectRefusedError: For 3xx other than 304.
        ProtocolError: For any other status.
    """
    status = response.status
    if 200 <= status < 300 or status == 304:
        return
    if 300 <= status < 400:
        target = make_excerpt(response.headers.get("Location", "nowhere").encode("utf-8", "replace"))
        raise as_protocol_error(
            f"redirect to {target} not followed ({status}): the token would be sent along",
            response,
            cls=RedirectRefusedError,
        )
    if not 400 <= status < 600:
        raise as_protocol_error(f"{status} is not a final HTTP status", response)
    raise ApiError.class_for(status)(
        status=status,
        method=response.method,
        url=response.url,
        headers={
            name: replace_surrogates(response.headers[name]) for name in _DIAGNOSTIC_HEADERS if name in response.headers
        },
        excerpt=make_excerpt(response.body),
        attempt=response.attempt,
        retry_after=parse_retry_after(response.headers, now=now),
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
