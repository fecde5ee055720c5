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


def receive_settings(stream: IO[bytes]) -> SimulatorSettings | None:
    """Read the parent's settings: one line, a pickle in hexadecimal digits. Return None if there are none."""
    try:
        packed = bytes.fromhex(stream.readline().decode())
        settings: SimulatorSettings = pickle.loads(packed)  # noqa: S301 - from our own parent
    except (ValueError, EOFError, pickle.UnpicklingError):
        return None
    return settings


def send_address(sim: Simulator) -> None:
    """Write the simulator's address and token to the parent."""
    address = {name: getattr(sim, name) for name in ("base_url", "token", "tenant", "token_url")}
    sys.stdout.write(json.dumps(address) + "\n")
    sys.stdout.flush()


async def serve_parent(stream: IO[bytes], settings: SimulatorSettings) -> None:
    """Serve until a signal arrives or the parent has ended."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    # Nothing follows the settings, so the pipe becomes readable only when the parent closes it or ends.
    loop.add_reader(stream, done.set)
    try:
        await serve(announce=send_address, until=done, **settings)
    finally:
        loop.remove_reader(stream)


def main() -> int:
    """Serve, or print the usage if no parent sent settings; return the exit status."""
    from_parent = not sys.argv[1:] and sys.stdin is not None and not sys.stdin.isatty()
    if from_parent and (settings := receive_settings(sys.stdin.buffer)) is not None:
        run_event_loop(serve_parent(sys.stdin.buffer, settings))
        return 0
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":  # pragma: no branch
    sys.exit(main())
