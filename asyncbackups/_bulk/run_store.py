"""The interface through which a bulk run remembers what it did, and the store of a run that remembers nothing."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import attrs

from asyncbackups._api.reconcile import Baseline
from asyncbackups._inputs import Planets
from asyncbackups.errors import JournalError
from asyncbackups.events import Event
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef


@attrs.frozen(kw_only=True)
class Intent:
    """Permission to send one create, and what is known about earlier attempts.

    Attributes:
        key: The create's identity, from which its marker is made; None without a journal.
        may_exist: Whether an earlier process may have sent this create.
        since: When the create was first intended (aware, UTC); None without a journal.
        baseline: The backups that existed before the first attempt; None if unknown.
    """

    key: str | None = None
    may_exist: bool = False
    since: datetime | None = None
    baseline: Baseline | None = None


@attrs.frozen
class Target:
    """A planet and its position among the targets, counted from 0."""

    number: int
    planet: PlanetRef


@attrs.frozen(kw_only=True)
class RunningBackup:
    """A backup that an earlier process created and that had no outcome yet; times are aware, UTC.

    Attributes:
        key_in_doubt: The identity of its create if that may have made another backup; None if it has not.
    """

    target: Target
    ref: BackupRef
    intended_at: datetime
    created_at: datetime
    key_in_doubt: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class ResumePoint:
    """The state in which a run starts: what earlier processes did, and what is left to do.

    Attributes:
        targets: The targets to create a backup of, in this order.
        started_targets: Number of targets that were started before and are not among `targets`.
        created_planets: Planets that have had their create: none of them gets another one.
        events: Events of earlier processes, oldest first.
        undelivered: Those of `events` that are delivered again.
        started_at: When the run first started (aware, UTC); None for a new run.
        ended_at: When the last outcome of a finished run came (aware, UTC); None for an unfinished run.
    """

    targets: AsyncIterator[Target]
    started_targets: int = 0
    created_planets: frozenset[PlanetRef] = frozenset()
    events: Sequence[Event] = ()
    undelivered: Sequence[Event] = ()
    running: Sequence[RunningBackup] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunStore(Protocol):
    """Stores the progress of one bulk run."""

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be written any more; None if all is well."""
        ...

    @property
    def spec(self) -> BackupSpec:
        """The backups to create."""
        ...

    async def open(self, planets: Planets) -> ResumePoint:
        """Start the run, or resume it; without planets, with the targets that are stored."""
        ...

    def needs_baseline(self, target: Target) -> bool:
        """Return True if no earlier process may have sent this create, so that a baseline can still be taken."""
        ...

    async def record_intent(self, target: Target, baseline: Baseline | None) -> Intent:
        """Store that a create is about to be sent; the create may be sent once this returns.

        Args:
            target: The target.
            baseline: The backups that exist now; None if unknown.

        Raises:
            JournalError: If it cannot be stored: the create must not be sent.
        """
        ...

    def record_event(self, target: Target, event: Event, deliver: Callable[[Event], None]) -> None:
        """Store an event, then deliver it with its id; an event that cannot be stored is delivered without an id."""

    def acknowledge_up_to(self, event_id: int) -> None:
        """Store that the consumer has dealt with all events up to and including one."""

    async def flush(self) -> None:
        """Wait until all recorded events are delivered."""

    async def close(self) -> None:
        """Store what was recorded, and close."""


class MemoryRunStore:
    """Stores nothing: the run ends with the process."""

    def __init__(self, spec: BackupSpec) -> None:
        self.spec = spec
        self.failure: JournalError | None = None

    async def open(self, planets: Planets) -> ResumePoint:
        """Start a new run."""
        return ResumePoint(targets=number_targets(planets or ()))

    def needs_baseline(self, target: Target) -> bool:  # noqa: ARG002 - the interface, here and below
        """Return True: there was no earlier process."""
        return True

    async def record_intent(self, target: Target, baseline: Baseline | None) -> Intent:  # noqa: ARG002
        """Return an intent without an identity."""
        return Intent(baseline=baseline)

    def record_event(self, target: Target, event: Event, deliver: Callable[[Event], None]) -> None:  # noqa: ARG002
        """Deliver the event at once."""
        deliver(event)

    def acknowledge_up_to(self, event_id: int) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def number_targets(
    planets: Iterable[PlanetRef] | AsyncIterable[PlanetRef], number: int = 0
) -> AsyncIterator[Target]:
    """Number planets as they are read, from the given number on."""
    if isinstance(planets, AsyncIterable):
        async for planet in planets:
            yield Target(number, planet)
            number += 1
    else:
        for planet in planets:
            yield Target(number, planet)
            number += 1
