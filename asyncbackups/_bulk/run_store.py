"""What a bulk run asks of the memory that it keeps, and the memory of a run that keeps none."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import attrs

from asyncbackups._inputs import Planets
from asyncbackups.errors import JournalError
from asyncbackups.events import Event
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef


@attrs.frozen(kw_only=True)
class Intent:
    """What a create needs to know of itself.

    Attributes:
        key: The create's identity; None without a journal.
        may_exist: Whether an earlier process may have sent it.
        since: When that was (aware, UTC).
        until: The last sign of life of earlier processes (aware, UTC).
    """

    key: str | None = None
    may_exist: bool = False
    since: datetime | None = None
    until: datetime | None = None


@attrs.frozen
class Target:
    """A planet in its place among the targets.

    Attributes:
        number: Its place, counted from 0.
        planet: Which planet.
    """

    number: int
    planet: PlanetRef


@attrs.frozen(kw_only=True)
class RunningBackup:
    """A backup that an earlier process created and whose end it did not see.

    Attributes:
        target: Of which target.
        ref: The backup.
        intended: When its create was begun (aware, UTC).
        created: When it was created (aware, UTC).
    """

    target: Target
    ref: BackupRef
    intended_at: datetime
    created_at: datetime


@attrs.frozen(kw_only=True, eq=False)
class ResumePoint:
    """Where a run begins: what earlier processes have done of it, and what is left.

    Attributes:
        targets: What to create, in this order.
        taken: How many targets were taken up, and are not among `targets` again.
        planets: Planets that have their create: none of them gets another one.
        told: Events of earlier processes, oldest first.
        undelivered: Those of them that the consumer is told again.
        running: Backups to watch.
        started: When the run began (aware, UTC); None where that is now.
        ended: When the last outcome of a run came of which nothing is left to do (aware, UTC), else None.
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
    """What must survive the process."""

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be written any more, or None."""
        ...

    @property
    def spec(self) -> BackupSpec:
        """What is created."""
        ...

    async def open(self, planets: Planets) -> ResumePoint:
        """Begin, or go on.

        Raises:
            JournalError: If that is not possible; nothing was sent.
        """
        ...

    async def record_intent(self, target: Target) -> Intent:
        """Write that a create is about to be sent, before it is.

        Raises:
            JournalError: If it could not be written: then it must not be sent.
        """
        ...

    def record_event(self, target: Target, event: Event, tell: Callable[[Event], None]) -> None:
        """Write an event, and tell it then, with its id; where it cannot be written, without."""
        ...

    def acknowledge_up_to(self, event_id: int) -> None:
        """Take note that the consumer has dealt with all events up to one."""
        ...

    async def flush(self) -> None:
        """Wait until all that was recorded is told."""
        ...

    async def close(self) -> None:
        """End; what was recorded is written before."""
        ...


class MemoryRunStore:
    """Keeps nothing: the run ends with the process.

    Args:
        spec: What is created.
    """

    def __init__(self, spec: BackupSpec) -> None:
        self.spec = spec
        self.failure: JournalError | None = None

    async def open(self, planets: Planets) -> ResumePoint:
        """Begin."""
        return ResumePoint(targets=number_targets(planets or ()))

    async def record_intent(self, target: Target) -> Intent:  # noqa: ARG002 - as are the next ones: the interface
        """Write nothing."""
        return Intent()

    def record_event(self, target: Target, event: Event, tell: Callable[[Event], None]) -> None:  # noqa: ARG002
        """Tell the event at once."""
        tell(event)

    def acknowledge_up_to(self, event_id: int) -> None:
        """Forget it."""

    async def flush(self) -> None:
        """Have nothing to wait for."""

    async def close(self) -> None:
        """Have nothing to close."""


async def number_targets(
    planets: Iterable[PlanetRef] | AsyncIterable[PlanetRef], start: int = 0
) -> AsyncIterator[Target]:
    """Give planets their numbers, as they come."""
    number = start
    if isinstance(planets, AsyncIterable):
        async for planet in planets:
            yield Target(number, planet)
            number += 1
    else:
        for planet in planets:
            yield Target(number, planet)
            number += 1
