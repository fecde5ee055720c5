"""Response headers: `Retry-After` and `Date`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_of(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read `Retry-After`: seconds (RFC 9110 section 10.2.3), or a date, taken against the answer's own `Date`.

    Args:
        headers: Of the answer.
        now: The time here (aware), where the answer has no `Date`.

    Returns:
        Seconds to wait, not negative, finite but otherwise not bounded; None where the header is missing or unreadable.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), sys.float_info.max)
    date = _http_date(text)
    return None if date is None else max(0.0, (date - (server_time_of(headers) or now)).total_seconds())


def server_time_of(headers: Mapping[str, str]) -> datetime | None:
    """Read the `Date` header: the server's own clock, in whole seconds. None where there is none."""
    return _http_date(headers.get("Date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):  # the standard parser is not strict about what it raises
        return None
