"""A thousand backups through real gateways that refuse, reload, die and come back: each outcome right, each once."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs
import pytest

from asyncbackups import (
    BackupClient,
    BackupFailed,
    BackupSpec,
    BackupSucceeded,
    BulkReport,
    ClientCredentials,
    Limits,
    PlanetRef,
    RetryPolicy,
)
from asyncbackups.simulator import Lognormal, Simulator, Workload
from tests.faults.gateways import Haproxy, Nginx
from tests.faults.hurried_clock import HurriedClock

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NUMBER = 1000
SPEED = 30.0
TARGETS = [PlanetRef(f"system {n % 10}/a", f"planet/{n} é") for n in range(NUMBER)]
SPEC = BackupSpec(retention_period_in_days=2)
# On this clock a gateway that starts anew takes several seconds.
RETRY = RetryPolicy(attempts=8)

Disturbance = Callable[[], Awaitable[None]]


@attrs.frozen
class World:
    """A simulator on a hurried clock, which the client goes by as well."""

    clock: HurriedClock
    sim: Simulator


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = HurriedClock(SPEED)
    workload = Workload(duration=Lognormal(60.0, 0.3), failure_share=0.1)
    async with Simulator(clock=clock, workload=workload, seed=11) as sim:
        yield World(clock, sim)


async def every(seconds: float, times: int, disturb: Disturbance) -> None:
    """Disturb a number of times; in real seconds, which are the gateway's."""
    for _ in range(times):
        await asyncio.sleep(seconds)
        await disturb()


async def bulk_run(world: World, url: str, disturbing: Awaitable[None]) -> tuple[BulkReport, list[object]]:
    sim = world.sim
    auth = ClientCredentials(f"{url}/oauth2/v1/token", sim.client_id, sim.client_secret, scopes=sim.scopes)
    client = BackupClient(url, sim.tenant, auth=auth, retry=RETRY, limits=Limits(concurrency=24), clock=world.clock)
    disturbance = asyncio.ensure_future(disturbing)
    async with client, client.bulk_create(TARGETS, SPEC, concurrency=24) as run:
        events = [event async for event in run]
    await disturbance
    return run.report, events


def hold_to_the_truth(world: World, report: BulkReport) -> None:
    """A thousand outcomes, each what the simulator knows to be true, each planet created once."""
    kinds = Counter(type(outcome.event).__name__ for outcome in report.outcomes.values())
    failed = [outcome.event for outcome in report.outcomes.values()]
    failed = [event for event in failed if not isinstance(event, BackupSucceeded | BackupFailed)]
    assert not failed, (kinds, failed[:3])
    assert len(report.outcomes) == NUMBER
    for planet, outcome in report.outcomes.items():
        true = world.sim.state[outcome.event.ref.backup_id]
        assert (true.star_system, true.planet) == (planet.star_system, planet.planet)
        assert isinstance(outcome.event, BackupSucceeded) == true.outcome.succeeds
    assert world.sim.creates == {(planet.star_system, planet.planet): 1 for planet in TARGETS}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_gateway_that_limits_the_rate(world: World, tmp_path: Path, status: int):
    """`limit_req` refuses with 429 or 503, connections end after 25 requests: a thousand right outcomes."""
    async with Nginx(tmp_path, world.sim.port, rate=300, status=status) as nginx:
        report, _ = await bulk_run(world, nginx.url, every(0, 0, asyncio.Event().wait))
        assert nginx.statuses()[status] > 0
    hold_to_the_truth(world, report)


async def test_a_gateway_that_is_reloaded_under_load(world: World, tmp_path: Path):
    """New workers take over again and again, the old ones close their connections."""
    async with Nginx(tmp_path, world.sim.port) as nginx:

        async def reload() -> None:
            nginx.reload()

        report, _ = await bulk_run(world, nginx.url, every(0.15, 15, reload))
    hold_to_the_truth(world, report)


async def test_an_upstream_that_dies_and_comes_back(world: World, tmp_path: Path):
    """The gateway answers 502 while nothing is behind it; what was under way is found again."""

    async def die() -> None:
        await world.sim.stop()
        await asyncio.sleep(0.1)
        await world.sim.start()

    async with Nginx(tmp_path, world.sim.port) as nginx:
        report, _ = await bulk_run(world, nginx.url, every(0.25, 6, die))
        assert nginx.statuses()[502] > 0
    hold_to_the_truth(world, report)


async def test_another_gateway_that_is_killed(world: World, tmp_path: Path):
    """haproxy, killed in the middle and started again, with a queue, short timeouts and 429 above a rate."""
    async with Haproxy(tmp_path, world.sim.port, rate=500) as haproxy:

        async def kill() -> None:
            await haproxy.end(signal.SIGKILL)
            await haproxy.start()

        report, _ = await bulk_run(world, haproxy.url, every(0.4, 4, kill))
    hold_to_the_truth(world, report)


async def test_names_pass_a_gateway_as_they_are(world: World, tmp_path: Path):
    """Encoded slashes, dots and spaces stay in one segment, through nginx."""
    names = ["../../x", "a/b", "%2F", "ü ü", "//", "a?b#c"]
    async with Nginx(tmp_path, world.sim.port) as nginx:
        auth = world.sim.token
        async with BackupClient(nginx.url, world.sim.tenant, auth=auth, clock=world.clock) as client:
            made = [await client.create(name, name, SPEC) for name in names]
            shown = [await client.list(name, name) for name in names]
    assert [[one.id for one in backups] for backups in shown] == [[backup.id] for backup in made]
    assert world.sim.creates == {(name, name): 1 for name in names}
