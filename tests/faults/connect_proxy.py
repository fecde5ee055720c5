"""A small forward proxy on loopback: CONNECT for https, absolute URLs for http, with an optional login."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class ConnectProxy:
    """Forwards bytes; use it with ``async with``.

    Args:
        login: The required user and password; None for no login.
        refuses: The status line of a proxy that refuses every request, or None.

    Attributes:
        heads: The heads of the requests received, without those inside a tunnel.
        url: The address, without the login.
    """

    def __init__(self, *, login: tuple[str, str] | None = None, refuses: str | None = None) -> None:
        self._login = login
        self._refuses = refuses
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        if (refusal := self._refusal(head)) is not None:
            writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        method, target, _ = head.split(" ", 2)
        where = urlsplit(f"//{target}" if method == "CONNECT" else target)
        out_reader, out_writer = await asyncio.open_connection(where.hostname, where.port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                out_writer.write(head.encode("latin-1"))
            await asyncio.gather(_pipe(reader, out_writer), _pipe(out_reader, writer))
        finally:
            out_writer.close()

    def _refusal(self, head: str) -> str | None:
        if self._refuses is not None:
            return self._refuses
        if self._login is None:
            return None
        expected = base64.b64encode(":".join(self._login).encode()).decode()
        authorized = f"Proxy-Authorization: Basic {expected}" in head
        return None if authorized else "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
