"""Start-up cost of the library and the command line, as processor time of fresh processes that take turns.

    python -m benchmarks.import_cost [--quick]

A round is one process of each kind, in an order that changes; the figure is the median of the rounds' ratios. The
first round writes the bytecode and does not count. Imports are measured without the start of Python, programs with it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.report import RESULTS, Target, setting, table, targets, write

STATEMENT = "import time; started = time.process_time(); {}; print(time.process_time() - started)"
WHOLE = "import time; {}; print(time.process_time())"
PROGRAM = """\
import atexit, os, sys, time
report = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
atexit.register(lambda: os.write(report, str(time.process_time()).encode()))
sys.argv[1:] = {!r}
from asyncbackups.__main__ import main
sys.exit(main())
"""
# The first connection of `health` is the end of the measurement.
HEALTH = """\
import os, sys, time
def report(event, arguments):
    if event == "socket.connect":
        os.write(1, str(time.process_time()).encode())
        os._exit(0)
sys.addaudithook(report)
sys.argv[1:] = ["health"]
from asyncbackups.__main__ import main
main()
"""
VARIABLES = {"BASE_URL": "http://127.0.0.1:1", "TENANT": "example", "TOKEN": "token"}


@attrs.frozen
class Comparison:
    """A measured process, the one that it is compared with, and the largest ratio that is accepted."""

    name: str
    code: str
    baseline_name: str
    baseline: str
    at_most: float


COMPARISONS = [
    Comparison(
        "use of `asyncbackups.BackupClient`",
        STATEMENT.format("import asyncbackups; asyncbackups.BackupClient"),
        "`import aiohttp`",
        STATEMENT.format("import aiohttp"),
        1.25,
    ),
    *(
        Comparison(
            f"`asyncbackups {option}`",
            PROGRAM.format([option]),
            "`import click, rich.console`",
            WHOLE.format("import click, rich.console"),
            1.6,
        )
        for option in ("--version", "--help")
    ),
    Comparison(
        "`asyncbackups health` before its request",
        HEALTH,
        "`import aiohttp, click, rich.console`",
        WHOLE.format("import aiohttp, click, rich.console"),
        1.25,
    ),
]


def measure_process(code: str) -> float:
    """Return the seconds that a fresh process reports."""
    variables = {**os.environ, **{f"ASYNCBACKUPS_{name}": value for name, value in VARIABLES.items()}}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=variables)
    return float(done.stdout)


def measure_rounds(number: int) -> list[dict[str, float]]:
    """Return the seconds of each code, round by round."""
    codes = list(dict.fromkeys(code for one in COMPARISONS for code in (one.baseline, one.code)))
    found = []
    for turn in range(-1, number):
        order = codes if turn % 2 else codes[::-1]
        found.append({code: measure_process(code) for code in order})
    return found[1:]  # the first one wrote the bytecode


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.import_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table goes")
    options = parser.parse_args(argv)
    number = 3 if options.quick else 15
    found = measure_rounds(number)
    results = [
        Target.at_most(
            f"{one.name} against {one.baseline_name}",
            one.at_most,
            statistics.median(times[one.code] / times[one.baseline] for times in found),
        )
        for one in COMPARISONS
    ]
    names = {
        code: name for one in COMPARISONS for code, name in ((one.baseline, one.baseline_name), (one.code, one.name))
    }
    rows = [(name, 1e3 * statistics.median(times[code] for times in found)) for code, name in names.items()]
    text = f"""# Start-up cost

Made by `python -m benchmarks.import_cost`: {setting("aiohttp", "click", "rich")}.
Medians of {number} rounds of fresh processes.

{targets(results)}
{table(("process", "milliseconds of processor time"), rows)}"""
    write(options.out, "import_cost", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
