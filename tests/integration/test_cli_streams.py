"""Standard streams that cannot be used: full, unread, or closed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncbackups.simulator import Fixed, Simulator, Workload
from tests.cli_program import (
    FAST_PROGRAM,
    NO_SETTINGS,
    PROGRAM,
    Ended,
    Program,
    environment,
    finish,
    hosted,
    settings_of,
    start,
)

FULL = pytest.param(
    ">/dev/full",
    "No space left on device",
    marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device"),
    id="full",
)
CLOSED = pytest.param(">&-", "it is closed", id="closed")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve a star system in which backups end at once and the backups 1 to 3 are old."""
    workload = Workload(duration=Fixed(0.0), history=3)
    with hosted(lambda: Simulator(star_systems={"alpha": ["x"]}, workload=workload)) as (simulator, _):
        yield simulator


def run_redirected(redirection: str, *arguments: str, settings: dict[str, str] | None = None) -> Ended:
    """Run a command as a process of its own, with a redirection as shells write it."""
    program = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", FAST_PROGRAM, *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    variables = environment(settings or NO_SETTINGS)
    return finish(subprocess.Popen(program, env=variables, text=True, encoding="utf-8", **pipes))


@pytest.mark.parametrize("how", [[], ["--json"]], ids=["name", "json"])
@pytest.mark.parametrize(("redirection", "reason"), [FULL, CLOSED])
def test_a_backup_whose_name_cannot_be_printed(
    simulator: Simulator, redirection: str, reason: str, how: list[str]
) -> None:
    """It was created, and nothing else knows of it: stderr names it and the error."""
    ended = run_redirected(redirection, "create", "alpha/x", *how, settings=settings_of(simulator))
    assert ended.status == 130
    named, wrong = ended.err.splitlines()
    assert named.startswith("alpha/x: backup ")
    assert "created" in named
    assert wrong == f"asyncbackups: standard output cannot be written: {reason}"


def test_created_backup_is_named_when_the_reader_is_gone(simulator: Simulator) -> None:
    """A pipe that is closed at its other end does not lose it, either."""
    process = start("create", "alpha/x", settings=settings_of(simulator))
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    ended = finish(process)
    assert ended.status == 130
    named, wrong = ended.err.splitlines()
    assert named.startswith("alpha/x: backup ")
    assert wrong == "asyncbackups: standard output cannot be written: Broken pipe"


@pytest.mark.parametrize(
    "arguments",
    [["list", "alpha"], ["get", "alpha/1", "--json"], ["health"], ["--help"], ["completion", "fish"]],
    ids=" ".join,
)
@pytest.mark.parametrize(("redirection", "reason"), [FULL, CLOSED])
def test_results_that_cannot_be_printed(
    simulator: Simulator, redirection: str, reason: str, arguments: list[str]
) -> None:
    """The error is one line with status 130, also at the interpreter's exit."""
    ended = run_redirected(redirection, *arguments, settings=settings_of(simulator))
    assert ended.status == 130
    assert ended.error == f"asyncbackups: standard output cannot be written: {reason}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "alpha/1"],
        ["--version"],
        ["--help"],
        ["health", "--help"],
        ["completion", "zsh"],
        ["delete", "alpha/2", "--json"],
        ["wait", "alpha/1", "--json"],
        ["simulate"],
    ],
    ids=" ".join,
)
def test_closed_stdout_is_an_error(run: Program, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Every command that prints reports it and ends."""
    monkeypatch.setattr(sys, "stdout", None)
    ended = run(*arguments)
    assert ended.status == 130
    assert ended.err.startswith("asyncbackups: standard output cannot be written: it is closed\n")


def test_run_whose_events_cannot_be_printed(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in an orderly way and reports what was created."""
    monkeypatch.setattr(sys, "stdout", None)
    ended = run("bulk", "alpha/x", "--json")
    assert ended.status == 130
    wrong, counts, *_ = ended.err.splitlines()
    assert wrong == "asyncbackups: standard output cannot be written: it is closed"
    assert counts.startswith("1 backup created")


@pytest.mark.parametrize(
    "arguments", [["bulk", "alpha/x"], ["demo", "--planets", "2", "--speed", "3000"]], ids=" ".join
)
def test_commands_that_print_nothing_need_no_stdout(simulator: Simulator, arguments: list[str]) -> None:
    """Their output on stderr is complete."""
    ended = run_redirected(">&-", *arguments, settings=settings_of(simulator))
    assert (ended.status, "Traceback" in ended.err) == (0, False)
    assert "succeeded; " in ended.err


def test_closed_stderr(simulator: Simulator) -> None:
    """Messages are dropped and do not get into the results."""
    ended = run_redirected("2>&-", "health", "-vv", settings=settings_of(simulator))
    assert (ended.status, ended.out) == (0, "UP\n")
    ended = run_redirected("2>&-", "create", "alpha/x", settings=settings_of(simulator))
    assert (ended.status, ended.out.partition("/")[0]) == (0, "alpha")


@pytest.mark.parametrize("command", ["bulk", "delete", "wait"])
def test_closed_stdin(simulator: Simulator, command: str) -> None:
    """Reading targets from it is an error with status 2."""
    ended = run_redirected("<&-", command, "-", settings=settings_of(simulator))
    assert (ended.status, ended.error) == (2, "asyncbackups: standard input is closed")


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--planets", "2", "--speed", "3000"]], ids=" ".join)
def test_an_ascii_terminal_gets_ascii(simulator: Simulator, arguments: list[str]) -> None:
    """Neither frames nor separators are escaped if the terminal cannot show them."""
    leader, follower = pty.openpty()
    variables = {**environment(settings_of(simulator)), "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "xterm"}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": follower, "stderr": follower}
    with subprocess.Popen([*PROGRAM, *arguments], env=variables, **streams) as process:
        os.close(follower)
        sent = b"".join(iter(lambda: read_terminal(leader), b""))
    os.close(leader)
    assert process.returncode == 0
    assert sent.isascii()
    assert b"\\x" not in sent
    assert b"\\u" not in sent
    assert b"+---" in sent


def read_terminal(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # Linux reports a closed terminal like this
        return b""
