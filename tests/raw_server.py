"""A loopback server that sends raw bytes, for responses that no HTTP library would send."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class RawServer:
    """Read the head and body of each request, then call a handler that writes any bytes or closes the connection.

    Args:
        handler: Called once per request, with reader, writer and request.
        context: The TLS context; None for plain HTTP.

    Attributes:
        requests: The requests received, with heads and bodies.
        connections: The number of connections accepted.
    """

    def __init__(self, handler: Handler, *, context: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                request = head + await reader.readexactly(_content_length(head))
                self.requests.append(request)
                await self._handler(reader, writer, request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def http_response(body: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> bytes:
    """Build a complete response; `headers` are whole lines."""
    return (f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n").encode() + body


def respond_with(*responses: bytes | None) -> Handler:
    """Build a handler that sends the responses in order and repeats the last one; None resets the connection."""
    remaining = list(responses)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        response = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if response is None:
            reset_connection(writer)
            return
        writer.write(response)
        await writer.drain()

    return handler


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Abort a connection without closing it properly."""
    writer.transport.abort()
