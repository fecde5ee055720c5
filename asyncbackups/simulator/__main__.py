"""What `SimulatorProcess` starts: takes settings on stdin, tells its address on stdout, serves while stdin is open."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from typing import IO, Any

from asyncbackups.simulator.process import SimulatorSettings, run_event_loop, serve
from asyncbackups.simulator.server import Simulator

USAGE = (
    "python -m asyncbackups.simulator is what SimulatorProcess starts, and reads its settings from it. "
    "To start a simulator by hand: asyncbackups simulate\n"
)
_CHUNK = 1024 * 1024


def read_settings(stream: IO[bytes]) -> SimulatorSettings | None:
    """Read the settings that the parent wrote: their length in eight bytes, then a pickle. None where it wrote none."""
    length = int.from_bytes(_read(stream, 8), "big")
    packed = _read(stream, length)
    return pickle.loads(packed) if packed and len(packed) == length else None  # noqa: S301 - from our own parent


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes, or all there are: a pipe gives what it holds at the moment, and that may be less."""
    read = bytearray()
    while chunk := stream.read(min(size - len(read), _CHUNK)):
        read += chunk
    return bytes(read)


def tell(sim: Simulator) -> None:
    """Tell the parent where the simulator is."""
    where: dict[str, Any] = {
        "base_url": sim.base_url,
        "token": sim.token,
        "tenant": sim.tenant,
        "token_url": sim.token_url,
    }
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()


class _Lifeline(asyncio.Protocol):
    """Notices when the parent is gone."""

    def __init__(self, done: asyncio.Event) -> None:
        self._done = done

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._done.set()


async def main(stream: IO[bytes], settings: SimulatorSettings) -> None:
    """Serve until a signal comes or the parent is gone."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _Lifeline(done), stream)
    try:
        await serve(announce=tell, until=done, **settings)
    finally:
        transport.close()


def run() -> int:
    """Serve, or say that this is no command for people; returns the exit status."""
    if not sys.argv[1:] and sys.stdin is not None and not sys.stdin.isatty():
        # Unbuffered, or bytes after the settings could be read into a buffer that the event loop does not see.
        stream = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
        if (settings := read_settings(stream)) is not None:
            run_event_loop(main(stream, settings))
            return 0
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":  # pragma: no branch
    sys.exit(run())
