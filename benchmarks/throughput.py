"""Compare the GETs per second of `client.get` with those of plain aiohttp that decodes the same responses.

    python -m benchmarks.throughput [--quick]

The server (`canned_server`) returns a documented backup and is far faster than any client, so that the client is the
bottleneck; otherwise every ratio would be near 1. The sides take turns in one process and one event loop, in an order
that changes with each round. Every ratio is the median of the ratios of the rounds.

There are two cases: 1,000 backups in turn, as in a watch, for which our client caches the URLs and yarl's cache of 128
URLs is too small; and one backup repeatedly, for which yarl's cache helps plain aiohttp as well.

Plain aiohttp is a session with default settings and the token in its headers. It formats the URL of each GET, checks
the status and reads the whole body. Then it decodes to the same `Backup`, or only to a dict with msgspec.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import msgspec

from asyncbackups import BackupClient, Limits
from asyncbackups._api.codec import backup_from_json
from benchmarks.canned_server import ID, canned_server
from benchmarks.report import RESULTS, Target, in_child, setting, table, targets, write

PATH = "/api/v1/tenants/example/starsystems/a-star-system/backups"
BODY = {
    "id": ID,
    "mechanism": "logical",
    "type": "temporary",
    "environment": {"tenant": "example", "project": "a-star-system", "stage": "dev", "name": "a-planet"},
    "status": "in_progress",
    "displayStatus": "In progress",
    "errorMessage": None,
    "startedAt": "2026-01-05T10:00:00Z",
    "completedAt": None,
    "expirationDate": "2026-01-15T10:00:00Z",
    "databaseToApplicationBuilds": {},
}
CONNECTIONS = 16
CASES = {1_000: "1,000 backups in turn", 1: "one backup repeatedly"}
OURS, MODEL, DICT = "asyncbackups", "aiohttp, to the same model", "aiohttp + msgspec, to a dict"

Get = Callable[[int], Awaitable[object]]
Rounds = list[dict[str, tuple[float, float]]]
"""GETs per second of elapsed time and of CPU time, for each round and side."""


def plain_get(session: aiohttp.ClientSession, base_url: str, decode: Callable[[bytes], object]) -> Get:
    async def get(backup_id: int) -> object:
        async with session.get(f"{base_url}{PATH}/{backup_id}") as response:
            response.raise_for_status()
            return decode(await response.read())

    return get


async def measure_rate(get: Get, seconds: float, backups: int) -> tuple[float, float]:
    """Send GETs on all connections; return GETs per second of elapsed time and of CPU time."""
    ids = itertools.cycle(range(ID, ID + backups))
    end = time.perf_counter() + seconds

    async def work() -> int:
        done = 0
        while time.perf_counter() < end:
            await get(next(ids))
            done += 1
        return done

    start, cpu = time.perf_counter(), time.process_time()
    done = sum(await asyncio.gather(*(work() for _ in range(CONNECTIONS))))
    return done / (time.perf_counter() - start), done / (time.process_time() - cpu)


async def measure_rounds(base_url: str, number: int, seconds: float, backups: int) -> Rounds:
    headers = {"Authorization": "Bearer a-token", "Accept": "application/json"}
    limits = Limits(concurrency=CONNECTIONS)
    async with (
        BackupClient(base_url, "example", auth="a-token", limits=limits) as client,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        sides: dict[str, Get] = {
            OURS: lambda backup_id: client.get("a-star-system", backup_id),
            MODEL: plain_get(session, base_url, lambda body: backup_from_json(msgspec.json.decode(body))),
            DICT: plain_get(session, base_url, msgspec.json.decode),
        }
        for get in sides.values():
            await measure_rate(get, seconds / 4, backups)  # open the connections and fill the caches
        found = []
        for turn in range(number):
            order = list(sides)[turn % 3 :] + list(sides)[: turn % 3]
            found.append({name: await measure_rate(sides[name], seconds, backups) for name in order})
        return found


def measure(loop: str, base_url: str, number: int, seconds: float, backups: int) -> Rounds:
    """Measure in this process with the given event loop."""
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - optional

        return uvloop.run(measure_rounds(base_url, number, seconds, backups))
    return asyncio.run(measure_rounds(base_url, number, seconds, backups))


def ratio(found: Rounds, to: str, which: int) -> float:
    return statistics.median(one[OURS][which] / one[to][which] for one in found)


def table_rows(case: str, found: Rounds) -> list[tuple[object, ...]]:
    written = []
    for name in (OURS, MODEL, DICT):
        gets = statistics.median(one[name][0] for one in found)
        microseconds = statistics.median(1e6 / one[name][1] for one in found)
        ratios = ("", "") if name == OURS else (ratio(found, name, 0), ratio(found, name, 1))
        written.append((case, name, round(gets), microseconds, *ratios))
    return written


def report(found: dict[str, Rounds], how: str) -> str:
    results = []
    for case, one in found.items():
        lesser = min(ratio(one, MODEL, 0), ratio(one, MODEL, 1))
        results.append(Target.at_least(f"GETs per second, by elapsed or CPU time: {case}", 0.85, lesser))
    head = ("case", "side", "GETs/s", "CPU per GET, microseconds", "ours / this, GETs/s", "GETs per CPU second")
    return f"""# Throughput of GETs

Made by `python -m benchmarks.throughput`.
{setting("aiohttp", "msgspec", "uvloop")}.
{CONNECTIONS} connections, {how}, in which the sides took turns. Plain aiohttp uses a session
with default settings, checks the status and reads the whole body. The targets compare asyncbackups with plain aiohttp
that decodes to the same model, by elapsed time or CPU time, whichever is worse for us. For 1,000 backups our client
caches the URLs; for one backup yarl's cache does the same for plain aiohttp.

{targets(results)}
{table(head, [row for case, one in found.items() for row in table_rows(case, one)])}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.throughput", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the tables")
    parser.add_argument("--side", nargs=3, metavar=("LOOP", "URL", "BACKUPS"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    number, seconds = (3, 0.05) if options.quick else (5, 0.4)
    if options.side:
        loop, base_url, backups = options.side
        print(json.dumps(measure(loop, base_url, number, seconds, int(backups))))
        return 0
    arguments = ["--quick"] if options.quick else []
    loops = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]
    with canned_server(json.dumps(BODY).encode()) as base_url:
        found = {
            f"{case}, {loop}": in_child("benchmarks.throughput", *arguments, "--side", loop, base_url, backups)
            for backups, case in CASES.items()
            for loop in loops
        }
    write(options.out, "throughput", report(found, f"medians of {number} rounds of {seconds} s"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
