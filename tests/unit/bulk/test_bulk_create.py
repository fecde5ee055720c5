"""Bulk runs over a service in memory: one stream of events, and a report that adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from asyncbackups._http.messages import RequestKind
from asyncbackups.errors import ClientClosedError, ConfigurationError
from asyncbackups.events import BackupCreated, BackupSucceeded
from asyncbackups.models import PlanetRef
from tests.fake_clock import settle
from tests.unit.bulk.stage import Stage, adds_up, all_of, planets


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


async def test_leaving_at_once_is_clean(stage: Stage) -> None:
    """Nothing is created, and the report's time stands still."""
    async with stage.run(planets(10)) as run:
        pass
    await settle()
    stage.clock.advance(10)
    assert (run.report.planets, run.report.seconds) == (0, 0.0)
    assert await all_of(run) == []
    assert len(asyncio.all_tasks()) == 1


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


async def test_report_before_entering_is_empty(stage: Stage) -> None:
    """Neither the clock's time nor the client's earlier requests are the run's."""
    stage.requests[RequestKind.CREATE] += 5
    report = stage.run(planets(3)).report
    assert (report.seconds, report.requests.total(), report.planets) == (0.0, 0, 0)
