"""The simulator in a process of its own: in the foreground until a signal arrives, or as a child process."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import IO, Any, Self, TypedDict, Unpack, cast

from asyncbackups.simulator.api import Access
from asyncbackups.simulator.api_behavior import ApiBehavior
from asyncbackups.simulator.faults import Fault
from asyncbackups.simulator.outcome_model import Workload
from asyncbackups.simulator.server import Simulator

_USAGE = (
    "python -m asyncbackups.simulator is started by SimulatorProcess and reads its settings from stdin. "
    "To start a simulator by hand, run: asyncbackups simulate\n"
)

# Without a proxy, even if the environment names one: the child is on loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SimulatorSettings(TypedDict, total=False):
    """The settings of a `Simulator` that can be passed to another process."""

    tenant: str
    star_systems: Mapping[str, Sequence[str]] | None
    forbidden: Iterable[str]
    speed: float
    seed: int
    workload: Workload
    behavior: ApiBehavior
    access: Access
    faults: Iterable[Fault]
    clock_offset: float
    host: str
    port: int
    shape: ApiBehavior


def run_event_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to completion, on uvloop if it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def print_address(sim: Simulator) -> None:
    """Print base URL, tenant and token in one line."""
    sys.stdout.write(f"Database API simulator at {sim.base_url} (tenant {sim.tenant}, token {sim.token})\n")
    sys.stdout.flush()


async def serve(
    *,
    announce: Callable[[Simulator], None] = print_address,
    until: asyncio.Event | None = None,
    **settings: Unpack[SimulatorSettings],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        announce: Called when the simulator is serving; by default prints one line with base URL and token.
        until: An event that also ends it.
        **settings: The settings of `Simulator`.

    Raises:
        OSError: The port cannot be bound.
    """
    done = asyncio.Event() if until is None else until
    loop = asyncio.get_running_loop()
    # Windows' event loops have no signal handlers; there, Ctrl-C interrupts the loop itself.
    signals = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, done.set)
    try:
        async with Simulator(**settings) as sim:
            announce(sim)
            await done.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def run(*, announce: Callable[[Simulator], None] = print_address, **settings: Unpack[SimulatorSettings]) -> None:
    """Call `serve` in a new event loop, on uvloop if it is installed, until SIGINT or SIGTERM."""
    run_event_loop(serve(announce=announce, **settings))


class SimulatorProcess:
    """A simulator in a child process: it neither blocks nor is blocked by the event loop of the code under test.

    It serves inside a `with` block; the child ends with the block, or with this process, even if that is killed.
    `base_url`, `token`, `tenant` and `token_url` are those of its `Simulator`, and empty before the start.
    `pid`, `counts` and `backups` raise a `RuntimeError` if the child is not running::

        with SimulatorProcess(speed=60) as sim:
            client = BackupClient(sim.base_url, sim.tenant, auth=sim.token)

    Args:
        **settings: The settings of `Simulator`; they must be picklable, so a duration model cannot be a lambda.
    """

    def __init__(self, **settings: Unpack[SimulatorSettings]) -> None:
        self.base_url: str = ""
        self.token: str = ""
        self.tenant: str = ""
        self.token_url: str = ""
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running_child().pid

    def start(self) -> None:
        """Start the child and wait until it is serving.

        Raises:
            RuntimeError: The child is running already, or could not start; it has written the reason to stderr.
        """
        if self._child is not None:
            raise RuntimeError("the simulator's process is running already")
        packed = pickle.dumps(self._settings)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "asyncbackups.simulator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stdin, stdout = cast("IO[bytes]", self._child.stdin), cast("IO[bytes]", self._child.stdout)
        try:
            # stdin stays open: when it closes, for whatever reason, the child knows that its parent has ended.
            stdin.write(packed.hex().encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = b""
        if not line:
            self.kill()
            raise RuntimeError("the simulator's process did not start; its stderr says why")
        address = json.loads(line)
        self.base_url, self.token = address["base_url"], address["token"]
        self.tenant, self.token_url = address["tenant"], address["token_url"]

    def counts(self) -> dict[str, Any]:
        """Return `total`, `requests` by operation and status, `bytes_sent`, `in_flight`, `peak` and `creates`."""
        counts: dict[str, Any] = self._request_admin("counts")
        counts["creates"] = {(star_system, planet): n for star_system, planet, n in counts["creates"]}
        return counts

    def backups(self) -> dict[int, dict[str, Any]]:
        """Return the true outcomes of all backups, by id.

        Each has `star_system`, `planet`, `succeeds`, `created_at` and `completed_at`. The times are seconds of
        `time.monotonic()`, which is the same in all processes of a machine.
        """
        return {int(backup_id): backup for backup_id, backup in self._request_admin("backups").items()}

    def terminate(self) -> int:
        """Stop the child with SIGTERM and return its exit status; 0 if it is not running."""
        return self._stop_child(signal.SIGTERM)

    def kill(self) -> int:
        """Stop the child with SIGKILL and return its exit status; 0 if it is not running."""
        return self._stop_child(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("the simulator's process is not running: use `with`")
        return self._child

    def _request_admin(self, page: str) -> Any:
        self._running_child()
        with _OPENER.open(f"{self.base_url}/_simulator/{page}", timeout=30.0) as response:
            return json.load(response)

    def _stop_child(self, number: signal.Signals) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.send_signal(number)
        with child:  # also closes both pipes
            return child.wait()


def run_child() -> int:
    """Serve the `SimulatorProcess` that sent settings to stdin, or print the usage; return the exit status."""
    stream = None if sys.argv[1:] or sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer
    if stream is not None and (settings := _receive_settings(stream)) is not None:
        run_event_loop(_serve_parent(stream, settings))
        return 0
    sys.stderr.write(_USAGE)
    return 2


def _receive_settings(stream: IO[bytes]) -> SimulatorSettings | None:
    """Read the parent's settings: one line, a pickle in hexadecimal digits. Return None if there are none."""
    try:
        packed = bytes.fromhex(stream.readline().decode())
        settings: SimulatorSettings = pickle.loads(packed)  # noqa: S301 - from our own parent
    except (ValueError, EOFError, pickle.UnpicklingError):
        return None
    return settings


def _send_address(sim: Simulator) -> None:
    """Write the simulator's address and token to the parent."""
    address = {name: getattr(sim, name) for name in ("base_url", "token", "tenant", "token_url")}
    sys.stdout.write(json.dumps(address) + "\n")
    sys.stdout.flush()


async def _serve_parent(stream: IO[bytes], settings: SimulatorSettings) -> None:
    """Serve until a signal arrives or the parent has ended."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    # Nothing follows the settings, so the pipe becomes readable only when the parent closes it or ends.
    loop.add_reader(stream, done.set)
    try:
        await serve(announce=_send_address, until=done, **settings)
    finally:
        loop.remove_reader(stream)
