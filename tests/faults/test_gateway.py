"""A thousand backups through real gateways that refuse, reload and restart: each outcome is correct, and none twice."""

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
from tests.faults.fast_clock import FastClock
from tests.faults.gateways import Haproxy, Nginx

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NUMBER = 1000
SPEED = 30.0
TARGETS = [PlanetRef(f"system {n % 10}/a", f"planet/{n} é") for n in range(NUMBER)]
SPEC = BackupSpec(retention_period_in_days=2)
# On this clock a gateway takes several seconds to restart.
RETRY = RetryPolicy(attempts=8)

Disruption = Callable[[], Awaitable[None]]


@attrs.frozen
class Service:
    """A simulator, and the fast clock that it shares with the client."""

    clock: FastClock
    sim: Simulator


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    clock = FastClock(SPEED)
    workload = Workload(duration=Lognormal(60.0, 0.3), failure_share=0.1)
    async with Simulator(clock=clock, workload=workload, seed=11) as sim:
        yield Service(clock, sim)


async def disrupt_every(seconds: float, times: int, disrupt: Disruption) -> None:
    """Disrupt the gateway or the service the given number of times, at intervals of real seconds."""
    for _ in range(times):
        await asyncio.sleep(seconds)
        await disrupt()


async def bulk_run(service: Service, url: str, disrupting: Awaitable[None]) -> BulkReport:
    sim = service.sim
    auth = ClientCredentials(f"{url}/oauth2/v1/token", sim.client_id, sim.client_secret, scopes=sim.scopes)
    client = BackupClient(url, sim.tenant, auth=auth, retry=RETRY, limits=Limits(concurrency=24), clock=service.clock)
    disruption = asyncio.ensure_future(disrupting)
    async with client, client.bulk_create(TARGETS, SPEC, concurrency=24) as run:
        async for _ in run:
            pass
    await disruption
    return run.report


def check_outcomes(service: Service, report: BulkReport) -> None:
    """Check that the outcome of each planet is the simulator's, and that each planet has one create."""
    kinds = Counter(type(outcome.event).__name__ for outcome in report.outcomes.values())
    events = [outcome.event for outcome in report.outcomes.values()]
    unexpected = [event for event in events if not isinstance(event, BackupSucceeded | BackupFailed)]
    assert not unexpected, (kinds, unexpected[:3])
    assert len(report.outcomes) == NUMBER
    for planet, outcome in report.outcomes.items():
        actual = service.sim.state[outcome.event.ref.backup_id]
        assert (actual.star_system, actual.planet) == (planet.star_system, planet.planet)
        assert isinstance(outcome.event, BackupSucceeded) == actual.outcome.succeeds
    assert service.sim.creates == {(planet.star_system, planet.planet): 1 for planet in TARGETS}


@pytest.mark.parametrize("status", [429, 503])
async def test_gateway_that_limits_the_rate(service: Service, tmp_path: Path, status: int):
    """`limit_req` refuses requests with 429 or 503, and connections end after 25 requests."""
    async with Nginx(tmp_path, service.sim.port, rate=300, status=status) as nginx:
        report = await bulk_run(service, nginx.url, asyncio.sleep(0))
        assert nginx.count_statuses()[status] > 0
    check_outcomes(service, report)


async def test_gateway_that_is_reloaded_under_load(service: Service, tmp_path: Path):
    """New workers take over repeatedly, and the old ones close their connections."""
    async with Nginx(tmp_path, service.sim.port) as nginx:

        async def reload() -> None:
            nginx.reload()

        report = await bulk_run(service, nginx.url, disrupt_every(0.15, 15, reload))
    check_outcomes(service, report)


async def test_upstream_that_is_restarted(service: Service, tmp_path: Path):
    """The gateway returns 502 while the service is stopped; interrupted creates are reconciled."""

    async def restart() -> None:
        await service.sim.stop()
        await asyncio.sleep(0.1)
        await service.sim.start()

    async with Nginx(tmp_path, service.sim.port) as nginx:
        report = await bulk_run(service, nginx.url, disrupt_every(0.25, 6, restart))
        assert nginx.count_statuses()[502] > 0
    check_outcomes(service, report)


async def test_gateway_that_is_killed(service: Service, tmp_path: Path):
    """Haproxy with a queue, short timeouts and a rate limit is killed and restarted during the run."""
    async with Haproxy(tmp_path, service.sim.port, rate=500) as haproxy:

        async def kill() -> None:
            await haproxy.stop(signal.SIGKILL)
            await haproxy.start()

        report = await bulk_run(service, haproxy.url, disrupt_every(0.4, 4, kill))
    check_outcomes(service, report)


async def test_names_pass_a_gateway_unchanged(service: Service, tmp_path: Path):
    """Names with slashes, dots and spaces stay one path segment through nginx."""
    names = ["../../x", "a/b", "%2F", "ü ü", "//", "a?b#c"]
    async with Nginx(tmp_path, service.sim.port) as nginx:
        auth = service.sim.token
        async with BackupClient(nginx.url, service.sim.tenant, auth=auth, clock=service.clock) as client:
            created = [await client.create(name, name, SPEC) for name in names]
            listed = [await client.list(name, name) for name in names]
    assert [[one.id for one in backups] for backups in listed] == [[backup.id] for backup in created]
    assert service.sim.creates == {(name, name): 1 for name in names}
