"""Many creates: each planet's backup is created, then watched; one stream of events for both, and a report."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

import anyio
import attrs

from asyncbackups.clock import Clock
from asyncbackups.creating import Creation
from asyncbackups.engine import Engine
from asyncbackups.errors import AmbiguousCreateError, BackupsError, ClientClosedError, ConfigurationError
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    Event,
    FinalEvent,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import BackupRef, PlanetRef
from asyncbackups.stream import EventStream
from asyncbackups.wire.http import Kind

__all__ = ["BulkReport", "BulkRun", "Outcome", "Targets", "checked_target"]

Targets = Iterable[PlanetRef | tuple[str, str] | str] | AsyncIterable[PlanetRef | tuple[str, str] | str]
"""Planets: `PlanetRef`s, pairs, or texts ``star_system/planet``."""

_UNREAD = 1_000
"""With so many events unread, creating waits for the consumer: memory stays bounded by what is in flight."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one planet.

    Attributes:
        event: The last event that told of it.
        seconds: From the beginning of its create to that event.
    """

    event: Event
    seconds: float


@attrs.define(kw_only=True)
class BulkReport:
    """What a bulk run has come to so far.

    Attributes:
        planets: How many targets were taken up.
        created: How many backups were created (adopted ones included).
        create_failed: How many could not be created.
        succeeded: How many backups succeeded.
        failed: How many failed.
        gone: How many were deleted while watched.
        expired: How many were still in progress when their deadline passed.
        unchecked: How many could no longer be checked.
        outcomes: Per planet, what became of it; a planet in flight is not in it yet.
        requests: Requests that the client has sent since the run began, by kind.
        seconds: How long the run has taken.
    """

    planets: int = 0
    created: int = 0
    create_failed: int = 0
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    expired: int = 0
    unchecked: int = 0
    outcomes: dict[PlanetRef, Outcome] = attrs.field(factory=dict)
    requests: collections.Counter[Kind] = attrs.field(factory=collections.Counter)
    seconds: float = 0.0

    @property
    def in_flight(self) -> int:
        """How many backups are created and have not ended yet."""
        ended = self.succeeded + self.failed + self.gone + self.expired + self.unchecked
        return self.created - ended

    @property
    def ok(self) -> bool:
        """Whether every planet that was taken up has a backup that succeeded."""
        return self.succeeded == self.planets


_COUNTED: dict[type[object], str] = {
    BackupCreated: "created",
    CreateFailed: "create_failed",
    BackupSucceeded: "succeeded",
    BackupFailed: "failed",
    BackupGone: "gone",
    WatchExpired: "expired",
    WatchFailed: "unchecked",
}


@attrs.define(eq=False)
class _Watched:
    """A backup that was created, as the run waits for it."""

    run: BulkRun
    planet: PlanetRef
    began: float

    def deliver(self, event: FinalEvent) -> None:
        self.run.ended(self, event)


class BulkRun:
    """Creates a backup of each planet and watches it. Enter with ``async with``, then iterate with ``async for``.

    Creates run at most `concurrency` at once; targets are read as creates begin, never ahead. One planet's failure
    never stops the others. Leaving early stops creating and watching; backups that exist go on.

    Args:
        engine: The client's engine.
        create: Creates one backup.
        targets: The planets.
        concurrency: The most creates in flight at once.
        deadline: For how long each backup is watched, in seconds.
        clock: The time.
        requests: The client's count of requests, by kind.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        create: Callable[[PlanetRef], Awaitable[Creation]],
        targets: Targets,
        concurrency: int,
        deadline: float,
        clock: Clock,
        requests: collections.Counter[Kind],
    ) -> None:
        self._engine = engine
        self._create = create
        self._targets = _each_target(targets)
        self._reading = asyncio.Lock()
        self._taken: set[PlanetRef] = set()
        self._concurrency = concurrency
        self._deadline = deadline
        self._clock = clock
        self._requests = requests
        self._stream: EventStream[Event] = EventStream()
        self._room = asyncio.Event()
        self._report = BulkReport()
        self._watched: dict[_Watched, BackupRef] = {}
        self._task: asyncio.Task[None] | None = None
        self._creating = True
        self._began = 0.0
        self._requests_before: collections.Counter[Kind] = collections.Counter()
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            ClientClosedError: If it was entered before: a run is used once.
        """
        if self._task is not None:
            raise ClientClosedError("a bulk run can be entered only once: make another one")
        self._began = self._clock.monotonic()
        self._requests_before = self._requests.copy()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncbackups-bulk")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop creating and watching; what exists goes on without us."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for watched, ref in self._watched.items():
            self._engine.discard(ref, watched)
        self._watched.clear()
        self._stream.close()

    @property
    def report(self) -> BulkReport:
        """What has come of it so far; complete once the iteration has ended."""
        report = self._report
        report.requests = self._requests - self._requests_before
        if not self._over:
            report.seconds = self._clock.monotonic() - self._began
        return report

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            StopAsyncIteration: When every planet has its outcome.
            ClientClosedError: If the run was not entered.
            Exception: What the iteration of the targets raised, after the events of those already read.
        """
        if self._task is None:
            raise ClientClosedError("enter the run before iterating: `async with client.bulk_create(...) as run`")
        try:
            event = await self._stream.__anext__()
        except StopAsyncIteration:
            if self._failure is not None:
                raise self._failure from None
            raise
        self._room.set()
        return event

    def ended(self, watched: _Watched, event: FinalEvent) -> None:
        """Take note of a backup's final event; for the engine."""
        del self._watched[watched]
        elapsed = self._clock.monotonic() - watched.began
        self._note(watched.planet, attrs.evolve(event, planet=watched.planet, elapsed=elapsed))
        self._close_if_over()

    @property
    def _over(self) -> bool:
        return not self._creating and not self._watched

    def _close_if_over(self) -> None:
        if self._over:
            self._report.seconds = self._clock.monotonic() - self._began
            self._stream.close()

    def _note(self, planet: PlanetRef, event: Event) -> None:
        name = _COUNTED[type(event)]
        setattr(self._report, name, getattr(self._report, name) + 1)
        if not isinstance(event, BackupCreated):
            self._report.outcomes[planet] = Outcome(event=event, seconds=event.elapsed)
        self._stream.put(event)

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(self._concurrency):
                    tasks.start_soon(self._work)
        finally:
            self._creating = False
            self._close_if_over()

    async def _work(self) -> None:
        while (planet := await self._take()) is not None:
            await self._create_one(planet)

    async def _take(self) -> PlanetRef | None:
        """Read the next target, once the consumer has kept up and nobody else is reading."""
        async with self._reading:
            while len(self._stream) >= _UNREAD:
                self._room.clear()
                await self._room.wait()
            if self._failure is not None:
                return None
            try:
                planet = await anext(self._targets, None)
            except Exception as exc:  # noqa: BLE001 - the caller's iterable may raise anything; it gets it back
                self._failure = exc
                return None
        self._report.planets += planet is not None
        return planet

    async def _create_one(self, planet: PlanetRef) -> None:
        began = self._clock.monotonic()
        try:
            self._claim(planet)
            creation = await self._create(planet)
        except BackupsError as exc:
            self._create_failed(planet, exc, began)
        except asyncio.CancelledError:
            reason = "the run was left while the create was under way"
            self._create_failed(planet, AmbiguousCreateError(reason, planet=planet), began)
            raise
        except Exception as exc:  # noqa: BLE001 - a bug must not cut off the creates of the other planets
            self._failure = exc
        else:
            self._watch(planet, creation, began)

    def _claim(self, planet: PlanetRef) -> None:
        if planet in self._taken:
            raise ConfigurationError(f"{planet} is listed twice among the targets: it gets one backup")
        self._taken.add(planet)

    def _create_failed(self, planet: PlanetRef, error: BackupsError, began: float) -> None:
        elapsed = self._clock.monotonic() - began
        self._note(planet, CreateFailed(planet=planet, error=error, elapsed=elapsed))

    def _watch(self, planet: PlanetRef, creation: Creation, began: float) -> None:
        now = self._clock.monotonic()
        ref = BackupRef(planet.star_system, creation.backup.id)
        created = BackupCreated(
            ref=ref,
            planet=planet,
            backup=creation.backup,
            elapsed=now - began,
            adopted=creation.adopted,
            possible_duplicate=creation.possible_duplicate,
        )
        self._note(planet, created)
        watched = _Watched(self, planet, began)
        self._watched[watched] = ref
        self._engine.add(ref, watched, deadline=self._deadline, planet=planet.planet, born=now)


async def _each_target(targets: Targets) -> AsyncIterator[PlanetRef]:
    if isinstance(targets, AsyncIterable):
        async for target in targets:
            yield checked_target(target)
    else:
        for target in targets:
            yield checked_target(target)


def checked_target(target: object) -> PlanetRef:
    """Return a target as a planet.

    Raises:
        ConfigurationError: If it is none.
    """
    match target:
        case PlanetRef():
            return target
        case str():
            return PlanetRef.parse(target)
        case (str(star_system), str(planet)):
            return PlanetRef(star_system, planet)
        case _:
            raise ConfigurationError(f"a target must be a PlanetRef, or star_system/planet, not {target!r}")
