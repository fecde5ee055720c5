"""What an answer means: errors by status, one backup, a created backup, the service's health."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from asyncbackups.errors import ApiError, ProtocolError, RedirectRefusedError
from asyncbackups.models import Backup, Health
from asyncbackups.wire.codec import backup_of, decode_json, excerpt_of, health_from, id_of, is_backup, whole_text
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
_BACKUP_IN_LOCATION = re.compile(r"/backups?/([0-9]{1,19})/?(?:[?#].*)?$")

_WRAPPERS = frozenset({"backup", "body", "content", "data", "item", "payload", "resource", "response", "result"})
_TELLING = frozenset({"mechanism", "displayStatus", "expirationDate", "databaseToApplicationBuilds"})
"""Members that only a backup has: an environment, a task or a person may have an id, too."""


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
    """Read the answer of a create: a backup, one wrapped in an object, or a `Location`. Never raises.

    An answer that names two backups names none: to watch the wrong one would be worse than to look for ours.
    """
    try:
        backup = _found_backup(decode_json(response.body))
    except ProtocolError:
        backup = None
    located = _BACKUP_IN_LOCATION.search(response.headers.get("Location", ""))
    located_id = id_of(located.group(1)) if located else None
    if backup is None:
        return Created(located_id)
    return Created(backup.id, backup) if located_id in {None, backup.id} else Created(None)


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
    """Find the one backup in an answer: the value itself, alone in an array, or wrapped in an object."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, dict):
        return None
    # Something that has an id and a "backup" beside it is not the backup but what makes it (a task, an operation).
    if is_backup(raw) and (_is_telling(raw) or not is_backup(raw.get("backup"))):
        return backup_of(raw)
    wrapped = [value for name, value in raw.items() if is_backup(value) and (name in _WRAPPERS or _is_telling(value))]
    return backup_of(wrapped[0]) if len(wrapped) == 1 else None


def _is_telling(raw: Mapping[str, Any]) -> bool:
    return not _TELLING.isdisjoint(raw)
