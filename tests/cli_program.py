"""Runs the command line in tests: in this process with captured streams, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest

from asyncbackups import CreatePolicy, PollingPolicy
from asyncbackups.cli import options
from asyncbackups.cli.main import run_program
from asyncbackups.simulator import Simulator

ROOT = Path(__file__).parent.parent
PROGRAM = (sys.executable, "-m", "asyncbackups")
FAST = PollingPolicy().sped_up(200)
"""For simulators with short backups: otherwise each test would wait five seconds for the first poll."""
SETTLED = CreatePolicy(settle=0.2)
"""For the same: otherwise a create with a lost response would be reconciled for a minute."""
FAST_PROGRAM = """\
import sys
from asyncbackups.__main__ import main
from asyncbackups.cli import options
from tests.cli_program import FAST, SETTLED
options.CLIENT_SETTINGS.update(polling=FAST, creating=SETTLED)
sys.exit(main())
"""
NO_SETTINGS: Mapping[str, str] = {}
_T = TypeVar("_T")


@attrs.frozen
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        assert "Traceback" not in line
        return line


@attrs.frozen
class Program:
    """Runs commands in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Ended:
        log = logging.getLogger("asyncbackups")
        handlers, level = log.handlers[:], log.level
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(options.CLIENT_SETTINGS, "polling", FAST)
                patch.setitem(options.CLIENT_SETTINGS, "creating", SETTLED)
                status = run_program(arguments)
        finally:
            log.handlers[:] = handlers
            log.setLevel(level)
        return Ended(status, *self.capsys.readouterr())


@attrs.frozen
class Hosted:
    """A context manager that is open in the event loop of another thread."""

    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], object]) -> None:
        """Call a function there; returns when it has returned."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (function(), done.set()))
        assert done.wait(10)

    def wait(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await something there."""
        asyncio.run_coroutine_threadsafe(function(), self.loop).result(30)


@contextlib.contextmanager
def hosted(make: Callable[[], AbstractAsyncContextManager[_T]]) -> Iterator[tuple[_T, Hosted]]:
    """Keep an async context manager open in the event loop of another thread."""
    entered: list[tuple[_T, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def serve() -> None:
        leave = asyncio.Event()
        async with make() as served:
            entered.append((served, asyncio.get_running_loop(), leave))
            ready.set()
            await leave.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    served, loop, leave = entered[0]
    try:
        yield served, Hosted(loop)
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(10)


def settings_for(base_url: str, token: str = "simulator-token") -> dict[str, str]:
    """Return the variables that lead commands to a service."""
    return {"ASYNCBACKUPS_BASE_URL": base_url, "ASYNCBACKUPS_TENANT": "example", "ASYNCBACKUPS_TOKEN": token}


def settings_of(simulator: Simulator) -> dict[str, str]:
    """Return the variables that lead commands to a simulator."""
    return settings_for(simulator.base_url, simulator.token)


def environment(settings: Mapping[str, str] = NO_SETTINGS) -> dict[str, str]:
    """Return this process's environment with these settings, and no other ones of this program."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ASYNCBACKUPS_")}
    path = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH", "")]))
    return {**own, "PYTHONPATH": path, "COLUMNS": "100", **settings}


def start(*arguments: str, settings: Mapping[str, str] = NO_SETTINGS, **streams: Any) -> subprocess.Popen[str]:
    """Start a command as a process of its own that polls fast; its streams are pipes by default."""
    program = [sys.executable, "-c", FAST_PROGRAM, *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(program, env=environment(settings), text=True, encoding="utf-8", **pipes)


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process's end."""
    with process:
        out, err = process.communicate(timeout=50)
    return Ended(process.returncode, out, err)


@contextlib.contextmanager
def begun(folder: Path, *arguments: str) -> Iterator[Callable[[], Ended]]:
    """Start a command that takes long; the function that this yields waits for its end."""
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
        process = subprocess.Popen([*PROGRAM, *arguments], env=environment(), **streams)
    with process:
        yield lambda: Ended(process.wait(50), out.read_text("utf-8"), err.read_text("utf-8"))
