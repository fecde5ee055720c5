"""What `SimulatorProcess` starts: takes settings on stdin, tells its address on stdout, serves while stdin is open."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from typing import IO, Any

from asyncbackups.simulator.process import SimulatorSettings, run_event_loop, serve
from asyncbackups.simulator.server import Simulator


def read_settings(stream: IO[bytes]) -> SimulatorSettings:
    """Read the settings that the parent wrote: their length in eight bytes, then a pickle."""
    length = int.from_bytes(stream.read(8), "big")
    settings: SimulatorSettings = pickle.loads(stream.read(length))  # noqa: S301 - from our own parent
    return settings


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


async def main(stream: IO[bytes]) -> None:
    """Serve until a signal comes or the parent is gone."""
    settings = read_settings(stream)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _Lifeline(done), stream)
    try:
        await serve(announce=tell, until=done, **settings)
    finally:
        transport.close()


if __name__ == "__main__":  # pragma: no branch
    # Unbuffered, or bytes after the settings could be read into a buffer that the event loop does not see.
    run_event_loop(main(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)))  # noqa: SIM115
