"""A fleet: 100,000 backups in 1,000 star systems, created and watched to the end over HTTP.

    python -m benchmarks.fleet [--quick]

One `client.bulk_create` in a process of its own, the simulator in another. Backups take lognormal times (median 131 s,
sigma 0.2) in a world four times faster than life, so that nearly all are in flight when the last one is created; 30
finished ones are in each star system before. Watching is told apart from creating by the moment at which the last
create was answered; while creates are sent polls go on as well. Delays are from when a backup truly ended to when the
program had its event, in seconds of the world. Beside it: what one task for each backup would send that asks at once
and then every 30 s.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asyncbackups import BackupClient, BackupCreated, BackupSpec, BackupSucceeded, Limits, PlanetRef, PollingPolicy
from asyncbackups.simulator import Lognormal, SimulatorProcess, Workload
from benchmarks.report import RESULTS, in_child, memory, peak_memory, setting, table, write

STAR_SYSTEMS = 1_000
SPEED = 4.0
PLAIN = 30.0


def planets(star_systems: int, each: int) -> Iterator[PlanetRef]:
    """Name the planets, star systems in turn."""
    for planet in range(each):
        for star_system in range(star_systems):
            yield PlanetRef(f"star-system-{star_system}", f"planet-{planet}")


class Meter:
    """Processor time, requests and time since the last reading."""

    def __init__(self, client: BackupClient) -> None:
        self._client = client
        self._last = self._now()

    def _now(self) -> dict[str, float]:
        asked = self._client.requests
        return {
            "seconds": time.monotonic(),
            "cpu": time.process_time(),
            "creates": asked.get("create", 0),
            "gets": asked.get("get", 0),
            "lists": asked.get("list", 0),
        }

    def read(self) -> dict[str, float]:
        """Return what was used since the last reading."""
        last, self._last = self._last, self._now()
        return {name: value - last[name] for name, value in self._last.items()}


async def fleet(where: dict[str, str], star_systems: int, each: int, speed: float) -> dict[str, Any]:
    """Create and watch in this process."""
    heard: dict[int, float] = {}
    policy, limits = PollingPolicy().sped_up(speed), Limits(concurrency=48)
    phases: dict[str, dict[str, float]] = {}
    created, number = 0, star_systems * each
    gc.collect()
    before = memory()
    async with BackupClient(
        where["url"], where["tenant"], auth=where["token"], polling=policy, limits=limits
    ) as client:
        meter = Meter(client)
        async with client.bulk_create(planets(star_systems, each), BackupSpec(), concurrency=32) as run:
            async for event in run:
                if isinstance(event, BackupSucceeded):
                    heard[event.ref.backup_id] = time.monotonic()
                elif isinstance(event, BackupCreated):
                    created += 1
                    if created == number:
                        phases["while creating"] = meter.read()
                        most, used = run.report.in_flight, memory() - before
                else:
                    raise AssertionError(event)
        phases["watching what is left"] = meter.read()
    return {"phases": phases, "heard": heard, "in_flight": most, "then": used, "peak": peak_memory() - before}


def measure(each: int, speed: float, quick: bool) -> dict[str, Any]:
    workload = Workload(duration=Lognormal(131, 0.2), history=30, history_planets=max(1, min(each, 30)))
    with SimulatorProcess(speed=speed, seed=11, workload=workload) as sim:
        where = json.dumps({"url": sim.base_url, "tenant": sim.tenant, "token": sim.token})
        found: dict[str, Any] = in_child("benchmarks.fleet", *(["--quick"] if quick else []), "--side", where)
        truth = sim.backups()
        requests = sim.counts()["requests"]
    heard = found.pop("heard")
    found["delays"] = [(when - truth[int(backup_id)]["completed_at"]) * speed for backup_id, when in heard.items()]
    lives = [truth[int(backup_id)]["completed_at"] - truth[int(backup_id)]["created_at"] for backup_id in heard]
    found["plain"] = sum(1 + int(life * speed / PLAIN) + 1 for life in lives)
    found["failed"] = sum(
        n for kind in requests.values() for status, n in kind.items() if int(status) not in (200, 201)
    )
    return found


def report(found: dict[str, Any], number: int, star_systems: int, speed: float) -> str:
    delays, phases = found["delays"], found["phases"]
    polls = sum(phase["gets"] + phase["lists"] for phase in phases.values())
    rows = [
        (
            name,
            of["seconds"],
            round(of["creates"]),
            round(of["gets"]),
            round(of["lists"]),
            of["cpu"],
            of["cpu"] / of["seconds"],
        )
        for name, of in phases.items()
    ]
    head = ("phase", "seconds of the clock", "creates", "gets", "lists", "CPU, s", "share of a core")
    facts = [
        ("backups that ended and were told, each once", len(delays)),
        ("in flight when the last was created", found["in_flight"]),
        ("polls for each backup", polls / number),
        ("one task each at 30 s would have sent, for each backup", found["plain"] / number),
        ("of which ours are", f"1/{found['plain'] / polls:.0f}"),
        ("mean delay of the news, s", statistics.fmean(delays)),
        ("p99 delay, s", statistics.quantiles(delays, n=100)[98]),
        ("mean delay of one task each at 30 s would be, s", PLAIN / 2),
        ("memory when the last was created, bytes for each in flight", round(found["then"] / found["in_flight"])),
        ("peak memory at the end (all outcomes kept in the report), bytes for each", round(found["peak"] / number)),
        ("answers that were errors", found["failed"]),
    ]
    return f"""# A fleet to the end

Made by `python -m benchmarks.fleet`: {setting("aiohttp")}. {number:,} backups in {star_systems:,} star systems, created
and watched by one `client.bulk_create` with the default policy, in a world {speed:g} times faster than life: delays are
seconds of that world, processor time is real. Lognormal, median 131 s, sigma 0.2; 30 finished backups in each star
system before. A task for each backup is not run but counted, from the true durations.

{table(("what", "measured"), facts)}
{table(head, rows)}"""


def plot(delays: Sequence[float], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only where it is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.hist(delays, bins=120, range=(0, max(30.0, statistics.quantiles(delays, n=200)[-1])), density=True)
    axes.axvline(PLAIN / 2, color="k", linestyle="--", label="mean of one task each at 30 s")
    axes.axvline(statistics.fmean(delays), color="r", label="our mean")
    axes.set(xlabel="delay of the news, s", ylabel="share of the backups for each second")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 1,000 backups in 20 star systems, much faster")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table and the plot go")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    star_systems, each, speed = (20, 50, 40.0) if options.quick else (STAR_SYSTEMS, 100, SPEED)
    if options.side:
        random.seed(1)
        json.dump(asyncio.run(fleet(json.loads(options.side), star_systems, each, speed)), sys.stdout)
        return 0
    found = measure(each, speed, options.quick)
    write(options.out, "fleet", report(found, star_systems * each, star_systems, speed))
    plot(found["delays"], options.out / "fleet.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
