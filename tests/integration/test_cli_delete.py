"""The command `delete` with many backups."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncbackups.simulator import Fault, Gate, Respond, Simulator, Workload
from tests.cli_program import Hosted, Program, finish, hosted, settings_of, start

GONE = "old/999999"


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def served(gate: Gate) -> Iterator[tuple[Simulator, Hosted]]:
    """Serve thirty old backups per star system; the response to deletes in "held" comes when a gate opens."""
    faults = [
        Fault(kind="delete", star_system="held", gate_after=gate),
        Fault(Respond(403), kind="delete", star_system="closed"),
    ]
    with hosted(lambda: Simulator(workload=Workload(history=30), faults=faults)) as served:
        yield served


@pytest.fixture
def run(
    served: tuple[Simulator, Hosted], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Program:
    """Return what runs commands, with the environment that leads to the simulator."""
    for name, value in settings_of(served[0]).items():
        monkeypatch.setenv(name, value)
    return Program(capsys)


def list_names(run: Program, star_system: str) -> list[str]:
    return [line.partition("\t")[0] for line in run("list", star_system).out.splitlines()[1:]]


def test_many_backups_have_an_event_each_and_a_report(run: Program) -> None:
    """A missing backup is status 1."""
    old = list_names(run, "old")
    ended = run("delete", *old[:3], GONE, "--json")
    *events, report = ended.json
    assert (ended.status, ended.err) == (1, "")
    assert {f"{event['star_system']}/{event['backup_id']}": event["event"] for event in events} == {
        **dict.fromkeys(old[:3], "backup_deleted"),
        GONE: "delete_failed",
    }
    (failed,) = [event for event in events if event["event"] == "delete_failed"]
    assert (failed["planet"], failed["error"]["type"], failed["error"]["status"]) == (None, "NotFoundError", 404)
    assert {**report, "seconds": 0} == {
        "event": "report",
        "backups": 4,
        "deleted": 3,
        "missing": 0,
        "delete_failed": 1,
        "left": 0,
        "requests": {"delete": 4},
        "seconds": 0,
        "interrupted": False,
        "exit_status": 1,
    }
    assert list_names(run, "old") == old[3:]


def test_missing_backups_are_not_reported_as_deleted(run: Program) -> None:
    """With --missing-ok they are accepted and reported as missing; other errors still count."""
    old = list_names(run, "old")
    fine = run("delete", GONE, old[0], "--missing-ok", "--json")
    *events, report = fine.json
    assert (fine.status, fine.err) == (0, "")
    assert {f"{event['star_system']}/{event['backup_id']}": event["event"] for event in events} == {
        GONE: "backup_gone",
        old[0]: "backup_deleted",
    }
    assert [report[key] for key in ("deleted", "missing", "delete_failed", "left")] == [1, 1, 0, 0]
    people = run("delete", GONE, old[1], "closed/1", "--missing-ok", "--concurrency", "1")
    assert people.status == 4
    first, second, _, last = people.err.splitlines()
    assert (first, second) == (f"{GONE} does not exist", f"{old[1]} deleted")
    assert last.startswith("1 backup deleted, 1 did not exist, 1 not deleted; ")


def test_lines_for_people(run: Program) -> None:
    """Without --json stdout stays empty; a forbidden delete is status 4."""
    ended = run("delete", "old/1", "closed/1", "--concurrency", "1")
    assert (ended.status, ended.out) == (4, "")
    first, second, last = ended.err.splitlines()
    assert first == "old/1 deleted"
    assert second.startswith("closed/1: not deleted: ")
    assert last.startswith("1 backup deleted, 1 not deleted; ")


def test_backups_from_a_pipe_or_a_file(run: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Backups may come from standard input or a file, one per line, also a single one."""
    old = list_names(run, "old")
    text = "\n".join(old[:2]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("delete", "-", "--json").json[-1]["deleted"] == 2
    file = tmp_path / "backups"
    file.write_text(f"# the next one\n{old[2]}\n")
    assert run("delete", str(file), "--json").json[-1]["deleted"] == 1
    assert list_names(run, "old") == old[3:]


def test_a_single_backup_has_the_same_event_as_many(run: Program) -> None:
    """JSON has its complete event, also if it could not be deleted; people get its line."""
    ended = run("delete", GONE, "--json")
    (event,) = ended.json
    assert (ended.status, ended.err) == (1, "")
    assert list(event) == ["event", "star_system", "planet", "backup_id", "elapsed", "polls", "error"]
    assert (event["event"], event["error"]["status"]) == ("delete_failed", 404)
    deleted, missing = run("delete", "old/1", "--json"), run("delete", "old/1", "--json", "--missing-ok")
    assert (deleted.status, missing.status) == (0, 0)
    assert [one.json[0]["event"] for one in (deleted, missing)] == ["backup_deleted", "backup_gone"]
    assert "elapsed" in deleted.json[0]
    assert run("delete", "old/2").error == "old/2 deleted"
    closed = run("delete", "closed/1")
    assert (closed.status, closed.error.startswith("closed/1: not deleted: ")) == (4, True)


def test_interrupt_of_a_single_delete(served: tuple[Simulator, Hosted], gate: Gate) -> None:
    """Its response is awaited, too; nothing is left to delete."""
    simulator, host = served
    process = start("delete", "held/1", settings=settings_of(simulator))
    host.wait(gate.arrived)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "waiting for the response to 1 delete under way" in process.stderr.readline()
    host.call(gate.open)
    ended = finish(process)
    assert ended.status == 130
    told, counts, left = ended.err.splitlines()
    assert (told, counts.partition(";")[0], left) == (
        "held/1 deleted",
        "1 backup deleted",
        "interrupted: 0 backups left",
    )


@pytest.mark.parametrize(
    ("backups", "message"),
    [
        (["old/1", "old"], "a backup is written star_system/backup_id, with a whole number, not 'old'"),
        (["old/1", "old/1"], "old/1 is listed twice"),
        (["no-such-file", "old/1"], "File not found: no-such-file"),
        (["old/one"], "a backup is written star_system/backup_id"),
    ],
)
def test_malformed_targets_delete_nothing(
    run: Program, served: tuple[Simulator, Hosted], backups: list[str], message: str
) -> None:
    """Everything is checked before anything is deleted."""
    ended = run("delete", *backups)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.error
    assert served[0].counts.total == 0


def test_interrupt_waits_for_deletes_under_way(served: tuple[Simulator, Hosted], gate: Gate) -> None:
    """Deletes under way are reported; those that were not started are counted."""
    simulator, host = served
    process = start("delete", "held/1", "held/2", "held/3", "--concurrency", "1", settings=settings_of(simulator))
    host.wait(gate.arrived)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "interrupted: waiting for the response to 1 delete under way; interrupt again to leave at once\n"
    )
    host.call(gate.open)
    ended = finish(process)
    assert ended.status == 130
    told, counts, left = ended.err.splitlines()
    assert told == "held/1 deleted"
    assert counts.startswith("1 backup deleted; ")
    assert left == "interrupted: 2 backups left; to delete them: the same command with --missing-ok"
