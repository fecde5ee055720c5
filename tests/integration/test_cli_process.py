"""The program as a process: streams, terminals, signals, and an installation without the extra."""

from __future__ import annotations

import gc
import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from asyncbackups.__main__ import main as program
from asyncbackups.simulator import Simulator, Workload
from tests.cli_program import (
    NO_SETTINGS,
    PROGRAM,
    Ended,
    Program,
    begun,
    environment,
    finish,
    hosted,
    settings_of,
    start,
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environment(), text=True, capture_output=True, check=False)


def test_the_library_needs_no_extra() -> None:
    """Importing the package imports neither click nor rich nor the command line."""
    code = "import asyncbackups, sys; print([m for m in sys.modules if m in ('click', 'rich', 'asyncbackups.cli')])"
    assert run_python(code).stdout == "[]\n"


@pytest.fixture
def restored_process() -> Iterator[None]:
    """Restore what the program changes in its process: signal handlers and the garbage collector."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    gc.enable()


@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("missing", ["click", "rich"])
def test_missing_extra(missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without click or rich the program prints one line with what to install, and exits with 2."""
    for name in [name for name in sys.modules if name.startswith("asyncbackups.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert program() == 2
    assert capsys.readouterr().err == "asyncbackups: the command line needs: pip install 'asyncbackups[cli]'\n"


@pytest.mark.usefixtures("restored_process")
def test_another_missing_module_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is missing for another reason is not blamed on the extra."""
    monkeypatch.setitem(sys.modules, "asyncbackups.cli.main", None)
    with pytest.raises(ModuleNotFoundError, match=r"asyncbackups\.cli\.main"):
        program()


@pytest.fixture(scope="module", autouse=True)
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Ended]]:
    """Start a demo of some seconds before the first test, so that the others run meanwhile."""
    arguments = ["demo", "--planets", "200", "--star-systems", "8", "--speed", "60", "--seed", "7", "--json"]
    with begun(tmp_path_factory.mktemp("demo"), *arguments) as end:
        yield end


def test_demo_creates_and_finishes_everything(demo: Callable[[], Ended]) -> None:
    """The demo ends with 0 and reports 200 creates and 200 completions."""
    ended = demo()
    *events, report = ended.json
    assert (ended.status, ended.err) == (0, "")
    assert Counter(event["event"] for event in events) == {"backup_created": 200, "backup_succeeded": 200}
    assert len({event["star_system"] for event in events}) == 8
    assert (report["event"], report["created"], report["final_events"], report["requests"]["create"]) == (
        "report",
        200,
        200,
        200,
    )
    assert report["comparison"]["backups"] == 200


def test_demo_repeats_by_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed gives the same outcomes, another one others; failures are status 1."""

    def outcomes(seed: int) -> list[str]:
        settings = ["--planets", "6", "--star-systems", "2", "--speed", "2000", "--failure-share", "0.5", "--json"]
        ended = Program(capsys)("demo", "--seed", str(seed), *settings)
        told = sorted(f"{event['planet']} {event['event']}" for event in ended.json[:-1])
        assert ended.status == int(any("backup_failed" in one for one in told))
        return told

    assert outcomes(3) == outcomes(3) != outcomes(4)


def run_on_terminal(
    *arguments: str, settings: Mapping[str, str] = NO_SETTINGS, stream: str = "stderr"
) -> tuple[int, str]:
    """Run a command with a terminal as one of its streams; return its status and what the terminal received."""
    leader, follower = pty.openpty()
    variables = {**environment(settings), "TERM": "xterm", "LINES": "40"}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, stream: follower}
    with subprocess.Popen([*PROGRAM, *arguments], env=variables, **streams) as process:
        os.close(follower)
        sent = b"".join(iter(lambda: _read(leader), b""))
    os.close(leader)
    return process.returncode, sent.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def strip_escapes(sent: str) -> str:
    """Return what a terminal shows, without colors and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)


def test_live_table_on_a_terminal() -> None:
    """The table is redrawn and stays with its last numbers; problems are printed above it."""
    arguments = ["demo", "--planets", "12", "--star-systems", "3", "--speed", "1000", "--failure-share", "1"]
    status, sent = run_on_terminal(*arguments)
    text = strip_escapes(sent)
    assert status == 1
    assert "\x1b[?25l" in sent  # the cursor is hidden while it draws
    assert re.search(r"│ all +│ +12 │ +0 │ +0 │ +12 │", text)
    assert "planet-07: backup" in text
    assert "(computed, not run; in the backups' own time)" in " ".join(text.split())


def test_list_is_a_framed_table_on_a_terminal() -> None:
    """On a terminal a list has a frame."""
    with hosted(lambda: Simulator(workload=Workload(history=2))) as (simulator, _):
        status, sent = run_on_terminal("list", "alpha", settings=settings_of(simulator), stream="stdout")
    assert status == 0
    assert re.search(r"┃ backup +┃ planet +┃", strip_escapes(sent))
    assert re.search(r"│ alpha/1 +│ planet-", strip_escapes(sent))


def test_list_fits_80_columns() -> None:
    """Columns that do not fit are left out; nothing is folded or cut off, least of all a backup's name."""
    with hosted(lambda: Simulator(workload=Workload(history=2))) as (simulator, _):
        settings = {**settings_of(simulator), "COLUMNS": "80"}
        _, sent = run_on_terminal("list", "a-star-system-1", settings=settings, stream="stdout")
    lines = strip_escapes(sent).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80
    assert [cell.strip() for cell in lines[1].split("┃")[1:-1]][:4] == ["backup", "planet", "status", "started"]
    assert lines[3].startswith("│ a-star-system-1/1 │ planet-")


def test_list_ends_quietly_when_its_reader_is_gone() -> None:
    """Nothing is printed on stderr."""
    with hosted(Simulator) as (simulator, _):
        process = start("list", "alpha", settings=settings_of(simulator))
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        ended = finish(process)
    assert (ended.status, ended.err) == (130, "")


def test_simulate_serves_until_it_is_interrupted() -> None:
    """It prints what points other commands at it, serves, and exits with 0 on Ctrl-C."""
    process = start("simulate", "--speed", "60")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    exported = dict(re.fullmatch(r"export (\w+)=(.*)\n", line).groups() for line in lines[1:])  # type: ignore[union-attr]
    request = urllib.request.Request(
        f"{exported['ASYNCBACKUPS_BASE_URL']}/management/health",
        headers={"Authorization": f"Bearer {exported['ASYNCBACKUPS_TOKEN']}"},
    )
    with urllib.request.urlopen(request) as answered:
        assert json.load(answered) == {"status": "UP"}
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--speed", "0"], "asyncbackups: Invalid value for '--speed': 0.0 is not in the range x>0."),
        (["--port", "70000"], "--port"),
        ([], "is not available"),
    ],
)
def test_invalid_simulator_settings(capsys: pytest.CaptureFixture[str], option: list[str], message: str) -> None:
    """Invalid settings and a port in use are one line with status 2."""
    with hosted(Simulator) as (simulator, _):
        port = simulator.base_url.rpartition(":")[2]
        ended = Program(capsys)("simulate", *(option or ["--port", port]))
    assert ended.status == 2
    assert message in ended.error
