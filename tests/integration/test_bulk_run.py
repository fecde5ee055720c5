"""Bulk runs over HTTP: every planet gets one backup and one true outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from asyncbackups import (
    BackupClient,
    BackupCreated,
    BackupSpec,
    BulkReport,
    CreateFailed,
    CreatePolicy,
    DuplicateFound,
    PlanetRef,
    PollingPolicy,
    RetryPolicy,
)
from asyncbackups.simulator import (
    ApiBehavior,
    CreateAnswer,
    Drop,
    Fault,
    Fixed,
    Html,
    Lognormal,
    Malformed,
    MetadataEcho,
    OperationKind,
    Paging,
    Respond,
    Simulator,
    Truncate,
    When,
    Workload,
)
from tests.fake_clock import settle

SPEED = 500.0
USUAL = Workload(duration=Lognormal(60, 0.4), failure_share=0.2, history=20)
PLANETS = [f"sun-{place % 3}/planet-{place}" for place in range(18)]


@asynccontextmanager
async def stage(**settings: Any) -> AsyncIterator[Any]:
    """Run the simulator and a client, so fast that minutes take a second."""
    async with Simulator(speed=SPEED, seed=5, **{"workload": USUAL, **settings}) as sim:
        client = BackupClient(
            sim.base_url,
            sim.tenant,
            auth=sim.token,
            polling=PollingPolicy().sped_up(SPEED),
            retry=RetryPolicy(initial=0.01, maximum=0.05),
            creating=CreatePolicy(settle=0.05),
        )
        async with client:
            yield sim, client


async def run_all(client: BackupClient, targets: Any = PLANETS, **options: Any) -> tuple[list[Any], BulkReport]:
    async with client.bulk_create(targets, BackupSpec(), deadline=45, **options) as run:
        events = [event async for event in run]
    return events, run.report


def adds_up(report: BulkReport) -> bool:
    ended = report.succeeded + report.failed + report.gone + report.expired + report.unchecked
    return report.planets == report.create_failed + ended == len(report.outcomes)


SHAPES = {
    "as documented": ApiBehavior(),
    "bare array": ApiBehavior(envelope=None),
    "wrapped": ApiBehavior(create_answer=CreateAnswer.WRAPPED, create_status=201),
    "location": ApiBehavior(create_answer=CreateAnswer.LOCATION, create_status=202),
    "no id in the response": ApiBehavior(create_answer=CreateAnswer.WITHOUT_ID),
    "empty response": ApiBehavior(create_answer=CreateAnswer.EMPTY, echo_metadata=MetadataEcho.GET),
    "plural path": ApiBehavior(plural_list_path=True),
    "paged": ApiBehavior(paging=Paging.LINKS_NEXT, page_size=4),
    "pages not understood": ApiBehavior(paging=Paging.TOTAL_PAGES, page_size=4),
    "tagged": ApiBehavior(etag=True),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_every_planet_gets_one_backup_and_one_outcome(shape: ApiBehavior) -> None:
    """Whatever the shape of the API's responses, the outcomes are true."""
    async with stage(behavior=shape) as (sim, client):
        events, report = await run_all(client)
        assert adds_up(report)
        assert report.created == len(PLANETS)
        assert set(sim.state.creates.values()) == {1}
        assert Counter(event.planet for event in events) == dict.fromkeys(map(PlanetRef.parse, PLANETS), 2)
        for planet, outcome in report.outcomes.items():
            backup = await client.get(planet.star_system, outcome.event.ref.backup_id)
            assert type(outcome.event).__name__ == f"Backup{backup.status.capitalize()}"
        assert report.requests["create"] == len(PLANETS)


FAULTS = {
    "lost responses": Fault(Drop(When.AFTER), kind=OperationKind.CREATE, probability=0.4),
    "errors after the effect": Fault(Respond(503, when=When.AFTER), kind=OperationKind.CREATE, probability=0.4),
    "gateway pages after the effect": Fault(Html(502, when=When.AFTER), kind=OperationKind.CREATE, probability=0.4),
    "truncated": Fault(Truncate(), kind=OperationKind.CREATE, probability=0.4),
    "malformed": Fault(Malformed(), kind=OperationKind.CREATE, probability=0.4),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_lost_responses_cause_no_duplicates(fault: Fault) -> None:
    """The backups are adopted; no planet gets a second create."""
    async with stage() as (sim, client):
        sim.faults.append(fault)
        events, report = await run_all(client)
        assert adds_up(report)
        assert report.created == len(PLANETS)
        assert set(sim.state.creates.values()) == {1}
        assert any(isinstance(event, BackupCreated) and event.adopted == "marker" for event in events)


async def resend_all(client: BackupClient, sim: Simulator, **options: Any) -> tuple[list[Any], BulkReport]:
    """Lose the response to the first create of three planets whose lists show backups late, and run to the end."""
    planets = [f"sun-0/planet-{number}" for number in (1, 2, 3)]
    sim.faults.append(Fault(Drop(When.AFTER), kind=OperationKind.CREATE, planet="planet-1", count=1))
    sim.faults.append(Fault(Drop(When.BEFORE), kind=OperationKind.CREATE, planet="planet-2", count=1))
    return await run_all(client, planets, **options)


LATE_LISTS = ApiBehavior(list_lag=0.3)
LONG = Workload(duration=Fixed(500), history=40)


@pytest.mark.parametrize("has_journal", [False, True])
async def test_backup_that_was_created_twice_is_reported(has_journal: bool, tmp_path: Path) -> None:
    """Both ids are named when it ends; a create that was sent again, but was processed once, is cleared."""
    options = {"journal": tmp_path / "run.journal"} if has_journal else {}
    async with stage(behavior=LATE_LISTS, workload=LONG) as (sim, client):
        events, report = await resend_all(client, sim, **options)
        assert adds_up(report)
        in_doubt = {event.ref for event in events if isinstance(event, BackupCreated) and event.possible_duplicate}
        (found,) = [event for event in events if isinstance(event, DuplicateFound)]
        assert (str(found.planet), len(in_doubt), (found.id is not None)) == ("sun-0/planet-1", 2, has_journal)
        assert sim.state.creates[found.planet.star_system, found.planet.planet] == 2
        listed = await client.list("sun-0", "planet-1")
        made = {backup.id for backup in listed if "asyncbackups" in str(backup.extra)}
        assert {found.ref.backup_id, *(ref.backup_id for ref in found.duplicates)} == made
        assert (report.duplicates, report.possible_duplicates, report.ok) == (found.duplicates, 0, True)
        last = [event for event in events if event.planet == found.planet][-1]
        assert report.outcomes[found.planet].event is last


async def test_doubt_remains_where_markers_are_not_shown() -> None:
    """Without markers, a list does not prove that there is only one backup."""
    hidden = attrs.evolve(LATE_LISTS, echo_metadata=MetadataEcho.NONE)
    async with stage(behavior=hidden, workload=LONG) as (sim, client):
        events, report = await resend_all(client, sim)
        assert not any(isinstance(event, DuplicateFound) for event in events)
        assert (report.duplicates, report.possible_duplicates, report.ok) == ((), 2, True)


async def test_baseline_list_feeds_the_duration_estimates() -> None:
    """The first interval is learned from 30 backups that had finished before, with one LIST in all."""
    workload = Workload(duration=Lognormal(600, 0.2), history=30)
    async with stage(workload=workload) as (_, client), client.bulk_create(["sun-0/planet-1"], BackupSpec()) as run:
        created = await anext(run)
        explanation = client.watch([created.ref]).explain(created.ref)
        assert client.requests["list"] == 1
        assert (explanation.learned_from, explanation.polls) == (30, 0)


async def test_refused_planet_does_not_stop_the_others() -> None:
    """Its event quotes the service's response."""
    async with stage() as (sim, client):
        sim.faults.append(
            Fault(Respond(400, body="no such planet class"), kind=OperationKind.CREATE, planet="planet-4")
        )
        events, report = await run_all(client)
        assert adds_up(report)
        (failed,) = [event for event in events if isinstance(event, CreateFailed)]
        assert failed.planet == PlanetRef("sun-1", "planet-4")
        assert "no such planet class" in str(failed.error)
        assert report.create_failed == 1


async def test_targets_may_come_from_an_async_iterable() -> None:
    """It is read as creates start."""

    async def targets() -> AsyncIterator[str]:
        for planet in PLANETS[:6]:
            await asyncio.sleep(0)
            yield planet

    async with stage() as (_sim, client):
        _, report = await run_all(client, targets(), concurrency=2)
        assert adds_up(report)
        assert report.planets == 6


async def test_leaving_early_leaves_nothing_behind() -> None:
    """No task and no request remains."""
    async with stage() as (sim, client):
        async with client.bulk_create(PLANETS, BackupSpec(), concurrency=4) as run:
            async for _ in run:
                break
        assert run.report.planets < len(PLANETS)
        spent = sum(client.requests.values())
        await settle()
        assert sum(client.requests.values()) == spent
        assert not [task for task in asyncio.all_tasks() if "bulk" in task.get_name()]
        assert sum(sim.state.creates.values()) <= run.report.planets


async def test_two_runs_share_one_client() -> None:
    """Each has the events of its own planets only."""
    async with stage() as (_sim, client):
        (first, one), (second, two) = await asyncio.gather(run_all(client, PLANETS[:6]), run_all(client, PLANETS[6:12]))
        assert adds_up(one)
        assert adds_up(two)
        assert {str(event.planet) for event in first} == set(PLANETS[:6])
        assert {str(event.planet) for event in second} == set(PLANETS[6:12])
