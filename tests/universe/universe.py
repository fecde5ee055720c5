"""One universe: a service, a gateway, strangers, and clients of ours that create, watch, die and are resumed."""

import asyncio
import gc
import logging
from collections.abc import Callable
from random import Random
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

import attrs

from asyncbackups import (
    BackupMetadata,
    BackupRef,
    BackupSpec,
    PlanetRef,
)
from asyncbackups._api.create import Creation
from asyncbackups.errors import (
    BackupFailedError,
    BackupGoneError,
    BackupsError,
    WatchExpiredError,
)
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    DuplicateFound,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import Backup

from .client import TENANT, Exchange, Ownership, Process, UniverseClient, WarningLog, end_task
from .faults import Gateway
from .memory_journal import JournaledRun, MemoryJournal
from .service import Service
from .strangers import act_as_strangers
from .variables import Variables, draw
from .virtual_loop import Deadlock, VirtualTimeout, run_virtually

#: Seconds for which each backup is watched.
DEADLINE: Final = 6 * 3600.0
#: Everything has ended by then, or it hangs: two deadlines with the longest delays of resumes and reconciling.
LIMIT: Final = 3 * DEADLINE + 8 * 7200.0
_MAX_TURNS: Final = 3_000_000
_CONCURRENCY: Final = 8
PLAN_NAMES: Final = ("mode", "configured_path", "renews_tokens")

Clock = dict[str, Any]


@attrs.frozen
class Plan:
    """The user's choices of one seed, apart from the variables of the universe.

    Attributes:
        mode: "bulk": a bulk run; "watch" or "wait": single creates, then a watch or a wait for each.
        configured_path: Whether the path of star-system lists is configured if it is not the documented one.
        renews_tokens: Whether tokens come from the token endpoint.
    """

    mode: str = "bulk"
    configured_path: bool = False
    renews_tokens: bool = False


@attrs.define(eq=False)
class Outcome:
    """The outcome of one planet as a client reported it.

    Attributes:
        kind: "succeeded", "failed", "gone", "expired", "unchecked", "ambiguous" or "refused".
        backup_id: The id that it names; None without one.
    """

    kind: str
    time: float
    backup_id: int | str | None = None
    error: BackupsError | None = None


@attrs.define(eq=False)
class PlanetReports:
    """The reports that one client delivered about one planet, over all its processes.

    Attributes:
        creations: The process, the time and the result of each create.
        outcomes: Outcomes that the program got.
        duplicate_reports: Kinds of reports of a possible duplicate.
    """

    client: int
    planet: PlanetRef
    creations: list[tuple[Process, float, Creation]] = attrs.field(factory=list)
    outcomes: list[Outcome] = attrs.field(factory=list)
    duplicate_reports: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class Universe:
    """A universe that has ended, to be checked.

    Attributes:
        crashes: Errors that should never leave the client or a task.
        leftovers: Tasks that clients left behind.
        completed: Clients whose last process came to its end without being cancelled.
    """

    seed: int
    variables: Variables
    plan: Plan
    spec: BackupSpec
    service: Service
    gateway: Gateway
    exchanges: list[Exchange] = attrs.field(factory=list)
    processes: list[Process] = attrs.field(factory=list)
    work: dict[tuple[int, PlanetRef], PlanetReports] = attrs.field(factory=dict)
    crashes: list[str] = attrs.field(factory=list)
    leftovers: list[str] = attrs.field(factory=list)
    completed: set[int] = attrs.field(factory=set)
    history: list[tuple[float, str]] = attrs.field(factory=list)
    ended: float = 0.0
    hang: str = ""


def draw_plan(seed: int, disabled: frozenset[str]) -> Plan:
    """Draw the plan of a seed; disabled parts keep their defaults."""
    drawn = {
        "mode": Random(f"{seed}/mode").choice(("bulk", "bulk", "watch", "wait")),
        "configured_path": Random(f"{seed}/path").random() < 0.5,
        "renews_tokens": Random(f"{seed}/tokens").random() < 0.3,
    }
    return Plan(**{name: value for name, value in drawn.items() if name not in disabled})


def draw_spec(seed: int) -> BackupSpec:
    """Draw what is created: texts that alterations hit, long and short ones."""
    random = Random(f"{seed}/spec")
    name = random.choice(("nightly", "  Zu\u0308rich <before> the release ", "asyncbackups", "x"))
    description = random.choice(("", "Before [release] 10 & after.", "A  long text.\n" * 8, "asyncbackups: see wiki"))
    temporary = random.random() < 0.7
    return BackupSpec(temporary=temporary, metadata=BackupMetadata(name, description))


def run_universe(seed: int, *, disabled: frozenset[str] = frozenset()) -> Universe:
    """Run the universe of a seed to its end, in virtual time."""
    variables = draw(seed, disabled=disabled - set(PLAN_NAMES))
    plan = draw_plan(seed, disabled)
    numbers = Random(f"{seed}/uuid")
    world: list[Universe] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock: Clock = {"now": loop.time, "sleep": asyncio.sleep}
        planets = {
            f"ss-{star}": [f"planet-{star}{number}" for number in range(variables.planet_count)]
            for star in range(variables.star_system_count)
        }
        service = Service(variables, tenant=TENANT, planets=planets, seed=seed, **clock)
        gateway = Gateway(service, variables, seed=seed, **clock)
        universe = Universe(seed, variables, plan, draw_spec(seed), service, gateway)
        world.append(universe)
        await _Runner(universe, clock).run()

    with patch("uuid.uuid4", lambda: UUID(int=numbers.getrandbits(128), version=4)):
        try:
            run_virtually(main, limit=LIMIT, max_turns=_MAX_TURNS)
        except (Deadlock, VirtualTimeout) as exc:
            world[0].hang = f"{type(exc).__name__}: {exc}"
    gc.collect()
    return world[0]


class _Runner:
    """Runs the clients of a universe."""

    def __init__(self, universe: Universe, clock: Clock) -> None:
        self._universe = universe
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ownership = Ownership(self._loop)
        self._loop.set_exception_handler(self._note_exception)
        self._now: Callable[[], float] = self._loop.time
        self._planets = [
            PlanetRef(star, planet) for star, planets in universe.service.planets.items() for planet in planets
        ]

    async def run(self) -> None:
        """Run everything to its end."""
        universe = self._universe
        logger = logging.getLogger("asyncbackups")
        handler = WarningLog(self._ownership, self._loop)
        logger.addHandler(handler)
        strangers = asyncio.create_task(
            act_as_strangers(universe.service, universe.gateway, universe.variables, seed=universe.seed, **self._clock)
        )
        await asyncio.sleep(0)
        try:
            async with asyncio.TaskGroup() as group:
                for client in range(universe.variables.client_count):
                    group.create_task(self._live(client))
            universe.ended = self._now()
            await end_task(strangers)
            await universe.gateway.drain()
            for process in universe.processes:
                universe.leftovers += [f"{process.name}: {task}" for task in self._ownership.tasks_of(process)]
        finally:
            logger.removeHandler(handler)

    async def _live(self, client: int) -> None:
        """Run one client, over all its processes."""
        universe, variables = self._universe, self._universe.variables
        for planet in self._planets:
            universe.work[client, planet] = PlanetReports(client, planet)
        journal = JournaledRun(f"run-{client}", self._planets)
        kills = [*variables.kill_moments, None]
        for incarnation, moment in enumerate(kills):
            process = Process(client, incarnation, self._now())
            universe.processes.append(process)
            self._note(f"{process.name} starts")
            main = self._ownership.create_task(_Program(self, process, journal).run(), process)
            limit = None if moment is None else self._moment_of(moment)
            if limit is None and variables.cancel_moment:
                await asyncio.wait({main}, timeout=self._moment_of(variables.cancel_moment))
                if not main.done():
                    self._note(f"{process.name} is cancelled")
                    main.cancel()
                    await asyncio.wait({main})
                    return
            await asyncio.wait({main}, timeout=limit)
            if main.done():
                error = None if main.cancelled() else main.exception()
                if error is not None or main.cancelled():
                    universe.crashes.append(f"{process.name}: {error!r}")
                universe.completed.add(client)
                return
            self._note(f"{process.name} is killed")
            await self._ownership.kill(process)
            await asyncio.sleep(variables.resume_delay)

    def _moment_of(self, fraction: float) -> float:
        """Return when a fraction of a run has passed: most of the interesting moments are early."""
        return (30.0 + 1.3 * self._universe.variables.duration_median) * fraction**3

    def _note(self, text: str) -> None:
        self._universe.history.append((self._now(), text))

    def _note_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("task") or context.get("future")
        process = getattr(task, "process", None)
        if process is None or not process.dead:
            self._universe.crashes.append(f"{context.get('message')}: {context.get('exception')!r} ({task})")

    @property
    def universe(self) -> Universe:
        """The universe."""
        return self._universe

    @property
    def planets(self) -> list[PlanetRef]:
        """The targets."""
        return self._planets

    @property
    def ownership(self) -> Ownership:
        """Which task belongs to which process."""
        return self._ownership


class _Program:
    """The program of a user: what one process does."""

    def __init__(self, runner: _Runner, process: Process, journal: JournaledRun) -> None:
        self._runner = runner
        self._universe = runner.universe
        self._process = process
        self._journal = journal
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Create the backups that are not finished, and wait for them."""
        universe, variables = self._universe, self._universe.variables
        offset = variables.client_clock_offset + (variables.resumed_clock_offset if self._process.incarnation else 0.0)
        configured = variables.star_list_path == "plural" and universe.plan.configured_path
        client = UniverseClient(
            self._process,
            gateway=universe.gateway,
            ownership=self._runner.ownership,
            exchanges=universe.exchanges,
            clock_offset=offset,
            renews_tokens=universe.plan.renews_tokens,
            seed=universe.seed,
            star_system_list="backups" if configured else "backup",
        )
        async with client:
            match universe.plan.mode:
                case "bulk":
                    await self._run_bulk(client)
                case "watch":
                    await self._run_watch(client)
                case _:
                    await self._run_waits(client)

    # A bulk run

    async def _run_bulk(self, client: UniverseClient) -> None:
        universe = self._universe
        if universe.variables.kill_moments:
            store = MemoryJournal(
                self._journal,
                universe.spec,
                process=self._process,
                clock=client._clock,
                claim=client.claim,
                observer=lambda event: self._take_event(event, client),
            )
            run = client.run_with_store(store, None, concurrency=_CONCURRENCY, deadline=DEADLINE)
        else:
            run = client.bulk_create(self._runner.planets, universe.spec, concurrency=_CONCURRENCY, deadline=DEADLINE)
        async with run:
            async for event in run:
                if not universe.variables.kill_moments:
                    self._take_event(event, client)
                await self._consume()

    def _take_event(self, event: Event, client: UniverseClient) -> None:
        if isinstance(event, BackupCreated):
            assert event.planet is not None
            creation = client.creations[event.planet]
            if (event.adopted, event.possible_duplicate) != (creation.adopted, creation.possible_duplicate):
                self._universe.crashes.append(f"the event says something else than the create: {event} {creation}")
            self._note_creation(event.planet, client)
        elif isinstance(event, CreateFailed):
            self._note_create_error(event.planet, event.error)
        elif isinstance(event, DuplicateFound):
            assert event.planet is not None
            self._work(event.planet).duplicate_reports.append("duplicates")
        else:
            assert event.planet is not None
            self._note_final(event.planet, event)

    # Single creates

    def _unfinished(self) -> list[PlanetRef]:
        # A program may keep its results: it does not repeat a planet that has an outcome.
        return [planet for planet in self._runner.planets if not self._work(planet).outcomes]

    async def _create(self, client: UniverseClient, planet: PlanetRef) -> Backup | None:
        may_exist = self._process.incarnation > 0
        key = f"nightly-{self._process.client}"
        try:
            backup = await client.create(
                planet.star_system, planet.planet, self._universe.spec, key=key, may_exist=may_exist
            )
        except BackupsError as exc:
            self._note_create_error(planet, exc)
            return None
        self._note_creation(planet, client)
        return backup

    async def _run_watch(self, client: UniverseClient) -> None:
        slots = asyncio.Semaphore(_CONCURRENCY)
        watched: dict[BackupRef, list[PlanetRef]] = {}

        async def create_and_add(planet: PlanetRef) -> None:
            async with slots:
                backup = await self._create(client, planet)
            if backup is not None:
                ref = watch.add(planet.star_system, backup.id)
                watched.setdefault(ref, []).append(planet)

        async def create_all() -> None:
            async with asyncio.TaskGroup() as group:
                for planet in self._unfinished():
                    group.create_task(create_and_add(planet))
            watch.finish()

        async with client.watch(deadline=DEADLINE) as watch, asyncio.TaskGroup() as group:
            group.create_task(create_all())
            async for event in watch:
                # Several planets only if an id came again: the first of them ends first.
                self._note_final(watched[event.ref].pop(0), event)
                await self._consume()

    async def _run_waits(self, client: UniverseClient) -> None:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def create_and_wait(planet: PlanetRef) -> None:
            async with slots:
                backup = await self._create(client, planet)
            if backup is None:
                return
            kind, error = "succeeded", None
            try:
                await client.wait(planet.star_system, backup.id, deadline=DEADLINE)
            except BackupsError as exc:
                error = exc
                kind = {
                    BackupFailedError: "failed",
                    BackupGoneError: "gone",
                    WatchExpiredError: "expired",
                }.get(type(exc), "unchecked")
            self._note_outcome(planet, Outcome(kind, self._now(), backup.id, error))

        async with asyncio.TaskGroup() as group:
            for planet in self._unfinished():
                group.create_task(create_and_wait(planet))

    # Recording reports

    def _work(self, planet: PlanetRef) -> PlanetReports:
        return self._universe.work[self._process.client, planet]

    def _now(self) -> float:
        return self._loop.time()

    async def _consume(self) -> None:
        if self._universe.variables.consumer_time:
            await asyncio.sleep(self._universe.variables.consumer_time)

    def _note(self, text: str) -> None:
        self._universe.history.append((self._now(), f"{self._process.name}: {text}"))

    def _note_creation(self, planet: PlanetRef, client: UniverseClient) -> None:
        if self._process.dead:
            return
        creation = client.creations[planet]
        work = self._work(planet)
        work.creations.append((self._process, client.creation_times[planet], creation))
        if creation.possible_duplicate:
            work.duplicate_reports.append("possible_duplicate")
        if creation.duplicates:
            work.duplicate_reports.append("duplicates")
        flags = f"adopted={creation.adopted} possible_duplicate={creation.possible_duplicate} {creation.duplicates}"
        self._note(f"{planet} created: {creation.backup.id} {flags}")

    def _note_create_error(self, planet: PlanetRef, error: BackupsError) -> None:
        if self._process.dead:
            return
        kind = "refused"
        if type(error).__name__ == "AmbiguousCreateError":
            kind = "ambiguous"
            self._work(planet).duplicate_reports.append("ambiguous")
        self._note_outcome(planet, Outcome(kind, self._now(), None, error))

    def _note_final(self, planet: PlanetRef, event: Event) -> None:
        kinds = {
            BackupSucceeded: "succeeded",
            BackupFailed: "failed",
            BackupGone: "gone",
            WatchExpired: "expired",
            WatchFailed: "unchecked",
        }
        assert not isinstance(event, CreateFailed)
        error = event.error if isinstance(event, WatchExpired | WatchFailed) else None
        self._note_outcome(planet, Outcome(kinds[type(event)], self._now(), event.ref.backup_id, error))

    def _note_outcome(self, planet: PlanetRef, outcome: Outcome) -> None:
        if self._process.dead:
            return
        self._work(planet).outcomes.append(outcome)
        self._note(f"{planet} {outcome.kind}: {outcome.backup_id} {outcome.error or ''}")
