"""Signals: while the program starts, while it runs, and those that were ignored when it started."""

from __future__ import annotations

import concurrent.futures
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncbackups.simulator import Fault, Fixed, Gate, PlanetProfile, Simulator, Workload
from tests.cli_program import PROGRAM, Ended, environment, finish, hosted, settings_for, settings_of, start

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
INTERRUPTED = "asyncbackups: interrupted\n"
WORKLOAD = Workload(duration=Fixed(0.0), planets={"slow": PlanetProfile(duration=Fixed(9e9))})
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")


@pytest.fixture
def silent_service() -> Iterator[str]:
    """Return the address of a service that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def start_program(*arguments: str, settings: dict[str, str], ignored: str = "") -> subprocess.Popen[str]:
    """Start the real program, with signals ignored as a shell does it."""
    trap = f"trap '' {ignored}; " if ignored else ""
    command = ["sh", "-c", f'{trap}exec "$@"', "sh", *PROGRAM, *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(settings), text=True, **pipes)


def wait_for_handler(process: subprocess.Popen[str]) -> None:
    """Return once the program handles signals itself: Python alone does not catch SIGTERM."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)
    raise AssertionError("the program does not handle SIGTERM")


def interrupt_after(delay: float, number: signal.Signals, settings: dict[str, str]) -> Ended:
    process = start_program("health", settings=settings)
    wait_for_handler(process)
    time.sleep(delay)
    process.send_signal(number)
    return finish(process)


@needs_proc
def test_a_signal_at_any_moment_of_the_start_ends_with_one_line(silent_service: str) -> None:
    """Whenever it comes, during imports or while the command waits, there is one line, status 130 and no traceback."""
    delays = [number * 0.015 for number in range(40)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(interrupt_after, delay, SIGNALS[number % 3], settings_for(silent_service))
            for number, delay in enumerate(delays)
        ]
        ended = [run.result() for run in runs]
    assert [(one.status, one.out, one.err) for one in ended] == [(130, "", INTERRUPTED)] * len(delays)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_waits_for_creates_under_way(number: signal.Signals) -> None:
    """SIGINT, SIGTERM and SIGHUP start no more creates, wait for the response under way, and report."""
    gate = Gate()
    faults = [Fault(kind="create", planet="held", gate_after=gate)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        process = start("bulk", "s/held", "s/never", "--json", "--concurrency", "1", settings=settings_of(simulator))
        host.wait(gate.arrived)
        process.send_signal(number)
        assert process.stderr is not None
        assert "waiting for the response to 1 create under way" in process.stderr.readline()
        host.call(gate.open)
        ended = finish(process)
        assert (ended.status, ended.json[-1]["created"], ended.json[-1]["not_started"]) == (130, 1, 1)
        assert simulator.creates["s", "never"] == 0


def test_a_closing_terminal_does_not_cut_creates_off() -> None:
    """SIGHUP comes from the shell and from the kernel: the second one changes nothing, another signal still does."""
    gate = Gate()
    faults = [Fault(kind="create", gate_after=gate)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        process = start("bulk", "s/held", settings=settings_of(simulator))
        host.wait(gate.arrived)
        assert process.stderr is not None
        process.send_signal(signal.SIGHUP)
        assert "interrupt again to leave at once" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
        assert ended.status == 130
        assert "s/held: whether the backup was created is unknown" in ended.err


@needs_proc
@pytest.mark.parametrize(("ignored", "number"), [("INT", signal.SIGINT), ("HUP", signal.SIGHUP)])
def test_signals_ignored_at_the_start_stay_ignored(ignored: str, number: signal.Signals) -> None:
    """A job of a script (SIGINT) and `nohup` (SIGHUP) run on: a create is awaited and its backup is waited for."""
    gate = Gate()
    faults = [Fault(kind="create", gate_after=gate)]
    with hosted(lambda: Simulator(workload=WORKLOAD, faults=faults)) as (simulator, host):
        process = start_program("bulk", "s/one", "--json", settings=settings_of(simulator), ignored=ignored)
        wait_for_handler(process)
        process.send_signal(number)
        host.wait(gate.arrived)
        process.send_signal(number)
        host.call(gate.open)
        ended = finish(process)
        assert (ended.status, ended.json[-1]["succeeded"], ended.err) == (0, 1, "")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_simulator_ends_well_on_every_signal(number: signal.Signals) -> None:
    """A signal is how `simulate` is meant to end: status 0, nothing on stderr."""
    process = start("simulate")
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(number)
    ended = finish(process)
    assert (ended.status, ended.err) == (0, "")
