"""How long a list of 10,000 backups blocks the event loop, over real HTTP from a simulator in a child process.

    python -m benchmarks.stalls [--quick]     # prints JSON; `benchmarks.scheduling` makes a table of it

During each measurement, a task that yields in a loop records the duration of its longest iteration: the thread's
processor time (which excludes other processes) and the wall-clock time.
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
    """The longest iteration of the event loop, in milliseconds."""

    cpu: float = 0.0
    wall: float = 0.0

    async def record(self) -> None:
        """Yield in a loop until cancelled."""
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0)
            now, used = time.perf_counter(), time.thread_time()
            self.wall, self.cpu = max(self.wall, 1e3 * (now - wall)), max(self.cpu, 1e3 * (used - cpu))
            wall, cpu = now, used


@asynccontextmanager
async def longest_turn(found: dict[str, dict[str, float]], name: str) -> AsyncIterator[None]:
    """Store the longest iteration within the block."""
    recorded = Turns()
    task = asyncio.create_task(recorded.record())
    await asyncio.sleep(0)
    try:
        yield
        await asyncio.sleep(0)
    finally:
        task.cancel()
        found[name] = attrs.asdict(recorded)


async def create_backups(client: BackupClient, number: int) -> list[BackupRef]:
    """Create the given number of backups in one star system."""
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
            refs = await create_backups(client, number)
            over = time.monotonic() + seconds
            async with longest_turn(found, "client.list"):
                await client.list("large")
            async with client.watch(refs), longest_turn(found, "a watch: all are new, then lists without changes"):
                await asyncio.sleep(min(WATCHED_FOR, seconds / 4))
            await asyncio.sleep(max(0.0, over - time.monotonic()))
            async with client.watch(refs) as watch, longest_turn(found, "a watch: all have succeeded at once"):
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
