"""Plain gets per second through `client.get`, against bare aiohttp doing the same gets and the same decoding.

    python -m benchmarks.throughput [--quick]

The server answers with a documented backup and is far faster than any client (`canned_server`), so that the client's
own process is what limits: were the server the limit, every ratio would be near 1. The sides take turns in one process
and one event loop, in an order that changes with each round; every ratio is the median of the rounds' ratios.

Two cases: 1,000 backups in turn, as a watcher has them, for which our client keeps the addresses and yarl's cache of
128 URLs does not; and one backup over and over, where that cache saves bare aiohttp most of what a URL costs, too.

"Bare" is a session with its defaults, the token in its headers, URLs formatted for each get, the status checked and the
whole body read; then bytes to the same `Backup`, or only bytes to a dict with msgspec.
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
CASES = {1_000: "1,000 backups in turn", 1: "one over and over"}
OURS, MODEL, DICT = "asyncbackups", "aiohttp, to the same model", "aiohttp + msgspec, to a dict"

Get = Callable[[int], Awaitable[object]]
Rounds = list[dict[str, tuple[float, float]]]
"""Of each round and side: gets per second of the clock, and of the processor."""


def bare(session: aiohttp.ClientSession, base_url: str, decode: Callable[[bytes], object]) -> Get:
    async def get(backup_id: int) -> object:
        async with session.get(f"{base_url}{PATH}/{backup_id}") as answer:
            answer.raise_for_status()
            return decode(await answer.read())

    return get


async def rate(get: Get, seconds: float, backups: int) -> tuple[float, float]:
    """Get over and over on so many connections; return gets per second of the clock, and of the processor."""
    ids = itertools.cycle(range(ID, ID + backups))
    end = time.perf_counter() + seconds

    async def work() -> int:
        done = 0
        while time.perf_counter() < end:
            await get(next(ids))
            done += 1
        return done

    began, cpu = time.perf_counter(), time.process_time()
    done = sum(await asyncio.gather(*(work() for _ in range(CONNECTIONS))))
    return done / (time.perf_counter() - began), done / (time.process_time() - cpu)


async def rounds(base_url: str, number: int, seconds: float, backups: int) -> Rounds:
    headers = {"Authorization": "Bearer a-token", "Accept": "application/json"}
    limits = Limits(concurrency=CONNECTIONS)
    async with (
        BackupClient(base_url, "example", auth="a-token", limits=limits) as client,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        sides: dict[str, Get] = {
            OURS: lambda backup_id: client.get("a-star-system", backup_id),
            MODEL: bare(session, base_url, lambda body: backup_from_json(msgspec.json.decode(body))),
            DICT: bare(session, base_url, msgspec.json.decode),
        }
        for get in sides.values():
            await rate(get, seconds / 4, backups)  # connections are made, caches filled
        found = []
        for turn in range(number):
            order = list(sides)[turn % 3 :] + list(sides)[: turn % 3]
            found.append({name: await rate(sides[name], seconds, backups) for name in order})
        return found


def measure(loop: str, base_url: str, number: int, seconds: float, backups: int) -> Rounds:
    """Measure in this process, on one kind of event loop."""
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - an extra

        return uvloop.run(rounds(base_url, number, seconds, backups))
    return asyncio.run(rounds(base_url, number, seconds, backups))


def ratio(found: Rounds, to: str, which: int) -> float:
    return statistics.median(one[OURS][which] / one[to][which] for one in found)


def rows(case: str, found: Rounds) -> list[tuple[object, ...]]:
    written = []
    for name in (OURS, MODEL, DICT):
        gets = statistics.median(one[name][0] for one in found)
        microseconds = statistics.median(1e6 / one[name][1] for one in found)
        ratios = ("", "") if name == OURS else (ratio(found, name, 0), ratio(found, name, 1))
        written.append((case, name, round(gets), microseconds, *ratios))
    return written


def report(found: dict[str, Rounds], how: str) -> str:
    held = []
    for case, one in found.items():
        lesser = min(ratio(one, MODEL, 0), ratio(one, MODEL, 1))
        held.append(Target.at_least(f"gets, by the clock or the processor: {case}", 0.85, lesser))
    head = ("case", "side", "gets/s", "CPU of a get, microseconds", "ours / it, gets per second", "gets per CPU second")
    return f"""# Throughput of plain gets

Made by `python -m benchmarks.throughput`.
{setting("aiohttp", "msgspec", "uvloop")}.
{CONNECTIONS} connections, {how}, in which the sides took turns. Bare aiohttp has a session
with its defaults, checks the status and reads the whole body. The targets compare us with bare aiohttp and the same
decoding, bytes to the same model: by the clock or by the processor's time, whichever is worse for us. Of 1,000 backups
our client keeps the addresses, of one over and over yarl's own cache does the same for bare aiohttp.

{targets(held)}
{table(head, [row for case, one in found.items() for row in rows(case, one)])}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.throughput", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--side", nargs=3, metavar=("LOOP", "URL", "BACKUPS"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    number, seconds = (3, 0.2) if options.quick else (5, 0.4)
    if options.side:
        loop, base_url, backups = options.side
        print(json.dumps(measure(loop, base_url, number, seconds, int(backups))))
        return 0
    passed = ["--quick"] if options.quick else []
    loops = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]
    with canned_server(json.dumps(BODY).encode()) as base_url:
        found = {
            f"{case}, {loop}": in_child("benchmarks.throughput", *passed, "--side", loop, base_url, backups)
            for backups, case in CASES.items()
            for loop in loops
        }
    write(options.out, "throughput", report(found, f"medians of {number} rounds of {seconds} s"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
