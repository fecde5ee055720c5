"""Parse the response to a get, a create and a health check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs

from asyncbackups._api.codec import health_from_json, is_backup, parse_id, structure_backup
from asyncbackups._http.messages import Response, as_protocol_error, decode_json
from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup, BackupId, Health, id_key

_BACKUP_IN_LOCATION = re.compile(r"/backups?/([^/?#]+)/?(?:[?#].*)?$")

_WRAPPERS = frozenset({"backup", "body", "content", "data", "item", "payload", "resource", "response", "result"})
_BACKUP_MEMBERS = frozenset({"mechanism", "displayStatus", "expirationDate", "databaseToApplicationBuilds"})
"""Members that only a backup has; other objects (a task, an environment) may have an id, too."""


@attrs.frozen
class CreateResponse:
    """The parsed response to a create.

    Attributes:
        response: The response.
        backup_id: The new backup's id; None if the response has none, or two different ones.
        backup: The object with the id; None if only `Location` has it.
        is_certain: Whether the object has a member that only a backup has. Otherwise the id may be that of a job.
    """

    response: Response
    backup_id: BackupId | None = None
    backup: Backup | None = None
    is_certain: bool = False

    def as_error(self, reason: str) -> ProtocolError:
        """Return the error for a response that names no backup of this create."""
        return as_protocol_error(reason, self.response)


def parse_backup(response: Response, *, backup_id: BackupId) -> Backup:
    """Parse the response to a get.

    Raises:
        ProtocolError: If it is not that backup.
    """
    backup = _find_backup(_decode_body(response))
    if backup is None:
        raise as_protocol_error("the response has no backup (no object with an id)", response)
    if id_key(backup.id) != id_key(backup_id):
        raise as_protocol_error(f"requested backup {backup_id}, received backup {backup.id}", response)
    return backup


def parse_create_response(response: Response) -> CreateResponse:
    """Parse the response to a create: a backup, one wrapped in an object, or a `Location`. Never raises.

    A response with two different ids counts as one without: watching a wrong backup is worse than reconciling.
    """
    try:
        raw = _find_object(decode_json(response.body))
    except ProtocolError:
        raw = None
    backup = None if raw is None else structure_backup(raw)
    located_id = _parse_location(response.headers.get("Location", ""))
    if raw is None or backup is None:
        return CreateResponse(response, located_id)
    if located_id not in {None, id_key(backup.id)}:
        return CreateResponse(response)
    return CreateResponse(response, backup.id, backup, _has_backup_member(raw))


def _parse_location(location: str) -> BackupId | None:
    """Return the id of the backup at a URL, as `id_key` does; None if it is not a backup's."""
    found = _BACKUP_IN_LOCATION.search(location)
    backup_id = parse_id(unquote(found.group(1))) if found else None
    return None if backup_id is None else id_key(backup_id)


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
    found = _find_object(raw)
    return None if found is None else structure_backup(found)


def _find_object(raw: Any) -> Mapping[str, Any] | None:
    """Return the only backup in a response: the value itself, alone in an array, or wrapped in an object."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, dict):
        return None
    # An object with an id and a member "backup" is a task or an operation; the backup is the member.
    if is_backup(raw) and (_has_backup_member(raw) or not is_backup(raw.get("backup"))):
        return raw
    wrapped = [
        value for name, value in raw.items() if is_backup(value) and (name in _WRAPPERS or _has_backup_member(value))
    ]
    return wrapped[0] if len(wrapped) == 1 else None


def _has_backup_member(raw: Mapping[str, Any]) -> bool:
    return not _BACKUP_MEMBERS.isdisjoint(raw)
