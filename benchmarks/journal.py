"""The cost of a journal: state changes per second, and a bulk run with a journal against the same run without one.

    python -m benchmarks.journal [--quick]

The run: a client creates a backup of each of 10,000 planets and watches them all, over HTTP, against the simulator in
another process. Durations are the documented ones (median 131 s), simulated at 60x. Backups are polled every second:
with the default policy the duration of a run depends on its last poll, which varies by more than the cost of a journal.
The sides alternate, each run in a process of its own; the ratio is that of the medians.

Two more ratios have no target, because no real service responds in a fifth of a millisecond: the time until the last
create, and the client's CPU time.

State changes: eight workers write intents, wait for each, and record two events for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncbackups import (
    Backup,
    BackupClient,
    BackupCreated,
    BackupRef,
    BackupSpec,
    BackupSucceeded,
    PlanetRef,
    PollingPolicy,
)
from asyncbackups._base.clock import SystemClock
from asyncbackups._bulk.journal.journal import Journal
from asyncbackups._bulk.run_store import Target as Planned
from asyncbackups.simulator import Lognormal, SimulatorProcess, Workload
from benchmarks.report import RESULTS, Target, in_child, setting, table, targets, write

STAR_SYSTEMS = 50
WORKERS = 8
SPEED = 60.0
POLLING = PollingPolicy(initial=1.0, factor=1.0, maximum=1.0, jitter=0.0, learn=False)


async def run(base_url: str, tenant: str, token: str, planets: int, journal: str) -> dict[str, float]:
    """Run once; an empty `journal` means no journal."""
    wanted = [PlanetRef(f"s{number % STAR_SYSTEMS}", f"p{number}") for number in range(planets)]
    started, cpu, created = time.perf_counter(), time.process_time(), 0.0
    async with (
        BackupClient(base_url, tenant, auth=token, polling=POLLING) as client,
        client.bulk_create(wanted, BackupSpec(), journal=journal or None) as bulk,
    ):
        async for _ in bulk:
            if not created and bulk.report.created == planets:
                created = time.perf_counter() - started
    if bulk.report.succeeded != planets:
        raise SystemExit(f"not every backup succeeded: {bulk.report}")
    took = time.perf_counter() - started
    return {
        "seconds": took,
        "created": created,
        "cpu": time.process_time() - cpu,
        "requests": bulk.report.requests.total(),
    }


async def changes(path: Path, planets: int) -> float:
    """Return state changes per second: intents, each awaited, and events."""
    journal = Journal(
        path,
        tenant="example",
        base_url="https://example.com",
        spec=BackupSpec(),
        since=None,
        claim=lambda _ref, _planet: None,
        clock=SystemClock(),
    )
    await journal.open([PlanetRef("a", f"p{number}") for number in range(planets)])
    delivered = 0

    def deliver(event: Any) -> None:
        nonlocal delivered
        delivered += 1
        journal.acknowledge_up_to(event.id)

    async def work(first: int) -> None:
        for number in range(first, planets, WORKERS):
            target, ref = Planned(number, PlanetRef("a", f"p{number}")), BackupRef("a", number)
            backup = Backup(id=number, status="in_progress", mechanism="logical")
            await journal.record_intent(target, None)
            journal.record_event(target, BackupCreated(ref=ref, planet=target.planet, backup=backup), deliver)
            journal.record_event(target, BackupSucceeded(ref=ref, planet=target.planet, backup=backup), deliver)

    started = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    await journal.flush()
    took = time.perf_counter() - started
    await journal.close()
    return (planets + delivered) / took


def side(planets: int, journal: Path | None) -> dict[str, float]:
    workload = Workload(duration=Lognormal(131.0, 0.4))
    with SimulatorProcess(workload=workload, speed=SPEED, seed=1) as sim:
        arguments = (sim.base_url, sim.tenant, sim.token, planets, journal or "")
        return in_child("benchmarks.journal", "--run", *arguments)


def measure(number: int, planets: int) -> tuple[list[float], dict[str, list[dict[str, float]]]]:
    rates, found = [], {"without": [], "with a journal": []}
    with tempfile.TemporaryDirectory() as room:
        for turn in range(number):
            rates.append(asyncio.run(changes(Path(room, f"changes{turn}"), planets)))
            sides = [("without", None), ("with a journal", Path(room, f"run{turn}"))]
            for name, journal in sides if turn % 2 else sides[::-1]:
                found[name].append(side(planets, journal))
    return rates, found


def report(rates: list[float], found: dict[str, list[dict[str, float]]], planets: int) -> str:
    medians = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    ratio = {key: medians["with a journal"][key] / medians["without"][key] for key in medians["without"]}
    held = [
        Target.at_least("state changes per second", 5_000, statistics.median(rates)),
        Target.at_most("time of the run, with / without", 1.10, ratio["seconds"]),
    ]
    head = ("side", "run, s", "until the last create, s", "client's CPU, s", "requests")
    rows = [(name, *(of[key] for key in ("seconds", "created", "cpu", "requests"))) for name, of in medians.items()]
    rows.append(("with / without", *(ratio[key] for key in ("seconds", "created", "cpu", "requests"))))
    return f"""# The cost of a journal

Made by `python -m benchmarks.journal`.
{setting("aiohttp", "aiosqlite", "msgspec")}.
{planets:,} backups with a median of 131 s, simulated at {SPEED:.0f}x, polled every second; medians of {len(rates)}
rounds. Every intent is on the disk (`synchronous=FULL`) before its create is sent. The simulator responds to a create
in a fifth of a millisecond: "until the last create" and the CPU time show the cost of the journal where nothing else
costs time.

{targets(held)}
{table(head, rows)}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.journal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument(
        "--run", nargs=5, metavar=("URL", "TENANT", "TOKEN", "PLANETS", "JOURNAL"), help=argparse.SUPPRESS
    )
    options = parser.parse_args(argv)
    if options.run:
        base_url, tenant, token, planets, journal = options.run
        print(json.dumps(asyncio.run(run(base_url, tenant, token, int(planets), journal))))
        return 0
    number, planets = (1, 500) if options.quick else (2, 10_000)
    rates, found = measure(number, planets)
    write(options.out, "journal", report(rates, found, planets))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
