"""The commands over a journal: bulk runs that are interrupted, killed, resumed and shown."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from asyncbackups._bulk.journal import database
from asyncbackups.simulator import Fault, Fixed, Gate, PlanetProfile, Respond, Simulator, Workload
from tests.cli_program import Ended, Hosted, Program, finish, hosted, settings_of, start

PLANETS = ["a/one", "a/two", "b/held", "b/never", "b/last"]
WORKLOAD = Workload(duration=Fixed(0.0), planets={"broken": PlanetProfile(failure_share=1)})


@attrs.frozen
class World:
    """A service that holds back the creates of the planet "held" until its gate is opened."""

    simulator: Simulator
    host: Hosted
    gate: Gate
    run: Program
    journal: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return start(*arguments, settings=settings_of(self.simulator))

    def bulk(self, *arguments: str) -> list[str]:
        return ["bulk", *PLANETS, "--journal", str(self.journal), "--concurrency", "1", *arguments]

    def until_held(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a bulk run, and wait until it waits for the response to a create that was processed."""
        process = self.start(*self.bulk(*arguments))
        self.host.wait(self.gate.arrived)
        return process

    def release(self) -> None:
        self.host.call(self.gate.open)

    def each_once(self) -> bool:
        return dict(self.simulator.creates) == {tuple(planet.split("/")): 1 for planet in PLANETS}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    """Serve a workload in which backups end at once, for commands in this process and in others."""
    gate = Gate()
    faults = [
        Fault(kind="create", planet="held", gate_after=gate),
        Fault(Respond(403), kind="create", planet="forbidden"),
    ]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        for name, value in settings_of(simulator).items():
            monkeypatch.setenv(name, value)
        yield World(simulator, host, gate, Program(capsys), tmp_path / "run journal")


def collect_events(*ended: Ended) -> dict[int, dict[str, Any]]:
    """Return all events by their ids: a repeated event is the same one."""
    found: dict[int, dict[str, Any]] = {}
    for one in ended:
        for line in one.out.splitlines():
            event = json.loads(line)
            if "id" in event:
                assert found.setdefault(event["id"], event) == event
    return found


def test_interrupted_run_is_resumed(world: World) -> None:
    """Ctrl-C starts no more creates; `resume` does the rest and reports the whole run."""
    process = world.until_held("--json")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "waiting for the response to 1 create under way" in process.stderr.readline()
    world.release()
    first = finish(process)
    assert (first.status, first.json[-1]["not_started"], first.json[-1]["created"]) == (130, 2, 3)
    second = world.run("resume", str(world.journal), "--json")
    assert (second.status, second.err) == (0, "")
    report = second.json[-1]
    assert {key: report[key] for key in ("planets", "created", "succeeded", "not_started", "in_flight")} == {
        "planets": 5,
        "created": 5,
        "succeeded": 5,
        "not_started": 0,
        "in_flight": 0,
    }
    assert report["journal"] == str(world.journal)
    told = Counter((event["event"], event["planet"]) for event in collect_events(first, second).values())
    names = [planet.partition("/")[2] for planet in PLANETS]
    assert told == Counter((what, name) for what in ("backup_created", "backup_succeeded") for name in names)
    assert world.each_once()


def test_interrupt_prints_the_command_that_resumes(world: World) -> None:
    """It has the connection's options; the resumed run prints where it starts."""
    process = world.until_held("--tenant", "example")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "under way" not in process.stderr.readline():
        pass
    world.release()
    ended = finish(process)
    assert (ended.status, ended.out) == (130, "")
    assert ended.err.splitlines()[-2:] == [
        "2 planets not started",
        f"to resume: asyncbackups resume '{world.journal}' --tenant example",
    ]
    again = world.run("resume", str(world.journal))
    assert (again.status, again.out) == (0, "")
    assert again.err.startswith(f"resuming {world.journal}: ")
    assert again.err.splitlines()[-1].startswith("5 backups created, 5 succeeded; ")


def test_same_command_resumes_a_killed_run(world: World) -> None:
    """After kill -9 during a create, the same command finds its backup and creates only the others."""
    process = world.until_held("--json")
    process.kill()
    first = finish(process)
    assert first.status == -signal.SIGKILL
    world.release()
    second = world.run(*world.bulk("--json"))
    assert second.status == 0
    adopted = [event for event in second.json[:-1] if event.get("adopted") == "marker"]
    assert [event["planet"] for event in adopted] == ["held"]
    assert (second.json[-1]["created"], second.json[-1]["succeeded"]) == (5, 5)
    assert len(collect_events(first, second)) == 10
    assert world.each_once()
    third = world.run(*world.bulk("--json"))
    assert world.each_once()
    assert (third.status, third.json[-1]["succeeded"], third.json[-1]["requests"]) == (0, 5, {})


def test_second_interrupt_loses_nothing(world: World) -> None:
    """The create has an unknown outcome, which resuming finds out."""
    process = world.until_held("--json")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    left = finish(process)
    unknown = [event for event in left.json[:-1] if event["event"] == "create_failed"]
    assert (left.status, [event["planet"] for event in unknown]) == (130, ["held"])
    assert "id" not in unknown[0]
    world.release()
    again = world.run("resume", str(world.journal), "--json")
    assert (again.status, again.json[-1]["succeeded"]) == (0, 5)
    assert world.each_once()


def test_create_that_is_cut_off_has_no_advice(world: World) -> None:
    """The journal settles it later: no user has to list or create backups; it counts as perhaps created."""
    process = world.until_held()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "under way" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert "b/held: whether the backup was created is unknown: " in ended.err
    assert "List the planet's backups" not in ended.err
    assert "2 backups created, 1 perhaps created" in ended.err
    assert ended.err.splitlines()[-1] == f"to resume: asyncbackups resume '{world.journal}'"


def test_exit_status_is_that_of_the_whole_run(world: World) -> None:
    """A resumed run repeats no events and has the same exit status: outcomes are final."""
    arguments = ["bulk", "a/one", "a/broken", "a/forbidden", "--journal", str(world.journal), "--json"]
    first = world.run(*arguments)
    assert (first.status, len(first.json)) == (4, 6)
    again = world.run("resume", str(world.journal), "--json")
    (report,) = again.json
    assert again.status == report["exit_status"] == 4
    assert (report["created"], report["succeeded"], report["failed"], report["create_failed"]) == (2, 1, 1, 1)
    assert report["in_flight"] == 0


def test_another_run_is_refused(world: World) -> None:
    """Other targets than the journal's are status 2, with the difference and the created backups; nothing is sent."""
    world.run("bulk", "a/one", "--journal", str(world.journal))
    sent = world.simulator.counts.total
    for how in ([], ["--json"]):
        ended = world.run("bulk", "a/one", "a/new", "--journal", str(world.journal), *how)
        assert (ended.status, ended.out) == (2, "")
        error, created = ended.err.splitlines()
        assert "only here: a/new" in error
        assert created == "created: a/1"
    assert world.simulator.counts.total == sent


def test_status_of_a_running_run(world: World) -> None:
    """It names the process that runs it and its progress, without credentials; a second run is refused."""
    process = world.until_held("--json")
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline()) for _ in range(4)]
    assert [event["event"] for event in told].count("backup_succeeded") == 2
    try:
        (status,) = world.run("status", str(world.journal), "--json").json
        people = world.run("status", str(world.journal))
        refused = world.run("resume", str(world.journal))
    finally:
        process.kill()
        finish(process)
    assert status["holder"]["pid"] == process.pid
    assert (status["finished"], status["listed"], status["planets"], status["tenant"]) == (False, True, 5, "example")
    assert {state: number for state, number in status["states"].items() if number} == {
        "succeeded": 2,
        "creating": 1,
        "waiting": 2,
    }
    assert status["star_systems"]["b"]["creating"] == 1
    assert sorted(status["created"]) == ["a/1", "a/2"]
    assert people.err.splitlines()[2].startswith(f"running: process {process.pid} on ")
    assert people.out.splitlines()[0] == (
        "star system\tplanets\twaiting\tcreating\trunning\tsucceeded\tfailed\tgone\texpired\tunchecked\tcreate failed"
    )
    assert people.out.splitlines()[-1] == "all\t5\t2\t1\t0\t2\t0\t0\t0\t0\t0"
    assert (refused.status, f"is in use by process {process.pid}" in refused.error) == (2, True)


def test_status_needs_no_settings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no process runs it, the run is finished or the command that resumes it is printed."""
    process = world.until_held()
    process.kill()
    finish(process)
    world.release()
    for name in settings_of(world.simulator):
        monkeypatch.delenv(name)
    ended = world.run("status", str(world.journal))
    assert ended.status == 0
    assert ended.err.splitlines()[2] == f"not running; to resume: asyncbackups resume '{world.journal}'"
    for name, value in settings_of(world.simulator).items():
        monkeypatch.setenv(name, value)
    world.run("resume", str(world.journal))
    ended = world.run("status", str(world.journal))
    assert ended.err.splitlines()[2] == "finished: every planet has its outcome"


def test_status_fits_a_terminal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a framed table without the columns of states that do not occur."""
    world.run("bulk", "a/one", "b/broken", "a/forbidden", "--journal", str(world.journal))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", world.run("status", str(world.journal)).out)
    columns = [column.strip() for column in shown.splitlines()[1].split("┃")[1:-1]]
    assert columns == ["star system", "planets", "waiting", "running", "succeeded", "failed", "create failed"]
    assert "│ all         │ 3       │ 0       │ 0       │ 1         │ 1      │ 1             │" in shown


def write_newer_version(journal: Path) -> None:
    """Give a journal the version of a later release."""
    connection = sqlite3.connect(journal)
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize("command", ["status", "resume", "bulk"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (write_newer_version, "was written by a newer version of asyncbackups"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "is damaged"),
    ],
    ids=["newer", "truncated"],
)
def test_unreadable_journal_names_its_backups(world: World, command: str, damage: Any, said: str) -> None:
    """The error is one line with status 2, and the created backups are reported."""
    planets = [f"a/p{number}" for number in range(30)]
    world.run("bulk", *planets, "--journal", str(world.journal))
    damage(world.journal)
    sent = world.simulator.counts.total
    ended = world.run(command, *(planets if command == "bulk" else []), *options(command, world.journal))
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert world.simulator.counts.total == sent
    if command == "status":
        assert ended.error.startswith("asyncbackups: ")
        assert set(ended.out.splitlines()) <= {f"a/{number}" for number in range(1, 31)} != set()
        (told,) = world.run("status", str(world.journal), "--json").json
        assert told["created"] == ended.out.splitlines()
        assert told["error"]["type"] == "JournalError"
    else:
        assert ended.err.splitlines()[-1].startswith("created: a/1 a/2 ")


def options(command: str, journal: Path) -> list[str]:
    return ["--journal", str(journal)] if command == "bulk" else [str(journal)]


@pytest.mark.parametrize("command", ["status", "resume"])
def test_files_that_are_not_journals(world: World, command: str, tmp_path: Path) -> None:
    """A missing file, another file and a directory are one line with status 2."""
    text = tmp_path / "text"
    text.write_text("hello " * 1000)
    for name, said in (
        (tmp_path / "none", "does not exist"),
        (text, "is not a journal"),
        (tmp_path, "not a regular file"),
    ):
        ended = world.run(command, str(name))
        assert (ended.status, ended.out) == (2, "")
        assert said in ended.error
    assert not (tmp_path / "none").exists()


def test_journal_without_targets(world: World) -> None:
    """A process killed before it recorded its targets leaves nothing to resume; the error says what to do."""
    world.run("bulk", "a/one", "--journal", str(world.journal))
    connection = sqlite3.connect(world.journal)
    connection.execute("DELETE FROM log WHERE kind <> 'begun'")
    connection.commit()
    connection.close()
    ended = world.run("resume", str(world.journal))
    assert ended.status == 2
    assert "has no targets yet" in ended.error
    assert world.run("bulk", "a/new", "--journal", str(world.journal)).status == 0


def test_journal_with_incomplete_targets(world: World) -> None:
    """The warning is printed for a run that is resumed, and not for one that is refused."""
    world.run("bulk", "a/one", "--journal", str(world.journal))
    connection = sqlite3.connect(world.journal)
    connection.execute("DELETE FROM log WHERE kind = 'listed'")
    connection.commit()
    connection.close()
    refused = world.run("resume", str(world.journal), "--tenant", "another")
    assert (refused.status, "another" in refused.err, "may be incomplete" in refused.err) == (2, True, False)
    ended = world.run("resume", str(world.journal), "--json")
    assert (ended.status, ended.error) == (
        0,
        f"the targets in {world.journal} may be incomplete; resuming with those that were recorded",
    )


def test_journal_that_can_no_longer_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing backups are watched to their end; the report has what is left and the command that resumes."""
    planets = [f"a/p{number}" for number in range(300)]
    with monkeypatch.context() as patch:
        patch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "PRAGMA max_page_count=20"))
        ended = world.run("bulk", *planets, "--journal", str(world.journal), "--json")
    report = ended.json[-1]
    assert ended.status == report["exit_status"] == 2
    assert "disk is full" in report["error"]["message"]
    assert 0 < report["created"] == report["succeeded"] < 300
    assert report["not_started"] == 300 - report["created"]
    again = world.run("resume", str(world.journal))
    assert again.status == 0
    assert set(world.simulator.creates.values()) == {1}
