"""A journal that survives the death of a process, because it is kept outside of it: for runs that are resumed."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import attrs

from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.clock import Clock
from asyncbackups._bulk.run_store import Intent, ResumePoint, RunningBackup, Target
from asyncbackups._inputs import Planets
from asyncbackups.errors import JournalError, is_client_shutdown
from asyncbackups.events import BackupCreated, CreateFailed, DuplicateFound, Event, WatchFailed
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

from .client import Process


@attrs.define
class _Progress:
    planet: PlanetRef
    intent: Intent | None = None
    created: BackupCreated | None = None
    created_at: datetime | None = None
    is_in_doubt: bool = False
    outcome: Event | None = None


@attrs.define(eq=False)
class JournaledRun:
    """The entries of one run."""

    name: str
    planets: Sequence[PlanetRef]
    progress: list[_Progress] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    started_at: datetime | None = None


class MemoryJournal:
    """A run store of one process; what it stores outlives the process.

    Args:
        run: What is stored.
        spec: The backups to create.
        process: The process: nothing is stored once it is dead.
        clock: The clock of the process.
        claim: Claims a backup for the client.
        observer: Called with each event that is stored: a later process delivers it if this one does not.
    """

    def __init__(
        self,
        run: JournaledRun,
        spec: BackupSpec,
        *,
        process: Process,
        clock: Clock,
        claim: Callable[[BackupRef, PlanetRef], None],
        observer: Callable[[Event], None],
    ) -> None:
        self.spec = spec
        self.failure: JournalError | None = None
        self._run = run
        self._process = process
        self._clock = clock
        self._claim = claim
        self._observer = observer

    async def open(self, planets: Planets) -> ResumePoint:
        """Start the run, or resume it."""
        run = self._run
        if not run.progress:
            run.progress = [_Progress(planet) for planet in run.planets]
            run.started_at = self._clock.utcnow()
        numbered = [(Target(number, entry.planet), entry) for number, entry in enumerate(run.progress)]
        running: list[RunningBackup] = []
        for target, entry in numbered:
            if entry.created is None:
                continue
            self._claim(entry.created.ref, entry.planet)
            if entry.outcome is None:
                assert entry.intent is not None
                assert entry.intent.since is not None
                assert entry.created_at is not None
                running.append(
                    RunningBackup(
                        target=target,
                        ref=entry.created.ref,
                        intended_at=entry.intent.since,
                        created_at=entry.created_at,
                        key_in_doubt=entry.intent.key if entry.is_in_doubt else None,
                    )
                )
        left = [target for target, entry in numbered if entry.created is None and entry.outcome is None]
        return ResumePoint(
            targets=_iterate(left),
            started_targets=len(numbered) - len(left),
            created_planets=frozenset(entry.planet for _, entry in numbered if entry.created is not None),
            events=tuple(run.events),
            running=running,
            started_at=run.started_at,
        )

    def needs_baseline(self, target: Target) -> bool:
        """Return True if no earlier process may have sent this create."""
        return self._run.progress[target.number].intent is None

    async def record_intent(self, target: Target, baseline: Baseline | None) -> Intent:
        """Store an intent with its baseline."""
        entry = self._run.progress[target.number]
        if entry.intent is not None:
            return attrs.evolve(entry.intent, may_exist=True)
        key = f"{self._run.name}/{target.number}"
        entry.intent = Intent(key=key, since=self._clock.utcnow(), baseline=baseline)
        return entry.intent

    def record_event(self, target: Target, event: Event, deliver: Callable[[Event], None]) -> None:
        """Store an event, then deliver it."""
        if self._process.dead:
            return
        entry = self._run.progress[target.number]
        is_shutdown = isinstance(event, CreateFailed | WatchFailed) and is_client_shutdown(event.error)
        if not is_shutdown:
            self._run.events.append(event)
            self._observer(event)
            if isinstance(event, BackupCreated):
                entry.created, entry.created_at = event, self._clock.utcnow()
                entry.is_in_doubt = event.possible_duplicate
            elif isinstance(event, DuplicateFound):
                entry.is_in_doubt = False
            else:
                entry.outcome = event
        deliver(event)

    def acknowledge_up_to(self, event_id: int) -> None:
        """Do nothing: events have no numbers."""

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def _iterate(targets: Sequence[Target]) -> AsyncIterator[Target]:
    for target in targets:
        yield target
