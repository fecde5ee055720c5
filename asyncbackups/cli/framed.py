"""Tables on a terminal: framed, and fitted to its width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_framed"]

_LEAST = 12
"""To how many characters a column is narrowed at the most."""


def print_framed(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    optional: Sequence[str] = (),
    console: Console | None = None,
) -> list[str]:
    """Print a table. Cells that are too wide are folded, but for the first column: what is in it can be copied.

    Args:
        columns: Their headings, no two alike.
        rows: The cells, printable.
        optional: Columns that may be left out where there is no room; the first of them is shown rather than the last.
        console: Where to print; None for stdout.

    Returns:
        The columns that were left out.
    """
    console = console or Console()
    cells = {column: below for column, *below in zip(columns, *rows, strict=True)}
    widths = {column: max(map(cell_len, (column, *below))) for column, below in cells.items()}
    shown = _chosen(widths, optional, console.width)
    table = Table()
    for number, column in enumerate(shown):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in zip(*(cells[column] for column in shown), strict=True):
        table.add_row(*map(Text, row))
    first, *others = (widths[column] for column in shown)
    # Where not even that fits, the terminal breaks the lines, which takes nothing out of them.
    console.width = max(console.width, _framed([first, *(min(width, _LEAST) for width in others)]))
    console.print(table)
    return [column for column in columns if column not in shown]


def _chosen(widths: Mapping[str, int], optional: Sequence[str], room: int) -> list[str]:
    """Choose the columns that fit, in their own order."""
    chosen = widths.keys() - set(optional)
    for column in optional:
        if _framed(widths[one] for one in {*chosen, column}) <= room:
            chosen.add(column)
    return [column for column in widths if column in chosen]


def _framed(widths: Iterable[int]) -> int:
    """Return how wide a table is with its frame: a line and two blanks for each column, and a line at the end."""
    return sum(width + 3 for width in widths) + 1
