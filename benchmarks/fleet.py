"""A fleet: 100,000 backups in 1,000 star systems, created and watched until they end, over HTTP.

    python -m benchmarks.fleet [--quick]

One `client.bulk_create` in a process of its own, the simulator in another. Durations are lognormal (median 131 s, sigma
0.2), simulated at 4x, so that nearly all backups are in flight when the last one is created; each star system has 30
finished ones before. The phase of creating, with polls in it, ends with the response to the last create. Latencies are
from the completion of a backup to its event, in simulated seconds. For comparison: the number of polls of one task per
backup that polls at once and then every 30 s.
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
    """Yield the planets, alternating between star systems."""
    for planet in range(each):
        for star_system in range(star_systems):
            yield PlanetRef(f"star-system-{star_system}", f"planet-{planet}")


class Meter:
    """Reads CPU time, requests and time since the last reading."""

    def __init__(self, client: BackupClient) -> None:
        self._client = client
        self._last = self._now()

    def _now(self) -> dict[str, float]:
        requests = self._client.requests
        return {
            "seconds": time.monotonic(),
            "cpu": time.process_time(),
            "creates": requests.get("create", 0),
            "gets": requests.get("get", 0),
            "lists": requests.get("list", 0),
        }

    def read(self) -> dict[str, float]:
        """Return the differences since the last reading."""
        last, self._last = self._last, self._now()
        return {name: value - last[name] for name, value in self._last.items()}


async def fleet(where: dict[str, str], star_systems: int, each: int, speed: float) -> dict[str, Any]:
    """Create and watch in this process."""
    received_at: dict[int, float] = {}
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
                    received_at[event.ref.backup_id] = time.monotonic()
                elif isinstance(event, BackupCreated):
                    created += 1
                    if created == number:
                        phases["while creating"] = meter.read()
                        in_flight, used = run.report.in_flight, memory() - before
                else:
                    raise AssertionError(event)
        phases["watching the others"] = meter.read()
    return {
        "phases": phases,
        "received_at": received_at,
        "in_flight": in_flight,
        "then": used,
        "peak": peak_memory() - before,
    }


def measure(each: int, speed: float, quick: bool) -> dict[str, Any]:
    workload = Workload(duration=Lognormal(131, 0.2), history=30, history_planets=max(1, min(each, 30)))
    with SimulatorProcess(speed=speed, seed=11, workload=workload) as sim:
        where = json.dumps({"url": sim.base_url, "tenant": sim.tenant, "token": sim.token})
        found: dict[str, Any] = in_child("benchmarks.fleet", *(["--quick"] if quick else []), "--side", where)
        truth = sim.backups()
        requests = sim.counts()["requests"]
    received_at = found.pop("received_at")
    backups = [(truth[int(backup_id)], when) for backup_id, when in received_at.items()]
    found["latencies"] = [(when - backup["completed_at"]) * speed for backup, when in backups]
    durations = [backup["completed_at"] - backup["created_at"] for backup, _ in backups]
    found["plain"] = sum(1 + int(duration * speed / PLAIN) + 1 for duration in durations)
    found["failed"] = sum(
        n for kind in requests.values() for status, n in kind.items() if int(status) not in (200, 201)
    )
    return found


def report(found: dict[str, Any], number: int, star_systems: int, speed: float) -> str:
    latencies, phases = found["latencies"], found["phases"]
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
    head = ("phase", "seconds", "creates", "gets", "lists", "CPU, s", "share of a core")
    facts = [
        ("completions delivered, each once", len(latencies)),
        ("in flight when the last backup was created", found["in_flight"]),
        ("polls per backup", polls / number),
        ("polls per backup of one task each, every 30 s", found["plain"] / number),
        ("ratio of the two", f"1/{found['plain'] / polls:.0f}"),
        ("mean detection latency, s", statistics.fmean(latencies)),
        ("p99 detection latency, s", statistics.quantiles(latencies, n=100)[98]),
        ("mean detection latency of one task each, every 30 s, s", PLAIN / 2),
        (
            "memory when the last backup was created, bytes per backup in flight",
            round(found["then"] / found["in_flight"]),
        ),
        ("peak memory at the end (the report keeps all outcomes), bytes per backup", round(found["peak"] / number)),
        ("error responses", found["failed"]),
    ]
    return f"""# A fleet, created and watched

Made by `python -m benchmarks.fleet`: {setting("aiohttp")}. {number:,} backups in {star_systems:,} star systems, created
and watched by one `client.bulk_create` with the default policy, simulated at {speed:g}x: latencies are in simulated
seconds, CPU time is real. Durations are lognormal, median 131 s, sigma 0.2; each star system has 30 finished backups
before. The polls of one task per backup are computed from the true durations.

{table(("figure", "measured"), facts)}
{table(head, rows)}"""


def plot(latencies: Sequence[float], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only where it is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.hist(latencies, bins=120, range=(0, max(30.0, statistics.quantiles(latencies, n=200)[-1])), density=True)
    axes.axvline(PLAIN / 2, color="k", linestyle="--", label="mean of one task each, every 30 s")
    axes.axvline(statistics.fmean(latencies), color="r", label="mean")
    axes.set(xlabel="detection latency, s", ylabel="share of the backups per second")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 1,000 backups in 20 star systems, at 40x")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table and the plot")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    star_systems, each, speed = (20, 50, 40.0) if options.quick else (STAR_SYSTEMS, 100, SPEED)
    if options.side:
        random.seed(1)
        json.dump(asyncio.run(fleet(json.loads(options.side), star_systems, each, speed)), sys.stdout)
        return 0
    found = measure(each, speed, options.quick)
    write(options.out, "fleet", report(found, star_systems * each, star_systems, speed))
    plot(found["latencies"], options.out / "fleet.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
