"""Run every cell of the matrix and print the table: `python -m tests.faults.matrix`."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.faults.cells import MatrixCell, run_cell
from tests.faults.fault_cases import FAULT_CASES
from tests.faults.harness import FaultCase
from tests.faults.operations import OPERATIONS


def table_lines(cells: Iterable[MatrixCell]) -> Iterator[str]:
    """Yield the lines of a Markdown table with a row for each fault and a column for each operation."""
    rows: dict[str, dict[str, MatrixCell]] = {}
    for cell in cells:
        rows.setdefault(cell.case, {})[cell.operation] = cell
    columns = [name for name in OPERATIONS if any(name in row for row in rows.values())]
    yield f"| fault | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for case, row in rows.items():
        yield f"| {case} | {' | '.join(_format_cell(row.get(name)) for name in columns)} |"


def _format_cell(cell: MatrixCell | None) -> str:
    if cell is None:
        return ""
    return cell.outcome if cell.passed else f"**FAILED**: {cell.outcome}, expected {cell.expected}"


def summary(cells: list[MatrixCell], seconds: float) -> str:
    """Return the counts as one line."""
    passed = sum(cell.passed for cell in cells)
    texts = sum(cell.texts for cell in cells)
    return (
        f"{len(cells)} cells, {passed} passed, {len(cells) - passed} failed, in {seconds:.0f} s; "
        f"{texts} texts searched for secrets"
    )


def _run_row(case: str, operations: Sequence[str], debug: bool) -> list[MatrixCell]:
    """Run one row in a worker process, with warnings as errors."""
    warnings.simplefilter("error")
    return asyncio.run(run_cells([one for one in FAULT_CASES if one.name == case], operations, debug=debug))


def run_rows(cases: Sequence[FaultCase], operations: Sequence[str], *, debug: bool, processes: int) -> list[MatrixCell]:
    """Run several rows at once: cells spend most of their time waiting."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        rows = [pool.submit(_run_row, case.name, operations, debug) for case in cases]
        return [cell for row in rows for cell in row.result()]


async def run_cells(cases: Iterable[FaultCase], operations: Iterable[str], *, debug: bool) -> list[MatrixCell]:
    """Run cells one after another."""
    columns = list(operations)
    cells = []
    for case in cases:
        for operation in columns:
            cells.append(await run_cell(case, operation, debug=debug))
            if not cells[-1].passed:
                sys.stderr.write(f"{cells[-1]}\n")
                sys.stderr.flush()
    return cells


def main() -> int:
    """Run the selected cells; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="only faults with this text in their name")
    parser.add_argument("--operation", action="append", choices=list(OPERATIONS), help="only these operations")
    parser.add_argument("--debug", action="store_true", help="turn on asyncio's debug mode")
    parser.add_argument("--slowest", type=int, default=0, help="the number of slowest cells to list")
    parser.add_argument("--processes", type=int, default=4, help="the number of rows to run at once")
    options = parser.parse_args()
    selected = [case for case in FAULT_CASES if not options.only or any(text in case.name for text in options.only)]
    start = time.monotonic()
    columns = options.operation or list(OPERATIONS)
    cells = run_rows(selected, columns, debug=options.debug, processes=options.processes)
    sys.stdout.write("\n".join(table_lines(cells)) + f"\n\n{summary(cells, time.monotonic() - start)}\n")
    for cell in sorted(cells, key=lambda cell: -cell.seconds)[: options.slowest]:
        sys.stdout.write(f"{cell.seconds:.1f} s: {cell.operation}, {cell.case}\n")
    return 0 if all(cell.passed for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
