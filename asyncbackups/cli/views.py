"""How the events of a run are shown: as JSON on stdout, as lines on stderr, as a live table on a terminal."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any

from asyncbackups import AmbiguousCreateError, events, plain
from asyncbackups.cli.exits import AnyEvent
from asyncbackups.cli.output import OutputError, format_duration, is_terminal, print_json, print_message
from asyncbackups.cli.reports import RequestCounts, RunReport, describe_duplicate, error_json


def event_json(event: AnyEvent) -> dict[str, Any]:
    """Return an event as plain JSON values; backups in it have the API's own field names."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    members: dict[str, Any] = {"event": name}
    if isinstance(event, events.CreateFailed):
        members |= {"star_system": event.planet.star_system, "planet": event.planet.planet, "backup_id": None}
    else:
        planet = None if event.planet is None else event.planet.planet
        members |= {"star_system": event.ref.star_system, "planet": planet, "backup_id": event.ref.backup_id}
    members |= {"elapsed": round(event.elapsed, 3), "polls": event.polls}
    if event.id is not None:
        members["id"] = event.id
    return members | _event_details(event)


def _event_details(event: AnyEvent) -> dict[str, Any]:
    match event:
        case events.BackupDeleted():
            return {}
        case events.CreateFailed() | events.DeleteFailed():
            return {"error": error_json(event.error)}
        case events.BackupCreated():
            origin = {"adopted": event.adopted, "possible_duplicate": event.possible_duplicate}
            return {**origin, "duplicates": _duplicates_json(event), "backup": _backup_json(event)}
        case events.DuplicateFound():
            return {"duplicates": _duplicates_json(event)}
        case events.WatchFailed() | events.WatchExpired() if event.error is not None:
            return {"error": error_json(event.error), "backup": _backup_json(event)}
        case _:
            return {"backup": _backup_json(event)}


def _duplicates_json(event: events.BackupCreated | events.DuplicateFound) -> list[Any]:
    return [ref.backup_id for ref in event.duplicates]


def _backup_json(event: events.FinalEvent | events.BackupCreated) -> Any:
    return None if event.backup is None else plain(event.backup)


def event_text(event: AnyEvent, *, has_journal: bool = False) -> str:
    """Return an event as a line for people."""
    match event:
        case events.CreateFailed(error=AmbiguousCreateError() as error):
            # Resuming a journal finds out the outcome of a create that has none yet: no advice is needed.
            is_settled_later = has_journal and event.id is None
            return f"{event.planet}: {error.reason}" if is_settled_later else str(error)
        case events.CreateFailed():
            return f"{event.planet}: not created: {event.error}"
        case events.DeleteFailed():
            return f"{event.ref}: not deleted: {event.error}"
        case events.BackupDeleted():
            return f"{event.ref} deleted"
        case events.DuplicateFound():
            return describe_duplicate(event)
    backup = f"{event.ref}" if event.planet is None else f"{event.planet}: backup {event.ref.backup_id}"
    return f"{backup} {_describe_event(event)}"


def _describe_event(event: events.FinalEvent | events.BackupCreated) -> str:
    match event:
        case events.BackupCreated():
            origin = "" if event.adopted is None else f" (its response was lost; identified by its {event.adopted})"
            return f"created{origin}{'; there may be a duplicate' if event.possible_duplicate else ''}"
        case events.BackupSucceeded():
            return f"succeeded after {format_duration(event.elapsed)}"
        case events.BackupFailed():
            reason = event.backup.error_message or f"its status is {event.backup.status!r}"
            return f"failed after {format_duration(event.elapsed)}: {reason}"
        case events.BackupGone():
            return "does not exist" if event.backup is None else "was deleted while it was watched"
        case events.WatchExpired():
            cause = "" if event.error is None else f"; the last poll failed: {event.error}"
            return f"not finished at the deadline, after {format_duration(event.elapsed)}{cause}"
        case events.WatchFailed():
            return f"can no longer be checked: {event.error}"


class RunView:
    """Shows events as they come, and the report: as JSON, as lines, in a live table.

    Args:
        on_output_error: Called when standard output can no longer be written; later JSON is discarded.
        table: Shows the numbers while it is entered; then only problems have a line. None for no table.
    """

    def __init__(
        self,
        *,
        as_json: bool,
        on_output_error: Callable[[], None],
        table: contextlib.AbstractContextManager[object] | None = None,
        has_journal: bool = False,
    ) -> None:
        self._as_json = as_json
        self._on_output_error = on_output_error
        self._is_broken = False
        self._has_lines = table is not None or not as_json
        self._only_problems = table is not None
        self._has_journal = has_journal
        self.table: contextlib.AbstractContextManager[object] = table or contextlib.nullcontext()

    def show_event(self, event: AnyEvent) -> None:
        """Show an event."""
        if self._as_json:
            self._print_json(event_json(event))
        is_problem = not isinstance(event, events.BackupCreated | events.BackupSucceeded)
        if self._has_lines and (is_problem or not self._only_problems):
            print_message(event_text(event, has_journal=self._has_journal))

    def show_report(self, report: dict[str, Any], lines: list[str]) -> None:
        """Show how the run ended: for programs, and for people, also if the report cannot be written."""
        if self._as_json:
            self._print_json(report)
        if self._has_lines or self._is_broken:
            for line in lines:
                print_message(line)

    def _print_json(self, value: dict[str, Any]) -> None:
        try:
            print_json(value)
        except OutputError as exc:
            if not self._is_broken:
                self._is_broken = True
                print_message(f"asyncbackups: {exc}")
                self._on_output_error()


def create_view(
    report: RunReport, *, as_json: bool, title: str, requests: RequestCounts, on_output_error: Callable[[], None]
) -> RunView:
    """Return a view that fits the streams: with a live table only on a terminal."""
    table = None
    # JSON and a live table on the same terminal would mix.
    if is_terminal(sys.stderr) and not (as_json and is_terminal(sys.stdout)):
        from asyncbackups.cli.live import LiveTable  # noqa: PLC0415 - only a terminal needs rich's live display

        table = LiveTable(report, title=title, requests=requests)
    has_journal = report.journal is not None
    return RunView(as_json=as_json, on_output_error=on_output_error, table=table, has_journal=has_journal)
