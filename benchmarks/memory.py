"""Bytes per watched backup, and how fast backups are added, at 100,000 and 1,000,000 in 1,000 star systems.

    python -m benchmarks.memory [--quick]

Each figure is measured in a process of its own, with an engine as the client creates it, over a sender that responds
from memory: the figure is what watching adds to an open client. First all backups are added by `Watch.add`, then the
engine runs until every star system has been listed once, so that each backup's status is known: the steady state.
Exact bytes are tracemalloc's (every block of Python's memory, headers of the garbage collector included); beside them
the resident set of a process without tracemalloc, which includes the free memory of the allocator. The rate of adding
is measured without tracemalloc, with the garbage collector enabled: the median of rounds in fresh processes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asyncbackups._polling.watch import Watch
from benchmarks.in_memory import Memory, engine_over
from benchmarks.report import RESULTS, Target, in_child, memory, setting, table, targets, write

STAR_SYSTEMS = 1_000
NUMBERS = (100_000, 1_000_000)
BYTES = {100_000: 1024, 1_000_000: 512}


def traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


async def measure_watch(number: int, now_used: Callable[[], int]) -> dict[str, float]:
    """Watch a number of backups; return bytes per backup when added and when listed, and backups added per second."""
    each = number // STAR_SYSTEMS
    service = Memory({f"star-system-{n}": range(n * each, (n + 1) * each) for n in range(STAR_SYSTEMS)})
    engine = engine_over(service)
    async with Watch(engine, None, deadline=86400.0) as watch:
        await warm_up(watch, service)
        gc.collect()
        before = now_used()
        started = time.perf_counter()
        for star_system, ids in service.ids.items():
            for backup_id in ids:
                watch.add(star_system, backup_id)
        took = time.perf_counter() - started
        gc.collect()
        added = now_used() - before
        await service.all_listed.wait()
        await asyncio.sleep(0.1)  # until the requests in flight are finished
        gc.collect()
        steady = now_used() - before
    await engine.close()
    return {"added": added / number, "steady": steady / number, "rate": number / took}


async def warm_up(watch: Watch, service: Memory) -> None:
    """Import and cache everything that the first backup needs."""
    ids = service.ids["warm"] = range(9_000_000, 9_000_002)
    refs = [watch.add("warm", backup_id) for backup_id in ids]
    await asyncio.sleep(0.1)
    for ref in refs:
        watch.discard(ref)
    del service.ids["warm"]
    service.listed.clear()
    service.all_listed.clear()


def measure(number: int, how: str) -> dict[str, float]:
    """Measure in this process."""
    if how == "exact":
        tracemalloc.start(1)
        return asyncio.run(measure_watch(number, traced_bytes))
    return asyncio.run(measure_watch(number, memory))


def report(found: dict[int, dict[str, Any]]) -> str:
    held = []
    for number, of in found.items():
        limit = BYTES.get(number, 1024)
        most = max(of["exact"]["steady"], of["exact"]["added"])
        held.append(Target.at_most(f"bytes per backup, {number:,} watched", limit, most, digits=0))
        name = f"backups added per second, up to {number:,}"
        held.append(Target(name, "at least 100,000", f"{of['rate']:,.0f}", of["rate"] >= 100_000))
    rows = [
        (
            f"{number:,}",
            round(of["exact"]["added"]),
            round(of["exact"]["steady"]),
            round(of["resident"]["steady"]),
            round(of["rate"]),
        )
        for number, of in found.items()
    ]
    head = ("watched", "bytes each, just added", "bytes each, listed once", "resident bytes each", "added per second")
    return f"""# Memory of watched backups

Made by `python -m benchmarks.memory`: {setting()}. {STAR_SYSTEMS:,} star systems; bytes above those of a client that
watches nothing, by tracemalloc; the larger of the two figures counts. No network: responses come from memory.

{targets(held)}
{table(head, rows)}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only 10,000 backups, one round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--side", nargs=2, metavar=("NUMBER", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(measure(int(options.side[0]), options.side[1])))
        return 0
    found: dict[int, dict[str, Any]] = {}
    for number in (10_000,) if options.quick else NUMBERS:
        sides = {how: in_child("benchmarks.memory", "--side", number, how) for how in ("exact", "resident")}
        more = 1 if number == NUMBERS[0] else 0  # a million takes long, and is a long round by itself
        again = [in_child("benchmarks.memory", "--side", number, "resident") for _ in range(more)]
        sides["rate"] = statistics.median(one["rate"] for one in [sides["resident"], *again])
        found[number] = sides
    write(options.out, "memory", report(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
