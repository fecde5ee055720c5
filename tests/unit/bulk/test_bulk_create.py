"""Bulk runs over a service in memory: one stream of events, and a report that adds up."""

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
from asyncbackups._api.reconcile import Baseline
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
        clock: The clock.
        service: The service.
        engine: The polling engine.
        before: Awaited before each create; may raise.
        creating: Number of creates in flight, and its maximum so far.
        adopted: How creates report to have found their backups.
        baselines: The baseline of each planet that has one.
        received: The keyword arguments of the create of each planet.
    """

    clock: FakeClock
    service: Service
    engine: Engine
    before: Callable[[PlanetRef], Awaitable[None]] | None = None
    creating: list[int] = attrs.field(factory=lambda: [0, 0])
    adopted: Any = None
    baselines: dict[PlanetRef, Baseline] = attrs.field(factory=dict)
    received: dict[PlanetRef, Any] = attrs.field(factory=dict)
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    requests: collections.Counter[RequestKind] = attrs.field(factory=collections.Counter)

    async def create(self, planet: PlanetRef, spec: BackupSpec, **received: Any) -> Creation:
        self.received[planet] = received
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

    async def take_baseline(self, planet: PlanetRef) -> Baseline | None:
        await asyncio.sleep(0)
        return self.baselines.get(planet)

    def run(self, targets: Any, *, concurrency: int = 3, deadline: float = 1e4) -> BulkRun:
        return BulkRun(
            self.engine,
            create=self.create,
            take_baseline=self.take_baseline,
            store=MemoryRunStore(BackupSpec()),
            planets=parse_planets(targets, whole=False),
            concurrency=concurrency,
            deadline=deadline,
            clock=self.clock,
            requests=self.requests,
        )

    async def finish(self, status: str = "succeeded") -> None:
        """Let all created backups end, and the engine poll them."""
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
    """Each has a create event and a final event, in this order, and the report counts them."""
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
    assert 5.0 <= report.seconds < 100.0, "the time stops with the last event"


async def test_elapsed_time_counts_from_the_create(stage: Stage) -> None:
    """The elapsed time of a final event includes the create."""

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


async def test_each_create_has_the_baseline_of_its_planet(stage: Stage) -> None:
    """It is taken before the create; None where it is unknown."""
    known = Baseline.from_ids("star_system", [1, 2])
    stage.baselines[PlanetRef("sun", "planet-1")] = known
    async with stage.run(planets(2)):
        await settle(100)
    baselines = {planet.planet: received["baseline"] for planet, received in stage.received.items()}
    assert baselines == {"planet-0": None, "planet-1": known}


async def test_creates_in_flight_are_bounded(stage: Stage) -> None:
    """There are never more than `concurrency`."""
    async with stage.run(planets(50), concurrency=4) as run:
        await settle(500)
        assert run.report.created == 50
    assert stage.creating == [0, 4]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_targets_are_not_read_ahead(stage: Stage, asynchronous: bool) -> None:
    """As many are read as there are creates in flight; if no events are read, creating waits."""
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


async def test_stop_waits_for_the_creates_in_flight(stage: Stage) -> None:
    """No more creates start; the backups of those in flight are watched until they end."""
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


async def test_failed_planet_does_not_stop_the_others(stage: Stage) -> None:
    """Its error is an event."""

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
    """The second place is an error, and the planet keeps the outcome of its backup."""
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


async def test_late_duplicate_does_not_replace_the_outcome(stage: Stage) -> None:
    """This holds also if it is read after the backup has ended."""
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
async def test_failing_targets_are_raised_at_the_end(stage: Stage, wrong: Any) -> None:
    """Earlier targets are created and watched; then the iteration raises the error of the targets."""

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
    """The run does not wait for a backup that cannot be tracked."""

    def buggy(*_: Any, **__: Any) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage.engine, "track", buggy)
    async with stage.run(planets(1)) as run:
        assert type(await anext(run)) is BackupCreated
        with pytest.raises(RuntimeError, match="a bug"):
            await anext(run)


async def test_bug_in_a_create_is_delivered_and_raised(stage: Stage) -> None:
    """The planet has an outcome, other creates are watched until they end, and then the error is raised."""

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
    """A create that was cancelled may have happened, which its event says; existing backups are no longer watched."""
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
    assert len(await all_of(run)) == 4, "events that were delivered before may still be read"


async def test_leaving_at_once_is_clean(stage: Stage) -> None:
    """Nothing is created, and the report's time stands still."""
    async with stage.run(planets(10)) as run:
        pass
    await settle()
    stage.clock.advance(10)
    assert (run.report.planets, run.report.seconds) == (0, 0.0)
    assert await all_of(run) == []
    assert len(asyncio.all_tasks()) == 1


async def test_cancelled_leaving_untracks_all_backups(stage: Stage) -> None:
    """The engine polls for a run that was left no longer."""
    run = stage.run(planets(3))
    await run.__aenter__()
    await settle()
    assert stage.engine.in_flight == 3
    leaving = asyncio.create_task(run.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert stage.engine.in_flight == 0


async def test_closed_client_ends_the_run(stage: Stage) -> None:
    """Backups in flight are unchecked, no more targets are read, and the iteration ends with the reason."""
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


async def test_backup_created_while_the_client_closes_is_unchecked(stage: Stage) -> None:
    """It exists but is not watched, which its event says; nothing hangs."""
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


async def test_deadline_applies_to_each_backup(stage: Stage) -> None:
    """A backup that is in progress at its deadline has expired."""
    async with stage.run(planets(2), deadline=100.0) as run:
        await settle()
        await stage.clock.run(200)
        events = [event for event in await all_of(run) if not isinstance(event, BackupCreated)]
    assert {type(event) for event in events} == {WatchExpired}
    assert run.report.expired == 2
    assert adds_up(run.report)


async def test_adopted_backup_is_polled_at_once(stage: Stage) -> None:
    """Its age is unknown."""
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


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_consumer_loses_no_event(stage: Stage, turns: int) -> None:
    """An event that arrives as its consumer is cancelled, for example by a timeout, is there for the next one."""
    gate = asyncio.Event()

    async def held(_: PlanetRef) -> None:
        await gate.wait()

    stage.before = held
    async with stage.run(planets(1)) as run:
        consumer = asyncio.create_task(anext(run))
        await settle()
        gate.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        consumer.cancel()
        (got,) = await asyncio.gather(consumer, return_exceptions=True)
        event = await anext(run) if isinstance(got, asyncio.CancelledError) else got
        assert isinstance(event, BackupCreated)


async def test_consumers_share_the_events(stage: Stage) -> None:
    """Each event goes to one of them, and all end with the run."""
    async with stage.run(planets(10)) as run:
        consumers = [asyncio.create_task(all_of(run)) for _ in range(3)]
        await settle(200)
        await stage.finish()
        shares = await asyncio.gather(*consumers)
    assert len([event for share in shares for event in share]) == 20
    assert len({(type(event), event.planet) for share in shares for event in share}) == 20


async def test_iteration_continues_after_a_break(stage: Stage) -> None:
    """A run is not a generator: leaving the loop loses no event (PEP 789)."""
    async with stage.run(planets(2)) as run:
        await settle()
        await stage.finish()
        async for event in run:
            events = [event]
            break
        events += await all_of(run)
    assert len({(type(event), event.planet) for event in events}) == len(events) == 4


async def test_report_is_a_snapshot(stage: Stage) -> None:
    """A report that was read does not change with the run."""
    async with stage.run(planets(1)) as run:
        await settle()
        before = run.report
        await stage.finish()
    assert (before.succeeded, before.outcomes, run.report.succeeded, len(run.report.outcomes)) == (0, {}, 1, 1)


async def test_run_is_used_once(stage: Stage) -> None:
    """Using it before entering and entering it twice are errors."""
    run = stage.run([])
    with pytest.raises(ClientClosedError, match="enter the run"):
        await anext(run)
    await run.__aexit__(None, None, None)
    async with run:
        with pytest.raises(ClientClosedError, match="only once"):
            await run.__aenter__()
        assert await all_of(run) == []
    assert run.report.ok


async def test_failing_store_does_not_hang_the_run(stage: Stage) -> None:
    """The event is delivered, and the iteration ends with the error."""
    run = stage.run(planets(3))

    def broken(*_: Any) -> None:
        raise LookupError("no such column")

    run._store.record_event = broken  # type: ignore[method-assign]
    async with run:
        task = asyncio.create_task(all_of(run))
        await settle()
        await stage.finish()
        with pytest.raises(LookupError):
            await task
    assert run.report.succeeded + run.report.create_failed == run.report.created


async def test_report_before_entering_is_empty(stage: Stage) -> None:
    """Neither the clock's time nor the client's earlier requests are the run's."""
    stage.requests[RequestKind.CREATE] += 5
    report = stage.run(planets(3)).report
    assert (report.seconds, report.requests.total(), report.planets) == (0.0, 0, 0)
