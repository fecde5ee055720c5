"""The entries of a journal, and events and errors as JSON. Pure.

A run's state is the sum of its entries (`run_state`), so a crash between two entries leaves a state that the run had.
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
from asyncbackups._api.reconcile import Baseline, Scope
from asyncbackups._bulk.report import STATE_NAMES
from asyncbackups._http.redaction import replace_surrogates
from asyncbackups.errors import BackupsError
from asyncbackups.events import CreateFailed, DuplicateFound, Event
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef

Row: TypeAlias = "tuple[int, int | None, str, str, str]"
"""An entry as stored: id, number of the target, kind, time, JSON. The stored form must not change."""

REF_MEMBER = "named"
"""The first member of each event about a backup: its name."""


class EntryKind(enum.StrEnum):
    """The kind of an entry; values are stored and must not change."""

    STARTED = "begun"
    """The run started; always the first entry."""
    TARGET = "target"
    """A target was added."""
    LISTED = "listed"
    """All targets were added."""
    BASELINE = "baseline"
    """The backups of a star system or planet that existed before the creates of the following intents."""
    INTENT = "intent"
    """A create is about to be sent."""
    CREATED = "created"
    CREATE_FAILED = "create_failed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"
    EXPIRED = "expired"
    UNCHECKED = "unchecked"
    DUPLICATE_FOUND = "duplicate_found"
    ACKNOWLEDGED = "acknowledged"
    """The consumer has dealt with all events up to one."""


_KINDS = {cls: EntryKind(name) for cls, name in STATE_NAMES.items()}
_EVENTS = {kind: cls for cls, kind in _KINDS.items()}
if set(_KINDS) != set(get_args(Event)):  # pragma: no cover - a new kind of event was forgotten here
    raise TypeError("each kind of event needs a kind of entry")


@attrs.frozen
class Entry:
    """One entry.

    Attributes:
        id: Its number, ascending; for an event, the event's id.
        target: The number of its target; None for an entry about the run.
        at: When it was made (aware, UTC).
        data: Further data as JSON, depending on the kind.
    """

    id: int
    kind: EntryKind
    target: int | None
    at: datetime
    data: str

    @property
    def is_event(self) -> bool:
        """Whether it is an event, which is delivered to the consumer."""
        return self.kind in _EVENTS

    @property
    def row(self) -> Row:
        """The entry as stored."""
        return (self.id, self.target, self.kind.value, self.at.isoformat(), self.data)

    @classmethod
    def from_row(cls, row: Row) -> Entry:
        """Parse a stored entry; an invalid one is a `ValueError`."""
        number, target, kind, at, data = row
        return cls(number, EntryKind(kind), target, datetime.fromisoformat(at), data)


@attrs.frozen(kw_only=True)
class Header:
    """The identity of a run: a journal resumes only the same run."""

    tenant: str
    base_url: str
    spec: BackupSpec

    @property
    def json_text(self) -> str:
        """The header as JSON."""
        return _encode_json({"tenant": self.tenant, "base_url": self.base_url, "spec": plain(self.spec)})

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Parse a header; an invalid one is a `ValueError`."""
        raw = msgspec.json.decode(text)
        return cls(tenant=raw["tenant"], base_url=raw["base_url"], spec=spec_from_json(raw["spec"]))


def baseline_to_json(star_system: str, baseline: Baseline) -> str:
    """Return a baseline as JSON."""
    ids = sorted(baseline.keys, key=str)
    return _encode_json({"star_system": star_system, "scope": baseline.scope, "ids": ids})


def baseline_from_json(text: str) -> Baseline:
    """Read a baseline.

    Raises:
        ValueError: If the text is not one.
    """
    raw = msgspec.json.decode(text, type=_StoredBaseline)
    return Baseline.from_ids(raw.scope, raw.ids)


class _StoredBaseline(msgspec.Struct):
    scope: Scope
    ids: list[int | str]


def intent_to_json(key: str, baseline: int | None) -> str:
    """Return an intent as JSON.

    Args:
        key: The create's identity.
        baseline: The id of the entry with its baseline, or None.
    """
    return _encode_json({"key": key} if baseline is None else {"key": key, "baseline": baseline})


def entry_kind_of(event: Event) -> EntryKind:
    """Return the kind of entry that stores an event."""
    return _KINDS[type(event)]


def event_to_json(event: Event) -> str:
    """Return an event as JSON; its backup's name comes first, so that it is found even in a damaged database."""
    try:
        text = _EVENT_ENCODER.encode(event).decode()
    except (RecursionError, ValueError, TypeError):
        # Members that the service sent are nested too deep to be encoded: keep the members that this library reads.
        text = _FALLBACK_ENCODER.encode(_without_details(event)).decode()
    if isinstance(event, CreateFailed):
        return text
    name = _encode_json((event.ref.star_system, event.ref.backup_id))
    return f'{{"{REF_MEMBER}":{name},{text[1:]}'


def event_from_entry(entry: Entry) -> Event:
    """Decode the event of an entry with `is_event`."""
    return attrs.evolve(_event_decoder(entry.kind).decode(entry.data), id=entry.id)


@functools.cache
def _event_decoder(kind: EntryKind) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(_EVENTS[kind], dec_hook=_error_from_json)


def _without_details(event: Event) -> Event:
    if isinstance(event, CreateFailed | DuplicateFound) or event.backup is None:
        return event
    return attrs.evolve(event, backup=_without_backup_details(event.backup))


def _without_backup_details(backup: Backup) -> Backup:
    return attrs.evolve(backup, environment=None, database_to_application_builds=None, extra={})


def _error_to_json(shown: Callable[[Backup], Backup], error: object) -> dict[str, Any]:
    """Encode an error by its members, not by pickle: a changed file could run code."""
    if not isinstance(error, BackupsError):
        raise TypeError(f"an event holds {type(error).__name__}, which has no JSON form")
    name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in errors.__all__)
    state = {key: value for key, value in vars(error).items() if not key.startswith("__")}
    return {"type": name, "args": _add_type_tags(error.args, shown), "state": _add_type_tags(state, shown)}


def _add_type_tags(value: object, shown: Callable[[Backup], Backup]) -> Any:
    match value:
        case PlanetRef():
            return {"$planet": (value.star_system, value.planet)}
        case BackupRef():
            return {"$ref": (value.star_system, value.backup_id)}
        case Backup():
            return {"$backup": shown(value)}
        case Mapping():
            return {str(key): _add_type_tags(member, shown) for key, member in value.items()}
        case list() | tuple():
            return [_add_type_tags(member, shown) for member in value]
    return value if isinstance(value, bool | int | float | None) else replace_surrogates(str(value))


def _resolve_type_tags(value: Any) -> Any:
    match value:
        case {"$planet": [star_system, planet]}:
            return PlanetRef(star_system, planet)
        case {"$ref": [star_system, backup_id]}:
            return BackupRef(star_system, backup_id)
        case {"$backup": raw}:
            return msgspec.convert(raw, Backup)
        case dict():
            return {key: _resolve_type_tags(member) for key, member in value.items()}
        case list():
            return tuple(_resolve_type_tags(member) for member in value)
        case _:
            return value


def _error_from_json(wanted: type[Any], raw: Any) -> BackupsError:
    if wanted is not BackupsError:
        raise TypeError(f"an event holds {wanted.__name__}, which has no JSON form")
    name = raw["type"]
    cls: type[BackupsError] = getattr(errors, name) if name in errors.__all__ else BackupsError
    args = _resolve_type_tags(raw["args"])
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(_resolve_type_tags(raw["state"]))
    return error


# msgspec encodes attrs classes itself, at a twentieth of the cost of the API's own form.
_EVENT_ENCODER = msgspec.json.Encoder(enc_hook=functools.partial(_error_to_json, lambda backup: backup))
_FALLBACK_ENCODER = msgspec.json.Encoder(enc_hook=functools.partial(_error_to_json, _without_backup_details))


def _encode_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
