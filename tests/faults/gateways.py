"""Real gateways in front of the simulator: nginx and haproxy, as child processes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import string
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

_NGINX = string.Template("""
daemon off;
worker_processes 1;
error_log $room/error.log warn;
pid $room/nginx.pid;
events { worker_connections 1024; }
http {
  log_format short '$$status $$request_method';
  access_log $room/access.log short;
  client_body_temp_path $room/body;
  proxy_temp_path $room/proxy;
  fastcgi_temp_path $room/fastcgi;
  uwsgi_temp_path $room/uwsgi;
  scgi_temp_path $room/scgi;
  keepalive_timeout 200ms;
  keepalive_requests 25;
  merge_slashes off;
  limit_req_zone $$server_name zone=everybody:1m rate=${rate}r/s;
  limit_req_status $status;
  upstream simulator { server 127.0.0.1:$upstream max_fails=0; keepalive 8; keepalive_timeout 300ms; }
  server {
    listen 127.0.0.1:$port;
    server_name gateway;
    location / {
      $limit
      proxy_pass http://simulator;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 2s;
      proxy_read_timeout 5s;
      proxy_next_upstream off;
      gzip on;
      gzip_types application/json;
      gzip_proxied any;
    }
  }
}
""")

_HAPROXY = string.Template("""
global
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 300ms
  timeout server 5s
  timeout http-keep-alive 200ms
  option http-server-close
  retries 0
frontend gateway
  bind 127.0.0.1:$port
  stick-table type ip size 10 expire 10s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt $rate }
  default_backend simulator
backend simulator
  server one 127.0.0.1:$upstream maxconn 4
""")


class GatewayMissingError(RuntimeError):
    """The program is not installed."""


class _Gateway:
    """A gateway; enter it with ``async with``.

    Args:
        room: A directory of its own.
        upstream: The port of the simulator.

    Attributes:
        port: Where it listens.
        url: The same, for a client.
    """

    program = ""

    def __init__(self, room: Path, upstream: int) -> None:
        found = shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise GatewayMissingError(f"{self.program} is not installed, and this test is about it")
        self._path = found
        self.room = room
        self.upstream = upstream
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(self._path, *self.command())
        async with asyncio.timeout(10):
            while not await self._listens():
                if self._process.returncode is not None:
                    raise RuntimeError(f"{self.program} ended at once: {self._process.returncode}")
                await asyncio.sleep(0.01)

    async def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            await writer.wait_closed()
            return True
        return False

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals) -> None:
        """End it by a signal."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(number)
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(signal.SIGTERM)


class Nginx(_Gateway):
    """nginx with short keep-alive and, where a rate is given, `limit_req`.

    Args:
        room: A directory of its own.
        upstream: The port of the simulator.
        rate: Requests per second that it lets pass; None for no limit.
        status: What it answers to the others.
    """

    program = "nginx"

    def __init__(self, room: Path, upstream: int, *, rate: int | None = None, status: int = 429) -> None:
        super().__init__(room, upstream)
        limit = "" if rate is None else "limit_req zone=everybody burst=20 nodelay;"
        settings = {"room": room, "upstream": upstream, "port": self.port, "status": status}
        written = _NGINX.substitute(**settings, rate=rate or 1, limit=limit)
        if os.geteuid() == 0:
            written = f"user root;\n{written}"
        (room / "nginx.conf").write_text(written)

    def command(self) -> list[str]:
        return ["-e", str(self.room / "error.log"), "-c", str(self.room / "nginx.conf"), "-p", str(self.room)]

    def reload(self) -> None:
        """Let new workers take over; old ones end once their requests have."""
        self.send_signal(signal.SIGHUP)

    def count_statuses(self) -> Counter[int]:
        """Count what it answered so far."""
        return Counter(int(line.split()[0]) for line in (self.room / "access.log").read_text().splitlines())


class Haproxy(_Gateway):
    """Haproxy with short timeouts, a queue before the simulator, and 429 above a rate.

    Args:
        room: A directory of its own.
        upstream: The port of the simulator.
        rate: Requests per second that it lets pass.
    """

    program = "haproxy"

    def __init__(self, room: Path, upstream: int, *, rate: int) -> None:
        super().__init__(room, upstream)
        (room / "haproxy.cfg").write_text(_HAPROXY.substitute(upstream=upstream, port=self.port, rate=rate))

    def command(self) -> list[str]:
        return ["-db", "-q", "-f", str(self.room / "haproxy.cfg")]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
