"""A server that returns the same backup for every GET, with the requested id; far faster than any client.

    python -m benchmarks.canned_server     # reads the JSON body of its responses from stdin, prints its port

The last segment of the request's path replaces `ID` in the body.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

END = b"\r\n\r\n"
ID = 1_000_000
"""The id in the given body; requested ids must have the same number of digits."""


class Canned(asyncio.Protocol):
    """Responds to requests without a body."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before, self._after = before, after
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request."""
        *requests, self._rest = (self._rest + data).split(END)
        for request in requests:
            backup_id = request[: request.index(b" HTTP/")].rpartition(b"/")[2]
            self._transport.write(self._before + backup_id + self._after)  # type: ignore[attr-defined]


async def serve(body: bytes) -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Date: Mon, 05 Jan 2026 10:00:00 GMT\r\nServer: canned\r\n\r\n"
    )
    before, found, after = (head.encode() + body).partition(str(ID).encode())
    assert found
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Canned(before, after), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def canned_server(body: bytes) -> Iterator[str]:
    """Serve a body in a process of its own; yields the base URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.canned_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(body)
        child.stdin.close()
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.terminate()


def main() -> None:
    body = sys.stdin.buffer.read()
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        asyncio.run(serve(body))
    else:
        uvloop.run(serve(body))


if __name__ == "__main__":
    main()
