"""Where the events of a run are shown: JSON on stdout, lines on stderr, a live table on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from asyncbackups import BackupCreated, BackupSucceeded
from asyncbackups.cli.events import Told, as_json, as_text
from asyncbackups.cli.output import OutputError, print_json
from asyncbackups.cli.streams import is_terminal
from asyncbackups.cli.tally import Tally
from asyncbackups.cli.text import say
from asyncbackups.cli.view import View

__all__ = ["JsonView", "LinesView", "Views", "views_for"]


class JsonView(View):
    """One JSON object per line on standard output.

    Args:
        unread: Called when standard output can no longer be written; what is left is not printed.
    """

    def __init__(self, unread: Callable[[], None]) -> None:
        self._unread = unread
        self._broken = False

    def tell(self, event: Told) -> None:
        """Print an event."""
        self._print(as_json(event))

    def end(self, report: dict[str, Any], lines: list[str]) -> None:
        """Print the report; where nobody reads it, people get theirs."""
        self._print(report)
        if self._broken:
            for line in lines:
                say(line)

    def _print(self, value: dict[str, Any]) -> None:
        try:
            print_json(value)
        except OutputError as exc:
            if self._broken:
                return
            self._broken = True
            say(f"asyncbackups: {exc}")
            self._unread()


class LinesView(View):
    """One line for each event on stderr.

    Args:
        quiet: Whether only trouble is told, because something else shows the rest.
        journaled: Whether the run has a journal.
    """

    def __init__(self, *, quiet: bool = False, journaled: bool = False) -> None:
        self._quiet = quiet
        self._journaled = journaled

    def tell(self, event: Told) -> None:
        """Write an event."""
        if not (self._quiet and isinstance(event, BackupCreated | BackupSucceeded)):
            say(as_text(event, journaled=self._journaled))

    def end(self, report: dict[str, Any], lines: list[str]) -> None:  # noqa: ARG002 - for programs
        """Write the report."""
        for line in lines:
            say(line)


class Views(View):
    """Several views as one; the first is left last."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def __enter__(self) -> Self:
        for view in self._views:
            view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for view in reversed(self._views):
            view.__exit__(kind, exc, traceback)

    def tell(self, event: Told) -> None:
        """Show an event everywhere."""
        for view in self._views:
            view.tell(event)

    def end(self, report: dict[str, Any], lines: list[str]) -> None:
        """Show the end everywhere."""
        for view in self._views:
            view.end(report, lines)


def views_for(
    tally: Tally,
    *,
    json: bool,
    title: str,
    begun: str,
    requests: Callable[[], Mapping[str, int]],
    unread: Callable[[], None],
    journaled: bool = False,
) -> Views:
    """Choose the views that fit the streams: JSON where asked for, a live table only on a terminal.

    Args:
        tally: What is counted.
        json: Whether JSON goes to standard output.
        title: What is being done.
        begun: What the first column counts: "created" or "watched".
        requests: Returns the requests sent so far, by kind.
        unread: Called when standard output can no longer be written.
        journaled: Whether the run has a journal.
    """
    views: list[View] = [JsonView(unread)] if json else []
    # JSON and a live table in one terminal would tear each other apart.
    if is_terminal(sys.stderr) and not (json and is_terminal(sys.stdout)):
        from asyncbackups.cli.live import LiveView  # noqa: PLC0415 - rich's live display costs time to import

        views += [LiveView(tally, title=title, begun=begun, requests=requests, began=time.monotonic())]
        views += [LinesView(quiet=True, journaled=journaled)]
    elif not json:
        views.append(LinesView(journaled=journaled))
    return Views(*views)
