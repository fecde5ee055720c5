"""Waits for one backup, and watches of any number of backups."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from asyncbackups._polling.engine import Engine
from asyncbackups._polling.watch import Watch, error_from_event, validate_deadline, wait_for
from asyncbackups.errors import (
    BackupFailedError,
    BackupGoneError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    EngineError,
    PermissionDeniedError,
    WatchExpiredError,
)
from asyncbackups.events import BackupFailed, BackupGone, BackupSucceeded, WatchExpired, WatchFailed
from asyncbackups.models import Backup, BackupRef
from tests.fake_clock import FakeClock, settle
from tests.unit.service import Service


@pytest.fixture
def service(clock: FakeClock) -> Service:
    return Service(clock)


@pytest.fixture
async def engine(service: Service) -> AsyncIterator[Engine]:
    engine = service.engine()
    yield engine
    await engine.close()


def watching(engine: Engine, refs: Any = None, deadline: float = 1e5) -> Watch:
    return Watch(engine, refs, deadline=deadline)


async def all_of(watch: Watch) -> list[Any]:
    return [event async for event in watch]


# -- a watch of given backups


async def test_watch_yields_events_in_the_order_of_the_ends(clock: FakeClock, service: Service, engine: Engine) -> None:
    """It ends with the last of them."""
    refs = service.begin(1, 2, 3)
    async with watching(engine, refs) as watch:
        consumer = asyncio.create_task(all_of(watch))
        for ref in (refs[2], refs[0], refs[1]):
            service.end(ref, status="failed" if ref.backup_id == 1 else "succeeded")
            await clock.run(100)
        events = await consumer
    assert [(type(event), event.ref.backup_id) for event in events] == [
        (BackupSucceeded, 3),
        (BackupFailed, 1),
        (BackupSucceeded, 2),
    ]


async def test_refs_may_be_pairs_and_duplicates(clock: FakeClock, service: Service, engine: Engine) -> None:
    """A backup that is listed twice is watched once."""
    service.end(*service.begin(1))
    async with watching(engine, [("sun", 1), BackupRef("sun", 1)]) as watch:
        assert watch.in_flight == 1
        await clock.run(10)
        assert len(await all_of(watch)) == 1


@pytest.mark.parametrize("wrong", ["sun", ("sun",), 7, ("", 1)])
def test_invalid_refs_are_refused(wrong: Any) -> None:
    """At once, before anything is watched."""
    with pytest.raises(ConfigurationError):
        Watch(None, [wrong], deadline=1.0)  # type: ignore[arg-type]


async def _none() -> AsyncIterator[BackupRef]:
    for ref in ():
        yield ref


@pytest.mark.parametrize("wrong", [5, "sun/1", BackupRef("sun", 1), _none()])
def test_refs_must_be_an_iterable_of_backups(wrong: Any) -> None:
    """A single backup, a non-iterable and an async iterable (use `add`) are refused."""
    with pytest.raises(ConfigurationError, match=r"^refs must be a list or another iterable of backups, "):
        Watch(None, wrong, deadline=1.0)  # type: ignore[arg-type]


async def test_watch_of_an_empty_list_ends_at_once(engine: Engine) -> None:
    """It is not an open watch."""
    async with watching(engine, []) as watch:
        assert await all_of(watch) == []


async def test_very_many_backups_are_added_in_portions(clock: FakeClock, service: Service, engine: Engine) -> None:
    """Entering a watch of thousands lets other tasks run; backups that end meanwhile do not end the watch."""
    refs = service.begin(*range(5_000))
    service.end(*refs)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    watch = watching(engine, refs)
    async with watch:
        assert turns >= 5
        beside.cancel()
        await clock.run(10, turns=200)
        assert len(await all_of(watch)) == 5_000


async def test_cancelled_entering_watches_nothing(service: Service, engine: Engine) -> None:
    """Backups that were added until then are discarded."""
    watch = watching(engine, service.begin(*range(5_000)))
    entering = asyncio.create_task(watch.__aenter__())
    await asyncio.sleep(0)
    assert engine.in_flight == 1_000
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert engine.in_flight == 0


async def test_watch_does_not_keep_its_refs(service: Service, engine: Engine) -> None:
    """A million names are not kept beside the tracked backups."""
    service.begin(1)
    refs = [BackupRef("sun", 1)]
    alive = weakref.ref(refs[0])
    watch = watching(engine, refs)
    del refs
    async with watch:
        gc.collect()
        assert alive() is None
        assert watch.in_flight == 1


# -- an open watch


async def test_open_watch_continues_until_it_is_finished(clock: FakeClock, service: Service, engine: Engine) -> None:
    """Backups may be added meanwhile, also during the iteration."""
    refs = service.begin(1, 2, 3)
    service.end(*refs)
    seen = []
    async with watching(engine) as watch:
        assert watch.add("sun", 1) == refs[0]
        runner = asyncio.create_task(clock.run(10_000))
        async for event in watch:
            seen.append(event.ref.backup_id)
            if len(seen) < 3:
                watch.add("sun", len(seen) + 1)
            else:
                watch.finish()
        await runner
    assert seen == [1, 2, 3]


async def test_adding_is_idempotent(clock: FakeClock, service: Service, engine: Engine) -> None:
    """There is one event, and one tracked backup."""
    service.end(*service.begin(1))
    async with watching(engine) as watch:
        assert watch.add("sun", 1) == watch.add("sun", 1)
        assert watch.in_flight == 1
        watch.finish()
        await clock.run(10)
        assert len(await all_of(watch)) == 1


async def test_consumer_may_discard_and_explain_during_the_iteration(
    clock: FakeClock, service: Service, engine: Engine
) -> None:
    """Neither disturbs the iteration."""
    refs = service.begin(1, 2, 3)
    service.end(refs[0])
    async with watching(engine, refs) as watch:
        await clock.run(30)
        async for event in watch:
            assert watch.explain(event.ref) is None
            assert watch.explain(refs[1]) is not None
            watch.discard(event.ref)
            watch.discard(refs[1])
            watch.discard(refs[1])
            assert watch.in_flight == 1
            watch.discard(refs[2])
    assert engine.in_flight == 0


async def test_discarding_the_last_backup_ends_a_finished_watch(service: Service, engine: Engine) -> None:
    """A consumer does not wait for an event that will never come."""
    refs = service.begin(1, 2)
    async with watching(engine, refs) as watch:
        consumer = asyncio.create_task(all_of(watch))
        await settle()
        for ref in refs:
            watch.discard(ref)
        assert await consumer == []


async def test_discard_and_explain_accept_all_forms_of_a_ref(service: Service, engine: Engine) -> None:
    """They accept the same forms as watching does, and refuse others."""
    given: Any
    async with watching(engine, service.begin(1, 2)) as watch:
        for given in ("sun/1", ("sun", 2)):
            assert watch.explain(given) is not None
            watch.discard(given)
        assert watch.in_flight == 0
        for given in (None, 1, "sun"):
            for call in (watch.discard, watch.explain):
                with pytest.raises(ConfigurationError, match=r"^a backup (must be|is written) "):
                    call(given)


async def test_watch_may_be_finished_before_it_is_entered(clock: FakeClock, service: Service, engine: Engine) -> None:
    """The iteration does not end too early; an open watch that is finished before is empty."""
    service.end(*service.begin(1))
    watch = watching(engine, [("sun", 1)])
    watch.finish()
    async with watch:
        await clock.run(10)
        assert len(await all_of(watch)) == 1
    empty = watching(engine)
    empty.finish()
    async with empty:
        assert await all_of(empty) == []


async def test_slow_consumer_loses_no_event(clock: FakeClock, service: Service, engine: Engine) -> None:
    """All events are kept although no one reads them."""
    refs = service.begin(*range(500))
    async with watching(engine, refs) as watch:
        service.end(*refs)
        await clock.run(500)
        assert watch.in_flight == 0
        assert len(await all_of(watch)) == 500


async def test_each_backup_may_have_its_own_deadline(clock: FakeClock, service: Service, engine: Engine) -> None:
    """As seconds or as a timedelta; the default is that of the watch."""
    service.begin(1, 2, 3)
    async with watching(engine, deadline=300.0) as watch:
        watch.add("sun", 1)
        watch.add("sun", 2, deadline=timedelta(seconds=50))
        watch.add("sun", 3, deadline=100)
        watch.finish()
        await clock.run(400)
        events = await all_of(watch)
    assert [event.ref.backup_id for event in events] == [2, 3, 1]
    assert all(isinstance(event, WatchExpired) for event in events)
    assert [event.elapsed for event in events] == pytest.approx([50, 100, 300], abs=1.2)


@pytest.mark.parametrize("wrong", [0, -1, timedelta(0), float("inf"), float("nan"), "5", None, True])
def test_invalid_deadlines_are_refused(wrong: Any) -> None:
    """They must be positive and finite; the message names the deadline."""
    with pytest.raises(ConfigurationError, match=r"^deadline must be a (positive|finite) number of seconds"):
        validate_deadline(wrong)


# -- leaving


async def test_leaving_early_discards_the_remaining_backups(clock: FakeClock, service: Service, engine: Engine) -> None:
    """Those of other watches stay tracked, and no task is left."""
    refs = service.begin(*range(10))
    other = watching(engine, refs[:1])
    async with other:
        async with watching(engine, refs) as watch:
            await settle()
        assert watch.in_flight == 0
        assert engine.in_flight == 1
        service.end(*refs)
        await clock.run(100)
        assert await all_of(watch) == []
        assert len(await all_of(other)) == 1


async def test_leaving_ends_the_iteration_in_other_tasks(service: Service, engine: Engine) -> None:
    """A consumer in another task does not wait forever."""
    async with watching(engine, service.begin(1)) as watch:
        consumer = asyncio.create_task(all_of(watch))
        await settle()
    assert await consumer == []


async def test_error_in_the_body_is_raised(service: Service, engine: Engine) -> None:
    """Leaving by an exception does not change it."""
    with pytest.raises(RuntimeError, match="mine"):
        async with watching(engine, service.begin(1)):
            raise RuntimeError("mine")
    assert engine.in_flight == 0


async def test_watch_can_be_used_once(engine: Engine) -> None:
    """Errors explain what is wrong with using it too early or too late."""
    watch = watching(engine)
    with pytest.raises(ClientClosedError, match="not entered"):
        watch.add("sun", 1)
    with pytest.raises(ClientClosedError, match="enter the watch"):
        await anext(watch)
    async with watch:
        watch.finish()
        with pytest.raises(ClientClosedError, match="is finished"):
            watch.add("sun", 1)
    with pytest.raises(ClientClosedError, match="was closed"):
        watch.add("sun", 1)
    with pytest.raises(ClientClosedError, match="only once"):
        await watch.__aenter__()


async def test_watch_is_not_kept_alive_by_the_engine(clock: FakeClock, service: Service, engine: Engine) -> None:
    """After leaving, nothing refers to it."""
    watch = watching(engine, service.begin(*range(30)))
    async with watch:
        await clock.run(50)
    alive = weakref.ref(watch)
    del watch
    await clock.run(200)
    gc.collect()
    assert alive() is None


# -- the client is left


async def test_closing_the_client_ends_an_open_watch(service: Service, engine: Engine) -> None:
    """The consumer gets an error, also if no backup was tracked."""
    async with watching(engine) as watch:
        consumer = asyncio.create_task(all_of(watch))
        await settle()
        await engine.close()
        with pytest.raises(ClientClosedError, match="closed while this watch was open"):
            await consumer


async def test_closing_the_client_ends_the_backups_of_a_finished_watch(service: Service, engine: Engine) -> None:
    """Each remaining backup gets an event with the error."""
    async with watching(engine, service.begin(1, 2)) as watch:
        await settle()
        await engine.close()
        events = await all_of(watch)
    assert len(events) == 2
    assert all(isinstance(event.error, ClientClosedError) for event in events)


async def test_watch_cannot_be_entered_after_the_client_was_closed(service: Service, engine: Engine) -> None:
    """It raises `ClientClosedError`."""
    watch = watching(engine, service.begin(1))
    await engine.close()
    with pytest.raises(ClientClosedError):
        await watch.__aenter__()


# -- waiting for one


async def waiting(engine: Engine, ref: BackupRef, deadline: float = 1e5) -> asyncio.Task[Backup]:
    task = asyncio.create_task(wait_for(engine, ref, deadline=deadline))
    await settle()
    return task


async def test_wait_returns_the_succeeded_backup(clock: FakeClock, service: Service, engine: Engine) -> None:
    """It is the last observation."""
    (ref,) = service.begin(7)
    task = await waiting(engine, ref)
    service.end(ref)
    await clock.run(100)
    assert (await task).status == "succeeded"


async def test_wait_raises_an_error_for_each_other_outcome(clock: FakeClock, service: Service, engine: Engine) -> None:
    """There is a class for each."""
    failed, late = service.begin(1, 2)
    gone, forbidden = BackupRef("sun", 3), BackupRef("vega", 4)
    tasks = [await waiting(engine, ref, 200.0) for ref in (failed, late, gone, forbidden)]
    service.end(failed, status="failed")
    service.fault = lambda request: PermissionDeniedError(status=403) if "vega" in request.path else None
    await clock.run(300)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        BackupFailedError,
        WatchExpiredError,
        BackupGoneError,
        PermissionDeniedError,
    ]


async def test_wait_raises_a_permanent_error(clock: FakeClock, service: Service, engine: Engine) -> None:
    """A 403 is raised as it is."""
    (ref,) = service.begin(7)
    service.fault = lambda request: PermissionDeniedError(status=403)
    task = await waiting(engine, ref)
    await clock.run(10)
    with pytest.raises(PermissionDeniedError):
        await task


async def test_cancelling_one_wait_does_not_affect_others(clock: FakeClock, service: Service, engine: Engine) -> None:
    """The backup is still polled for them."""
    (ref,) = service.begin(7)
    first, second = await waiting(engine, ref), await waiting(engine, ref)
    first.cancel()
    await settle()
    assert first.cancelled()
    service.end(ref)
    await clock.run(100)
    assert (await second).id == 7
    assert engine.in_flight == 0


async def test_cancelled_wait_is_discarded(clock: FakeClock, service: Service, engine: Engine) -> None:
    """Also if the response and the cancellation come in the same turn."""
    (ref,) = service.begin(7)
    task = await waiting(engine, ref)
    task.cancel()
    await settle()
    assert engine.in_flight == 0
    service.end(ref)
    again = asyncio.create_task(wait_for(engine, ref, deadline=1e4))
    while not service.received[1:]:
        await asyncio.sleep(0)
    again.cancel()
    await settle()
    assert again.cancelled()
    assert engine.in_flight == 0


async def test_wait_ends_when_the_client_is_closed(service: Service, engine: Engine) -> None:
    """It does not hang."""
    (ref,) = service.begin(7)
    task = await waiting(engine, ref)
    await engine.close()
    with pytest.raises(ClientClosedError):
        await task


async def test_many_waits_do_not_grow_one_traceback(clock: FakeClock, service: Service) -> None:
    """An error raised by a hundred waits does not collect their tracebacks."""
    engine = service.engine(status_rule=lambda backup: 1 / 0)
    (ref,) = service.begin(7)
    tasks = [await waiting(engine, ref) for _ in range(100)]
    await clock.run(10)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, EngineError) for error in errors)
    assert isinstance(errors[0], EngineError)
    depth, traceback = 0, errors[0].__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    assert depth < 5
    await engine.close()


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (BackupFailed(ref=BackupRef("sun", 1), backup=Backup(id=1)), BackupFailedError),
        (BackupGone(ref=BackupRef("sun", 1)), BackupGoneError),
        (WatchExpired(ref=BackupRef("sun", 1)), WatchExpiredError),
        (WatchFailed(ref=BackupRef("sun", 1), error=EngineError("x")), EngineError),
    ],
)
def test_each_event_has_a_corresponding_error(event: Any, error: type[BackupsError]) -> None:
    """A wait raises what a watch yields as an event."""
    assert type(error_from_event(event)) is error
