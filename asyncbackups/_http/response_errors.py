"""Turn a response into an error: by its status, or because it cannot be understood (as JSON, for example)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from asyncbackups._http.headers import parse_retry_after
from asyncbackups._http.messages import Response
from asyncbackups._http.redaction import make_excerpt, replace_surrogates
from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError

JSON_FAULTS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""Exceptions that msgspec raises for bytes that it cannot decode: malformed, nested too deeply, not UTF-8."""

_DIAGNOSTIC_HEADERS = (
    *("Content-Type", "Date", "Retry-After", "Server", "Traceparent", "Via", "WWW-Authenticate"),
    *("X-Correlation-Id", "X-Request-Id"),
)


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
