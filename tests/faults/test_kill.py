"""Kill a journaled bulk run with `kill -9` at random moments, and resume it in another process.

At the end the server has received exactly one create per planet, and each outcome is reported and correct.

Environment variables set the extent: ASYNCBACKUPS_KILLS kills (6) of runs with ASYNCBACKUPS_KILL_PLANETS planets (40),
from ASYNCBACKUPS_KILL_SEED (1). In half of the runs the service returns metadata, in the other half it does not. A run
that ends before its next kill is followed by another one. `nox -s faults` kills runs of 200 planets 200 times.
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
"""Seconds within which a process has started its work."""
FINALS = {"BackupSucceeded", "BackupFailed"}


@attrs.define
class Reported:
    """The output of all processes of one run."""

    events: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    report: dict[str, Any] | None = None

    def record_line(self, line: bytes) -> bool:
        """Record a line of output; return True if it is new."""
        try:
            line_json = json.loads(line)
        except ValueError:  # truncated by the kill
            return False
        if "report" in line_json:
            self.report = line_json
            return True
        is_known = line_json["id"] in self.events
        assert self.events.setdefault(line_json["id"], line_json) == line_json, "a redelivered event is unchanged"
        return not is_known


@attrs.define
class KilledRun:
    """A run that takes several processes, one after the other."""

    sim: SimulatorProcess
    journal: Path
    name: str
    planets: int
    draw: random.Random
    reported: Reported = attrs.field(factory=Reported)
    kills: int = 0

    @property
    def targets(self) -> list[str]:
        return [f"{self.name}{number % 4}/p{number}" for number in range(self.planets)]

    def run_process(self, *, mortal: bool) -> None:
        """Run one process to its end, or kill it at a random moment: most are working then, some are starting."""
        settings = {
            "base_url": self.sim.base_url,
            "tenant": self.sim.tenant,
            "token": self.sim.token,
            "journal": str(self.journal),
            "targets": self.targets,
            "concurrency": self.draw.choice([1, 4, 16]),
            "settle": 0.2,
            "start": self.choose_start(),
        }
        lines_left = self.draw.randrange(self.planets // 2)
        delay = self.draw.expovariate(1 / 0.004)
        early = mortal and self.draw.random() < 0.3
        command = [sys.executable, str(WORKER), json.dumps(settings)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        if early:
            self.kill_later(worker, self.draw.uniform(STARTED_WITHIN / 4, STARTED_WITHIN))
        with worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                # A redelivered event is no progress, so it does not count.
                lines_left -= self.reported.record_line(line)
                if lines_left == 0 and mortal and not early:
                    lines_left = -1
                    self.kill_later(worker, delay)
        if worker.returncode == -signal.SIGKILL:
            self.kills += 1
        else:
            assert worker.returncode == 0

    def kill_later(self, worker: subprocess.Popen[bytes], seconds: float) -> None:
        threading.Timer(seconds, worker.send_signal, [signal.SIGKILL]).start()

    def choose_start(self) -> str:
        """Choose how the next process starts; "resume" only once the journal lists all targets."""
        ways = ["list", "iterable"]
        if self.journal.exists() and self.journal.stat().st_size:
            with contextlib.suppress(Exception):
                if read_status(self.journal).listed:
                    ways.append("resume")
        return self.draw.choice(ways)

    def check_outcomes(self) -> None:
        """Compare the reported outcomes with the simulator's."""
        actual = {
            backup_id: backup
            for backup_id, backup in self.sim.backups().items()
            if backup["star_system"].startswith(self.name)
        }
        planets = sorted(f"{backup['star_system']}/{backup['planet']}" for backup in actual.values())
        assert planets == sorted(self.targets), "each planet has exactly one backup on the server"
        creates = {place: n for place, n in self.sim.counts()["creates"].items() if place[0].startswith(self.name)}
        assert set(creates.values()) == {1}
        finals = [event for event in self.reported.events.values() if event["event"] in FINALS]
        assert len(finals) == self.planets, "each outcome is reported under one event id"
        for event in finals:
            backup = actual[event["backup"]]
            assert event["planet"] == f"{backup['star_system']}/{backup['planet']}"
            assert (event["event"] == "BackupSucceeded") == backup["succeeds"]
        self.check_report(sum(backup["succeeds"] for backup in actual.values()))

    def check_report(self, succeeded: int) -> None:
        assert self.reported.report is not None
        assert self.reported.report["outcomes"] == self.planets
        counts = {"planets": self.planets, "created": self.planets, "create_failed": 0}
        assert self.reported.report["report"] == {**counts, "succeeded": succeeded, "failed": self.planets - succeeded}
        status = read_status(self.journal)
        assert (status.finished, status.holder) == (True, None)
        assert status.states[TargetState.SUCCEEDED] == succeeded


@pytest.fixture(params=[MetadataEcho.NONE, MetadataEcho.GET], ids=["without metadata", "with metadata"])
def sim(request: pytest.FixtureRequest) -> Iterator[SimulatorProcess]:
    workload = Workload(duration=Lognormal(20, 0.5), failure_share=0.1)
    behavior = ApiBehavior(echo_metadata=request.param)
    with SimulatorProcess(workload=workload, behavior=behavior, speed=100, seed=SEED) as process:
        yield process


@pytest.mark.timeout(120 + 6 * KILLS)
def test_killed_run_neither_loses_nor_duplicates_backups(sim: SimulatorProcess, tmp_path: Path) -> None:
    """However often it is killed, a run ends with one backup per planet and each outcome reported."""
    kill_repeatedly(sim, tmp_path, kills=KILLS // 2, planets=PLANETS, seed=SEED)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_run_killed_200_times_neither_loses_nor_duplicates_backups(sim: SimulatorProcess, tmp_path: Path) -> None:
    """The same for 200 kills of runs of 200 planets, with and without metadata."""
    kill_repeatedly(sim, tmp_path, kills=100, planets=200, seed=SEED)


def kill_repeatedly(sim: SimulatorProcess, tmp_path: Path, *, kills: int, planets: int, seed: int) -> None:
    """Kill the given number of times, in as many runs as that takes."""
    draw = random.Random(seed)
    done = runs = 0
    while done < kills:
        run = KilledRun(sim, tmp_path / f"{runs}.journal", f"run{runs}x", planets, draw)
        while run.reported.report is None:
            run.run_process(mortal=done + run.kills < kills)
        run.check_outcomes()
        done += run.kills
        runs += 1
    sys.stdout.write(f"{done} kills in {runs} runs of {planets} planets, seed {seed}: 0 lost, 0 duplicates\n")
