"""What an answer means: errors by status, one backup, a created backup, the service's health."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError
from asyncbackups.models import Backup, Health
from asyncbackups.wire.codec import backup_from, decode_json, excerpt_of, health_from
from asyncbackups.wire.http import Response

__all__ = [
    "Created",
    "as_protocol_error",
    "check_status",
    "parse_backup",
    "parse_created",
    "parse_health",
    "retry_after_of",
    "server_time_of",
]

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
_BACKUP_IN_LOCATION = re.compile(r"/backups?/([0-9]{1,18})/?(?:[?#].*)?$")


@attrs.frozen
class Created:
    """What a create's answer tells.

    Attributes:
        backup_id: The new backup's id, or None where the answer names none: the create is ambiguous.
        backup: The new backup, where the answer shows it.
    """

    backup_id: int | None
    backup: Backup | None = None


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
    if status < 400:
        raise as_protocol_error(f"the status {status} is not one of HTTP's final ones", response)
    raise ApiError.class_for(status)(
        status=status,
        method=response.method,
        url=response.url,
        headers={name: response.headers[name] for name in _HEADERS_OF_USE if name in response.headers},
        excerpt=excerpt_of(response.body),
        attempt=response.attempt,
        retry_after=retry_after_of(response.headers, now=now),
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


def retry_after_of(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read `Retry-After`: seconds (RFC 9110 section 10.2.3), or a date, taken against the answer's own `Date`.

    Args:
        headers: Of the answer.
        now: The time here (aware), where the answer has no `Date`.

    Returns:
        Seconds to wait, not negative and not bounded; None where the header is missing or unreadable.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text)
        date = _http_date(text)
        return None if date is None else max(0.0, (date - (server_time_of(headers) or now)).total_seconds())
    except (ValueError, OverflowError):
        return None


def server_time_of(headers: Mapping[str, str]) -> datetime | None:
    """Read the `Date` header: the server's own clock, in whole seconds. None where there is none."""
    return _http_date(headers.get("Date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_backup(response: Response, *, backup_id: int) -> Backup:
    """Read the answer of a get.

    Raises:
        ProtocolError: If it is not that backup.
    """
    backup = _found_backup(_json(response))
    if backup is None:
        raise as_protocol_error("the answer holds no backup (no object with an id)", response)
    if backup.id != backup_id:
        raise as_protocol_error(f"backup {backup_id} was asked for, backup {backup.id} came", response)
    return backup


def parse_created(response: Response) -> Created:
    """Read the answer of a create: a backup, one wrapped in an object, or a `Location`. Never raises."""
    try:
        backup = _found_backup(decode_json(response.body))
    except ProtocolError:
        backup = None
    if backup is not None:
        return Created(backup.id, backup)
    located = _BACKUP_IN_LOCATION.search(response.headers.get("Location", ""))
    return Created(int(located.group(1)) if located else None)


def parse_health(response: Response) -> Health:
    """Read the answer of the health endpoint.

    Raises:
        ProtocolError: If it is no object with a `status`.
    """
    raw = _json(response)
    try:
        return health_from(raw)
    except ProtocolError as exc:
        raise as_protocol_error("health must be an object with a status", response) from exc


def _json(response: Response) -> Any:
    try:
        return decode_json(response.body)
    except ProtocolError as exc:
        raise as_protocol_error("the answer is not JSON", response) from exc


def _found_backup(raw: Any) -> Backup | None:
    """Find the one backup in an answer: the value itself, or its one member that has an id."""
    own = _backup_or_none(raw)
    if own is not None:
        return own
    members = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ()
    found = [backup for member in members if (backup := _backup_or_none(member)) is not None]
    return found[0] if len(found) == 1 else None


def _backup_or_none(raw: Any) -> Backup | None:
    try:
        return backup_from(raw)
    except ProtocolError:
        return None
