"""The simulator in a process of its own: in the foreground until a signal comes, or as a child of a test."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self, TypedDict, Unpack

from asyncbackups.simulator.access import Access
from asyncbackups.simulator.faults import Fault
from asyncbackups.simulator.server import Simulator
from asyncbackups.simulator.shape import ApiShape
from asyncbackups.simulator.workload import Workload

__all__ = ["SimulatorProcess", "SimulatorSettings", "run", "run_event_loop", "serve"]

ASK_LIMIT = 30.0
"""Seconds within which a child must answer an admin request."""

# Whatever proxy the environment names, the child is on loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SimulatorSettings(TypedDict, total=False):
    """The settings of a `Simulator` that can be handed to another process."""

    tenant: str
    star_systems: Mapping[str, Sequence[str]] | None
    forbidden: Iterable[str]
    speed: float
    seed: int
    workload: Workload
    shape: ApiShape
    access: Access
    faults: Iterable[Fault]
    clock_offset: float
    host: str
    port: int


def run_event_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop where it is installed.

    Args:
        main: The coroutine.
    """
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def say_where(sim: Simulator) -> None:
    """Print the one line that a person needs.

    Args:
        sim: A simulator that serves.
    """
    sys.stdout.write(f"Database API simulator at {sim.base_url} (tenant {sim.tenant}, token {sim.token})\n")
    sys.stdout.flush()


async def serve(
    *,
    announce: Callable[[Simulator], None] = say_where,
    until: asyncio.Event | None = None,
    **settings: Unpack[SimulatorSettings],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        announce: Called once it serves; prints one line with base URL and token unless given.
        until: An event that ends it, too.
        **settings: Those of `Simulator`.

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


def run(*, announce: Callable[[Simulator], None] = say_where, **settings: Unpack[SimulatorSettings]) -> None:
    """Serve until SIGINT or SIGTERM, in an event loop of its own (uvloop where it is installed).

    Args:
        announce: Called once it serves; prints one line with base URL and token unless given.
        **settings: Those of `Simulator`.

    Raises:
        OSError: The port cannot be bound.
    """
    run_event_loop(serve(announce=announce, **settings))


class SimulatorProcess:
    """A simulator in a child process, so that it shares neither the event loop nor the core of what it tests.

    It serves inside a `with` block, and ends with it, or with this process, however that ends::

        with SimulatorProcess(speed=60) as sim:
            client = BackupClient(sim.base_url, sim.tenant, auth=sim.token)

    Args:
        **settings: Those of `Simulator`. Models of durations must be picklable: no lambdas.

    Attributes:
        base_url: Where the API is served.
        token: A bearer token that never expires.
        tenant: The one tenant.
        token_url: Where client credentials are exchanged for a token.
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
        """The child's process id.

        Raises:
            RuntimeError: It is not running.
        """
        return self._running().pid

    def start(self) -> None:
        """Start the child and wait until it serves.

        Raises:
            RuntimeError: It is running already, or the child could not start; it has said why on stderr.
        """
        if self._child is not None:
            raise RuntimeError("the simulator's process is running already")
        packed = pickle.dumps(self._settings)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "asyncbackups.simulator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stdin, stdout = _pipes(self._child)
        try:
            # It stays open: when it ends, whatever way, the child knows that it is not needed any more.
            stdin.write(len(packed).to_bytes(8, "big") + packed)
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = b""
        if not line:
            self.kill()
            raise RuntimeError("the simulator's process did not start; its stderr says why")
        told = json.loads(line)
        self.base_url, self.token = told["base_url"], told["token"]
        self.tenant, self.token_url = told["tenant"], told["token_url"]

    def counts(self) -> dict[str, Any]:
        """Ask what was counted: `total`, `requests` by kind and status, `bytes_sent`, `peak`, `creates`.

        Raises:
            RuntimeError: It is not running.
        """
        counts: dict[str, Any] = self._ask("counts")
        counts["creates"] = {(star_system, planet): n for star_system, planet, n in counts["creates"]}
        return counts

    def backups(self) -> dict[int, dict[str, Any]]:
        """Ask for the truth about all backups, by id.

        Each has `star_system`, `planet`, `succeeds`, `created_at` and `completed_at`. The times are seconds of
        `time.monotonic()`, which counts alike in all processes of a machine.

        Raises:
            RuntimeError: It is not running.
        """
        return {int(backup_id): truth for backup_id, truth in self._ask("backups").items()}

    def terminate(self) -> int:
        """End the child in an orderly way and return its exit status; 0 when it had ended before."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End the child at once and return its exit status; 0 when it had ended before."""
        return self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("the simulator's process is not running: use `with`")
        return self._child

    def _ask(self, what: str) -> Any:
        self._running()
        with _OPENER.open(f"{self.base_url}/_simulator/{what}", timeout=ASK_LIMIT) as answer:
            return json.load(answer)

    def _end(self, number: signal.Signals) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.send_signal(number)
        # Also closes both pipes.
        with child:
            return child.wait()


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:  # pragma: no cover - what the type cannot say
        raise RuntimeError("the child was started without pipes")
    return child.stdin, child.stdout
