"""The commands `demo` and `simulate`: the embedded simulator, to try the package and to test other programs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import shlex
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from asyncbackups import BackupSpec, ConfigurationError, PlanetRef, PollingPolicy, events
from asyncbackups.cli.bulk import ShownRun
from asyncbackups.cli.command import Command, Decorator, option
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.options import concurrency_option, json_option
from asyncbackups.cli.output import format_count, format_duration, print_line
from asyncbackups.cli.reports import RunReport

if TYPE_CHECKING:
    from asyncbackups.simulator import Simulator  # imported when a command runs: completion does not need aiohttp

_MEDIAN = 131.0  # seconds that the backup in the API guide's example took
_SIGMA = 0.4  # a few backups take twice or half as long
_HISTORY = 30
_HISTORY_HELP = "Number of old backups in each star system at the start."
_CREATE_SECONDS = 3.0  # how long the service takes to respond to a create, in its own seconds
_LOOP_INTERVAL = 30.0  # seconds between two polls of the loop that the demo compares with

_POSITIVE = click.FloatRange(min=0, min_open=True)
_seed_option = option("--seed", type=int, default=1, help="The same seed gives the same backups.")
_failure_option = option(
    "--failure-share", type=click.FloatRange(0.0, 1.0), default=0.0, help="Share of backups that fail."
)


def _speed_option(default: float) -> Decorator:
    return option("--speed", type=_POSITIVE, default=default, help="How much faster than real time to run.")


@click.command("demo", cls=Command)
@option("--planets", type=click.IntRange(min=1), default=50, help="Number of planets to back up.")
@option("--star-systems", type=click.IntRange(min=1), default=5, help="Number of star systems.")
@_speed_option(25.0)
@_seed_option
@_failure_option
@concurrency_option("creates")
@json_option
async def run_demo(
    planets: int, star_systems: int, speed: float, seed: int, failure_share: float, concurrency: int, as_json: bool
) -> ExitStatus:
    """Run a bulk run against a simulated service on this machine.

    Nothing else is needed: neither a service nor credentials.
    """
    from asyncbackups import BackupClient  # noqa: PLC0415 - imports aiohttp
    from asyncbackups.simulator import Fault, Lognormal, Simulator, Workload  # noqa: PLC0415

    comparison = LoopComparison(speed)
    shown = ShownRun(
        RunReport(targets=planets, is_outlived=False),
        title=f"demo: backups of {format_count(planets, 'simulated planet')}, simulated at {speed:g}x (seed {seed})",
        as_json=as_json,
        on_event=comparison.record_event,
    )
    workload = Workload(duration=Lognormal(_MEDIAN, _SIGMA), failure_share=failure_share, history=_HISTORY)
    slow_creates = Fault(kind="create", delay=_CREATE_SECONDS / speed)
    async with (
        Simulator(speed=speed, seed=seed, workload=workload, faults=[slow_creates]) as simulator,
        BackupClient(
            simulator.base_url,
            simulator.tenant,
            auth=simulator.token,
            polling=PollingPolicy().sped_up(speed),
            random=random.Random(seed),  # noqa: S311 - jitter, not cryptography
        ) as client,
    ):
        targets = _name_planets(planets, star_systems)
        view = await shown.show_events(client.bulk_create(targets, BackupSpec(), concurrency=concurrency))
    report, figures = shown.report, comparison.compare(shown.report.requests)
    lines = [*report.as_lines(), *comparison.describe(figures)]
    view.show_report({**report.as_json(), "comparison": figures}, lines)
    return report.status


def _name_planets(planets: int, star_systems: int) -> list[PlanetRef]:
    digits, width = len(str(star_systems)), len(str(planets))
    return [
        PlanetRef(f"star-system-{number % star_systems + 1:0{digits}}", f"planet-{number + 1:0{width}}")
        for number in range(planets)
    ]


class LoopComparison:
    """Compares the run with a loop for each backup, which is computed and not run; all in the backups' own seconds."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._durations: list[float] = []
        self._latencies: list[float] = []

    def record_event(self, event: events.Event) -> None:
        """Record a completion. The simulator's clock is this machine's, so its times can be compared with ours."""
        match event:
            case events.BackupSucceeded(backup=backup) | events.BackupFailed(backup=backup):
                if backup.started_at is not None and backup.completed_at is not None:
                    latency = datetime.now(UTC) - backup.completed_at
                    self._durations.append((backup.completed_at - backup.started_at).total_seconds() * self._speed)
                    self._latencies.append(latency.total_seconds() * self._speed)

    def compare(self, requests: Mapping[str, int]) -> dict[str, Any]:
        """Return the figures for programs; empty if no backup has ended."""
        if not self._durations:
            return {}
        loop = [simulate_loop(duration) for duration in self._durations]
        return {
            "backups": len(loop),
            "polls": requests.get("get", 0) + requests.get("list", 0),
            "mean_delay": round(statistics.fmean(self._latencies), 2),
            "loop_interval": _LOOP_INTERVAL,
            "loop_polls_computed": sum(polls for polls, _ in loop),
            "loop_mean_delay_computed": round(statistics.fmean(latency for _, latency in loop), 2),
        }

    def describe(self, figures: dict[str, Any]) -> list[str]:
        """Return the figures for people."""
        if not figures:
            return []
        polls, completions = format_count(figures["polls"], "poll"), format_count(figures["backups"], "completion")
        ours = f"{polls} detected {completions}; average latency {format_duration(figures['mean_delay'])}"
        gets, latency = figures["loop_polls_computed"], format_duration(figures["loop_mean_delay_computed"])
        loop = f"a loop polling every {_LOOP_INTERVAL:.0f} s would have sent {gets:,} GETs with {latency} latency"
        return [ours, f"{loop} (computed, not run; in the backups' own time)"]


def simulate_loop(duration: float) -> tuple[int, float]:
    """Return how often a loop polls one backup that takes `duration` seconds, and its detection latency in seconds.

    The loop is ``while True: get; if it has ended: break; sleep(interval)``. It starts with the backup; its GETs take
    no time, which is in its favor.
    """
    sleeps = math.ceil(duration / _LOOP_INTERVAL)
    return sleeps + 1, sleeps * _LOOP_INTERVAL - duration


@click.command("simulate", cls=Command)
@option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 for any free one.")
@_speed_option(1.0)
@_seed_option
@option("--median", type=_POSITIVE, default=_MEDIAN, help="Median duration, in seconds.")
@option("--sigma", type=click.FloatRange(min=0), default=_SIGMA, help="Spread of durations; 0 for none.")
@_failure_option
@option("--history", type=click.IntRange(min=0), default=_HISTORY, help=_HISTORY_HELP)
async def run_simulator(
    port: int, speed: float, seed: int, median: float, sigma: float, failure_share: float, history: int
) -> ExitStatus:
    """Serve a simulated Database API on this machine until Ctrl-C.

    Every star system and planet exists in it. The lines that it prints point other commands at it.
    """
    from asyncbackups.simulator import Lognormal, Simulator, Workload  # noqa: PLC0415 - imports aiohttp

    try:
        workload = Workload(duration=Lognormal(median, sigma), failure_share=failure_share, history=history)
        simulator = Simulator(port=port, speed=speed, seed=seed, workload=workload)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    stopped = asyncio.Event()
    async with contextlib.AsyncExitStack() as entered:
        entered.enter_context(on_interrupt(stopped.set))
        try:
            await entered.enter_async_context(simulator)
        except OSError as exc:
            raise ConfigurationError(f"port {port} is not available: {exc.strerror}") from exc
        _print_settings(simulator)
        await stopped.wait()
    return ExitStatus.OK


def _print_settings(simulator: Simulator) -> None:
    settings = {"BASE_URL": simulator.base_url, "TENANT": simulator.tenant, "TOKEN": simulator.token}
    print_line(f"# The simulator serves at {simulator.base_url} until Ctrl-C. In another terminal:")
    for name, value in settings.items():
        print_line(f"export ASYNCBACKUPS_{name}={shlex.quote(value)}")
