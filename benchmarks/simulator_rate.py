"""Status requests per second that the simulator serves on one core.

The server runs in a child process, on uvloop if it is installed. The load comes from this process, over keep-alive
connections on raw sockets that parse as little of a response as possible, so that a request costs the server far more.

    python -m benchmarks.simulator_rate [--seconds 5] [--connections 16] [--least 5000]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import selectors
import socket
import sys
import time
import urllib.request
from pathlib import Path

from asyncbackups.simulator import Fixed, SimulatorProcess, Workload

STAR_SYSTEM = "/api/v1/tenants/example/starsystems/bench"
BODY = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 1,
    "metadata": {"name": "benchmark", "description": "How fast is the simulator?"},
}


def create_backup(sim: SimulatorProcess) -> int:
    request = urllib.request.Request(
        f"{sim.base_url}{STAR_SYSTEM}/planets/mars/backups",
        json.dumps(BODY).encode(),
        {"Authorization": f"Bearer {sim.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["id"]


def measure_response(connection: socket.socket, request: bytes) -> int:
    """Send one request, check the response, and return its length in bytes."""
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"unexpected response: {head[:200]!r}")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    rest = length - len(body)
    while rest > 0:
        rest -= len(connection.recv(65536))
    return len(head) + 4 + length


def send_load(sim: SimulatorProcess, path: str, connections: int, seconds: float) -> tuple[float, float]:
    """Request one path repeatedly; return requests per second, and this process's share of a core."""
    host, _, port = sim.base_url.removeprefix("http://").rpartition(":")
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {sim.token}\r\n"
        "Accept: application/json\r\n\r\n"
    ).encode()
    selector = selectors.DefaultSelector()
    pending: dict[socket.socket, int] = {}
    for _ in range(connections):
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = measure_response(connection, request)
        selector.register(connection, selectors.EVENT_READ)
        pending[connection] = size
    for connection in pending:
        connection.sendall(request)
    buffer = bytearray(1 << 20)
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        for key, _ in selector.select(1):
            connection = key.fileobj
            pending[connection] -= connection.recv_into(buffer)
            if pending[connection] == 0:
                done += 1
                pending[connection] = size
                connection.send(request)
    busy = (time.process_time() - cpu) / elapsed
    for connection in pending:
        connection.close()
    return done / elapsed, busy


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 without /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument(
        "--least", type=float, default=5000.0, help="exit with status 1 below this rate of status requests per second"
    )
    options = parser.parse_args()

    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    workload = Workload(duration=Fixed(3600), history=10_000)
    print(f"simulator in a child process on {loop}, {options.connections} keep-alive connections")
    print(f"{'request':<38} {'requests/s':>10} {'server core':>12} {'load core':>10}")
    slowest = float("inf")
    with SimulatorProcess(workload=workload) as sim:
        backup_id = create_backup(sim)
        paths = {
            "get, in progress": f"{STAR_SYSTEM}/backups/{backup_id}",
            "get, finished": f"{STAR_SYSTEM}/backups/{backup_id - 1}",
            "list of 10,001 backups of a star system": f"{STAR_SYSTEM}/backup",
        }
        for name, path in paths.items():
            send_load(sim, path, options.connections, options.seconds / 10)  # warm up
            before = cpu_seconds(sim.pid)
            rate, busy = send_load(sim, path, options.connections, options.seconds)
            server = (cpu_seconds(sim.pid) - before) / options.seconds
            print(f"{name:<38} {rate:>10,.0f} {server:>12.0%} {busy:>10.0%}")
            if name.startswith("get"):
                slowest = min(slowest, rate)
    print(f"status requests/s on one core: {slowest:,.0f} (required: {options.least:,.0f})")
    return 0 if slowest >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
