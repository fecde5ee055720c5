"""What `import asyncbackups` costs against `import aiohttp`, in fresh processes that take turns.

    python -m benchmarks.import_cost [--quick]

Each process measures its own import, in processor time, without what starting Python costs; a round is one process of
each kind, in an order that changes; the figure is the median of the rounds' ratios. Bytecode is cached before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import RESULTS, Target, setting, table, targets, write

AIOHTTP, OURS = "import aiohttp", "import asyncbackups"
CODE = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def cost(statement: str) -> float:
    """Return the seconds that a statement takes in a fresh process."""
    done = subprocess.run([sys.executable, "-c", CODE.format(statement)], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def rounds(number: int) -> list[dict[str, float]]:
    found = []
    for turn in range(-1, number):
        order = (AIOHTTP, OURS) if turn % 2 else (OURS, AIOHTTP)
        found.append({statement: cost(statement) for statement in order})
    return found[1:]  # the first made the bytecode


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.import_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table goes")
    options = parser.parse_args(argv)
    number = 3 if options.quick else 15
    found = rounds(number)
    ratio = statistics.median(one[OURS] / one[AIOHTTP] for one in found)
    rows = [(name, 1e3 * statistics.median(one[name] for one in found)) for name in (AIOHTTP, OURS)]
    text = f"""# Cost of the import

Made by `python -m benchmarks.import_cost`: {setting("aiohttp")}; medians of {number} rounds of fresh processes.

{targets([Target.at_most("`import asyncbackups` against `import aiohttp`", 1.25, ratio)])}
{table(("statement", "milliseconds of the processor"), rows)}"""
    write(options.out, "import_cost", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
