"""The command `delete`."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from asyncbackups import BackupDeleted, BackupGone, DeleteFailed, NotFoundError
from asyncbackups.cli.command import Command, option
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.interrupts import EventFollower
from asyncbackups.cli.options import Connection, backups_argument, concurrency_option, connection_options, json_option
from asyncbackups.cli.output import format_count, format_duration
from asyncbackups.cli.run_report import format_requests, format_results
from asyncbackups.cli.targets import is_file_argument, load_backups
from asyncbackups.cli.views import RunView


@click.command("delete", cls=Command)
@backups_argument
@option("--missing-ok", is_flag=True, help="Accept that a backup does not exist.")
@connection_options
@concurrency_option("deletes")
@json_option
async def delete_backups(
    backups: Sequence[str], missing_ok: bool, connection: Connection, concurrency: int, as_json: bool
) -> ExitStatus:
    """Delete backups."""
    is_single = len(backups) == 1 and not is_file_argument(backups[0])
    refs = load_backups(backups)
    report = DeletionReport(backups=len(refs))

    def show_event(event: BackupDeleted | DeleteFailed) -> None:
        shown: BackupDeleted | DeleteFailed | BackupGone = event
        # The deletion itself does not get --missing-ok: it would report a missing backup as deleted.
        if missing_ok and isinstance(event, DeleteFailed) and isinstance(event.error, NotFoundError):
            shown = BackupGone(ref=event.ref, elapsed=event.elapsed)
        report.record_event(shown)
        view.show_event(shown)

    async with connection.create_client() as client:
        deletion = client.bulk_delete(refs, concurrency=concurrency)
        follower = EventFollower(show_event, deletion, noun="delete")
        view = RunView(as_json=as_json, on_output_error=follower.interrupt)
        started = time.monotonic()
        async with deletion:
            await follower.follow_events(deletion)
        # Requests that were under way when it was left have their events, too.
        async for event in deletion:
            show_event(event)
        report.seconds = time.monotonic() - started
        report.requests, report.interrupted = client.requests, follower.interrupted
    # The event of a single backup says everything, unless it was interrupted.
    if not is_single or report.interrupted:
        view.show_report(report.as_json(), report.as_lines())
    return report.status


@attrs.define(eq=False)
class DeletionReport:
    """Counts the events of a deletion; a backup that is missing, where that is accepted, is one that is gone.

    Attributes:
        backups: The number of backups to delete.
        requests: Requests sent, by kind.
        seconds: How long it took.
        interrupted: Whether it was interrupted.
    """

    backups: int
    requests: Mapping[str, int] = attrs.field(factory=dict, init=False)
    seconds: float = attrs.field(default=0.0, init=False)
    interrupted: bool = attrs.field(default=False, init=False)
    _counts: collections.Counter[type[object]] = attrs.field(factory=collections.Counter, init=False)
    _worst: ExitStatus = attrs.field(default=ExitStatus.OK, init=False)

    def record_event(self, event: BackupDeleted | DeleteFailed | BackupGone) -> None:
        """Count an event."""
        self._counts[type(event)] += 1
        if not isinstance(event, BackupGone):
            self._worst = max(self._worst, exit_status([event]))

    @property
    def status(self) -> ExitStatus:
        """The exit status."""
        return ExitStatus.INTERRUPTED if self.interrupted else self._worst

    @property
    def remaining(self) -> int:
        """The number of backups without a result: not started, or cut off."""
        return self.backups - self._counts.total()

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs, the last line of a deletion."""
        return {
            "event": "report",
            "backups": self.backups,
            "deleted": self._counts[BackupDeleted],
            "missing": self._counts[BackupGone],
            "delete_failed": self._counts[DeleteFailed],
            "left": self.remaining,
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        numbers = {"did not exist": self._counts[BackupGone], "not deleted": self._counts[DeleteFailed]}
        counts = format_results(f"{format_count(self._counts[BackupDeleted], 'backup')} deleted", numbers)
        lines = [f"{counts}; {format_duration(self.seconds)}; {format_requests(self.requests)}"]
        if self.interrupted:
            advice = "; to delete them: the same command with --missing-ok" if self.remaining else ""
            lines.append(f"interrupted: {format_count(self.remaining, 'backup')} left{advice}")
        return lines
