"""Bulk runs with a journal, from the client to the simulator and back."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncbackups import (
    BackupClient,
    BackupCreated,
    BackupSpec,
    BackupSucceeded,
    BulkRun,
    ClientClosedError,
    ConfigurationError,
    CreateFailed,
    CreatePolicy,
    Event,
    JournalError,
    PermissionDeniedError,
    PlanetRef,
    PollingPolicy,
    TargetState,
    WatchFailed,
    read_status,
)
from asyncbackups._bulk.journal import database
from asyncbackups.simulator import Fault, Fixed, Gate, Respond, Simulator, Workload
from tests.fake_clock import FakeClock
from tests.raw_server import RawServer

TARGETS = [f"s{number % 2}/p{number}" for number in range(12)]
SPEC = BackupSpec(retention_period_in_days=3)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(workload=Workload(duration=Fixed(3)), speed=100) as one:
        yield one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


def client_of(sim: Simulator, **changed: Any) -> BackupClient:
    given: dict[str, Any] = {"tenant": sim.tenant, "auth": sim.token, "creating": CreatePolicy(settle=0.05)}
    given["base_url"] = sim.base_url
    return BackupClient(polling=PollingPolicy(initial=0.02, maximum=0.05), **{**given, **changed})


async def _to_the_end(run: BulkRun) -> None:
    async for _ in run:
        pass


async def consumed(run: BulkRun, number: int | None = None) -> list[Event]:
    """Read the given number of events, or all, and leave."""
    delivered: list[Event] = []
    async with run:
        async for event in run:
            delivered.append(event)
            if len(delivered) == number:
                break
    return delivered


def creates(sim: Simulator) -> dict[tuple[str, str], int]:
    return dict(sim.creates)


EACH_ONCE = {(where, planet): 1 for where, _, planet in (target.partition("/") for target in TARGETS)}


async def test_finished_run_has_nothing_left_to_do(sim: Simulator, path: Path) -> None:
    """Event ids ascend; opened again, the run sends nothing, and its report is complete."""
    async with client_of(sim) as client:
        delivered = await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
        ids = [event.id or 0 for event in delivered]
        assert ids == sorted(set(ids))
        assert len(ids) == 24
    async with client_of(sim) as client:
        for run in (client.bulk_create(TARGETS, SPEC, journal=str(path)), client.resume(path)):
            assert await consumed(run) == []
            assert run.report.ok
            assert (run.report.planets, run.report.created, len(run.report.outcomes)) == (12, 12, 12)
        assert client.requests == {}
    assert creates(sim) == EACH_ONCE
    assert read_status(path).finished


@pytest.mark.parametrize("number", [1, 5, 12, 20, 23])
async def test_run_that_was_left_early_resumes(sim: Simulator, path: Path, number: int) -> None:
    """Another process finishes it: one create per planet, and the last event is delivered again."""
    async with client_of(sim) as client:
        first = await consumed(client.bulk_create(TARGETS, SPEC, journal=path, concurrency=3), number)
    async with client_of(sim) as client:
        run = client.resume(path)
        second = await consumed(run)
    assert creates(sim) == EACH_ONCE
    assert second[0] == first[-1], "it was delivered, but the next event was not requested"
    whole = {event.id: event for event in first + second}
    assert sorted(str(event.planet) for event in whole.values() if isinstance(event, BackupSucceeded)) == sorted(
        TARGETS
    )
    assert len([event for event in whole.values() if isinstance(event, BackupCreated)]) == 12
    assert (run.report.planets, run.report.created, run.report.succeeded, run.report.in_flight) == (12, 12, 12, 0)
    assert run.report.ok


async def test_since_delivers_events_again(sim: Simulator, path: Path) -> None:
    """All events after the given one are delivered, acknowledged or not."""
    async with client_of(sim) as client:
        delivered = await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
        assert await consumed(client.resume(path, since=delivered[5].id)) == delivered[6:]
        assert await consumed(client.bulk_create(TARGETS, SPEC, journal=path, since=0)) == delivered


async def test_consumers_acknowledge_their_own_events(sim: Simulator, path: Path) -> None:
    """The event that one consumer holds is not acknowledged by another one."""
    async with client_of(sim) as client:
        async with client.bulk_create(TARGETS, SPEC, journal=path) as run:
            holding, enough = asyncio.Event(), asyncio.Event()

            async def hold() -> Event:
                held = await anext(run)
                holding.set()
                await enough.wait()
                return held

            task = asyncio.create_task(hold())
            await holding.wait()
            async for _ in run:
                pass
            enough.set()
            held = await task
        again = await consumed(client.resume(path))
        assert again[0] == held
        assert len(again) == 24


async def test_event_of_a_consumer_that_stopped_early_is_delivered_again(
    sim: Simulator, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Resuming delivers it again, although another consumer continued; a warning is logged once."""
    async with client_of(sim) as client:
        async with client.bulk_create(TARGETS, SPEC, journal=path) as run:
            lost: list[Event] = []

            async def stop_early() -> None:
                lost.append(await anext(run))
                raise LookupError("nowhere to put it")

            results = await asyncio.gather(stop_early(), _to_the_end(run), return_exceptions=True)
            assert isinstance(results[0], LookupError)
        again = await consumed(client.resume(path))
        assert again[0] == lost[0]
    assert caplog.text.count("a consumer failed") == 1


async def test_header_that_is_not_utf_8_does_not_stop_a_run(path: Path) -> None:
    """Its event can be written, delivered, and delivered again."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        status = b"400 Bad Request" if request.startswith(b"POST") and b"/q/" in request else b"201 Created"
        status = status if request.startswith(b"POST") else b"403 Forbidden"
        head = b"HTTP/1.1 %s\r\nServer: caf\xe9\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n"
        writer.write(head % status + b'{"id": 7, "mechanism": "other"}')  # a bare id would have to be checked
        await writer.drain()

    policy = PollingPolicy(initial=0.02, maximum=0.05)
    async with (
        RawServer(refuse) as server,
        BackupClient(server.url, "t", auth="a-token", polling=policy) as client,
    ):
        waiting = asyncio.create_task(client.wait("other", 1))
        delivered = await consumed(client.bulk_create(["s/p", "s/q"], SPEC, journal=path))
        assert {type(event) for event in delivered} == {BackupCreated, CreateFailed, WatchFailed}
        again = await consumed(client.resume(path, since=0))
        assert [(event.id, type(event)) for event in again] == [(event.id, type(event)) for event in delivered]
        with pytest.raises(PermissionDeniedError):
            await waiting


async def test_planet_listed_twice_keeps_its_first_create_after_a_kill(sim: Simulator, path: Path) -> None:
    """Only its second place was refused: the create in flight is reconciled and its backup watched."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", gate_after=gate))
    async with client_of(sim) as client, client.bulk_create(["s0/p0", "s0/p0"], SPEC, journal=path) as run:
        assert isinstance(await anext(run), CreateFailed)
        await gate.arrived()
    sim.faults.clear()
    gate.open()
    async with client_of(sim) as client:
        delivered = await consumed(client.resume(path))
    assert [type(event) for event in delivered[-2:]] == [BackupCreated, BackupSucceeded]
    assert creates(sim) == {("s0", "p0"): 1}


async def test_report_of_a_finished_run_does_not_change(sim: Simulator, path: Path) -> None:
    """Opened a day later, its duration is the same; a trailing slash of the URL makes no difference."""
    async with client_of(sim) as client:
        run = client.bulk_create(TARGETS, SPEC, journal=path)
        await consumed(run)
    clock = FakeClock(utc=datetime.now(UTC) + timedelta(days=1))
    async with client_of(sim, base_url=f"{sim.base_url}/", clock=clock) as client:
        later = client.resume(path)
        assert (later.report.seconds, later.report.requests.total()) == (0.0, 0)
        await consumed(later)
    assert later.report.seconds == pytest.approx(run.report.seconds, abs=1.0)


@pytest.mark.parametrize(
    ("changed", "targets", "difference"),
    [
        ({"tenant": "other"}, TARGETS, "tenant is 'example' in the journal and 'other' here"),
        ({}, TARGETS[:-1], "there are 12 targets in the journal and 11 here; only in the journal: s1/p11"),
        ({}, iter([*TARGETS, "s0/new"]), "there are 12 targets in the journal and more here; only here: s0/new"),
    ],
)
async def test_journal_of_another_run_is_refused(
    sim: Simulator, path: Path, changed: Any, targets: Any, difference: str
) -> None:
    """Nothing is sent; the error has the difference and the created backups."""
    async with client_of(sim) as client:
        await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
    before = sim.counts.total
    async with client_of(sim, **changed) as client:
        with pytest.raises(JournalError, match=difference) as caught:
            await consumed(client.bulk_create(targets, SPEC, journal=path))
    assert len(caught.value.created) == 12
    assert sim.counts.total == before


async def test_create_in_flight_is_reconciled_on_resuming(sim: Simulator, path: Path) -> None:
    """Leaving between a create and its response is not an outcome: resuming adopts the backup."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", gate_after=gate))
    async with client_of(sim) as client, client.bulk_create(TARGETS[:1], SPEC, journal=path) as run:
        await gate.arrived()
    assert isinstance(run.report.outcomes[PlanetRef.parse(TARGETS[0])].event, CreateFailed)
    assert read_status(path).states[TargetState.CREATING] == 1
    sim.faults.clear()
    gate.open()
    async with client_of(sim) as client:
        delivered = await consumed(client.resume(path))
    assert [type(event) for event in delivered] == [BackupCreated, BackupSucceeded]
    assert isinstance(delivered[0], BackupCreated)
    assert delivered[0].adopted == "marker"
    assert creates(sim) == {("s0", "p0"): 1}


async def test_failed_creates_and_duplicates_are_not_repeated(sim: Simulator, path: Path) -> None:
    """They are delivered with their errors, also on resuming."""
    sim.faults.append(Fault(Respond(403), kind="create", planet="p1"))
    targets = [*TARGETS[:3], TARGETS[0]]
    async with client_of(sim) as client:
        delivered = await consumed(client.bulk_create(targets, SPEC, journal=path))
        failed = {str(event.planet): event.error for event in delivered if isinstance(event, CreateFailed)}
        assert {planet: type(error).__name__ for planet, error in failed.items()} == {
            "s1/p1": "PermissionDeniedError",
            "s0/p0": "ConfigurationError",
        }
        run = client.resume(path, since=0)
        again = await consumed(run)
        assert [str(event.error) for event in again if isinstance(event, CreateFailed)] == [
            str(event.error) for event in delivered if isinstance(event, CreateFailed)
        ]
        assert (run.report.planets, run.report.create_failed, run.report.succeeded) == (4, 2, 2)
    assert creates(sim) == {("s0", "p0"): 1, ("s0", "p2"): 1}


async def test_targets_in_a_set_have_an_order(sim: Simulator, path: Path) -> None:
    """Targets without an order are the same targets in the next process."""
    async with client_of(sim) as client:
        await consumed(client.bulk_create(set(TARGETS), SPEC, journal=path), 3)
        await consumed(client.bulk_create(frozenset(reversed(TARGETS)), SPEC, journal=path))
    assert creates(sim) == EACH_ONCE


async def test_full_disk_stops_a_run_and_loses_nothing(
    sim: Simulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating stops; created backups are watched; then the error is raised, and the report is complete."""
    targets = [f"s/p{number}" for number in range(300)]
    monkeypatch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "PRAGMA max_page_count=20"))
    delivered: list[Event] = []
    async with client_of(sim) as client:
        run = client.bulk_create(targets, SPEC, journal=path)

        async def consume() -> None:
            async with run:
                async for event in run:
                    delivered.append(event)  # noqa: PERF401 - an error comes at the end

        with pytest.raises(JournalError, match="disk is full") as caught:
            await consume()
        assert isinstance(caught.value.__cause__, sqlite3.Error)
    monkeypatch.undo()
    report = run.report
    assert 0 < report.created < 300
    assert report.created == report.succeeded == report.planets == sum(creates(sim).values())
    assert {event.ref for event in delivered if isinstance(event, BackupSucceeded)} == set(caught.value.created)
    async with client_of(sim) as client:
        run = client.resume(path)
        await consumed(run)
    assert run.report.ok
    assert set(creates(sim).values()) == {1}
    assert len(creates(sim)) == 300


async def test_run_of_a_closed_client_resumes(sim: Simulator, path: Path) -> None:
    """Closing the client ends the run in this process only."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", planet="p9", count=1, gate=gate))
    client = client_of(sim)
    await client.__aenter__()
    async with client.bulk_create(TARGETS, SPEC, journal=path) as run:
        await gate.arrived()
        await client.__aexit__(None, None, None)
        gate.open()
        with pytest.raises(ClientClosedError, match="client"):
            await _to_the_end(run)
    async with client_of(sim) as again:
        run = again.resume(path)
        await consumed(run)
    assert run.report.ok
    assert creates(sim) == EACH_ONCE


async def test_journal_holds_no_secret(sim: Simulator, path: Path) -> None:
    """No byte of it is the token."""
    sim.faults.append(Fault(Respond(401), kind="create", planet="p1"))
    async with client_of(sim) as client:
        await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
    assert sim.token.encode() not in path.read_bytes()
    assert b"AuthenticationError" in path.read_bytes()


async def test_arguments_are_checked_at_once(sim: Simulator, path: Path) -> None:
    """No file is created before."""
    async with client_of(sim) as client:
        with pytest.raises(ConfigurationError, match="since needs a journal"):
            client.bulk_create(TARGETS, SPEC, since=3)
        with pytest.raises(ConfigurationError, match="since must be"):
            client.resume(path, since=-1)
        with pytest.raises(ConfigurationError, match="star_system/planet"):
            client.bulk_create(["s/p", "nowhere"], SPEC, journal=path)
        with pytest.raises(JournalError, match="there is no journal"):
            await consumed(client.resume(path))
    assert not path.exists()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
async def test_run_works_with_eager_tasks(sim: Simulator, path: Path) -> None:
    """With `asyncio.eager_task_factory`, a task may end before it is assigned."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with client_of(sim) as client:
        await consumed(client.bulk_create(TARGETS, SPEC, journal=path), 5)
        run = client.resume(path)
        await consumed(run)
    assert run.report.ok
    assert creates(sim) == EACH_ONCE
