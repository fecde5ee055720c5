"""The simulator in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import attrs
import pytest

from asyncbackups.simulator import (
    ApiBehavior,
    Fault,
    Fixed,
    Lognormal,
    Respond,
    Simulator,
    SimulatorProcess,
    SimulatorSettings,
    Workload,
    run,
)
from asyncbackups.simulator.process import run_event_loop

BODY = b'{"mechanism": "logical", "planetClass": "dev", "temporary": false}'
PLANET = "api/v1/tenants/example/starsystems/test/planets/mars/backups"


def send_request(sim: SimulatorProcess, path: str, body: bytes | None = None) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {sim.token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{sim.base_url}/{path}", body, headers)) as response:
        return json.load(response)


def test_child_serves_and_reports_counts_and_outcomes() -> None:
    """A child process takes the settings, serves, and reports counts and true times."""
    workload = Workload(duration=Fixed(60), by_mechanism={"snapshot": Lognormal(5, 0.1)}, first_id=7)
    faults = [Fault(Respond(503), kind="health")]
    with SimulatorProcess(workload=workload, faults=faults, behavior=ApiBehavior(envelope="items")) as sim:
        assert send_request(sim, PLANET, BODY)["id"] == 7
        assert len(send_request(sim, PLANET)["items"]) == 1
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            send_request(sim, "management/health")
        caught.value.close()
        counts = sim.counts()
        assert counts["requests"] == {"create": {"200": 1}, "health": {"503": 1}, "list_planet": {"200": 1}}
        assert counts["creates"] == {("test", "mars"): 1}
        backup = sim.backups()[7]
        assert backup["completed_at"] - backup["created_at"] == pytest.approx(60)
        assert backup["succeeds"] is True
    with pytest.raises(RuntimeError, match="not running"):
        sim.counts()


def test_child_takes_settings_of_any_length() -> None:
    """Settings longer than a pipe buffer arrive complete."""
    with SimulatorProcess(star_systems={"test": [f"planet-{number}" for number in range(50_000)]}) as sim:
        assert send_request(sim, PLANET.replace("mars", "planet-49999"), BODY)["id"] == 1


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--help"], b""),
        ([], b""),
        ([], b"\0\0\0"),
        ([], b"\n"),
        ([], pickle.dumps({"seed": 1})[:-1].hex().encode()),
        ([], b"typed by hand\n"),
    ],
)
def test_child_without_parent_prints_usage(arguments: list[str], given: bytes) -> None:
    """Started by hand, it prints one line with the command to use instead, and exits with status 2."""
    command = [sys.executable, "-m", "asyncbackups.simulator", *arguments]
    ended = subprocess.run(command, input=given, capture_output=True, check=False, timeout=30)
    lines = ended.stderr.decode().splitlines()
    assert (ended.returncode, ended.stdout, len(lines)) == (2, b"", 1)
    assert "asyncbackups simulate" in lines[0]


def test_terminate_and_kill() -> None:
    """SIGTERM stops the child with status 0, SIGKILL at once; stopping it twice is no error."""
    sim = SimulatorProcess()
    sim.start()
    with pytest.raises(RuntimeError, match="already"):
        sim.start()
    assert sim.terminate() == 0
    assert sim.terminate() == 0
    sim.start()
    assert sim.kill() == -signal.SIGKILL


def test_failed_start_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A port that cannot be bound is reported as a failed start."""
    with SimulatorProcess() as sim:
        port = int(sim.base_url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="did not start"):
            SimulatorProcess(port=port).start()
    assert "address already in use" in capfd.readouterr().err.lower()


def test_child_ends_with_its_parent() -> None:
    """The child exits when its parent is killed."""
    program = (
        "from asyncbackups.simulator import SimulatorProcess\n"
        "sim = SimulatorProcess(); sim.start(); print(sim.pid, flush=True); input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as parent:
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([watched], [], [], 10)[0] == [watched]
    finally:
        os.close(watched)


def test_run_prints_one_line_and_ends_on_sigterm(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` prints base URL and token in one line, and SIGTERM ends it with status 0."""
    program = "from asyncbackups.simulator import run; run(port=0)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) as child:
        line = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    assert "http://127.0.0.1:" in line
    assert "simulator-token" in line


def test_run_announces_and_ends_on_sigint(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` passes the simulator to `announce`, and SIGINT ends it."""
    seen: list[str] = []

    def announce(sim: Simulator) -> None:
        seen.append(sim.base_url)
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    run(announce=announce)
    assert seen


def test_settings_of_process_and_simulator_agree() -> None:
    """A process accepts every setting of a simulator that can be pickled."""
    names = {attribute.alias for attribute in attrs.fields(Simulator)}
    assert set(SimulatorSettings.__annotations__) == names - {"clock", "ssl_context"}


def test_child_that_exits_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that exits before it has read its settings is a failed start."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    many = SimulatorProcess(star_systems={"x": [str(n) for n in range(50_000)]})
    with pytest.raises(RuntimeError, match="did not start"):
        many.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = many.pid


def test_asyncio_serves_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """If uvloop is not installed, the simulator runs on asyncio's event loop."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    seen: list[str] = []

    async def name_the_loop() -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)

    run_event_loop(name_the_loop())
    assert seen[0].startswith("asyncio.")
