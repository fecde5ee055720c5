"""The command `wait`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from asyncbackups import Event
from asyncbackups.cli.command import Command
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import EventFollower
from asyncbackups.cli.options import Connection, backups_argument, connection_options, deadline_option, json_option
from asyncbackups.cli.output import format_count
from asyncbackups.cli.run_report import RunReport
from asyncbackups.cli.targets import load_distinct_backups
from asyncbackups.cli.views import create_view


@click.command("wait", cls=Command)
@backups_argument
@connection_options
@deadline_option
@json_option
async def wait_for_backups(
    backups: Sequence[str], connection: Connection, deadline: float, as_json: bool
) -> ExitStatus:
    """Wait until every backup has succeeded or failed."""
    refs = load_distinct_backups(backups)
    report = RunReport(options=connection.options)
    report.add_watched(refs)

    def show_event(event: Event) -> None:
        report.record_event(event)
        view.show_event(event)

    follower: EventFollower[Event] = EventFollower(show_event)
    async with connection.create_client() as client:
        view = create_view(
            report,
            as_json=as_json,
            title=f"waiting for {format_count(len(refs), 'backup')}",
            requests=lambda: client.requests,
            on_output_error=follower.interrupt,
        )
        started = time.monotonic()
        with view.table:
            async with client.watch(refs, deadline=deadline) as watch:
                await follower.follow_events(watch)
        report.seconds = time.monotonic() - started
        report.requests, report.interrupted = client.requests, follower.interrupted
    view.show_report(report.as_json(), report.as_lines())
    return report.status
