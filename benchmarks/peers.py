"""Real peers over real HTTP, and us: each waits for the same 1,000 backups in 10 star systems.

    python -m benchmarks.peers [--quick]

The simulator runs in a process of its own and each side in another, one side after the other, each with a fresh
simulator and the same seed: the same backups (lognormal, median 131 s, sigma 0.4; 30 finished ones in each star system
before) take the same time for everyone, who is prepared before they are created. The world runs 60 times faster than
life, and every side divides all durations of its schedule by the same number. A release goes through the star systems
one after the other, a minute apart: 100 backups are created in one, and everybody waits for those from then on. (Were
all created at once, several sides would saturate this machine, to our advantage.) Peers' waits begin over one interval
of their schedule, 30 s at the most, so that nobody's polls come in one burst. Ours is measured twice: given the backups
of a star system at once, and one by one over 30 s, nothing known of any backup's age. Times are in seconds of the
world: measured, and multiplied by the speed.

What a request costs the processor depends on how fast the world is: see `benchmarks.real_time`. So that is measured once
more for the two sides of that target, in a world 4 times as fast as life, beside the others.

The delay of the news is from when a backup truly ended (the simulator tells, on the machine's one monotonic clock) to
when the waiting program knew. Requests are counted by the simulator; processor time and memory are those of the side's
process, from the moment that everything is imported and connected to the last news. What each side does is written in
`benchmarks.waiting`.
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
"""Seconds of the world from the creation of one star system's backups to that of the next one's."""


@attrs.frozen
class Side:
    """A side of the comparison.

    Attributes:
        name: As the table has it.
        code: Which function of `benchmarks.waiting`.
        needs: The module that it needs.
        every: Seconds from poll to poll, or 30 if that is less; the waits begin over so long.
    """

    name: str
    code: str
    needs: str = "aiohttp"
    every: float = 30.0


OURS = Side("asyncbackups, `watch(refs)`", "ours")
ONE_BY_ONE = Side("asyncbackups, `watch.add` one by one", "one_by_one")
PEERS = (
    Side("azure-core `AsyncLROPoller` (30 s)", "azure", needs="azure.core"),
    Side("google-api-core `AsyncOperation` (1 s x2, cap 60 s, full jitter)", "google", needs="google.api_core"),
    Side("aiobotocore `AIOWaiter` (15 s, 40 attempts)", "botocore", needs="aiobotocore", every=15.0),
    Side("planet-style loop (5 s)", "loop", every=5.0),
    Side("aiohttp, a task for each backup (30 s)", "loop"),
)


@attrs.frozen(kw_only=True)
class SideResult:
    """What came of a side. Delays are seconds of the world.

    Attributes:
        requests: Gets and lists that the simulator counted.
        delays: Of each backup.
        cpu: Seconds of the processor.
        peak: Most bytes of its process.
        above: How much of that came with the wait.
    """

    requests: int
    latencies: list[float]
    cpu: float
    peak: int
    above: int

    @property
    def mean(self) -> float:
        """The mean delay."""
        return statistics.fmean(self.latencies)

    @property
    def p99(self) -> float:
        """The delay that one of a hundred exceeds."""
        return statistics.quantiles(self.latencies, n=100)[98]

    @property
    def product(self) -> float:
        """Requests times delay, which does not depend on the cadence chosen."""
        return self.requests * self.mean


def is_installed(side: Side) -> bool:
    try:
        return importlib.util.find_spec(side.needs) is not None
    except ModuleNotFoundError:
        return False


async def create_backups(client: BackupClient, star_system: str, number: int) -> list[tuple[str, int]]:
    """Create backups in a star system."""
    planets = [f"planet-{n % 10 + 1}" for n in range(number)]
    backups = await asyncio.gather(*(client.create(star_system, planet, BackupSpec()) for planet in planets))
    return [(star_system, backup.id) for backup in backups]


async def create_in_turn(sim: SimulatorProcess, number: int, apart: float, tell: Callable[[object], None]) -> None:
    """Create backups, the same number in each star system, so many seconds apart; tell of those of each."""
    began = time.monotonic()
    async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
        for n in range(STAR_SYSTEMS):
            await asyncio.sleep(began + n * apart - time.monotonic())
            tell(await create_backups(client, f"star-system-{n}", number // STAR_SYSTEMS))
        tell([])


async def create_warmup_backup(sim: SimulatorProcess) -> tuple[str, int]:
    """Create a backup that everybody may get once before."""
    async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
        return (await create_backups(client, "another", 1))[0]


def count_polls(sim: SimulatorProcess) -> int:
    """Return how many gets and lists the simulator has counted."""
    requests = sim.counts()["requests"]
    return sum(number for kind in requests if kind.startswith(("get", "list")) for number in requests[kind].values())


def measure(side: Side, number: int, speed: float, *, apart: float = APART) -> SideResult:
    """Let a side wait, in a process of its own."""
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

        def tell(what: object) -> None:
            stdin.write(json.dumps(what) + "\n")
            stdin.flush()

        where = {"base_url": sim.base_url, "token": sim.token, "tenant": sim.tenant}
        warm = asyncio.run(create_warmup_backup(sim))
        tell({**where, "warm": warm, "speed": speed, "every": side.every, "spread": side.every})
        assert child.stdout.readline() == "prepared\n"
        before = count_polls(sim)
        asyncio.run(create_in_turn(sim, number, apart / speed, tell))
        told = json.loads(child.stdout.readline())
        return result(told, sim, count_polls(sim) - before, speed)


def measure_both(number: int, speed: float, every: float) -> dict[str, SideResult]:
    """Let ours and a task for each backup wait at the same time, for all backups at once."""
    sides = (OURS, Side("aiohttp, a task for each backup", "loop", every=every))
    with ThreadPoolExecutor() as both:
        results = both.map(lambda side: measure(side, number, speed, apart=0.0), sides)
        return {side.name: result for side, result in zip(sides, results, strict=True)}


def cpu_target(both: Sequence[SideResult], speed: float) -> Target:
    """Compare what ours and a task for each backup cost the processor; the rest of the difference in delay is out."""
    ours, loop = both
    # A loop that asks more often is sooner and costs more, in proportion.
    times = loop.cpu * loop.mean / (ours.cpu * ours.mean)
    return Target(
        f"processor time, against one aiohttp task for each backup at equal mean delay, in a world {speed:g} times as "
        "fast as life",
        "at most 1/10",
        f"1/{times:.1f}",
        times >= 10,
    )


def result(told: dict[str, Any], sim: SimulatorProcess, requests: int, speed: float) -> SideResult:
    truth = sim.backups()
    delays = []
    for backup_id, heard in told["heard"].items():
        known_from = max(truth[int(backup_id)]["completed_at"], told["began"][backup_id])
        delays.append((heard - known_from) * speed)
    assert len(delays) == len(told["began"])
    return SideResult(requests=requests, latencies=delays, cpu=told["cpu"], peak=told["peak"], above=told["above"])


def report(found: dict[str, SideResult], slow: dict[str, SideResult], equal: str, number: int, speed: float) -> str:
    ours = found[OURS.name]
    peers = {name: one for name, one in found.items() if name not in (OURS.name, ONE_BY_ONE.name, equal)}
    best = min(peers, key=lambda name: peers[name].product)
    times = peers[best].product / ours.product
    held = [
        Target(f"requests x mean delay, against the best peer ({best})", "at most 1/50", f"1/{times:.0f}", times >= 50),
        cpu_target([ours, found[equal]], speed),
        cpu_target(list(slow.values()), min(speed, LOW_SPEED)),
    ]
    head = ("side", "requests", "mean delay, s", "p99 delay, s", "CPU, s", "peak memory, MB", "of it for the wait, MB")
    rows = [
        (name, one.requests, one.mean, one.p99, one.cpu, one.peak / 1e6, one.above / 1e6) for name, one in found.items()
    ]
    ratio_head = ("side", "requests", "mean delay", "p99 delay", "requests x delay", "CPU", "memory for the wait")
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
    return f"""# Real peers, real HTTP

Made by `python -m benchmarks.peers`: {setting("aiohttp", "azure-core", "google-api-core", "aiobotocore")}.
{number:,} backups in {STAR_SYSTEMS} star systems, which begin {APART:g} s apart; lognormal with median 131 s and sigma
0.4, 30 finished ones in each star system. Delays are seconds of a world that runs {speed:g} times faster than life;
every schedule is divided by the same number. The peers' own packages poll, driven as they document it, each with one
task for each backup; planet's wait is tied to its own API, so its loop of 5 s is written out. All wait from when the
backups of a star system have been created, the peers' waits beginning over one interval of their schedule, 30 s at the
most. Ours is one watch for each star system with the default policy, or one watch to which backups are added one by one
over 30 s. One run of each side, in its own process.

{targets(held)}
The faster the world, the cheaper a get of a peer's, which comes in a stream, while ours come one by one, each to cold
caches; what it is at the speed of life says `benchmarks.real_time`.

{table(head, rows)}
## How many times ours

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
    axes.set(xlabel="requests", ylabel="mean delay of the news, s")
    axes.set_title("Waiting for the same 1,000 backups")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 100 backups, all at once, in a faster world")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables and the plot go")
    options = parser.parse_args(argv)
    number, speed, apart = (100, 3 * SPEED, 0.0) if options.quick else (1_000, SPEED, APART)
    found = {OURS.name: measure(OURS, number, speed, apart=apart)}
    every = 2 * found[OURS.name].mean
    equally = Side("aiohttp, a task for each backup, at our mean delay", "loop", every=every)
    with ThreadPoolExecutor() as beside:
        slow = beside.submit(measure_both, number, speed if options.quick else LOW_SPEED, every)
        for side in (ONE_BY_ONE, equally, *PEERS):
            if is_installed(side):
                found[side.name] = measure(side, number, speed, apart=apart)
            else:
                print(f"{side.needs} is not installed: left out", file=sys.stderr)
    write(options.out, "peers", report(found, slow.result(), equally.name, number, speed))
    plot(found, options.out / "peers.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
