"""`asyncbackups demo`: a whole bulk run against the embedded simulator, over real HTTP."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Annotated

import typer

from asyncbackups import BackupClient, BackupFailed, BackupSpec, BackupSucceeded, Event, PlanetRef, PollingPolicy
from asyncbackups.cli.arguments import Concurrency, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.comparison import Comparison
from asyncbackups.cli.creating import BulkShow
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.text import counted
from asyncbackups.simulator import Fault, Lognormal, Simulator, Workload

__all__ = ["demo"]

# As long as the guide's example of a backup took, with a spread in which a few take twice and half as long.
_DURATION = Lognormal(median=131.0, sigma=0.4)
_HISTORY = 30
# How long the service takes to answer a create, in its own seconds.
_CREATE_SECONDS = 3.0


@command
async def demo(
    planets: Annotated[int, typer.Option(min=1, help="How many planets get a backup.")] = 50,
    star_systems: Annotated[int, typer.Option(min=1, help="Over how many star systems they are spread.")] = 5,
    speed: Annotated[float, typer.Option(help="How much faster than in reality backups run.")] = 25.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same backups.")] = 1,
    failure_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Which share of the backups fails, from 0 to 1.")
    ] = 0.0,
    concurrency: Concurrency = 8,
    json: Json = False,
) -> ExitStatus:
    """Watch a whole bulk run against a simulated Database API on this machine; nothing else is needed."""
    polling = PollingPolicy().sped_up(speed)
    heard = _Heard(speed)
    show = BulkShow(
        planets,
        title=_title(planets, speed, seed),
        json=json,
        notice=heard.note,
        outlived=False,
    )
    workload = Workload(duration=_DURATION, failure_share=failure_share, history=_HISTORY)
    slow = Fault(kind="create", delay=_CREATE_SECONDS / speed)
    async with (
        Simulator(speed=speed, seed=seed, workload=workload, faults=[slow]) as simulator,
        BackupClient(
            simulator.base_url,
            simulator.tenant,
            auth=simulator.token,
            polling=polling,
            random=random.Random(seed),  # noqa: S311 - jitter, no cryptography
        ) as client,
    ):
        targets = _targets(planets, star_systems)
        ending, view = await show.run(client.bulk_create(targets, BackupSpec(), concurrency=concurrency))
    comparison = heard.beside(ending)
    report = ending.as_json()
    view.end({**report, "comparison": comparison.as_json()}, [*ending.as_lines(), *comparison.as_lines()])
    return ending.status


def _targets(planets: int, star_systems: int) -> list[PlanetRef]:
    digits, width = len(str(star_systems)), len(str(planets))
    return [
        PlanetRef(f"star-system-{number % star_systems + 1:0{digits}}", f"planet-{number + 1:0{width}}")
        for number in range(planets)
    ]


def _title(planets: int, speed: float, seed: int) -> str:
    return (
        f"demo: backups of {counted(planets, 'simulated planet')}, {speed:g} times as fast as real ones (seed {seed})"
    )


class _Heard:
    """How long the backups took, and how late we heard of their ends, in their own seconds.

    Args:
        speed: By which their own seconds are shorter.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._durations: list[float] = []
        self._delays: list[float] = []

    def note(self, event: Event) -> None:
        """Note an end. The simulator's clock is this machine's: its stamps can be compared with ours."""
        match event:
            case BackupSucceeded(backup=backup) | BackupFailed(backup=backup):
                if backup.started_at is not None and backup.completed_at is not None:
                    late = datetime.now(UTC) - backup.completed_at
                    self._durations.append((backup.completed_at - backup.started_at).total_seconds() * self._speed)
                    self._delays.append(late.total_seconds() * self._speed)

    def beside(self, ending: Ending) -> Comparison:
        """Compare with a loop."""
        polls = ending.requests.get("get", 0) + ending.requests.get("list", 0)
        return Comparison(self._durations, self._delays, polls)
