"""`kill -9` at random instants of a journaled bulk run, which another process then goes on with.

Whatever the instant: the server has seen exactly one create per planet, and every outcome is reported, truly.

How much is a matter of the environment: ASYNCBACKUPS_KILLS kills (6), runs of ASYNCBACKUPS_KILL_PLANETS planets (40),
from ASYNCBACKUPS_KILL_SEED (1); half of them against a service that shows metadata, half against one that does not. A
run that ends before its next kill is followed by another one. `nox -s faults` kills runs of 200 planets 200 times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import asyncbackups
from asyncbackups import TargetState, read_status
from asyncbackups.simulator import ApiBehavior, Lognormal, MetadataEcho, SimulatorProcess, Workload

KILLS = int(os.environ.get("ASYNCBACKUPS_KILLS", "6"))
PLANETS = int(os.environ.get("ASYNCBACKUPS_KILL_PLANETS", "40"))
SEED = int(os.environ.get("ASYNCBACKUPS_KILL_SEED", "1"))
WORKER = Path(__file__).with_name("kill_worker.py")
ROOT = Path(asyncbackups.__file__).parents[1]
STARTED_WITHIN = 0.8
"""Seconds within which a process has begun its work."""
FINALS = {"BackupSucceeded", "BackupFailed"}


@attrs.define
class Told:
    """What the processes of one run have told, all together."""

    events: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    report: dict[str, Any] | None = None

    def take(self, line: bytes) -> bool:
        """Take a line; returns whether it tells something new."""
        try:
            said = json.loads(line)
        except ValueError:  # the kill has cut it
            return False
        if "report" in said:
            self.report = said
            return True
        known = said["id"] in self.events
        assert self.events.setdefault(said["id"], said) == said, "delivered again, an event is the same event"
        return not known


@attrs.define
class Run:
    """A run of many processes, one after the other."""

    sim: SimulatorProcess
    journal: Path
    name: str
    planets: int
    draw: random.Random
    told: Told = attrs.field(factory=Told)
    kills: int = 0

    @property
    def targets(self) -> list[str]:
        return [f"{self.name}{number % 4}/p{number}" for number in range(self.planets)]

    def process(self, *, mortal: bool) -> None:
        """Run one process, to its end or to a random instant: most are at work then, some only begin."""
        settings = {
            "base_url": self.sim.base_url,
            "tenant": self.sim.tenant,
            "token": self.sim.token,
            "journal": str(self.journal),
            "targets": self.targets,
            "concurrency": self.draw.choice([1, 4, 16]),
            "settle": 0.2,
            "how": self.how(),
        }
        news = self.draw.randrange(self.planets // 2)
        moment = self.draw.expovariate(1 / 0.004)
        early = mortal and self.draw.random() < 0.3
        command = [sys.executable, str(WORKER), json.dumps(settings)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        if early:
            self.kill(worker, self.draw.uniform(STARTED_WITHIN / 4, STARTED_WITHIN))
        with worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                # What is delivered again is no progress: it does not bring the end nearer.
                news -= self.told.take(line)
                if news == 0 and mortal and not early:
                    news = -1
                    self.kill(worker, moment)
        if worker.returncode == -signal.SIGKILL:
            self.kills += 1
        else:
            assert worker.returncode == 0

    def kill(self, worker: subprocess.Popen[bytes], seconds: float) -> None:
        threading.Timer(seconds, worker.send_signal, [signal.SIGKILL]).start()

    def how(self) -> str:
        """Say how the next process goes on: all ways must do, but the journal alone has no targets not yet taken."""
        ways = ["list", "iterable"]
        if self.journal.exists() and self.journal.stat().st_size:
            with contextlib.suppress(Exception):
                if read_status(self.journal).listed:
                    ways.append("resume")
        return self.draw.choice(ways)

    def check(self) -> None:
        """Compare what was told with the truth."""
        truth = {number: of for number, of in self.sim.backups().items() if of["star_system"].startswith(self.name)}
        planets = sorted(f"{of['star_system']}/{of['planet']}" for of in truth.values())
        assert planets == sorted(self.targets), "each planet has exactly one backup on the server"
        creates = {place: n for place, n in self.sim.counts()["creates"].items() if place[0].startswith(self.name)}
        assert set(creates.values()) == {1}
        finals = [event for event in self.told.events.values() if event["event"] in FINALS]
        assert len(finals) == self.planets, "every outcome was told, under one id"
        for event in finals:
            of = truth[event["backup"]]
            assert event["planet"] == f"{of['star_system']}/{of['planet']}"
            assert (event["event"] == "BackupSucceeded") == of["succeeds"]
        self.check_report(sum(of["succeeds"] for of in truth.values()))

    def check_report(self, succeeded: int) -> None:
        assert self.told.report is not None
        assert self.told.report["outcomes"] == self.planets
        counts = {"planets": self.planets, "created": self.planets, "create_failed": 0}
        assert self.told.report["report"] == {**counts, "succeeded": succeeded, "failed": self.planets - succeeded}
        status = read_status(self.journal)
        assert (status.finished, status.holder) == (True, None)
        assert status.states[TargetState.SUCCEEDED] == succeeded


@pytest.fixture(params=[MetadataEcho.NONE, MetadataEcho.GET], ids=["metadata not shown", "metadata shown"])
def sim(request: pytest.FixtureRequest) -> Iterator[SimulatorProcess]:
    workload = Workload(duration=Lognormal(20, 0.5), failure_share=0.1)
    shape = ApiBehavior(echo_metadata=request.param)
    with SimulatorProcess(workload=workload, behavior=shape, speed=100, seed=SEED) as process:
        yield process


@pytest.mark.timeout(120 + 6 * KILLS)
def test_killed_at_any_instant_nothing_is_lost_and_nothing_twice(sim: SimulatorProcess, tmp_path: Path) -> None:
    """However often and whenever it is killed, a run ends with one backup per planet and every outcome told."""
    kill(sim, tmp_path, kills=KILLS // 2, planets=PLANETS, seed=SEED)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_killed_200_times_nothing_is_lost_and_nothing_twice(sim: SimulatorProcess, tmp_path: Path) -> None:
    """The same over 200 kills of runs of 200 planets, metadata shown or not."""
    kill(sim, tmp_path, kills=100, planets=200, seed=SEED)


def kill(sim: SimulatorProcess, tmp_path: Path, *, kills: int, planets: int, seed: int) -> None:
    """Kill so often, in as many runs as that takes."""
    draw = random.Random(seed)
    done = runs = 0
    while done < kills:
        run = Run(sim, tmp_path / f"{runs}.journal", f"run{runs}x", planets, draw)
        while run.told.report is None:
            run.process(mortal=done + run.kills < kills)
        run.check()
        done += run.kills
        runs += 1
    sys.stdout.write(f"{done} kills in {runs} runs of {planets} planets, seed {seed}: 0 lost, 0 twice\n")
