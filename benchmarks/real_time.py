"""Compare the CPU time of one watch and of one aiohttp task per backup, at equal mean latency and in real time.

    python -m benchmarks.real_time [--speed 1]

`benchmarks.peers` is simulated at a higher speed, which changes the CPU time per request: after a pause the CPU caches
are cold, and a GET that takes 75 microseconds at thousands of requests per second takes 600 at thirty per second. A
high speed therefore favors the side with more requests. This benchmark runs in real time and takes eight minutes, so
`python -m benchmarks` does not include it. Both sides run at the same time, each with its own simulator and process;
together they use a twentieth of a core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import OURS, SPEED, STAR_SYSTEMS, SideResult, at_speed, cpu_target, measure, measure_both
from benchmarks.report import RESULTS, setting, table, targets, write


def report(found: dict[str, SideResult], number: int, speed: float) -> str:
    rows = [
        (name, one.requests, one.mean, one.p99, one.cpu, 1000 * one.cpu / one.requests) for name, one in found.items()
    ]
    head = ("side", "requests", "mean latency, s", "p99 latency, s", "CPU, s", "CPU per request, ms")
    return f"""# CPU time of waiting

Made by `python -m benchmarks.real_time`: {setting("aiohttp")}.
{number:,} backups in {STAR_SYSTEMS} star systems, lognormal with median 131 s and sigma 0.4, 30 finished backups in
each star system; {at_speed(speed)}. The ratio is corrected for the remaining difference in latency: the product of
requests and latency does not depend on the poll interval.

{targets([cpu_target(list(found.values()), speed)])}
{table(head, rows)}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.real_time", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 100 backups, simulated at 100x")
    parser.add_argument("--speed", type=float, default=1.0, help="simulation speed; 1 is real time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    options = parser.parse_args(argv)
    number, speed = (100, 100.0) if options.quick else (1_000, options.speed)
    every = 2 * measure(OURS, number, SPEED).mean
    found = measure_both(number, speed, every)
    write(options.out, "real_time", report(found, number, speed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
