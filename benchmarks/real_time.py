"""What waiting costs the processor at the speed of life: one watch, and a task for each backup at equal mean delay.

    python -m benchmarks.real_time [--speed 1]

`benchmarks.peers` makes the world faster, so that it ends. What a request costs depends on that: a process that has
slept for a while finds its caches cold, and the same get that costs 75 microseconds in a stream of thousands a second
costs 600 where thirty are sent in a second. Whoever asks often is flattered by a fast world. Here it has its own speed,
which takes eight minutes, so that this is no part of `python -m benchmarks`. Both sides run at once, each with a
simulator and in a process of its own; they use a twentieth of a core together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import OURS, SPEED, STAR_SYSTEMS, SideResult, cpu_target, measure, measure_both
from benchmarks.report import RESULTS, setting, table, targets, write


def report(found: dict[str, SideResult], number: int, speed: float) -> str:
    rows = [
        (name, one.requests, one.mean, one.p99, one.cpu, 1000 * one.cpu / one.requests) for name, one in found.items()
    ]
    head = ("side", "requests", "mean delay, s", "p99 delay, s", "CPU, s", "CPU of a request, ms")
    return f"""# The processor at the speed of life

Made by `python -m benchmarks.real_time`: {setting("aiohttp")}.
{number:,} backups in {STAR_SYSTEMS} star systems, lognormal with median 131 s and sigma 0.4, 30 finished ones in each
star system; a world {speed:g} times as fast as life. The rest of the difference in delay is taken out of the ratio: the
product of requests and delay does not depend on the cadence.

{targets([cpu_target(list(found.values()), speed)])}
{table(head, rows)}"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.real_time", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only 100 backups, in a world a hundred times faster")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than life the world is")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table goes")
    options = parser.parse_args(argv)
    number, speed = (100, 100.0) if options.quick else (1_000, options.speed)
    every = 2 * measure(OURS, number, SPEED).mean
    found = measure_both(number, speed, every)
    write(options.out, "life", report(found, number, speed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
