"""Bulk runs with a journal, from the client to the simulator and back."""

from __future__ import annotations

import asyncio
import sqlite3
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
    """Take so many events, or all, and leave."""
    told: list[Event] = []
    async with run:
        async for event in run:
            told.append(event)
            if len(told) == number:
                break
    return told


def creates(sim: Simulator) -> dict[tuple[str, str], int]:
    return dict(sim.creates)


EACH_ONCE = {(where, planet): 1 for where, _, planet in (target.partition("/") for target in TARGETS)}


async def test_a_whole_run(sim: Simulator, path: Path) -> None:
    """Events carry ascending ids; afterwards there is nothing to do, to tell or to ask, and the report is whole."""
    async with client_of(sim) as client:
        told = await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
        ids = [event.id or 0 for event in told]
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
async def test_left_early_it_goes_on(sim: Simulator, path: Path, number: int) -> None:
    """Whenever it is left, another process ends it: one create per planet, and every event told, the last one again."""
    async with client_of(sim) as client:
        first = await consumed(client.bulk_create(TARGETS, SPEC, journal=path, concurrency=3), number)
    async with client_of(sim) as client:
        run = client.resume(path)
        second = await consumed(run)
    assert creates(sim) == EACH_ONCE
    assert second[0] == first[-1], "it was told, but the next one was not asked for"
    whole = {event.id: event for event in first + second}
    assert sorted(str(event.planet) for event in whole.values() if isinstance(event, BackupSucceeded)) == sorted(
        TARGETS
    )
    assert len([event for event in whole.values() if isinstance(event, BackupCreated)]) == 12
    assert (run.report.planets, run.report.created, run.report.succeeded, run.report.in_flight) == (12, 12, 12, 0)
    assert run.report.ok


async def test_since_tells_again(sim: Simulator, path: Path) -> None:
    """Whoever asks for it gets all events after one, acknowledged or not."""
    async with client_of(sim) as client:
        told = await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
        assert await consumed(client.resume(path, since=told[5].id)) == told[6:]
        assert await consumed(client.bulk_create(TARGETS, SPEC, journal=path, since=0)) == told


async def test_several_consumers_acknowledge_their_own(sim: Simulator, path: Path) -> None:
    """What one consumer holds is not acknowledged by another one, who goes on."""
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


async def test_what_a_consumer_broke_off_with_is_told_again(
    sim: Simulator, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own event is told again on resuming, though another consumer went on; that it broke off is said."""
    async with client_of(sim) as client:
        async with client.bulk_create(TARGETS, SPEC, journal=path) as run:
            lost: list[Event] = []

            async def break_off() -> None:
                lost.append(await anext(run))
                raise LookupError("nowhere to put it")

            results = await asyncio.gather(break_off(), _to_the_end(run), return_exceptions=True)
            assert isinstance(results[0], LookupError)
        again = await consumed(client.resume(path))
        assert again[0] == lost[0]
    assert caplog.text.count("a consumer broke off") == 1


async def test_answer_with_a_header_that_is_no_text_ends_a_run_like_any_other(path: Path) -> None:
    """Bytes that are no UTF-8 in a header must not keep an event from being written, told, or told again."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        status = b"400 Bad Request" if request.startswith(b"POST") and b"/q/" in request else b"201 Created"
        status = status if request.startswith(b"POST") else b"403 Forbidden"
        head = b"HTTP/1.1 %s\r\nServer: caf\xe9\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        writer.write(head % status + b'{"id": 7}')
        await writer.drain()

    policy = PollingPolicy(initial=0.02, maximum=0.05)
    async with (
        RawServer(refuse) as server,
        BackupClient(server.url, "t", auth="a-token", polling=policy) as client,
    ):
        waiting = asyncio.create_task(client.wait("other", 1))
        told = await consumed(client.bulk_create(["s/p", "s/q"], SPEC, journal=path))
        assert {type(event) for event in told} == {BackupCreated, CreateFailed, WatchFailed}
        again = await consumed(client.resume(path, since=0))
        assert [(event.id, type(event)) for event in again] == [(event.id, type(event)) for event in told]
        with pytest.raises(PermissionDeniedError):
            await waiting


async def test_planet_listed_twice_keeps_its_first_place_after_a_kill(sim: Simulator, path: Path) -> None:
    """Only its second place was refused: the create that was under way is looked for and watched to its end."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", gate_after=gate))
    async with client_of(sim) as client, client.bulk_create(["s0/p0", "s0/p0"], SPEC, journal=path) as run:
        assert isinstance(await anext(run), CreateFailed)
        await gate.arrived()
    sim.faults.clear()
    gate.open()
    async with client_of(sim) as client:
        told = await consumed(client.resume(path))
    assert [type(event) for event in told[-2:]] == [BackupCreated, BackupSucceeded]
    assert creates(sim) == {("s0", "p0"): 1}


async def test_report_of_a_finished_run_stays_as_it_is(sim: Simulator, path: Path) -> None:
    """Opened again later, it took as long as it took; opened with a slash behind the URL, it is the same run."""
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
    ("changed", "targets", "said"),
    [
        ({"tenant": "other"}, TARGETS, "tenant is 'example' in the journal and 'other' here"),
        ({}, TARGETS[:-1], "there are 12 targets in the journal and 11 here; only in the journal: s1/p11"),
        ({}, iter([*TARGETS, "s0/new"]), "there are 12 targets in the journal and more here; only here: s0/new"),
    ],
)
async def test_another_run_is_refused(sim: Simulator, path: Path, changed: Any, targets: Any, said: str) -> None:
    """With the difference, before anything is sent, and with what was created."""
    async with client_of(sim) as client:
        await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
    before = sim.counts.total
    async with client_of(sim, **changed) as client:
        with pytest.raises(JournalError, match=said) as caught:
            await consumed(client.bulk_create(targets, SPEC, journal=path))
    assert len(caught.value.created) == 12
    assert sim.counts.total == before


async def test_a_create_under_way_is_looked_for(sim: Simulator, path: Path) -> None:
    """A run that is left between a create and its answer adopts what was created; nothing of that is an outcome."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", gate_after=gate))
    async with client_of(sim) as client, client.bulk_create(TARGETS[:1], SPEC, journal=path) as run:
        await gate.arrived()
    assert isinstance(run.report.outcomes[PlanetRef.parse(TARGETS[0])].event, CreateFailed)
    assert read_status(path).states[TargetState.CREATING] == 1
    sim.faults.clear()
    gate.open()
    async with client_of(sim) as client:
        told = await consumed(client.resume(path))
    assert [type(event) for event in told] == [BackupCreated, BackupSucceeded]
    assert isinstance(told[0], BackupCreated)
    assert told[0].adopted == "marker"
    assert creates(sim) == {("s0", "p0"): 1}


async def test_failed_creates_and_doubles_stand(sim: Simulator, path: Path) -> None:
    """What could not be created is told with its error, also when it is told again, and not tried again."""
    sim.faults.append(Fault(Respond(403), kind="create", planet="p1"))
    targets = [*TARGETS[:3], TARGETS[0]]
    async with client_of(sim) as client:
        told = await consumed(client.bulk_create(targets, SPEC, journal=path))
        failed = {str(event.planet): event.error for event in told if isinstance(event, CreateFailed)}
        assert {planet: type(error).__name__ for planet, error in failed.items()} == {
            "s1/p1": "PermissionDeniedError",
            "s0/p0": "ConfigurationError",
        }
        run = client.resume(path, since=0)
        again = await consumed(run)
        assert [str(event.error) for event in again if isinstance(event, CreateFailed)] == [
            str(event.error) for event in told if isinstance(event, CreateFailed)
        ]
        assert (run.report.planets, run.report.create_failed, run.report.succeeded) == (4, 2, 2)
    assert creates(sim) == {("s0", "p0"): 1, ("s0", "p2"): 1}


async def test_a_set_has_an_order(sim: Simulator, path: Path) -> None:
    """Targets without an order of their own are the same targets in the next process."""
    async with client_of(sim) as client:
        await consumed(client.bulk_create(set(TARGETS), SPEC, journal=path), 3)
        await consumed(client.bulk_create(frozenset(reversed(TARGETS)), SPEC, journal=path))
    assert creates(sim) == EACH_ONCE


async def test_a_full_disk_in_the_middle(sim: Simulator, path: Path) -> None:
    """Creating stops; what was begun is watched and told; then the error comes, with the report intact."""
    targets = [f"s/p{number}" for number in range(300)]
    told: list[Event] = []
    async with client_of(sim) as client:
        run = client.bulk_create(targets, SPEC, journal=path)

        async def consume() -> None:
            async with run:
                ledger: Any = run._ledger
                await ledger._connection.execute_fetchall("PRAGMA max_page_count=1")
                async for event in run:
                    told.append(event)  # noqa: PERF401 - an error comes at the end

        with pytest.raises(JournalError, match="disk is full") as caught:
            await consume()
        assert isinstance(caught.value.__cause__, sqlite3.Error)
    report = run.report
    assert 0 < report.created < 300
    assert report.created == report.succeeded == report.planets == sum(creates(sim).values())
    assert {event.ref for event in told if isinstance(event, BackupSucceeded)} == set(caught.value.created)
    async with client_of(sim) as client:
        run = client.resume(path)
        await consumed(run)
    assert run.report.ok
    assert set(creates(sim).values()) == {1}
    assert len(creates(sim)) == 300


async def test_a_closed_client_leaves_a_journal_to_go_on_with(sim: Simulator, path: Path) -> None:
    """A client that is closed under a run ends it here, not for good."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", planet="p9", count=1, gate=gate))
    client = client_of(sim)
    await client.__aenter__()
    async with client.bulk_create(TARGETS, SPEC, journal=path) as run:
        await gate.arrived()
        await client.__aexit__(None, None, None)
        gate.open()
        with pytest.raises(ClientClosedError, match=r"not open|was closed|was left"):
            await _to_the_end(run)
    async with client_of(sim) as again:
        run = again.resume(path)
        await consumed(run)
    assert run.report.ok
    assert creates(sim) == EACH_ONCE


async def test_no_secret_is_in_it(sim: Simulator, path: Path) -> None:
    """No byte of the journal holds the token."""
    sim.faults.append(Fault(Respond(401), kind="create", planet="p1"))
    async with client_of(sim) as client:
        await consumed(client.bulk_create(TARGETS, SPEC, journal=path))
    assert sim.token.encode() not in path.read_bytes()
    assert b"AuthenticationError" in path.read_bytes()


async def test_arguments_are_checked_at_once(sim: Simulator, path: Path) -> None:
    """Before a file is made."""
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
