"""What an answer means: errors by status, one backup, a created backup, the service's health."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from asyncbackups._api.codec import backup_of, health_from, id_of, is_backup
from asyncbackups._http.messages import Response
from asyncbackups._http.status import as_protocol_error
from asyncbackups._http.text import decode_json
from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup, Health

_BACKUP_IN_LOCATION = re.compile(r"/backups?/([0-9]{1,19})/?(?:[?#].*)?$")

_WRAPPERS = frozenset({"backup", "body", "content", "data", "item", "payload", "resource", "response", "result"})
_TELLING = frozenset({"mechanism", "displayStatus", "expirationDate", "databaseToApplicationBuilds"})
"""Members that only a backup has: an environment, a task or a person may have an id, too."""


@attrs.frozen
class CreateResponse:
    """What a create's answer tells.

    Attributes:
        backup_id: The new backup's id, or None where the answer names none: the create is ambiguous.
        backup: The new backup, where the answer shows it.
    """

    backup_id: int | None
    backup: Backup | None = None


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


def parse_created(response: Response) -> CreateResponse:
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
        return CreateResponse(located_id)
    return CreateResponse(backup.id, backup) if located_id in {None, backup.id} else CreateResponse(None)


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
