"""Many creates, watched to their ends: one stream of events, and a report that adds up."""

from __future__ import annotations

import asyncio
import collections
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest

from asyncbackups._api.create import Creation
from asyncbackups._bulk.bulk_create import BulkRun
from asyncbackups._bulk.report import BulkReport
from asyncbackups._bulk.run_store import MemoryRunStore
from asyncbackups._http.messages import RequestKind
from asyncbackups._inputs import parse_planets
from asyncbackups._polling.engine import Engine
from asyncbackups.errors import AmbiguousCreateError, ClientClosedError, ConfigurationError, ServiceUnavailableError
from asyncbackups.events import BackupCreated, BackupFailed, BackupSucceeded, CreateFailed, WatchExpired, WatchFailed
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef
from tests.fake_clock import FakeClock, settle
from tests.unit.service import Service

DOWN = ServiceUnavailableError(status=503)


@attrs.define
class Stage:
    """Runs over a service in memory.

    Attributes:
        clock: The time.
        service: Where the backups are.
        engine: What watches them.
        before: Is awaited before each create; may raise.
        creating: How many creates are under way, and the most that ever were.
        adopted: How creates say that they found their backups.
    """

    clock: FakeClock
    service: Service
    engine: Engine
    before: Callable[[PlanetRef], Awaitable[None]] | None = None
    creating: list[int] = attrs.field(factory=lambda: [0, 0])
    adopted: Any = None
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    requests: collections.Counter[RequestKind] = attrs.field(factory=collections.Counter)

    async def create(self, planet: PlanetRef, spec: BackupSpec, **_: Any) -> Creation:
        self.requests[RequestKind.CREATE] += 1
        self.creating[0] += 1
        self.creating[1] = max(self.creating)
        try:
            await asyncio.sleep(0)
            if self.before is not None:
                await self.before(planet)
        finally:
            self.creating[0] -= 1
        (ref,) = self.service.begin(next(self.numbers), star_system=planet.star_system)
        return Creation(backup=Backup(id=ref.backup_id), adopted=self.adopted)

    def run(self, targets: Any, *, concurrency: int = 3, deadline: float = 1e4) -> BulkRun:
        return BulkRun(
            self.engine,
            create=self.create,
            ledger=MemoryRunStore(BackupSpec()),
            planets=parse_planets(targets, whole=False),
            concurrency=concurrency,
            deadline=deadline,
            clock=self.clock,
            requests=self.requests,
        )

    async def finish(self, status: str = "succeeded") -> None:
        """Let all that was created end, and be noticed."""
        self.service.end(*self.service.backups, status=status)
        await self.clock.run(300)


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    service = Service(clock)
    engine = service.engine()
    yield Stage(clock, service, engine)
    await engine.close()


def planets(number: int) -> list[str]:
    return [f"sun/planet-{place}" for place in range(number)]


def adds_up(report: BulkReport) -> bool:
    ended = report.succeeded + report.failed + report.gone + report.expired + report.unchecked
    return report.planets == report.create_failed + ended + report.in_flight


async def all_of(run: BulkRun) -> list[Any]:
    return [event async for event in run]


async def test_every_planet_is_created_and_watched(stage: Stage) -> None:
    """Each has a create and a final event, in this order, and the report says so."""
    async with stage.run(planets(10)) as run:
        consumer = asyncio.create_task(all_of(run))
        await settle(200)
        stage.clock.advance(5)
        await stage.finish()
        events = await consumer
    of: dict[Any, list[str]] = {}
    for event in events:
        of.setdefault(event.planet, []).append(type(event).__name__)
    assert list(of.values()) == [["BackupCreated", "BackupSucceeded"]] * 10
    report = run.report
    assert (report.planets, report.created, report.succeeded, report.in_flight, report.ok) == (10, 10, 10, 0, True)
    assert report.requests == {RequestKind.CREATE: 10}
    assert len(report.outcomes) == 10
    assert 5.0 <= report.seconds < 100.0, "it stops with the last event"


async def test_time_counts_from_the_create(stage: Stage) -> None:
    """A final event tells how long its planet took in all, the create included."""

    async def slow(_: PlanetRef) -> None:
        await stage.clock.sleep(30)

    stage.before = slow
    async with stage.run(planets(1)) as run:
        await stage.clock.run(31)
        created = await anext(run)
        assert created.elapsed == 30.0
        stage.clock.advance(69)
        await stage.finish()
        ended = await anext(run)
        assert ended.elapsed > 100.0
        assert run.report.outcomes[ended.planet].seconds == ended.elapsed


async def test_creates_are_bounded(stage: Stage) -> None:
    """Never more at once than asked for."""
    async with stage.run(planets(50), concurrency=4) as run:
        await settle(500)
        assert run.report.created == 50
    assert stage.creating == [0, 4]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_million_targets_are_not_read_ahead(stage: Stage, asynchronous: bool) -> None:
    """As many are read as there are creates under way; with nobody reading events, creating waits."""
    read = 0

    def numbers() -> Iterator[str]:
        nonlocal read
        for read in range(1, 1_000_001):
            yield f"sun/planet-{read}"

    async def later() -> AsyncIterator[str]:
        for target in numbers():
            yield target

    gate = asyncio.Event()

    async def held(_: PlanetRef) -> None:
        await gate.wait()

    stage.before = held
    async with stage.run(later() if asynchronous else numbers(), concurrency=5) as run:
        await settle(100)
        assert read == 5
        gate.set()
        await settle(3_000)
        assert 1_000 <= read <= 1_010, "a thousand events are unread"
        for _ in range(100):
            await anext(run)
        await settle(1_000)
        assert 1_100 <= read <= 1_110
    gc.collect()


async def test_stop_begins_no_more_and_ends_with_what_was_begun(stage: Stage) -> None:
    """It returns when the creates under way have their outcome; their backups are watched to the end."""
    gate = asyncio.Event()

    async def held(_: PlanetRef) -> None:
        await gate.wait()

    stage.before = held
    async with stage.run(planets(10), concurrency=3) as run:
        await settle(50)
        assert run.under_way == 3
        stopping = asyncio.create_task(run.stop())
        await settle(50)
        assert not stopping.done()
        gate.set()
        await stopping
        assert (run.under_way, run.report.created) == (0, 3)
        await settle(50)
        await stage.finish()
        events = await all_of(run)
    assert [type(event) for event in events] == [BackupCreated] * 3 + [BackupSucceeded] * 3
    assert (run.report.planets, run.report.ok) == (3, True)
    with pytest.raises(ClientClosedError, match="before stopping"):
        await stage.run([]).stop()


async def test_one_failure_stops_nobody(stage: Stage) -> None:
    """It is told as an event, and the others go on."""

    async def some(planet: PlanetRef) -> None:
        if planet.planet.endswith(("3", "7")):
            raise DOWN

    stage.before = some
    async with stage.run(planets(10)) as run:
        await settle(200)
        await stage.finish("failed")
        events = await all_of(run)
    failed = [event for event in events if isinstance(event, CreateFailed)]
    assert [event.planet.planet for event in failed] == ["planet-3", "planet-7"]
    assert {event.error for event in failed} == {DOWN}
    assert (run.report.create_failed, run.report.failed, run.report.ok) == (2, 8, False)
    assert adds_up(run.report)


async def test_planet_listed_twice_gets_one_backup(stage: Stage) -> None:
    """The second is told as an error, and what became of the backup stays its outcome."""
    async with stage.run(["sun/earth", ("sun", "mars"), PlanetRef("sun", "earth")], concurrency=1) as run:
        await settle(200)
        await stage.finish()
        events = await all_of(run)
    (failed,) = [event for event in events if isinstance(event, CreateFailed)]
    assert isinstance(failed.error, ConfigurationError)
    assert "listed twice" in str(failed.error)
    assert (run.report.planets, run.report.created, run.report.create_failed) == (3, 2, 1)
    assert {type(outcome.event) for outcome in run.report.outcomes.values()} == {BackupSucceeded}
    assert adds_up(run.report)


async def test_late_duplicate_does_not_hide_what_became_of_the_backup(stage: Stage) -> None:
    """Also where it is read when the backup has long ended."""
    gate = asyncio.Event()

    async def targets() -> AsyncIterator[str]:
        yield "sun/earth"
        await gate.wait()
        yield "sun/earth"

    async with stage.run(targets()) as run:
        await settle()
        await stage.finish()
        assert run.report.succeeded == 1
        gate.set()
        await settle()
        assert len(await all_of(run)) == 3
    assert isinstance(run.report.outcomes[PlanetRef("sun", "earth")].event, BackupSucceeded)


@pytest.mark.parametrize("wrong", [RuntimeError("broken file"), "no planet"])
async def test_targets_that_break_are_told_at_the_end(stage: Stage, wrong: Any) -> None:
    """What was read before is created, watched and told of; then the caller gets the fault back."""

    def targets() -> Iterator[str]:
        yield from planets(4)
        if isinstance(wrong, Exception):
            raise wrong
        yield wrong

    async with stage.run(targets()) as run:
        await settle(200)
        await stage.finish()
        for _ in range(8):
            await anext(run)
        with pytest.raises(RuntimeError if isinstance(wrong, Exception) else ConfigurationError):
            await anext(run)
    assert adds_up(run.report)


async def test_bug_after_a_create_is_raised(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was created but cannot be watched is not waited for: a run never hangs."""

    def buggy(*_: Any, **__: Any) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage.engine, "track", buggy)
    async with stage.run(planets(1)) as run:
        assert type(await anext(run)) is BackupCreated
        with pytest.raises(RuntimeError, match="a bug"):
            await anext(run)


async def test_bug_in_a_create_is_told_and_raised(stage: Stage) -> None:
    """Its planet has an outcome, what was begun is watched to its end, and the bug comes out at the end."""

    async def buggy(planet: PlanetRef) -> None:
        if planet.planet == "planet-2":
            raise ZeroDivisionError("mine")

    stage.before = buggy
    async with stage.run(planets(3)) as run:
        await settle(200)
        await stage.finish()
        with pytest.raises(ZeroDivisionError):
            await all_of(run)
    (outcome,) = [one for planet, one in run.report.outcomes.items() if planet.planet == "planet-2"]
    assert isinstance(outcome.event, CreateFailed)
    assert isinstance(outcome.event.error, AmbiguousCreateError)
    assert adds_up(run.report)


async def test_leaving_while_creating_is_reported(stage: Stage) -> None:
    """A create that was cut off may have happened: that is said; what exists is no longer watched."""
    gate = asyncio.Event()

    async def held(planet: PlanetRef) -> None:
        if planet.planet != "planet-0":
            await gate.wait()

    stage.before = held
    async with stage.run(planets(10), concurrency=3) as run:
        await settle()
        stage.clock.advance(7)
    assert stage.engine.in_flight == 0
    report = run.report
    assert (report.planets, report.created, report.create_failed, report.in_flight) == (4, 1, 3, 1)
    assert adds_up(report)
    assert all(isinstance(one.event.error, AmbiguousCreateError) for one in report.outcomes.values())
    stage.clock.advance(100)
    assert run.report.seconds == 7.0
    assert len(await all_of(run)) == 4, "what was told before may still be read"


async def test_leaving_at_once_is_clean(stage: Stage) -> None:
    """Nothing was begun, nothing is created, and no time goes on."""
    async with stage.run(planets(10)) as run:
        pass
    await settle()
    stage.clock.advance(10)
    assert (run.report.planets, run.report.seconds) == (0, 0.0)
    assert await all_of(run) == []
    assert len(asyncio.all_tasks()) == 1


async def test_leaving_that_is_cancelled_still_lets_go(stage: Stage) -> None:
    """Nobody goes on to watch for a run that is left."""
    run = stage.run(planets(3))
    await run.__aenter__()
    await settle()
    assert stage.engine.in_flight == 3
    leaving = asyncio.create_task(run.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert stage.engine.in_flight == 0


async def test_client_that_is_left_ends_the_run(stage: Stage) -> None:
    """What is in flight is unchecked, what is to come is not read, and the iteration ends with the reason."""
    closed = ClientClosedError("left")

    async def held(planet: PlanetRef) -> None:
        if planet.planet not in {"planet-0", "planet-1"}:
            await asyncio.sleep(0)
            raise closed

    async with stage.run(planets(1_000), concurrency=1) as run:
        stage.before = held
        await settle(10)
        await stage.engine.close()
        with pytest.raises(ClientClosedError):
            await all_of(run)
    assert run.report.planets < 5
    assert run.report.unchecked == run.report.created > 0
    assert adds_up(run.report)


async def test_backup_created_as_the_client_is_left_is_unchecked(stage: Stage) -> None:
    """It exists, and nobody watches it: that is said, and nothing hangs."""
    gate = asyncio.Event()

    async def held(_: PlanetRef) -> None:
        await gate.wait()

    stage.before = held
    async with stage.run(planets(1)) as run:
        await settle()
        await stage.engine.close()
        gate.set()
        await settle()
        events = await all_of(run)
    assert [type(event) for event in events] == [BackupCreated, WatchFailed]
    assert run.report.unchecked == 1


async def test_deadline_counts_for_each_backup(stage: Stage) -> None:
    """What is in progress when its time is up is told as that."""
    async with stage.run(planets(2), deadline=100.0) as run:
        await settle()
        await stage.clock.run(200)
        events = [event for event in await all_of(run) if not isinstance(event, BackupCreated)]
    assert {type(event) for event in events} == {WatchExpired}
    assert run.report.expired == 2
    assert adds_up(run.report)


async def test_adopted_backup_is_asked_about_at_once(stage: Stage) -> None:
    """Nobody knows how long it has been running."""
    stage.adopted = "marker"
    async with stage.run(planets(1)) as run:
        await settle()
        stage.service.end(BackupRef("sun", 1), status="failed")
        await settle()
        assert (await anext(run)).adopted == "marker"
        await stage.clock.run(0)
        assert stage.service.count(RequestKind.GET) == 1
        await stage.clock.run(20)
        assert isinstance(await anext(run), BackupFailed)


async def test_run_is_used_once(stage: Stage) -> None:
    """And says what is wrong with using it before."""
    run = stage.run([])
    with pytest.raises(ClientClosedError, match="enter the run"):
        await anext(run)
    await run.__aexit__(None, None, None)
    async with run:
        with pytest.raises(ClientClosedError, match="only once"):
            await run.__aenter__()
        assert await all_of(run) == []
    assert run.report.ok


async def test_event_that_cannot_be_recorded_is_told_and_the_run_ends_with_why(stage: Stage) -> None:
    """A bug there must not let the consumer wait for ever."""
    run = stage.run(planets(3))

    def broken(*_: Any) -> None:
        raise LookupError("no such column")

    run._ledger.record = broken  # type: ignore[method-assign]
    async with run:
        task = asyncio.create_task(all_of(run))
        await settle()
        await stage.finish()
        with pytest.raises(LookupError):
            await task
    assert run.report.succeeded + run.report.create_failed == run.report.created


async def test_report_before_the_beginning_is_empty(stage: Stage) -> None:
    """Neither the clock's reading nor what the client did before is the run's."""
    stage.requests[RequestKind.CREATE] += 5
    report = stage.run(planets(3)).report
    assert (report.seconds, report.requests.total(), report.planets) == (0.0, 0, 0)
