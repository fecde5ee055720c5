"""What a journal costs: state changes per second, and a bulk run with one against the same run without.

    python -m benchmarks.journal [--quick]

The run: a client creates a backup of each of 10,000 planets and watches them all, against the simulator in a process of
its own, over real HTTP. Backups take as long as documented (median 131 s), 60 times faster. They are polled every
second: with the default schedule a run takes until its luckless last poll, which varies by more than a journal costs.
The sides take turns, each run in a process of its own; the ratio is that of the medians.

Two ratios are told beside it, which no target holds, because they are of a service that answers in a fifth of a
millisecond, as no real one does: of the time until the last create, and of the client's processor time.

The changes: eight workers write intents, wait for each, and record two events for it, over and over.
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
    """Run once; an empty `journal` is none."""
    wanted = [PlanetRef(f"s{number % STAR_SYSTEMS}", f"p{number}") for number in range(planets)]
    began, cpu, created = time.perf_counter(), time.process_time(), 0.0
    async with (
        BackupClient(base_url, tenant, auth=token, polling=POLLING) as client,
        client.bulk_create(wanted, BackupSpec(), journal=journal or None) as bulk,
    ):
        async for _ in bulk:
            if not created and bulk.report.created == planets:
                created = time.perf_counter() - began
    if bulk.report.succeeded != planets:
        raise SystemExit(f"not every backup succeeded: {bulk.report}")
    took = time.perf_counter() - began
    return {
        "seconds": took,
        "created": created,
        "cpu": time.process_time() - cpu,
        "requests": bulk.report.requests.total(),
    }


async def changes(path: Path, planets: int) -> float:
    """Return state changes per second: intents, which are waited for, and events."""
    journal = Journal(
        path,
        tenant="example",
        base_url="https://example.com",
        spec=BackupSpec(),
        since=None,
        claim=lambda _: None,
        clock=SystemClock(),
    )
    await journal.open([PlanetRef("a", f"p{number}") for number in range(planets)])
    told = 0

    def tell(event: Any) -> None:
        nonlocal told
        told += 1
        journal.acknowledge_up_to(event.id)

    async def work(first: int) -> None:
        for number in range(first, planets, WORKERS):
            target, ref = Planned(number, PlanetRef("a", f"p{number}")), BackupRef("a", number)
            backup = Backup(id=number, status="in_progress", mechanism="logical")
            await journal.record_intent(target)
            journal.record_event(target, BackupCreated(ref=ref, planet=target.planet, backup=backup), tell)
            journal.record_event(target, BackupSucceeded(ref=ref, planet=target.planet, backup=backup), tell)

    began = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    await journal.flush()
    took = time.perf_counter() - began
    await journal.close()
    return (planets + told) / took


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
    return f"""# What a journal costs

Made by `python -m benchmarks.journal`.
{setting("aiohttp", "aiosqlite", "msgspec")}.
{planets:,} backups of a median of 131 s, {SPEED:.0f} times faster, polled every second; medians of {len(rates)} rounds.
Every intent is on the disk (`synchronous=FULL`) before its create is sent. Creates are answered in a fifth of a
millisecond here: "until the last create" and the CPU show what the journal costs where nothing else costs anything.

{targets(held)}
{table(head, rows)}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.journal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables go")
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
