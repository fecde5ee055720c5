"""The live table of a run on a terminal: one line per star system."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from asyncbackups import Counts
from asyncbackups.cli.output import format_duration, strip_controls
from asyncbackups.cli.reports import RequestCounts, RunReport, format_requests

_REFRESH_SECONDS = 0.1
_OTHER_LINES = 10  # title, header, total, the line below, and the frame
_MIN_ROWS = 3
_FRAMED_WIDTH = 60  # the width from which the table has a frame and long headings
_STYLES = {"in flight": "cyan", "succeeded": "green", "failed": "red"}
_SHORT_HEADINGS = {"in flight": "running", "succeeded": "ok"}


class LiveTable:
    """A table that is redrawn while it is entered, and stays; on stderr if no console is given."""

    def __init__(
        self, report: RunReport, *, title: str, requests: RequestCounts, console: Console | None = None
    ) -> None:
        self._report = report
        self._title = title
        self._requests = requests
        self._started = time.monotonic()
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._drawing: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        self._drawing = asyncio.get_running_loop().create_task(self._redraw(), name="asyncbackups-live")
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        with contextlib.suppress(OSError):  # the terminal is gone
            self._live.update(self.render(), refresh=True)
            self._live.stop()

    async def _redraw(self) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone: the run continues without it
            while True:
                self._live.update(self.render(), refresh=True)
                await asyncio.sleep(_REFRESH_SECONDS)

    def render(self) -> RenderableType:
        """Return the table as it is now."""
        is_ascii = self._console.options.ascii_only
        total = self._report.total
        has_others = _count_others(total) > 0
        rows = sorted(self._report.by_star_system.items())
        visible = max(_MIN_ROWS, self._console.height - _OTHER_LINES)
        table = self._create_table(is_ascii=is_ascii, has_others=has_others)
        for star_system, counts in rows[:visible]:
            table.add_row(_first_cell(strip_controls(star_system), is_ascii), *_number_cells(counts, has_others))
        if len(rows) > visible:
            table.add_row(_first_cell(f"{'...' if is_ascii else '…'} and {len(rows) - visible} more", is_ascii))
        table.add_section()
        table.add_row(_first_cell("all", is_ascii), *_number_cells(total, has_others), style="bold")
        requests = format_requests(self._requests())
        footer = f"{format_duration(time.monotonic() - self._started)}{', ' if is_ascii else ' · '}{requests}"
        return Group(Text(self._title, style="bold"), table, Text(footer, style="dim"))

    def _create_table(self, *, is_ascii: bool, has_others: bool) -> Table:
        is_narrow = self._console.width < _FRAMED_WIDTH
        table = Table(box=None, padding=(0, 1, 0, 0)) if is_narrow else Table()
        # The only column that may be narrowed: numbers are never cut off.
        table.add_column(_first_cell("star system", is_ascii))
        first_column = "watched" if self._report.targets is None else "created"
        for name in (first_column, "in flight", "succeeded", "failed", *(["other"] if has_others else [])):
            heading = _SHORT_HEADINGS.get(name, name) if is_narrow else name
            table.add_column(heading, justify="right", style=_STYLES.get(name, ""), no_wrap=True)
        return table


def _first_cell(text: str, is_ascii: bool) -> Text:
    return Text(text, no_wrap=True, overflow="crop" if is_ascii else "ellipsis")


def _number_cells(counts: Counts, has_others: bool) -> list[Text]:
    failed = counts.failed + counts.gone + counts.create_failed
    numbers = [counts.created, counts.in_flight, counts.succeeded, failed]
    if has_others:
        numbers.append(_count_others(counts))
    return [Text(str(number), style="" if number else "dim") for number in numbers]


def _count_others(counts: Counts) -> int:
    return counts.expired + counts.unchecked
