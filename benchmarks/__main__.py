"""Run all benchmarks and write tables and plots to `benchmarks/results/`, in under ten minutes on two cores.

python -m benchmarks [--quick] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import RESULTS

ALL = ("import_cost", "schedules", "throughput", "memory", "scheduling", "journal", "peers", "fleet")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small numbers and few rounds, as a check")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the tables and plots")
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="NAME", help=", ".join(ALL))
    options = parser.parse_args(argv)
    arguments = ["--out", str(options.out), *(["--quick"] if options.quick else [])]
    start = time.monotonic()
    for name in options.only:
        print(f"--- {name}, after {time.monotonic() - start:.0f} s\n", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(arguments)
    print(f"--- done in {time.monotonic() - start:.0f} s; tables and plots are in {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
