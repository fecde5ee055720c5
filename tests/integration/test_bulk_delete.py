"""Bulk deletion against the simulator, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncbackups import (
    BackupClient,
    BackupDeleted,
    BackupRef,
    DeleteFailed,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
)
from asyncbackups.simulator import Drop, Fault, Gate, Respond, Simulator, When, Workload

HISTORY = 30


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """Serve thirty backups in each star system."""
    async with Simulator(workload=Workload(history=HISTORY), forbidden={"closed"}) as simulator:
        yield simulator


def client(sim: Simulator) -> BackupClient:
    return BackupClient(sim.base_url, sim.tenant, auth=sim.token, retry=RetryPolicy(initial=0.01))


async def _known(backups: BackupClient) -> list[BackupRef]:
    return [BackupRef("solar", backup.id) for backup in await backups.list("solar")]


async def test_each_backup_is_deleted_with_one_event(sim: Simulator) -> None:
    """The list is empty afterwards."""
    async with client(sim) as backups:
        refs = await _known(backups)
        async with backups.bulk_delete(refs, concurrency=4) as deletion:
            events = [event async for event in deletion]
        assert {event.ref for event in events} == set(refs)
        assert all(isinstance(event, BackupDeleted) and event.elapsed > 0 for event in events)
        assert await backups.list("solar") == []


async def test_failed_delete_does_not_stop_the_others(sim: Simulator) -> None:
    """Its error is an event in the same stream."""
    async with client(sim) as backups:
        [known, *_] = await _known(backups)
        refs = [("solar", 999_999), BackupRef("closed", 1), str(known)]
        async with backups.bulk_delete(refs) as deletion:
            events = {event.ref: event async for event in deletion}
    missing, closed = events[BackupRef("solar", 999_999)], events[BackupRef("closed", 1)]
    assert isinstance(missing, DeleteFailed)
    assert isinstance(missing.error, NotFoundError)
    assert isinstance(closed, DeleteFailed)
    assert isinstance(closed.error, PermissionDeniedError)
    assert isinstance(events[known], BackupDeleted)


async def test_missing_backup_may_count_as_deleted(sim: Simulator) -> None:
    """With `missing_ok`, a 404 is a success."""
    async with client(sim) as backups, backups.bulk_delete([("solar", 999_999)], missing_ok=True) as deletion:
        assert [type(event) async for event in deletion] == [BackupDeleted]


@pytest.mark.parametrize("trouble", [Drop(When.AFTER), Respond(503, when=When.AFTER)])
async def test_delete_with_a_lost_response_is_done(sim: Simulator, trouble: Drop | Respond) -> None:
    """It is sent again, and a 404 then means that the first one was processed."""
    async with client(sim) as backups:
        [ref, *_] = await _known(backups)
        sim.faults.append(Fault(trouble, kind="delete", count=1))
        async with backups.bulk_delete([ref]) as deletion:
            assert [type(event) async for event in deletion] == [BackupDeleted]


async def test_leaving_early_starts_no_more_deletes(sim: Simulator) -> None:
    """Of thirty, one was in flight."""
    gate = Gate()
    sim.faults.append(Fault(kind="delete", gate=gate))
    async with client(sim) as backups:
        refs = await _known(backups)
        async with backups.bulk_delete(refs, concurrency=1):
            await gate.arrived()
        gate.open()
        assert backups.requests["delete"] == 1
        assert not [task for task in asyncio.all_tasks() if "bulk-delete" in task.get_name()]


async def test_stop_waits_for_the_deletes_in_flight(sim: Simulator) -> None:
    """No more deletes start; it returns with the outcome of those in flight."""
    gate = Gate()
    sim.faults.append(Fault(kind="delete", gate=gate))
    async with client(sim) as backups, backups.bulk_delete(await _known(backups), concurrency=2) as deletion:
        await gate.arrived()
        stopping = asyncio.create_task(deletion.stop())
        await asyncio.sleep(0)
        assert deletion.under_way == 2
        gate.open()
        await stopping
        assert [type(event) async for event in deletion] == [BackupDeleted] * 2
        assert backups.requests["delete"] == 2
