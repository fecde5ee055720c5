"""The matrix as a program: `python -m tests.faults.matrix` runs every cell and prints the table."""

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
    """Yield the lines of the matrix in Markdown: a row for each trouble, what came of it in each column."""
    rows: dict[str, dict[str, MatrixCell]] = {}
    for cell in cells:
        rows.setdefault(cell.case, {})[cell.operation] = cell
    columns = [name for name in OPERATIONS if any(name in row for row in rows.values())]
    yield f"| what goes wrong | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for trouble, row in rows.items():
        yield f"| {trouble} | {' | '.join(_format_cell(row.get(name)) for name in columns)} |"


def _format_cell(cell: MatrixCell | None) -> str:
    if cell is None:
        return ""
    return cell.outcome if cell.passed else f"**FAILED**: {cell.outcome}, not {cell.expected}"


def summary(cells: list[MatrixCell], seconds: float) -> str:
    """Return the counts in one line."""
    passed = sum(cell.passed for cell in cells)
    texts = sum(cell.texts for cell in cells)
    return (
        f"{len(cells)} cells, {passed} passed, {len(cells) - passed} failed, in {seconds:.0f} s; "
        f"{texts} texts searched for secrets"
    )


def _run_row(trouble: str, operations: Sequence[str], debug: bool) -> list[MatrixCell]:
    """Run one row; in another process, where its warnings are errors as well."""
    warnings.simplefilter("error")
    return asyncio.run(run_cells([one for one in FAULT_CASES if one.name == trouble], operations, debug=debug))


def run_rows(
    troubles: Sequence[FaultCase], operations: Sequence[str], *, debug: bool, processes: int
) -> list[MatrixCell]:
    """Run rows, several at once: cells mostly wait."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        rows = [pool.submit(_run_row, trouble.name, operations, debug) for trouble in troubles]
        return [cell for row in rows for cell in row.result()]


async def run_cells(troubles: Iterable[FaultCase], operations: Iterable[str], *, debug: bool) -> list[MatrixCell]:
    """Run cells one after another."""
    columns = list(operations)
    cells = []
    for trouble in troubles:
        for operation in columns:
            cells.append(await run_cell(trouble, operation, debug=debug))
            if not cells[-1].passed:
                sys.stderr.write(f"{cells[-1]}\n")
                sys.stderr.flush()
    return cells


def main() -> int:
    """Run what the arguments choose; 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="only what goes wrong with this in its name")
    parser.add_argument("--operation", action="append", choices=list(OPERATIONS), help="only these operations")
    parser.add_argument("--debug", action="store_true", help="with asyncio's debug mode on")
    parser.add_argument("--slowest", type=int, default=0, help="name the slowest cells")
    parser.add_argument("--processes", type=int, default=4, help="how many rows run at once")
    given = parser.parse_args()
    chosen = [trouble for trouble in FAULT_CASES if not given.only or any(text in trouble.name for text in given.only)]
    began = time.monotonic()
    columns = given.operation or list(OPERATIONS)
    cells = run_rows(chosen, columns, debug=given.debug, processes=given.processes)
    sys.stdout.write("\n".join(table_lines(cells)) + f"\n\n{summary(cells, time.monotonic() - began)}\n")
    for cell in sorted(cells, key=lambda cell: -cell.seconds)[: given.slowest]:
        sys.stdout.write(f"{cell.seconds:.1f} s: {cell.operation}, {cell.case}\n")
    return 0 if all(cell.passed for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
