"""For how long a list of 10,000 backups holds the event loop, over real HTTP from a simulator in another process.

    python -m benchmarks.stalls [--quick]     # prints JSON; `benchmarks.scheduling` makes a table of it

Beside what is measured a task takes one turn of the loop after the other and notes what each took: the thread's
processor time (other processes on the machine do not count), and the clock's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs

from asyncbackups import BackupClient, BackupRef, BackupSpec, Limits, PollingPolicy
from asyncbackups.simulator import Fixed, SimulatorProcess, Workload

BACKUPS = 10_000
WATCHED_FOR = 4.0


@attrs.define
class Turns:
    """The longest turn of the event loop, in milliseconds."""

    cpu: float = 0.0
    wall: float = 0.0

    async def count(self) -> None:
        """Take turns until cancelled."""
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0)
            now, used = time.perf_counter(), time.thread_time()
            self.wall, self.cpu = max(self.wall, 1e3 * (now - wall)), max(self.cpu, 1e3 * (used - cpu))
            wall, cpu = now, used


@asynccontextmanager
async def turns(found: dict[str, dict[str, float]], what: str) -> AsyncIterator[None]:
    """Note the longest turn within the block."""
    counted = Turns()
    task = asyncio.create_task(counted.count())
    await asyncio.sleep(0)
    try:
        yield
        await asyncio.sleep(0)
    finally:
        task.cancel()
        found[what] = attrs.asdict(counted)


async def created(client: BackupClient, number: int) -> list[BackupRef]:
    """Create so many backups of one star system."""
    numbers = iter(range(number))
    refs = []

    async def work() -> None:
        for n in numbers:
            backup = await client.create("large", f"planet-{n % 50}", BackupSpec())
            refs.append(BackupRef("large", backup.id))

    await asyncio.gather(*(work() for _ in range(32)))
    return refs


async def measure(number: int, seconds: float) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    workload = Workload(duration=Fixed(seconds))
    often = PollingPolicy(initial=0.5, maximum=1.0)
    with SimulatorProcess(workload=workload) as sim:
        limits = Limits(concurrency=32)
        async with BackupClient(sim.base_url, sim.tenant, auth=sim.token, polling=often, limits=limits) as client:
            refs = await created(client, number)
            over = time.monotonic() + seconds
            async with turns(found, "client.list"):
                await client.list("large")
            async with client.watch(refs), turns(found, "a watch: all are new, then lists without news"):
                await asyncio.sleep(min(WATCHED_FOR, seconds / 4))
            await asyncio.sleep(max(0.0, over - time.monotonic()))
            async with client.watch(refs) as watch, turns(found, "a watch: all have succeeded at once"):
                ended = 0
                async for _ in watch:
                    ended += 1
            assert ended == number
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.stalls", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the backups")
    options = parser.parse_args(argv)
    number, seconds = (BACKUPS // 10, 4.0) if options.quick else (BACKUPS, 20.0)
    print(json.dumps(asyncio.run(measure(number, seconds))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
