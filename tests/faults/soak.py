"""Run one client and one watch for simulated days, with expiring tokens and a service that restarts.

`python -m tests.faults.soak --minutes 20` prints the resources in use over time. It exits with 1 if they grow or if an
outcome is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import random
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import attrs

from asyncbackups import (
    Backup,
    BackupClient,
    BackupFailed,
    BackupRef,
    BackupsError,
    BackupSpec,
    BackupSucceeded,
    ClientCredentials,
    Watch,
)
from asyncbackups.policies import Timeouts
from asyncbackups.simulator import Access, Drop, Fault, Lognormal, Respond, Simulator, When, Workload
from tests.faults.fast_clock import FastClock
from tests.faults.leak_checks import open_files

SPEED = 600.0
"""A simulated day takes 144 s."""
IN_FLIGHT = 24
TIMEOUTS = Timeouts(total=600.0)
"""One real second."""
SPEC = BackupSpec(retention_period_in_days=1)
SAMPLES = 20
WARM_UP = 0.4
"""The share of the samples that is ignored because caches still fill."""
ALLOWED_GROWTH = {"resident, MiB": 8.0, "traced, MiB": 1.5, "files": 12.0, "tasks": 12.0, "threads": 2.0}
"""The allowed difference between the medians of the second and the first half of the other samples."""


@attrs.frozen
class Sample:
    """The resources of the process at one moment."""

    day: float
    ended: int
    requests: int
    resources: dict[str, float]

    def __str__(self) -> str:
        resources = " | ".join(f"{value:.1f}" for value in self.resources.values())
        return f"| {self.day:.2f} | {self.ended} | {self.requests} | {resources} |"


@attrs.define
class Soak:
    """The running soak test and its counts.

    Attributes:
        sim: The service.
        client: The client.
        watch: The watch.
        clock: The clock of the service and the client.
        ended: The number of ended backups, by event type.
        create_errors: The number of failed creates, by error type.
        violations: Descriptions of wrong outcomes.
        planets: The planet of each backup in flight.
    """

    sim: Simulator
    client: BackupClient
    watch: Watch
    clock: FastClock
    ended: Counter[str] = attrs.field(factory=Counter)
    create_errors: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)
    planets: dict[BackupRef, str] = attrs.field(factory=dict)

    async def replace_ended(self) -> None:
        """Create a backup for each one that ends, so that the number in flight is constant."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(IN_FLIGHT):
                tasks.create_task(self._create(f"system-{number % 4}", f"planet-{number}"))
            async for event in self.watch:
                self._check_event(event)
                planet = self.planets.pop(event.ref)
                tasks.create_task(self._replace(event.ref, planet))

    def _check_event(self, event: object) -> None:
        self.ended[type(event).__name__] += 1
        if isinstance(event, BackupSucceeded | BackupFailed):
            actual = self.sim.state[event.ref.backup_id]
            succeeded = isinstance(event, BackupSucceeded)
            if succeeded != actual.outcome.succeeds or not self.sim.state.phase(event.ref.backup_id).final:
                self.violations.append(f"wrong outcome: {event}")
        else:
            self.violations.append(f"not a final outcome: {event}")

    async def _replace(self, ref: BackupRef, planet: str) -> None:
        await self._delete_until_done(ref)
        await self._create(ref.star_system, planet)

    async def _delete_until_done(self, ref: BackupRef) -> None:
        while True:
            try:
                return await self.client.delete(ref.star_system, ref.backup_id, missing_ok=True)
            except BackupsError:
                await self.clock.sleep(60)

    async def _create(self, star_system: str, planet: str) -> None:
        backup: Backup | None = None
        while backup is None:
            try:
                backup = await self.client.create(star_system, planet, SPEC)
            except BackupsError as exc:
                self.create_errors[type(exc).__name__] += 1
                await self.clock.sleep(60)
        ref = self.watch.add(star_system, backup.id)
        self.planets[ref] = planet

    async def disrupt_service(self) -> None:
        """Restart the service every two hours, lose some responses, and revoke tokens at every third restart."""
        self.sim.faults.append(Fault(Drop(When.AFTER), probability=0.004))
        self.sim.faults.append(Fault(Respond(503), probability=0.002))
        for number in itertools.count(1):
            await self.clock.sleep(7200)
            await self.sim.stop()
            await self.clock.sleep(60)
            await self.sim.start()
            if number % 3 == 0:
                self.sim.tokens.revoke_all()

    def sample(self, start: float) -> Sample:
        gc.collect()
        resources = {
            "resident, MiB": _resident_bytes() / 2**20,
            "traced, MiB": tracemalloc.get_traced_memory()[0] / 2**20,
            "files": len(open_files()),
            "tasks": len(asyncio.all_tasks()),
        }
        day = (self.clock.monotonic() - start) / 86400
        return Sample(day, self.ended.total(), sum(self.client.requests.values()), resources)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def growths(samples: list[Sample]) -> dict[str, float]:
    """Return the growth of each resource between the two halves of the samples after the warm-up."""
    steady = samples[round(len(samples) * WARM_UP) :]
    half = len(steady) // 2
    return {
        name: _median(steady[half:], name) - _median(steady[:half], name)
        for name in steady[0].resources
        if name in ALLOWED_GROWTH
    }


def _median(samples: list[Sample], name: str) -> float:
    values = sorted(sample.resources[name] for sample in samples)
    return values[len(values) // 2]


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def soak(minutes: float) -> int:
    """Run for the given number of real minutes and return the exit status."""
    clock = FastClock(SPEED)
    sim = Simulator(
        clock=clock,
        seed=5,
        workload=Workload(duration=Lognormal(900.0, 0.5), failure_share=0.1),
        access=Access(token_life=3600.0),
    )
    async with sim:
        auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
        client = BackupClient(
            sim.base_url, sim.tenant, auth=auth, clock=clock, timeouts=TIMEOUTS, random=random.Random(5)
        )
        async with client, client.watch() as watch:
            return await _observe(Soak(sim=sim, client=client, watch=watch, clock=clock), minutes)


async def _observe(running: Soak, minutes: float) -> int:
    tasks = [asyncio.create_task(running.replace_ended()), asyncio.create_task(running.disrupt_service())]
    start, samples = running.clock.monotonic(), []
    try:
        for number in range(SAMPLES):
            done, _ = await asyncio.wait(tasks, timeout=minutes * 60 / SAMPLES, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                raise AssertionError(f"ended unexpectedly: {task}")
            samples.append(running.sample(start))
            if number == 0:
                _print_line(f"| day | backups | requests | {' | '.join(samples[0].resources)} |")
                _print_line(f"|{'---|' * (3 + len(samples[0].resources))}")
            _print_line(str(samples[-1]))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return _print_verdict(running, samples)


def _print_verdict(running: Soak, samples: list[Sample]) -> int:
    grown = growths(samples)
    _print_line("")
    for name, growth in grown.items():
        _print_line(f"{name}: {growth:+.2f} (allowed: {ALLOWED_GROWTH[name]:+.1f})")
    _print_line(f"ended: {dict(running.ended)}; failed creates, repeated: {dict(running.create_errors)}")
    _print_line(f"tokens issued: {running.sim.tokens.issued}")
    for violation in running.violations[:20]:
        _print_line(violation)
    return 1 if running.violations or any(growth > ALLOWED_GROWTH[name] for name, growth in grown.items()) else 0


def main() -> int:
    """Run for the given number of minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="run time in real minutes")
    options = parser.parse_args()
    tracemalloc.start()
    start = time.monotonic()
    status = asyncio.run(soak(options.minutes))
    _print_line(f"{'flat' if status == 0 else 'NOT flat, or a wrong outcome'}, after {time.monotonic() - start:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
