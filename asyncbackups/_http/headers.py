"""Response headers: `Retry-After` and `Date`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Parse `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, which is compared with the response's `Date`.

    Without a `Date`, the date is compared with the client's time `now` (aware).

    Returns:
        Seconds to wait: finite and not negative, but not limited otherwise; None if the header is missing or invalid.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), sys.float_info.max)
    date = _parse_http_date(text)
    return None if date is None else max(0.0, (date - (parse_server_time(headers) or now)).total_seconds())


def parse_server_time(headers: Mapping[str, str]) -> datetime | None:
    """Parse the `Date` header: the server's clock, in whole seconds. None if it is missing or invalid."""
    return _parse_http_date(headers.get("Date", ""))


def _parse_http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):  # email.utils does not document what it raises
        return None
