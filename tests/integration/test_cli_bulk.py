"""The command `bulk`: targets, events, statuses, and what an interrupt leaves behind."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncbackups.simulator import Drop, Fault, Fixed, Gate, PlanetProfile, Respond, Simulator, Workload
from tests.cli_program import Program, finish, hosted, settings_of, start

WORKLOAD = Workload(
    duration=Fixed(0.0), planets={"broken": PlanetProfile(failure_share=1), "slow": PlanetProfile(duration=Fixed(9e9))}
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve a workload in which backups end at once, except for those of the planet "slow"."""
    faults = [Fault(Respond(400), kind="create", planet="refused")]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, _):
        yield simulator


def write_targets(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "targets"
    path.write_text("\n".join(lines))
    return str(path)


def test_json_events_and_report(run: Program, tmp_path: Path) -> None:
    """Each backup has two events, created and succeeded; the report comes last; stderr stays empty."""
    ended = run("bulk", write_targets(tmp_path, "# two", "alpha/one", "beta/two"), "beta/é", "--json")
    *events, report = ended.json
    assert (ended.status, ended.err) == (0, "")
    planets = {"alpha/one", "beta/two", "beta/é"}
    for name in ("backup_created", "backup_succeeded"):
        assert {f"{e['star_system']}/{e['planet']}" for e in events if e["event"] == name} == planets
    assert {key: report[key] for key in ("event", "planets", "created", "succeeded", "final_events", "in_flight")} == {
        "event": "report",
        "planets": 3,
        "created": 3,
        "succeeded": 3,
        "final_events": 3,
        "in_flight": 0,
    }
    assert report["requests"]["create"] == 3


def test_lines_for_people(run: Program) -> None:
    """Without --json stdout stays empty; stderr has a line per event and the sum at the end."""
    ended = run("bulk", "people/one", "people/broken")
    assert (ended.status, ended.out) == (1, "")
    lines = ended.err.splitlines()
    assert len(lines) == 5
    assert any(line.startswith("people/one: backup") and "succeeded after" in line for line in lines)
    assert any(line.endswith("pg_dump: error: connection to server was lost") for line in lines)
    assert lines[-1].startswith("2 backups created, 1 succeeded, 1 failed; ")


@pytest.mark.parametrize(
    ("planets", "status"),
    [(["s/refused", "s/one"], 1), (["s/slow", "s/one"], 3), (["s/slow", "s/refused", "s/broken"], 3)],
)
def test_exit_statuses(run: Program, planets: list[str], status: int) -> None:
    """A refused create is 1, a passed deadline is 3, and the highest counts."""
    ended = run("bulk", *planets, "--deadline", "0.4s")
    assert ended.status == status


def test_wrong_token_creates_nothing(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused credentials are status 4, with one event per planet."""
    monkeypatch.setenv("ASYNCBACKUPS_TOKEN", "wrong-token-value")
    ended = run("bulk", "alpha/x", "alpha/y", "--json")
    *events, report = ended.json
    assert ended.status == report["exit_status"] == 4
    assert [event["error"]["type"] for event in events] == ["AuthenticationError"] * 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["new/one", "", "nonsense"], "line 3: a planet is written star_system/planet, not 'nonsense'"),
        (["new/one", "../../x"], "line 2: a planet is written star_system/planet, not '../../x'"),
        (["new/one", "new/one"], "new/one is listed twice: "),
        ([], "no targets found"),
    ],
)
def test_bad_targets_create_nothing(
    run: Program, simulator: Simulator, tmp_path: Path, lines: list[str], message: str
) -> None:
    """An invalid file is status 2 and names the line, before anything is created."""
    ended = run("bulk", write_targets(tmp_path, *lines), "--json")
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.error
    assert simulator.creates["new", "one"] == 0


def test_standard_input(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets may come through a pipe."""
    lines = io.TextIOWrapper(io.BytesIO(b"piped/one\npiped/two # the last\n"))
    monkeypatch.setattr(sys, "stdin", lines)
    assert run("bulk", "-", "--json").json[-1]["succeeded"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_names_running_backups(simulator: Simulator, number: signal.Signals) -> None:
    """An interrupt of a run that only waits ends it at once with 130, and names the backups that are still running."""
    process = start("bulk", "int/one", "int/slow", settings=settings_of(simulator))
    assert process.stderr is not None
    seen = [process.stderr.readline() for _ in range(3)]
    slow = next(line.split()[2] for line in seen if line.startswith("int/slow"))
    process.send_signal(number)
    ended = finish(process)
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err.splitlines()[-1] == (
        f"interrupted: 1 backup created and still running; to continue waiting: asyncbackups wait int/{slow}"
    )


def test_interrupt_waits_for_creates_under_way() -> None:
    """A create under way is not cut off: its response is awaited, and its backup is named."""
    gate = Gate()
    faults = [Fault(kind="create", planet="held", gate_after=gate)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        planets = ["int/slow", "int/held", "int/never"]
        process = start("bulk", *planets, "--json", "--concurrency", "1", settings=settings_of(simulator))
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["planet"] == "slow"
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        assert "waiting for the response to 1 create under way" in process.stderr.readline()
        host.call(gate.open)
        ended = finish(process)
        report = ended.json[-1]
        assert ended.status == report["exit_status"] == 130
        assert report["interrupted"] is True
        assert (report["created"], report["not_started"], report["create_failed"]) == (2, 1, 0)
        assert "int/1" in report["still_running"]
        assert (simulator.creates["int", "held"], simulator.creates["int", "never"]) == (1, 0)


def test_interrupt_reports_how_long_reconciling_may_take() -> None:
    """An interrupt while a create is reconciled reports how long that may take, and how to leave at once."""
    gate = Gate()
    faults = [Fault(Drop("after"), kind="create", count=1), Fault(kind="list_planet", gate=gate, count=1)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        process = start("bulk", "int/slow", "--json", settings=settings_of(simulator))
        assert process.stderr is not None
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == (
            "interrupted: waiting for the response to 1 create under way (a create with a lost response is reconciled: "
            "0.2 s after each of at most 3 sends, up to 15 min 00 s while that fails); "
            "interrupt again to leave at once\n"
        )
        host.call(gate.open)
        ended = finish(process)
        created, report = ended.json
        assert (ended.status, created["adopted"], report["created"]) == (130, "marker", 1)


def test_a_second_interrupt_leaves_at_once() -> None:
    """The second interrupt does not wait for the response and reports that the create's outcome is unknown."""
    gate = Gate()
    faults = [Fault(kind="create", gate_after=gate)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        process = start("bulk", "int/held", settings=settings_of(simulator))
        assert process.stderr is not None
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        assert "interrupt again to leave at once" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ended = finish(process)
        assert ended.status == 130
        assert "int/held: whether the backup was created is unknown" in ended.err
        assert "Traceback" not in ended.err


def test_run_ends_when_its_reader_is_gone(simulator: Simulator) -> None:
    """When the reader of the events is gone the run is interrupted, and stderr names what is still running."""
    process = start("bulk", "pipe/slow", "pipe/one", "--json", "--concurrency", "1", settings=settings_of(simulator))
    assert process.stdout is not None
    created = json.loads(process.stdout.readline())
    process.stdout.close()
    process.stdout = None
    ended = finish(process)
    assert ended.status == 130
    assert "asyncbackups: standard output cannot be written: Broken pipe\n" in ended.err
    assert f"pipe/{created['backup_id']}" in ended.err
    assert "Traceback" not in ended.err


def test_interrupt_of_a_wait(simulator: Simulator) -> None:
    """It names what it no longer waits for, and the command that continues, with the connection's options."""
    settings = settings_of(simulator)
    names = [finish(start("create", f"wait/{planet}", settings=settings)).out.strip() for planet in ("one", "slow")]
    where = ["--base-url", settings.pop("ASYNCBACKUPS_BASE_URL"), "--tenant", settings.pop("ASYNCBACKUPS_TENANT")]
    process = start("wait", *names, *where, settings=settings)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(f"{names[0]} succeeded after")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == (
        "interrupted: 1 backup watched and still in flight; "
        f"to continue waiting: asyncbackups wait {' '.join([names[1], *where])}"
    )


def test_wait_ends_when_its_reader_is_gone(simulator: Simulator) -> None:
    """A wait ends when the reader of its events is gone."""
    settings = settings_of(simulator)
    names = [finish(start("create", f"wait/{planet}", settings=settings)).out.strip() for planet in ("one", "slow")]
    process = start("wait", *names, "--json", settings=settings, stdin=-1)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    ended = finish(process)
    assert ended.status == 130
    assert f"asyncbackups wait {names[1]}" in ended.err
