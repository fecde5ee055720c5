"""Compare asyncbackups with other libraries over real HTTP: each side waits for the same 1,000 backups.

    python -m benchmarks.peers [--quick]

The simulator and each side run in processes of their own. The sides run one after the other, each with a new simulator
and the same seed, so that the same backups take the same time for all (lognormal, median 131 s, sigma 0.4, in 10 star
systems that have 30 finished backups each). Everything is simulated at 60x: each side divides all durations of its
schedule by 60, and measured times are multiplied by 60.

The star systems follow one another at intervals of a minute: 100 backups are created in one, and each side waits for
those from then on. If all were created at once, several peers would saturate this machine, to our advantage. The waits
of a peer start spread over one interval of its schedule, at most 30 s, so that its polls do not come in bursts. Our
side is measured twice: with all backups of a star system at once, and with backups added one by one over 30 s without
any information about their age.

CPU time per request depends on the simulation speed (see `benchmarks.real_time`). The two sides of the CPU target are
therefore also measured at 4x, in parallel with the others.

Detection latency is the time from the actual end of a backup, as recorded by the simulator on the same monotonic clock,
until the waiting program knows it. The simulator counts the requests. CPU time and memory are those of the side's
process, from the time when everything is imported and connected until the last completion. `benchmarks.waiting`
contains the code of each side.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from asyncbackups import BackupClient, BackupSpec
from asyncbackups.simulator import Lognormal, SimulatorProcess, Workload
from benchmarks.report import RESULTS, Target, setting, table, targets, write

STAR_SYSTEMS = 10
SPEED = 60.0
LOW_SPEED = 4.0
APART = 60.0
"""Simulated seconds between the creation of the backups of one star system and the next."""


@attrs.frozen
class Side:
    """A side of the comparison.

    Attributes:
        name: The name in the table.
        code: The name of its function in `benchmarks.waiting`.
        requires: The module that must be installed.
        every: The poll interval in seconds, at most 30; its waits start spread over this time.
    """

    name: str
    code: str
    requires: str = "aiohttp"
    every: float = 30.0


OURS = Side("asyncbackups, `watch(refs)`", "ours")
ONE_BY_ONE = Side("asyncbackups, `watch.add` one by one", "one_by_one")
PEERS = (
    Side("azure-core `AsyncLROPoller` (30 s)", "azure", requires="azure.core"),
    Side("google-api-core `AsyncOperation` (1 s x2, cap 60 s, full jitter)", "google", requires="google.api_core"),
    Side("aiobotocore `AIOWaiter` (15 s, 40 attempts)", "botocore", requires="aiobotocore", every=15.0),
    Side("planet-style loop (5 s)", "loop", every=5.0),
    Side("aiohttp, one task per backup (30 s)", "loop"),
)


@attrs.frozen(kw_only=True)
class SideResult:
    """The measurements of a side.

    Attributes:
        requests: The number of GETs and LISTs.
        latencies: The detection latency of each backup, in simulated seconds.
        cpu: CPU time in seconds.
        peak: Peak memory of the process, in bytes.
        above: The part of that which the wait added, in bytes.
    """

    requests: int
    latencies: list[float]
    cpu: float
    peak: int
    above: int

    @property
    def mean(self) -> float:
        """The mean latency."""
        return statistics.fmean(self.latencies)

    @property
    def p99(self) -> float:
        """The 99th percentile of the latency."""
        return statistics.quantiles(self.latencies, n=100)[98]

    @property
    def product(self) -> float:
        """Requests times mean latency, which does not depend on the chosen poll interval."""
        return self.requests * self.mean


def is_installed(side: Side) -> bool:
    try:
        return importlib.util.find_spec(side.requires) is not None
    except ModuleNotFoundError:
        return False


async def create_backups(client: BackupClient, star_system: str, number: int) -> list[tuple[str, int]]:
    """Create backups in a star system."""
    planets = [f"planet-{n % 10 + 1}" for n in range(number)]
    backups = await asyncio.gather(*(client.create(star_system, planet, BackupSpec()) for planet in planets))
    return [(star_system, backup.id) for backup in backups]


async def create_in_turn(sim: SimulatorProcess, number: int, apart: float, send: Callable[[object], None]) -> None:
    """Create equally many backups in each star system, the given seconds apart, and send the refs of each."""
    start = time.monotonic()
    async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
        for n in range(STAR_SYSTEMS):
            await asyncio.sleep(start + n * apart - time.monotonic())
            send(await create_backups(client, f"star-system-{n}", number // STAR_SYSTEMS))
        send([])


async def create_warmup_backup(sim: SimulatorProcess) -> tuple[str, int]:
    """Create a backup that each side may request once before the measurement."""
    async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
        return (await create_backups(client, "another", 1))[0]


def count_polls(sim: SimulatorProcess) -> int:
    """Return the number of GETs and LISTs so far."""
    requests = sim.counts()["requests"]
    return sum(number for kind in requests if kind.startswith(("get", "list")) for number in requests[kind].values())


def measure(side: Side, number: int, speed: float, *, apart: float = APART) -> SideResult:
    """Measure a side in a process of its own."""
    workload = Workload(duration=Lognormal(131, 0.4), history=30)
    with (
        SimulatorProcess(speed=speed, seed=7, workload=workload) as sim,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.waiting", side.code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        stdin = child.stdin

        def send(message: object) -> None:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()

        service = {"base_url": sim.base_url, "token": sim.token, "tenant": sim.tenant}
        warm = asyncio.run(create_warmup_backup(sim))
        send({**service, "warm": warm, "speed": speed, "every": side.every, "spread": side.every})
        assert child.stdout.readline() == "prepared\n"
        before = count_polls(sim)
        asyncio.run(create_in_turn(sim, number, apart / speed, send))
        output = json.loads(child.stdout.readline())
        return result_from_output(output, sim, count_polls(sim) - before, speed)


def measure_both(number: int, speed: float, every: float) -> dict[str, SideResult]:
    """Measure our side and one aiohttp task per backup at the same time, with all backups at once."""
    sides = (OURS, Side("aiohttp, one task per backup", "loop", every=every))
    with ThreadPoolExecutor() as both:
        results = both.map(lambda side: measure(side, number, speed, apart=0.0), sides)
        return {side.name: result for side, result in zip(sides, results, strict=True)}


def cpu_target(both: Sequence[SideResult], speed: float) -> Target:
    """Compare the CPU time of our side and of one aiohttp task per backup, corrected to equal mean latency."""
    ours, loop = both
    # The latency of the loop is inversely proportional to its requests, and so to its CPU time.
    times = loop.cpu * loop.mean / (ours.cpu * ours.mean)
    return Target(
        f"CPU time, compared with one aiohttp task per backup at equal mean latency, {at_speed(speed)}",
        "at most 1/10",
        f"1/{times:.1f}",
        times >= 10,
    )


def at_speed(speed: float) -> str:
    return "in real time" if speed == 1 else f"simulated at {speed:g}x"


def result_from_output(output: dict[str, Any], sim: SimulatorProcess, requests: int, speed: float) -> SideResult:
    backups = sim.backups()
    latencies = []
    for backup_id, detected in output["detected"].items():
        detectable = max(backups[int(backup_id)]["completed_at"], output["started"][backup_id])
        latencies.append((detected - detectable) * speed)
    assert len(latencies) == len(output["started"])
    memory = {name: output[name] for name in ("peak", "above")}
    return SideResult(requests=requests, latencies=latencies, cpu=output["cpu"], **memory)


def report(
    found: dict[str, SideResult],
    slow: dict[str, SideResult],
    equal: str,
    *,
    number: int,
    speed: float,
    low_speed: float,
) -> str:
    ours = found[OURS.name]
    peers = {name: one for name, one in found.items() if name not in (OURS.name, ONE_BY_ONE.name, equal)}
    best = min(peers, key=lambda name: peers[name].product)
    times = peers[best].product / ours.product
    held = [
        Target(
            f"requests x mean latency, compared with the best peer ({best})",
            "at most 1/50",
            f"1/{times:.0f}",
            times >= 50,
        ),
        cpu_target([ours, found[equal]], speed),
        cpu_target(list(slow.values()), low_speed),
    ]
    head = (
        "side",
        "requests",
        "mean latency, s",
        "p99 latency, s",
        "CPU, s",
        "peak memory, MB",
        "of the wait, MB",
    )
    rows = [
        (name, one.requests, one.mean, one.p99, one.cpu, one.peak / 1e6, one.above / 1e6) for name, one in found.items()
    ]
    ratio_head = ("side", "requests", "mean latency", "p99 latency", "requests x latency", "CPU", "memory of the wait")
    ratios = [
        (
            name,
            one.requests / ours.requests,
            one.mean / ours.mean,
            one.p99 / ours.p99,
            one.product / ours.product,
            one.cpu / ours.cpu,
            one.above / ours.above,
        )
        for name, one in found.items()
    ]
    return f"""# Comparison with other libraries over real HTTP

Made by `python -m benchmarks.peers`: {setting("aiohttp", "azure-core", "google-api-core", "aiobotocore")}.
{number:,} backups in {STAR_SYSTEMS} star systems, which start {APART:g} s apart; lognormal with median 131 s and sigma
0.4, 30 finished backups in each star system. Simulated at {speed:g}x: every schedule is divided by this speed, and
latencies are in simulated seconds. The peers are the libraries themselves, used as they document, with one task per
backup; the wait of planet works only with its own API, so its loop of 5 s is written out. All sides wait from the
creation of the backups of a star system on. The waits of a peer start spread over one interval of its schedule, at most
30 s. Our side is one watch per star system with the default policy, or one watch to which backups are added one by one
over 30 s. One run of each side, in its own process.

{targets(held)}
At higher simulation speeds a GET of a peer is cheaper, because its GETs follow one another closely, while ours are
isolated and find cold CPU caches. `benchmarks.real_time` measures in real time.

{table(head, rows)}
## Relative to asyncbackups

{table(ratio_head, ratios)}"""


def plot(found: dict[str, SideResult], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only where it is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, one in found.items():
        axes.loglog(
            one.requests,
            one.mean,
            "*" if name.startswith("asyncbackups") else "o",
            markersize=10,
            label=name.replace("`", ""),
        )
    axes.set(xlabel="requests", ylabel="mean detection latency, s")
    axes.set_title("Waiting for the same 1,000 backups")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 100 backups, all at once, at a higher speed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the tables and the plot")
    options = parser.parse_args(argv)
    number, speed, apart = (100, 3 * SPEED, 0.0) if options.quick else (1_000, SPEED, APART)
    low_speed = speed if options.quick else LOW_SPEED
    found = {OURS.name: measure(OURS, number, speed, apart=apart)}
    every = 2 * found[OURS.name].mean
    equal = Side("aiohttp, one task per backup, at our mean latency", "loop", every=every)
    with ThreadPoolExecutor() as executor:
        slow = executor.submit(measure_both, number, low_speed, every)
        for side in (ONE_BY_ONE, equal, *PEERS):
            if is_installed(side):
                found[side.name] = measure(side, number, speed, apart=apart)
            else:
                print(f"Skipping {side.name}: {side.requires} is not installed", file=sys.stderr)
    write(
        options.out, "peers", report(found, slow.result(), equal.name, number=number, speed=speed, low_speed=low_speed)
    )
    plot(found, options.out / "peers.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
