"""Parse the response to a get, a create and a health check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from asyncbackups._api.codec import health_from_json, is_backup, parse_id, structure_backup
from asyncbackups._http.messages import Response
from asyncbackups._http.response_errors import as_protocol_error, decode_json
from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup, Health

_BACKUP_IN_LOCATION = re.compile(r"/backups?/([0-9]{1,19})/?(?:[?#].*)?$")

_WRAPPERS = frozenset({"backup", "body", "content", "data", "item", "payload", "resource", "response", "result"})
_BACKUP_MEMBERS = frozenset({"mechanism", "displayStatus", "expirationDate", "databaseToApplicationBuilds"})
"""Members that only a backup has; other objects (a task, an environment) may have an id, too."""


@attrs.frozen
class CreateResponse:
    """The parsed response to a create.

    Attributes:
        backup_id: The new backup's id; None if the response has none: the create is ambiguous.
        backup: The new backup; None if the response has only its id.
    """

    backup_id: int | None
    backup: Backup | None = None


def parse_backup(response: Response, *, backup_id: int) -> Backup:
    """Parse the response to a get.

    Raises:
        ProtocolError: If it is not that backup.
    """
    backup = _find_backup(_decode_body(response))
    if backup is None:
        raise as_protocol_error("the response has no backup (no object with an id)", response)
    if backup.id != backup_id:
        raise as_protocol_error(f"requested backup {backup_id}, received backup {backup.id}", response)
    return backup


def parse_create_response(response: Response) -> CreateResponse:
    """Parse the response to a create: a backup, one wrapped in an object, or a `Location`. Never raises.

    A response with two different ids counts as one without: watching a wrong backup is worse than reconciling.
    """
    try:
        backup = _find_backup(decode_json(response.body))
    except ProtocolError:
        backup = None
    located = _BACKUP_IN_LOCATION.search(response.headers.get("Location", ""))
    located_id = parse_id(located.group(1)) if located else None
    if backup is None:
        return CreateResponse(located_id)
    return CreateResponse(backup.id, backup) if located_id in {None, backup.id} else CreateResponse(None)


def parse_health(response: Response) -> Health:
    """Parse the response of the health endpoint.

    Raises:
        ProtocolError: If it is not an object with a `status`.
    """
    raw = _decode_body(response)
    try:
        return health_from_json(raw)
    except ProtocolError as exc:
        raise as_protocol_error("health must be an object with a status", response) from exc


def _decode_body(response: Response) -> Any:
    try:
        return decode_json(response.body)
    except ProtocolError as exc:
        raise as_protocol_error("the response is not JSON", response) from exc


def _find_backup(raw: Any) -> Backup | None:
    """Return the only backup in a response: the value itself, alone in an array, or wrapped in an object."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, dict):
        return None
    # An object with an id and a member "backup" is a task or an operation; the backup is the member.
    if is_backup(raw) and (_has_backup_member(raw) or not is_backup(raw.get("backup"))):
        return structure_backup(raw)
    wrapped = [
        value for name, value in raw.items() if is_backup(value) and (name in _WRAPPERS or _has_backup_member(value))
    ]
    return structure_backup(wrapped[0]) if len(wrapped) == 1 else None


def _has_backup_member(raw: Mapping[str, Any]) -> bool:
    return not _BACKUP_MEMBERS.isdisjoint(raw)
