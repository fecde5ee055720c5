"""Run real gateways in front of the simulator: nginx and haproxy, as child processes on loopback."""

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
error_log $folder/error.log warn;
pid $folder/nginx.pid;
events { worker_connections 1024; }
http {
  log_format short '$$status $$request_method';
  access_log $folder/access.log short;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  keepalive_timeout 200ms;
  keepalive_requests 25;
  merge_slashes off;
  limit_req_zone $$server_name zone=all:1m rate=${rate}r/s;
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
    """A gateway; use it with ``async with``.

    Args:
        folder: A folder for its configuration and logs.
        upstream: The port of the simulator.

    Attributes:
        port: The port that it listens on.
        url: The base URL for clients.
    """

    program = ""

    def __init__(self, folder: Path, upstream: int) -> None:
        found = shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise GatewayMissingError(f"{self.program} is not installed, and this test requires it")
        self._path = found
        self.folder = folder
        self.upstream = upstream
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    async def start(self) -> None:
        """Start the gateway, and wait until it listens."""
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
        """Send a signal to the gateway."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals) -> None:
        """Stop the gateway with a signal, and wait for its end."""
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
    """nginx with a short keep-alive time and, if a rate is given, `limit_req`.

    Args:
        folder: A folder for its configuration and logs.
        upstream: The port of the simulator.
        rate: The maximum requests per second; None for no limit.
        status: The response status above that rate.
    """

    program = "nginx"

    def __init__(self, folder: Path, upstream: int, *, rate: int | None = None, status: int = 429) -> None:
        super().__init__(folder, upstream)
        limit = "" if rate is None else "limit_req zone=all burst=20 nodelay;"
        settings = {"folder": folder, "upstream": upstream, "port": self.port, "status": status}
        written = _NGINX.substitute(**settings, rate=rate or 1, limit=limit)
        if os.geteuid() == 0:
            written = f"user root;\n{written}"
        (folder / "nginx.conf").write_text(written)

    def command(self) -> list[str]:
        return ["-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder)]

    def reload(self) -> None:
        """Reload: new workers take over, and the old ones end after their last request."""
        self.send_signal(signal.SIGHUP)

    def count_statuses(self) -> Counter[int]:
        """Count the responses so far by status."""
        return Counter(int(line.split()[0]) for line in (self.folder / "access.log").read_text().splitlines())


class Haproxy(_Gateway):
    """Haproxy with short timeouts, a queue for the simulator, and 429 above a rate.

    Args:
        folder: A folder for its configuration and logs.
        upstream: The port of the simulator.
        rate: The maximum requests per second.
    """

    program = "haproxy"

    def __init__(self, folder: Path, upstream: int, *, rate: int) -> None:
        super().__init__(folder, upstream)
        (folder / "haproxy.cfg").write_text(_HAPROXY.substitute(upstream=upstream, port=self.port, rate=rate))

    def command(self) -> list[str]:
        return ["-db", "-q", "-f", str(self.folder / "haproxy.cfg")]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
