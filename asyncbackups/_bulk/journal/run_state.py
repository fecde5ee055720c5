"""The state of a run: the sum of its journal's entries, and whether it matches the run that is requested. Pure.

Each target passes through waiting, creating, running and one final state. An entry that does not fit is damage.
"""

from __future__ import annotations

import collections
import enum
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec

from asyncbackups._api.codec import plain
from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.validation import quote_value
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header, baseline_from_json
from asyncbackups._bulk.run_store import Intent
from asyncbackups.models import BackupId, BackupRef, PlanetRef

_MAX_NAMED = 3  # planets in a message; it counts the others


class TargetState(enum.StrEnum):
    """The state of a target."""

    WAITING = "waiting"
    """Not started."""
    CREATING = "creating"
    """Its create may have been sent; the outcome is not known (yet)."""
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
        """Whether nothing more will be done for the target."""
        return self not in _OPEN_STATES


_OPEN_STATES = frozenset({TargetState.WAITING, TargetState.CREATING, TargetState.RUNNING})

_TRANSITIONS: dict[EntryKind, tuple[frozenset[TargetState], TargetState]] = {
    EntryKind.INTENT: (frozenset({TargetState.WAITING}), TargetState.CREATING),
    EntryKind.CREATED: (frozenset({TargetState.CREATING}), TargetState.RUNNING),
    EntryKind.DUPLICATE_FOUND: (frozenset({TargetState.RUNNING}), TargetState.RUNNING),
    # A planet that is listed twice is refused before its create is intended.
    EntryKind.CREATE_FAILED: (frozenset({TargetState.WAITING, TargetState.CREATING}), TargetState.CREATE_FAILED),
    **{
        kind: (frozenset({TargetState.RUNNING}), TargetState(kind.value))
        for kind in (EntryKind.SUCCEEDED, EntryKind.FAILED, EntryKind.GONE, EntryKind.EXPIRED, EntryKind.UNCHECKED)
    },
}
"""For each kind of entry, the states that it may follow and the state that it leads to."""


class InconsistentEntryError(ValueError):
    """The entries are inconsistent: the journal is damaged, or another program wrote it."""


@attrs.define
class TargetProgress:
    """The progress of one target.

    Attributes:
        key: The identity of its create; None before the intent.
        intended_at: When its create was intended (aware, UTC); None before that.
        ref: Its backup; None while that is unknown.
        created_at: When its backup was created (aware, UTC); None while that is unknown.
        baseline: The id of the entry with the backups that existed before its intent; None if there is none.
    """

    planet: PlanetRef
    state: TargetState = TargetState.WAITING
    key: str | None = None
    intended_at: datetime | None = None
    ref: BackupRef | None = None
    created_at: datetime | None = None
    baseline: int | None = None


class RunState:
    """Adds up the entries of a journal.

    Attributes:
        header: The identity of the run; None before the first entry.
        changed_at: When the last entry was written (aware, UTC, as the other times).
        listed: Whether `targets` is complete.
        acknowledged: The id of the last event that the consumer has dealt with.
        last_id: The id of the last entry.
        in_doubt: Numbers of the targets in progress whose create may have made another backup.
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
        self.in_doubt: set[int] = set()
        self._baselines: dict[int, Baseline] = {}

    def apply_entry(self, entry: Entry) -> None:
        """Add the next entry; one that cannot follow the entries before it is a `ValueError`."""
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

    def list_created_refs(self) -> tuple[BackupRef, ...]:
        """Return all backups that were created."""
        return tuple(target.ref for target in self.targets if target.ref is not None)

    def resend_intent(self, number: int) -> Intent:
        """Return the intent with which to reconcile a create that an earlier process may have sent."""
        target = self.targets[number]
        baseline = None if target.baseline is None else self._baselines[target.baseline]
        return Intent(key=target.key, may_exist=True, since=target.intended_at, baseline=baseline)

    def count_states(self) -> collections.Counter[TargetState]:
        """Return the number of targets in each state."""
        return collections.Counter(target.state for target in self.targets)

    def targets_in_state(self, state: TargetState) -> Iterator[tuple[int, TargetProgress]]:
        """Yield the targets in a state, with their numbers."""
        return ((number, target) for number, target in enumerate(self.targets) if target.state is state)

    @property
    def is_finished(self) -> bool:
        """Whether every target is known and has its outcome."""
        return self.listed and all(target.state.final for target in self.targets)

    def _apply_run_entry(self, entry: Entry) -> None:
        match entry.kind:
            case EntryKind.STARTED:
                self.header, self.started_at = Header.from_json(entry.data), entry.at
            case EntryKind.LISTED:
                self.listed = True
            case EntryKind.BASELINE:
                self._baselines[entry.id] = baseline_from_json(entry.data)
            case EntryKind.ACKNOWLEDGED:
                self.acknowledged = max(self.acknowledged, int(entry.data))
            case _:
                raise InconsistentEntryError(f"entry {entry.id} ({entry.kind}) names no target")

    def _add_target(self, entry: Entry) -> None:
        if self.listed or entry.target != len(self.targets):
            raise InconsistentEntryError(
                f"entry {entry.id} adds target {entry.target} after {len(self.targets)} targets"
            )
        self.targets.append(TargetProgress(PlanetRef(*msgspec.json.decode(entry.data))))

    def _advance_target(self, entry: Entry) -> None:
        allowed, after = _TRANSITIONS.get(entry.kind, (frozenset(), TargetState.WAITING))
        number = entry.target
        if number is None or not 0 <= number < len(self.targets) or self.targets[number].state not in allowed:
            raise InconsistentEntryError(f"entry {entry.id} ({entry.kind}) cannot follow the entries before it")
        target = self.targets[number]
        if entry.kind is EntryKind.INTENT:
            intent = msgspec.json.decode(entry.data)
            target.key, target.baseline, target.intended_at = intent["key"], intent.get("baseline"), entry.at
            if target.baseline is not None and target.baseline not in self._baselines:
                raise InconsistentEntryError(f"entry {entry.id} (intent) names entry {target.baseline}, no baseline")
        elif entry.kind is EntryKind.CREATED:
            created = _CREATED_DECODER.decode(entry.data)
            target.ref, target.created_at = BackupRef(*created.named), entry.at
            if created.possible_duplicate:
                self.in_doubt.add(number)
        else:
            self.in_doubt.discard(number)
        target.state = after


class _StoredCreation(msgspec.Struct):
    """The members of a `BackupCreated` that the state depends on."""

    named: tuple[str, BackupId]
    possible_duplicate: bool = False


_CREATED_DECODER = msgspec.json.Decoder(_StoredCreation)


def describe_header_difference(journal: Header, here: Header) -> str | None:
    """Describe how the journal's run differs from the requested one; None if they are the same run."""
    there, now = _flatten_header(journal), _flatten_header(here)
    parts = [
        f"{name} is {_format_value(there, name)} in the journal and {_format_value(now, name)} here"
        for name in {**there, **now}
        if there.get(name) != now.get(name)
    ]
    return "; ".join(parts) or None


def describe_target_difference(journal: Sequence[PlanetRef], here: Sequence[PlanetRef], *, listed: bool) -> str | None:
    """Describe how the journal's targets differ from the requested ones; None if they agree.

    Args:
        journal: The targets in the journal.
        here: The requested targets: all of them, or, if there are more than in the journal, at least one more.
        listed: Whether the journal has all targets.
    """
    parts = []
    pairs = zip(journal, here, strict=False)
    first = next((number for number, (there, now) in enumerate(pairs) if there != now), None)
    if first is not None:
        parts.append(f"target {first + 1} is {journal[first]} in the journal and {here[first]} here")
    if len(here) < len(journal) or (listed and len(here) != len(journal)):
        # An iterable is read only as far as needed, so that the number of targets beyond the journal's is unknown.
        count = str(len(here)) if len(here) < len(journal) else "more"
        parts.append(f"there are {len(journal)} targets in the journal and {count} here")
    if not parts:
        return None
    parts += _describe_missing("only in the journal", journal, here)
    parts += _describe_missing("only here", here, journal)
    return "; ".join(parts)


def _describe_missing(where: str, some: Sequence[PlanetRef], others: Sequence[PlanetRef]) -> list[str]:
    known = set(others)
    missing = [planet for planet in some if planet not in known]
    names = [str(planet) for planet in missing[:_MAX_NAMED]]
    if len(missing) > _MAX_NAMED:
        names.append(f"{len(missing) - _MAX_NAMED} more")
    return [f"{where}: {', '.join(names)}"] if names else []


def _flatten_header(header: Header) -> dict[str, Any]:
    spec = dict(plain(header.spec))
    metadata = spec.pop("metadata", {})
    return {
        "tenant": header.tenant,
        "base_url": header.base_url.rstrip("/"),
        **{f"spec.{name}": value for name, value in spec.items()},
        **{f"spec.metadata.{name}": value for name, value in metadata.items()},
    }


def _format_value(values: dict[str, Any], name: str) -> str:
    return quote_value(values[name]) if name in values else "not given"
