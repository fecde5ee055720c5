"""The backups of a run are created, at most `concurrency` at once, and tracked to their final events."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from asyncbackups._api.reconcile import Baseline
from asyncbackups._bulk.bulk_create import BulkRun
from asyncbackups._bulk.run_store import MemoryRunStore, Target
from asyncbackups._http.messages import RequestKind
from asyncbackups.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ServiceUnavailableError,
)
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupSucceeded,
    CreateFailed,
    DuplicateFound,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import BackupRef, PlanetRef
from tests.fake_clock import settle
from tests.unit.bulk.stage import Stage, adds_up, all_of, planets

DOWN = ServiceUnavailableError(status=503)


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


async def test_error_of_a_closed_client_is_not_its_own_context(stage: Stage) -> None:
    """The delivered error has it as its cause; a cycle never ends for code that follows causes and contexts."""
    closed = ClientClosedError("left")

    async def held(planet: PlanetRef) -> None:
        raise AmbiguousCreateError("left", planet=planet) from closed

    stage.before = held
    async with stage.run(planets(1)) as run:
        with pytest.raises(ClientClosedError) as caught:
            await all_of(run)
    assert caught.value is closed
    assert closed.__context__ is None


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


# -- duplicates


IN_DOUBT = PlanetRef("sun", "planet-1")
OTHER = BackupRef("sun", 99)


async def run_in_doubt(stage: Stage, number: int = 3) -> tuple[list[Any], BulkRun]:
    """Run to the end; the create of one planet was sent again."""
    stage.keys[IN_DOUBT] = "the key"
    async with stage.run(planets(number), concurrency=1) as run:
        await settle(100)
        assert (run.report.possible_duplicates, stage.searches) == (1, []), "nothing is known before the backup ends"
        await stage.finish()
        return await all_of(run), run


async def test_duplicate_is_found_when_the_backup_ends(stage: Stage) -> None:
    """Its event names both, and precedes the final event, which stays the planet's outcome."""
    stage.duplicates[IN_DOUBT] = (OTHER,)
    events, run = await run_in_doubt(stage)
    about = [event for event in events if event.planet == IN_DOUBT]
    assert [type(event) for event in about] == [BackupCreated, DuplicateFound, BackupSucceeded]
    assert (about[1].ref, about[1].duplicates) == (about[0].ref, (OTHER,))
    report = run.report
    assert (report.duplicates, report.possible_duplicates, report.duplicate_found) == ((OTHER,), 0, 1)
    assert report.outcomes[IN_DOUBT].event is about[2]
    assert adds_up(report)


async def test_only_creates_that_were_sent_again_are_checked(stage: Stage) -> None:
    """One search, with the key of the create."""
    events, _ = await run_in_doubt(stage)
    created = next(event for event in events if event.planet == IN_DOUBT)
    assert stage.searches == [(IN_DOUBT, "the key", created.ref)]


@pytest.mark.parametrize(("found", "in_doubt"), [((), 0), (None, 1), (DOWN, 1)], ids=["one", "unknown", "down"])
async def test_doubt_ends_only_on_evidence(stage: Stage, found: Any, in_doubt: int) -> None:
    """A list that shows no markers, and one that fails, prove nothing; the final event comes all the same."""
    stage.duplicates[IN_DOUBT] = found
    events, run = await run_in_doubt(stage)
    assert not any(isinstance(event, DuplicateFound) for event in events)
    assert (run.report.possible_duplicates, run.report.succeeded, run.report.ok) == (in_doubt, 3, True)


async def test_bug_in_a_search_is_raised(stage: Stage) -> None:
    """After all events, the final one included."""
    stage.keys[IN_DOUBT], stage.duplicates[IN_DOUBT] = "the key", ZeroDivisionError("mine")
    async with stage.run(planets(2)) as run:
        await settle(100)
        await stage.finish()
        with pytest.raises(ZeroDivisionError):
            await all_of(run)
    assert run.report.succeeded == 2


async def test_leaving_cancels_a_search(stage: Stage) -> None:
    """The backup has no final event then, so that a journal repeats the search."""
    stage.keys[IN_DOUBT], stage.duplicates[IN_DOUBT] = "the key", asyncio.Event()
    before = asyncio.all_tasks()
    async with stage.run(planets(2)) as run:
        await settle(100)
        await stage.finish()
        assert len(stage.searches) == 1
    await stage.engine.close()
    assert asyncio.all_tasks() == before
    assert (run.report.succeeded, run.report.in_flight) == (1, 1)


async def test_closed_client_searches_nothing(stage: Stage) -> None:
    """The end of the client says nothing about the backup."""
    stage.keys[IN_DOUBT] = "the key"
    async with stage.run(planets(2)) as run:
        await settle(100)
        await stage.engine.close()
        assert [type(event) for event in await all_of(run)][2:] == [WatchFailed] * 2
    assert stage.searches == []


async def test_client_closed_during_a_search(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The final event is delivered but not stored: a journal repeats the search."""
    stored: list[Any] = []

    def record_event(self: MemoryRunStore, target: Target, event: Any, deliver: Any) -> None:
        stored.append(event)
        deliver(event)

    monkeypatch.setattr(MemoryRunStore, "record_event", record_event)
    stage.duplicates[IN_DOUBT] = ClientClosedError("left")
    events, run = await run_in_doubt(stage)
    assert [event for event in events if event not in stored] == [run.report.outcomes[IN_DOUBT].event]
    assert (run.report.possible_duplicates, run.report.succeeded) == (1, 3)


async def test_refused_credentials_end_a_create_before_it_is_sent(stage: Stage) -> None:
    """The list of the baseline was refused, and the create would be."""
    refused = AuthenticationError(status=401)
    stage.baselines[PlanetRef("sun", "planet-0")] = refused
    async with stage.run(planets(1)) as run:
        (event,) = await all_of(run)
    assert event.error is refused
    assert (run.report.planets, run.report.create_failed, stage.received) == (1, 1, {})
