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
        return self not in _OPEN


_OPEN = frozenset({TargetState.WAITING, TargetState.CREATING, TargetState.RUNNING})

_STEPS: dict[EntryKind, tuple[frozenset[TargetState], TargetState]] = {
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


class ImpossibleEntryError(ValueError):
    """The entries do not add up: the journal is damaged, or another program wrote it."""


@attrs.define
class Place:
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
    intended: datetime | None = None
    ref: BackupRef | None = None
    created: datetime | None = None

    @property
    def intent(self) -> Intent:
        """How to go on with a create that an earlier process may have sent."""
        return Intent(key=self.key, may_exist=True, since=self.intended)


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
        self.started: datetime | None = None
        self.changed: datetime | None = None
        self.told: datetime | None = None
        self.places: list[Place] = []
        self.listed: bool = False
        self.acknowledged: int = 0
        self.last_id: int = 0

    def apply(self, entry: Entry) -> None:
        """Add the next entry.

        Raises:
            ValueError: If it cannot follow those before it.
        """
        if entry.id <= self.last_id:
            raise ImpossibleEntryError(f"entry {entry.id} follows entry {self.last_id}")
        if (entry.kind is EntryKind.BEGUN) == (self.header is not None):
            raise ImpossibleEntryError(f"entry {entry.id} ({entry.kind}) is out of order")
        if entry.target is None:
            self._of_run(entry)
        elif entry.kind is EntryKind.TARGET:
            self._target(entry)
        else:
            self._step(entry)
        self.last_id, self.changed = entry.id, entry.at
        if entry.is_event:
            self.told = entry.at

    def refs(self) -> tuple[BackupRef, ...]:
        """Return all backups that were created."""
        return tuple(place.ref for place in self.places if place.ref is not None)

    def counts(self) -> collections.Counter[TargetState]:
        """Return how many targets are in each state."""
        return collections.Counter(place.state for place in self.places)

    def in_state(self, state: TargetState) -> Iterator[tuple[int, Place]]:
        """Iterate over the targets in a state, with their numbers."""
        return ((number, place) for number, place in enumerate(self.places) if place.state is state)

    @property
    def finished(self) -> bool:
        """Whether every target is known and has its outcome."""
        return self.listed and all(place.state.final for place in self.places)

    def _of_run(self, entry: Entry) -> None:
        match entry.kind:
            case EntryKind.BEGUN:
                self.header, self.started = Header.of(entry.data), entry.at
            case EntryKind.LISTED:
                self.listed = True
            case EntryKind.ACKNOWLEDGED:
                self.acknowledged = max(self.acknowledged, int(entry.data))
            case _:
                raise ImpossibleEntryError(f"entry {entry.id} ({entry.kind}) names no target")

    def _target(self, entry: Entry) -> None:
        if self.listed or entry.target != len(self.places):
            raise ImpossibleEntryError(f"entry {entry.id} numbers a target {entry.target}, after {len(self.places)}")
        self.places.append(Place(PlanetRef(*msgspec.json.decode(entry.data))))

    def _step(self, entry: Entry) -> None:
        allowed, after = _STEPS.get(entry.kind, (frozenset(), TargetState.WAITING))
        number = entry.target
        if number is None or not 0 <= number < len(self.places) or self.places[number].state not in allowed:
            raise ImpossibleEntryError(f"entry {entry.id} ({entry.kind}) cannot follow those before it")
        place = self.places[number]
        if entry.kind is EntryKind.INTENT:
            place.key, place.intended = msgspec.json.decode(entry.data)["key"], entry.at
        elif entry.kind is EntryKind.CREATED:
            place.ref, place.created = _ref_of(entry), entry.at
        place.state = after


class _Named(msgspec.Struct):
    named: tuple[str, int]


_NAMED = msgspec.json.Decoder(_Named)


def _ref_of(entry: Entry) -> BackupRef:
    """Read the backup's name without decoding the rest."""
    return BackupRef(*_NAMED.decode(entry.data).named)
