"""Where a run stands: what its journal's entries add up to. Pure.

Each target goes one way: waiting, creating, running, and one of the ends. An entry that does not fit there is damage,
and is never glossed over.
"""

from __future__ import annotations

import collections
import enum
from collections.abc import Iterator
from datetime import datetime

import attrs
import msgspec

from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header
from asyncbackups._bulk.run_store import Intent
from asyncbackups.models import BackupRef, PlanetRef


class TargetState(enum.StrEnum):
    """How far a target is."""

    WAITING = "waiting"
    """Nothing was done for it yet."""
    CREATING = "creating"
    """Its create may have been sent; what became of that is not known (yet)."""
    RUNNING = "running"
    """Its backup exists and has not ended."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"
    EXPIRED = "expired"
    UNCHECKED = "unchecked"
    CREATE_FAILED = "create_failed"

    @property
    def final(self) -> bool:
        """Whether nothing more will be done for it."""
        return self not in _OPEN_STATES


_OPEN_STATES = frozenset({TargetState.WAITING, TargetState.CREATING, TargetState.RUNNING})

_TRANSITIONS: dict[EntryKind, tuple[frozenset[TargetState], TargetState]] = {
    EntryKind.INTENT: (frozenset({TargetState.WAITING}), TargetState.CREATING),
    EntryKind.CREATED: (frozenset({TargetState.CREATING}), TargetState.RUNNING),
    # A planet that is listed twice is refused before its create is intended.
    EntryKind.CREATE_FAILED: (frozenset({TargetState.WAITING, TargetState.CREATING}), TargetState.CREATE_FAILED),
    **{
        kind: (frozenset({TargetState.RUNNING}), TargetState(kind.value))
        for kind in (EntryKind.SUCCEEDED, EntryKind.FAILED, EntryKind.GONE, EntryKind.EXPIRED, EntryKind.UNCHECKED)
    },
}
"""What an entry makes of a target, and which states it may follow."""


class InconsistentEntryError(ValueError):
    """The entries do not add up: the journal is damaged, or another program wrote it."""


@attrs.define
class TargetProgress:
    """A target, in its place in the list.

    Attributes:
        planet: Which planet.
        state: How far it is.
        key: Its create's identity, once there is an intent.
        intended: When its create was intended (aware, UTC).
        ref: Its backup, once that is known.
        created: When that was (aware, UTC).
    """

    planet: PlanetRef
    state: TargetState = TargetState.WAITING
    key: str | None = None
    intended_at: datetime | None = None
    ref: BackupRef | None = None
    created_at: datetime | None = None

    @property
    def resend_intent(self) -> Intent:
        """How to go on with a create that an earlier process may have sent."""
        return Intent(key=self.key, may_exist=True, since=self.intended_at)


class RunState:
    """Adds entries up.

    Attributes:
        header: What the run is of; None before the first entry.
        started: When it began (aware, UTC).
        changed: When the last entry was written.
        told: When the last event was, or None.
        places: The targets, in order.
        listed: Whether these are all.
        acknowledged: The id of the last event that the consumer has dealt with.
        last_id: The id of the last entry.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.started_at: datetime | None = None
        self.changed_at: datetime | None = None
        self.last_event_at: datetime | None = None
        self.targets: list[TargetProgress] = []
        self.listed: bool = False
        self.acknowledged: int = 0
        self.last_id: int = 0

    def apply_entry(self, entry: Entry) -> None:
        """Add the next entry.

        Raises:
            ValueError: If it cannot follow those before it.
        """
        if entry.id <= self.last_id:
            raise InconsistentEntryError(f"entry {entry.id} follows entry {self.last_id}")
        if (entry.kind is EntryKind.STARTED) == (self.header is not None):
            raise InconsistentEntryError(f"entry {entry.id} ({entry.kind}) is out of order")
        if entry.target is None:
            self._apply_run_entry(entry)
        elif entry.kind is EntryKind.TARGET:
            self._add_target(entry)
        else:
            self._advance_target(entry)
        self.last_id, self.changed_at = entry.id, entry.at
        if entry.is_event:
            self.last_event_at = entry.at

    def created_refs(self) -> tuple[BackupRef, ...]:
        """Return all backups that were created."""
        return tuple(place.ref for place in self.targets if place.ref is not None)

    def count_states(self) -> collections.Counter[TargetState]:
        """Return how many targets are in each state."""
        return collections.Counter(place.state for place in self.targets)

    def targets_in_state(self, state: TargetState) -> Iterator[tuple[int, TargetProgress]]:
        """Iterate over the targets in a state, with their numbers."""
        return ((number, place) for number, place in enumerate(self.targets) if place.state is state)

    @property
    def is_finished(self) -> bool:
        """Whether every target is known and has its outcome."""
        return self.listed and all(place.state.final for place in self.targets)

    def _apply_run_entry(self, entry: Entry) -> None:
        match entry.kind:
            case EntryKind.STARTED:
                self.header, self.started_at = Header.from_json(entry.data), entry.at
            case EntryKind.LISTED:
                self.listed = True
            case EntryKind.ACKNOWLEDGED:
                self.acknowledged = max(self.acknowledged, int(entry.data))
            case _:
                raise InconsistentEntryError(f"entry {entry.id} ({entry.kind}) names no target")

    def _add_target(self, entry: Entry) -> None:
        if self.listed or entry.target != len(self.targets):
            raise InconsistentEntryError(f"entry {entry.id} numbers a target {entry.target}, after {len(self.targets)}")
        self.targets.append(TargetProgress(PlanetRef(*msgspec.json.decode(entry.data))))

    def _advance_target(self, entry: Entry) -> None:
        allowed, after = _TRANSITIONS.get(entry.kind, (frozenset(), TargetState.WAITING))
        number = entry.target
        if number is None or not 0 <= number < len(self.targets) or self.targets[number].state not in allowed:
            raise InconsistentEntryError(f"entry {entry.id} ({entry.kind}) cannot follow those before it")
        place = self.targets[number]
        if entry.kind is EntryKind.INTENT:
            place.key, place.intended_at = msgspec.json.decode(entry.data)["key"], entry.at
        elif entry.kind is EntryKind.CREATED:
            place.ref, place.created_at = _read_ref(entry), entry.at
        place.state = after


class _RefOnly(msgspec.Struct):
    named: tuple[str, int]


_REF_DECODER = msgspec.json.Decoder(_RefOnly)


def _read_ref(entry: Entry) -> BackupRef:
    """Read the backup's name without decoding the rest."""
    return BackupRef(*_REF_DECODER.decode(entry.data).named)
