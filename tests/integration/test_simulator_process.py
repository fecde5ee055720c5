"""The simulator in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
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
    ApiShape,
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


def ask(sim: SimulatorProcess, path: str, body: bytes | None = None) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {sim.token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{sim.base_url}/{path}", body, headers)) as answer:
        return json.load(answer)


def test_a_child_process_serves_counts_and_tells_the_truth() -> None:
    """A simulator in a child takes any settings, answers, and tells counts and true times."""
    workload = Workload(duration=Fixed(60), by_mechanism={"snapshot": Lognormal(5, 0.1)}, first_id=7)
    faults = [Fault(Respond(503), kind="health")]
    with SimulatorProcess(workload=workload, faults=faults, shape=ApiShape(envelope="items")) as sim:
        assert ask(sim, PLANET, BODY)["id"] == 7
        assert len(ask(sim, PLANET)["items"]) == 1
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            ask(sim, "management/health")
        caught.value.close()
        counts = sim.counts()
        assert counts["requests"] == {"create": {"200": 1}, "health": {"503": 1}, "list_planet": {"200": 1}}
        assert counts["creates"] == {("test", "mars"): 1}
        truth = sim.backups()[7]
        assert truth["completed_at"] - truth["created_at"] == pytest.approx(60)
        assert truth["succeeds"] is True
    with pytest.raises(RuntimeError, match="not running"):
        sim.counts()


def test_a_child_takes_settings_of_any_length() -> None:
    """More than a pipe holds at a time arrives whole."""
    with SimulatorProcess(star_systems={"test": [f"planet-{number}" for number in range(50_000)]}) as sim:
        assert ask(sim, PLANET.replace("mars", "planet-49999"), BODY)["id"] == 1


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--help"], b""),
        ([], b""),
        ([], b"\0\0\0"),
        ([], (9).to_bytes(8, "big") + b"cut"),
        ([], b"what somebody types\n"),
    ],
)
def test_a_child_without_its_parent_says_what_it_is(arguments: list[str], given: bytes) -> None:
    """Started by hand, it prints one line about what to start instead, and ends with status 2."""
    command = [sys.executable, "-m", "asyncbackups.simulator", *arguments]
    ended = subprocess.run(command, input=given, capture_output=True, check=False, timeout=30)
    said = ended.stderr.decode().splitlines()
    assert (ended.returncode, ended.stdout, len(said)) == (2, b"", 1)
    assert "asyncbackups simulate" in said[0]


def test_terminate_is_orderly_and_kill_is_not() -> None:
    """SIGTERM ends the child with status 0; a kill is a kill; a second end is no error."""
    sim = SimulatorProcess()
    sim.start()
    with pytest.raises(RuntimeError, match="already"):
        sim.start()
    assert sim.terminate() == 0
    assert sim.terminate() == 0
    sim.start()
    assert sim.kill() == -signal.SIGKILL


def test_a_child_that_cannot_start_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A port that cannot be bound is reported as a start that failed."""
    with SimulatorProcess() as sim:
        port = int(sim.base_url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="did not start"):
            SimulatorProcess(port=port).start()
    assert "address already in use" in capfd.readouterr().err.lower()


def test_the_child_ends_with_its_parent() -> None:
    """When the parent is killed, the child notices and ends."""
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
    """`run` prints base URL and token in one line, and SIGTERM ends it without an error."""
    program = "from asyncbackups.simulator import run; run(port=0)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) as child:
        line = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    assert "http://127.0.0.1:" in line
    assert "simulator-token" in line


def test_run_ends_on_sigint_and_announces(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` hands the serving simulator to `announce`, and ends on SIGINT."""
    seen: list[str] = []

    def announce(sim: Simulator) -> None:
        seen.append(sim.base_url)
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    run(announce=announce)
    assert seen


def test_settings_of_process_and_simulator_agree() -> None:
    """Whatever a simulator can be told, a process can be told as well, but for what cannot be pickled."""
    names = {attribute.name for attribute in attrs.fields(Simulator)}
    assert set(SimulatorSettings.__annotations__) == names - {"clock", "ssl_context"}


def test_a_child_that_dies_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends before it has read its settings is a start that failed, too."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    many = SimulatorProcess(star_systems={"x": [str(n) for n in range(50_000)]})
    with pytest.raises(RuntimeError, match="did not start"):
        many.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = many.pid


def test_without_uvloop_asyncio_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvloop is not installed, asyncio's own loop runs the simulator."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    seen: list[str] = []

    async def name_the_loop() -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)

    run_event_loop(name_the_loop())
    assert seen[0].startswith("asyncio.")
