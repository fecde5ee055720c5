"""Virtual days in minutes: one client, one watch that is never left, tokens that expire, a service that restarts.

`python -m tests.faults.soak --minutes 20` prints what the process holds as time goes by, and exits
with 1 if that grows or if an outcome was not true.
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
from tests.faults.hurried_clock import HurriedClock
from tests.faults.leftovers import open_files

SPEED = 600.0
"""A virtual day takes two and a half minutes."""
IN_FLIGHT = 24
PATIENT = Timeouts(total=600.0)
"""A second, in fact."""
SPEC = BackupSpec(retention_period_in_days=1)
SAMPLES = 20
WARM_UP = 0.4
"""The part of the time in which caches may fill."""
ROOM = {"resident, MiB": 8.0, "traced, MiB": 1.5, "files": 12.0, "tasks": 12.0, "threads": 2.0}
"""How much the second half of the rest may hold more than the first: what noise there is."""


@attrs.frozen
class Sample:
    """What the process holds at one moment."""

    day: float
    ended: int
    requests: int
    held: dict[str, float]

    def __str__(self) -> str:
        held = " | ".join(f"{value:.1f}" for value in self.held.values())
        return f"| {self.day:.2f} | {self.ended} | {self.requests} | {held} |"


@attrs.define
class Soak:
    """What goes on, and what came of it.

    Attributes:
        sim: The service.
        client: The client.
        watch: The one watch.
        clock: The time of both.
        ended: Backups that ended, by kind of event.
        lost: Creates that ended in an error, by its name.
        flaws: What was not true.
    """

    sim: Simulator
    client: BackupClient
    watch: Watch
    clock: HurriedClock
    ended: Counter[str] = attrs.field(factory=Counter)
    lost: Counter[str] = attrs.field(factory=Counter)
    flaws: list[str] = attrs.field(factory=list)
    planets: dict[BackupRef, str] = attrs.field(factory=dict)

    async def keep_up(self) -> None:
        """Create a backup for each that ends, so that as many are always in flight."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(IN_FLIGHT):
                tasks.create_task(self._create(f"system-{number % 4}", f"planet-{number}"))
            async for event in self.watch:
                self._judge(event)
                planet = self.planets.pop(event.ref)
                tasks.create_task(self._replace(event.ref, planet))

    def _judge(self, event: object) -> None:
        self.ended[type(event).__name__] += 1
        if isinstance(event, BackupSucceeded | BackupFailed):
            true = self.sim.state[event.ref.backup_id]
            said = isinstance(event, BackupSucceeded)
            if said != true.outcome.succeeds or not self.sim.state.phase(event.ref.backup_id).final:
                self.flaws.append(f"not true: {event}")
        else:
            self.flaws.append(f"not an end: {event}")

    async def _replace(self, ref: BackupRef, planet: str) -> None:
        await self._until_it_works(ref)
        await self._create(ref.star_system, planet)

    async def _until_it_works(self, ref: BackupRef) -> None:
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
                self.lost[type(exc).__name__] += 1
                await self.clock.sleep(60)
        ref = self.watch.add(star_system, backup.id)
        self.planets[ref] = planet

    async def disturb(self) -> None:
        """Restart the service every two hours, lose answers all the time, revoke tokens now and then."""
        self.sim.faults.append(Fault(Drop(When.AFTER), probability=0.004))
        self.sim.faults.append(Fault(Respond(503), probability=0.002))
        for number in itertools.count(1):
            await self.clock.sleep(7200)
            await self.sim.stop()
            await self.clock.sleep(60)
            await self.sim.start()
            if number % 3 == 0:
                self.sim.tokens.revoke_all()

    def sample(self, began: float) -> Sample:
        gc.collect()
        held = {
            "resident, MiB": _resident() / 2**20,
            "traced, MiB": tracemalloc.get_traced_memory()[0] / 2**20,
            "files": len(open_files()),
            "tasks": len(asyncio.all_tasks()),
        }
        day = (self.clock.monotonic() - began) / 86400
        return Sample(day, self.ended.total(), sum(self.client.requests.values()), held)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def growths(samples: list[Sample]) -> dict[str, float]:
    """Return by how much the later half of what was measured after the warm-up holds more than the earlier half."""
    steady = samples[round(len(samples) * WARM_UP) :]
    half = len(steady) // 2
    return {
        name: _middle(steady[half:], name) - _middle(steady[:half], name) for name in steady[0].held if name in ROOM
    }


def _middle(samples: list[Sample], name: str) -> float:
    values = sorted(sample.held[name] for sample in samples)
    return values[len(values) // 2]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def soak(minutes: float) -> int:
    """Run, print, judge."""
    clock = HurriedClock(SPEED)
    sim = Simulator(
        clock=clock,
        seed=5,
        workload=Workload(duration=Lognormal(900.0, 0.5), failure_share=0.1),
        access=Access(token_life=3600.0),
    )
    async with sim:
        auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
        client = BackupClient(
            sim.base_url, sim.tenant, auth=auth, clock=clock, timeouts=PATIENT, random=random.Random(5)
        )
        async with client, client.watch() as watch:
            going = Soak(sim=sim, client=client, watch=watch, clock=clock)
            return await _observe(going, minutes)


async def _observe(going: Soak, minutes: float) -> int:
    tasks = [asyncio.create_task(going.keep_up()), asyncio.create_task(going.disturb())]
    began, samples = going.clock.monotonic(), []
    try:
        for number in range(SAMPLES):
            done, _ = await asyncio.wait(tasks, timeout=minutes * 60 / SAMPLES, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                raise AssertionError(f"ended by itself: {task}")
            samples.append(going.sample(began))
            if number == 0:
                _say(f"| day | backups | requests | {' | '.join(samples[0].held)} |")
                _say(f"|{'---|' * (3 + len(samples[0].held))}")
            _say(str(samples[-1]))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return _verdict(going, samples)


def _verdict(going: Soak, samples: list[Sample]) -> int:
    grown = growths(samples)
    _say("")
    for name, growth in grown.items():
        _say(f"{name}: {growth:+.2f} (allowed: {ROOM[name]:+.1f})")
    _say(f"ended: {dict(going.ended)}; creates that had to be tried again: {dict(going.lost)}")
    _say(f"tokens issued: {going.sim.tokens.issued}")
    for flaw in going.flaws[:20]:
        _say(flaw)
    return 1 if going.flaws or any(growth > ROOM[name] for name, growth in grown.items()) else 0


def main() -> int:
    """Run for the minutes that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long, in real minutes")
    given = parser.parse_args()
    tracemalloc.start()
    started = time.monotonic()
    status = asyncio.run(soak(given.minutes))
    _say(f"{'flat' if status == 0 else 'NOT flat, or not true'}, after {time.monotonic() - started:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
