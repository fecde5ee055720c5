"""The live table of a run, on a terminal: one line per star system."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from asyncbackups.cli.ending import requests_text
from asyncbackups.cli.tally import Counts, Tally
from asyncbackups.cli.text import printable, took
from asyncbackups.cli.view import View

__all__ = ["LiveView"]

_REFRESH = 0.1
# Title, header, total, the line below, and the frame.
_OTHER_LINES = 10
_FEWEST_ROWS = 3

_STYLES = {"in flight": "cyan", "succeeded": "green", "failed": "red"}


class LiveView(View):
    """A table that is drawn anew as events come.

    Args:
        tally: What is counted.
        title: What is being done.
        begun: What the first column counts.
        requests: Returns the requests sent so far, by kind.
        began: When it began, in monotonic seconds.
        console: Where to draw; None for stderr.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        title: str,
        begun: str,
        requests: Callable[[], Mapping[str, int]],
        began: float,
        console: Console | None = None,
    ) -> None:
        self._tally = tally
        self._title = title
        self._begun = begun
        self._requests = requests
        self._began = began
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._drawing: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        self._drawing = asyncio.get_running_loop().create_task(self._draw(), name="asyncbackups-live")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        with contextlib.suppress(OSError):  # the terminal is gone
            self._live.update(self.render(), refresh=True)
            self._live.stop()

    async def _draw(self) -> None:
        while True:
            self._live.update(self.render(), refresh=True)
            await asyncio.sleep(_REFRESH)

    def render(self) -> RenderableType:
        """Return the table as it is now."""
        total = self._tally.total
        others = bool(_others(total))
        rows = sorted(self._tally.by_star_system.items())
        room = max(_FEWEST_ROWS, self._console.height - _OTHER_LINES)
        table = self._table(others=others)
        for star_system, counts in rows[:room]:
            table.add_row(Text(printable(star_system)), *_cells(counts, others=others))
        if len(rows) > room:
            table.add_row(f"… and {len(rows) - room} more")
        table.add_section()
        table.add_row("all", *_cells(total, others=others), style="bold")
        spent = f"{took(time.monotonic() - self._began)} · {requests_text(self._requests())}"
        return Group(Text(self._title, style="bold"), table, Text(spent, style="dim"))

    def _table(self, *, others: bool) -> Table:
        table = Table()
        table.add_column("star system", overflow="ellipsis", no_wrap=True)
        for column in (self._begun, "in flight", "succeeded", "failed", *(["other"] if others else [])):
            table.add_column(column, justify="right", style=_STYLES.get(column, ""), no_wrap=True)
        return table


def _cells(counts: Counts, *, others: bool) -> list[Text]:
    failed = counts.failed + counts.gone + counts.create_failed
    numbers = [counts.created, counts.in_flight, counts.succeeded, failed, *([_others(counts)] if others else [])]
    return [Text(str(number), style="" if number else "dim") for number in numbers]


def _others(counts: Counts) -> int:
    """Return how many passed their deadline or could not be checked."""
    return counts.expired + counts.unchecked
