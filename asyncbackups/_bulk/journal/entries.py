"""What a journal is made of: entries, in the order in which things happened; events and errors as JSON. Pure.

A journal only ever grows. Where a run stands is what its entries add up to (`state`), so a crash between any two of
them leaves a state that the run has really been in.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias, get_args

import attrs
import msgspec

from asyncbackups import errors
from asyncbackups._api.codec import plain, spec_from_json
from asyncbackups._http.text import replace_surrogates
from asyncbackups.errors import BackupsError
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef

Row: TypeAlias = "tuple[int, int | None, str, str, str]"
"""An entry as the database holds it: id, number of the target, kind, time, JSON."""

REF_MARK = "named"
"""The first member of whatever tells of a backup."""


class EntryKind(enum.StrEnum):
    """What an entry says."""

    BEGUN = "begun"
    """The run began; always the first."""
    TARGET = "target"
    """A planet is a target."""
    LISTED = "listed"
    """There are no more targets."""
    INTENT = "intent"
    """A create is about to be sent."""
    CREATED = "created"
    CREATE_FAILED = "create_failed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"
    EXPIRED = "expired"
    UNCHECKED = "unchecked"
    ACKNOWLEDGED = "acknowledged"
    """The consumer has dealt with all events up to one."""


_EVENTS: dict[EntryKind, type[Event]] = {
    EntryKind.CREATED: BackupCreated,
    EntryKind.CREATE_FAILED: CreateFailed,
    EntryKind.SUCCEEDED: BackupSucceeded,
    EntryKind.FAILED: BackupFailed,
    EntryKind.GONE: BackupGone,
    EntryKind.EXPIRED: WatchExpired,
    EntryKind.UNCHECKED: WatchFailed,
}
_KINDS: dict[type[object], EntryKind] = {cls: kind for kind, cls in _EVENTS.items()}
if set(_KINDS) != set(get_args(Event)):  # pragma: no cover - said at import, by whoever adds an event
    raise TypeError("an event has no place in the journal")


@attrs.frozen
class Entry:
    """One entry.

    Attributes:
        id: Its number, ascending; for an event, the event's id.
        kind: What it says.
        target: Of which target, by its number in the list; None where it is about the run.
        at: When (aware, UTC).
        data: More of it, as JSON.
    """

    id: int
    kind: EntryKind
    target: int | None
    at: datetime
    data: str

    @property
    def is_event(self) -> bool:
        """Whether the consumer is told of it."""
        return self.kind in _EVENTS

    @property
    def row(self) -> Row:
        """The entry as the database holds it."""
        return (self.id, self.target, self.kind.value, self.at.isoformat(), self.data)

    @classmethod
    def of(cls, row: Row) -> Entry:
        """Read an entry from the database.

        Raises:
            ValueError: If it is none.
        """
        number, target, kind, at, data = row
        return cls(number, EntryKind(kind), target, datetime.fromisoformat(at), data)


@attrs.frozen(kw_only=True)
class Header:
    """What a journal is of: it goes on only with the same.

    Attributes:
        tenant: The tenant's id.
        base_url: Where the service is.
        spec: What is created.
    """

    tenant: str
    base_url: str
    spec: BackupSpec

    @property
    def text(self) -> str:
        """The header as JSON."""
        return _encode({"tenant": self.tenant, "base_url": self.base_url, "spec": plain(self.spec)})

    @classmethod
    def of(cls, text: str) -> Header:
        """Read a header.

        Raises:
            ValueError: If it is none.
        """
        raw = msgspec.json.decode(text)
        return cls(tenant=raw["tenant"], base_url=raw["base_url"], spec=spec_from_json(raw["spec"]))


def kind_of(event: Event) -> EntryKind:
    """Return the kind of entry that tells of an event."""
    return _KINDS[type(event)]


def event_text(event: Event) -> str:
    """Return an event as JSON; its backup's name comes first, so that it is found even in a broken database."""
    try:
        text = _ENCODER.encode(event).decode()
    except (RecursionError, ValueError, TypeError):
        # What the service sent is nested too deep to be written: what the library reads of it is enough.
        text = _BARE_ENCODER.encode(_bare(event)).decode()
    if isinstance(event, CreateFailed):
        return text
    name = _encode((event.ref.star_system, event.ref.backup_id))
    return f'{{"{REF_MARK}":{name},{text[1:]}'


def event_from(entry: Entry) -> Event:
    """Read an event.

    Raises:
        ValueError: If the entry tells of none.
    """
    event = _decoder(entry.kind).decode(entry.data)
    return attrs.evolve(event, id=entry.id)


@functools.cache
def _decoder(kind: EntryKind) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(_EVENTS[kind], dec_hook=_from_hook)


def _bare(event: Event) -> Event:
    if isinstance(event, CreateFailed) or event.backup is None:
        return event
    return attrs.evolve(event, backup=_bare_backup(event.backup))


def _bare_backup(backup: Backup) -> Backup:
    return attrs.evolve(backup, environment=None, database_to_application_builds=None, extra={})


def _error(error: BackupsError, shown: Callable[[Backup], Backup]) -> dict[str, Any]:
    """Take an error apart. Never by pickle: whoever can write the file would run code."""
    name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in errors.__all__)
    state = {key: value for key, value in vars(error).items() if not key.startswith("__")}
    return {"type": name, "args": _tagged(error.args, shown), "state": _tagged(state, shown)}


def _tagged(value: object, shown: Callable[[Backup], Backup]) -> Any:
    match value:
        case PlanetRef():
            return {"$planet": (value.star_system, value.planet)}
        case BackupRef():
            return {"$ref": (value.star_system, value.backup_id)}
        case Backup():
            return {"$backup": shown(value)}
        case Mapping():
            return {str(key): _tagged(member, shown) for key, member in value.items()}
        case list() | tuple():
            return [_tagged(member, shown) for member in value]
    return value if isinstance(value, bool | int | float | None) else replace_surrogates(str(value))


def _untagged(value: Any) -> Any:
    match value:
        case {"$planet": [star_system, planet]}:
            return PlanetRef(star_system, planet)
        case {"$ref": [star_system, backup_id]}:
            return BackupRef(star_system, backup_id)
        case {"$backup": raw}:
            return msgspec.convert(raw, Backup)
        case dict():
            return {key: _untagged(member) for key, member in value.items()}
        case list():
            return tuple(_untagged(member) for member in value)
        case _:
            return value


def _error_from(raw: Mapping[str, Any]) -> BackupsError:
    name = raw["type"]
    cls: type[BackupsError] = getattr(errors, name) if name in errors.__all__ else BackupsError
    args = _untagged(raw["args"])
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(_untagged(raw["state"]))
    return error


def _hook(shown: Callable[[Backup], Backup]) -> Callable[[Any], Any]:
    def hook(value: Any) -> Any:
        if isinstance(value, BackupsError):
            return _error(value, shown)
        raise TypeError(f"an event holds {type(value).__name__}, which cannot be written")

    return hook


def _from_hook(wanted: type[Any], raw: Any) -> Any:
    if wanted is BackupsError:
        return _error_from(raw)
    raise TypeError(f"an event holds {wanted.__name__}, which cannot be read")


# msgspec knows attrs classes: this costs a twentieth of what the API's own form does, for each event of a run.
_ENCODER = msgspec.json.Encoder(enc_hook=_hook(lambda backup: backup))
_BARE_ENCODER = msgspec.json.Encoder(enc_hook=_hook(_bare_backup))


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()
