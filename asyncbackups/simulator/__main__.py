"""The child of `SimulatorProcess`: reads settings from stdin, writes its address to stdout, serves until stdin ends."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from typing import IO

from asyncbackups.simulator.process import SimulatorSettings, run_event_loop, serve
from asyncbackups.simulator.server import Simulator

USAGE = (
    "python -m asyncbackups.simulator is started by SimulatorProcess and reads its settings from stdin. "
    "To start a simulator by hand, run: asyncbackups simulate\n"
)
_CHUNK = 1024 * 1024


def receive_settings(stream: IO[bytes]) -> SimulatorSettings | None:
    """Read the parent's settings: their length in eight bytes, then a pickle. Return None if there are none."""
    length = int.from_bytes(_receive_bytes(stream, 8), "big")
    packed = _receive_bytes(stream, length)
    return pickle.loads(packed) if packed and len(packed) == length else None  # noqa: S301 - from our own parent


def _receive_bytes(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, or until the stream ends; a single read of a pipe may return fewer."""
    received = bytearray()
    while chunk := stream.read(min(size - len(received), _CHUNK)):
        received += chunk
    return bytes(received)


def send_address(sim: Simulator) -> None:
    """Write the simulator's address and token to the parent."""
    address = {name: getattr(sim, name) for name in ("base_url", "token", "tenant", "token_url")}
    sys.stdout.write(json.dumps(address) + "\n")
    sys.stdout.flush()


class _ParentMonitor(asyncio.Protocol):
    """Sets an event when the parent has closed the pipe."""

    def __init__(self, done: asyncio.Event) -> None:
        self._done = done

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._done.set()


async def serve_parent(stream: IO[bytes], settings: SimulatorSettings) -> None:
    """Serve until a signal arrives or the parent has ended."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _ParentMonitor(done), stream)
    try:
        await serve(announce=send_address, until=done, **settings)
    finally:
        transport.close()


def main() -> int:
    """Serve, or print the usage if no parent sent settings; return the exit status."""
    if not sys.argv[1:] and sys.stdin is not None and not sys.stdin.isatty():
        # Unbuffered, or bytes after the settings could be read into a buffer that the event loop does not see.
        stream = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
        if (settings := receive_settings(stream)) is not None:
            run_event_loop(serve_parent(stream, settings))
            return 0
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":  # pragma: no branch
    sys.exit(main())
