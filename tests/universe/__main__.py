"""Run universes: `python -m tests.universe --seeds 0-9999`."""

import argparse
import collections
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from .shrink import shrink
from .story import format_history
from .trial import Trial, format_summary, run_trials

_CHUNK = 50


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.universe", description=__doc__)
    parser.add_argument("--seeds", default="0-999", help="FIRST-LAST, or seeds with commas")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    parser.add_argument("--disable", default="", help="variables that keep their defaults, with commas")
    parser.add_argument("--show", type=int, metavar="SEED", help="print the history of a seed")
    parser.add_argument(
        "--shrink", type=int, metavar="SEED", help="switch off all variables that a failure does not need"
    )
    parser.add_argument("--kind", default="", help="the kind of violation to shrink to")
    options = parser.parse_args()
    disabled = frozenset(filter(None, options.disable.split(",")))
    if options.show is not None:
        sys.stdout.write(format_history(options.show, disabled))
        return 0
    if options.shrink is not None:
        found = shrink(options.shrink, disabled, options.kind)
        sys.stdout.write(found.text)
        return int(found.failed)
    return _run(_parse_seeds(options.seeds), options.processes, options.keep_going, disabled)


def _run(seeds: Iterable[int], processes: int, keep_going: bool, disabled: frozenset[str]) -> int:
    started = time.perf_counter()
    total = Trial()
    for part in _run_chunks(list(seeds), processes, disabled):
        total.add(part)
        if total.failures and not keep_going:
            break
    sys.stdout.write(format_summary(total, time.perf_counter() - started))
    return int(bool(total.failures))


def _run_chunks(seeds: list[int], processes: int, disabled: frozenset[str]) -> Iterator[Trial]:
    chunks = [seeds[first : first + _CHUNK] for first in range(0, len(seeds), _CHUNK)]
    if processes == 1:
        for chunk in chunks:
            yield run_trials(chunk, disabled)
        return
    with ProcessPoolExecutor(processes) as pool:
        waiting = collections.deque(pool.submit(run_trials, chunk, disabled) for chunk in chunks)
        try:
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _parse_seeds(text: str) -> Iterable[int]:
    if "-" in text:
        first, last = text.split("-")
        return range(int(first), int(last) + 1)
    return [int(seed) for seed in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
