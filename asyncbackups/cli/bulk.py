"""The commands for many backups: `bulk`, `resume`, `delete`, `wait` and `status`."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from asyncbackups import (
    BackupRef,
    BackupSpec,
    ConfigurationError,
    JournalError,
    NotFoundError,
    PlanetRef,
    events,
    plain,
)
from asyncbackups.cli import options, output
from asyncbackups.cli.command import Command, option
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.interrupts import EventFollower, describe_delay
from asyncbackups.cli.reports import DeletionReport, RunReport, error_json
from asyncbackups.cli.targets import is_file_argument, load_distinct_backups, load_targets
from asyncbackups.cli.views import RunView, create_view

if TYPE_CHECKING:
    from asyncbackups import BulkRun, JournalStatus, TargetState  # imported when a command runs: aiohttp, SQLite


@click.command("bulk", cls=Command)
@options.planets_argument
@options.spec_options
@options.connection_options
@option(
    "--journal",
    type=options.FileType(),
    metavar="PATH",
    help="File that records the run: the same command or `resume` continues it, however this process ends.",
)
@options.deadline_option
@options.concurrency_option("creates")
@options.json_option
async def run_bulk(
    targets: Sequence[str],
    spec: BackupSpec,
    connection: options.Connection,
    journal: Path | None,
    deadline: float,
    concurrency: int,
    as_json: bool,
) -> ExitStatus:
    """Create a backup of each planet and wait for all of them."""
    planets = load_targets(targets, PlanetRef)
    shown = ShownRun(
        RunReport(targets=len(planets), journal=None if journal is None else str(journal), options=connection.options),
        title=f"backups of {output.format_count(len(planets), 'planet')}",
        as_json=as_json,
        earlier=None if journal is None else await _load_status_if_any(journal),
    )
    async with connection.create_client() as client:
        # From the first event, because the events of earlier processes count, too.
        since = None if journal is None else 0
        run = client.bulk_create(
            planets, spec, concurrency=concurrency, deadline=deadline, journal=journal, since=since
        )
        return await shown.show_report(run)


@click.command("resume", cls=Command)
@options.journal_argument
@options.connection_options
@options.deadline_option
@options.concurrency_option("creates")
@options.json_option
async def resume_run(
    journal: Path, connection: options.Connection, deadline: float, concurrency: int, as_json: bool
) -> ExitStatus:
    """Resume a bulk run from its journal.

    The report and the exit status are those of the whole run; events that were reported before are not repeated.
    """
    earlier = await _load_status(journal)
    shown = ShownRun(
        RunReport(targets=earlier.targets, journal=str(journal), options=connection.options),
        title=f"backups of {output.format_count(earlier.targets, 'planet')}, from {journal}",
        as_json=as_json,
        earlier=earlier,
        warning=_check_targets(earlier),
    )
    async with connection.create_client() as client:
        # From the first event, because the events of earlier processes count, too.
        return await shown.show_report(client.resume(journal, concurrency=concurrency, deadline=deadline, since=0))


def _check_targets(earlier: JournalStatus) -> str:
    """Return a warning if a journal may lack targets; empty if it has all. Having none is an error."""
    if earlier.listed:
        return ""
    if not earlier.targets:
        raise ConfigurationError(
            f"the journal {earlier.path} has no targets yet: its process ended before it recorded them. Nothing was "
            "created: run `asyncbackups bulk --journal` with the same targets again"
        )
    # Only a program can have written this: the command line records all targets at once.
    return f"the targets in {earlier.path} may be incomplete; resuming with those that were recorded"


async def _load_status(journal: Path) -> JournalStatus:
    from asyncbackups import read_status  # noqa: PLC0415 - imports SQLite

    return await asyncio.to_thread(read_status, journal)


async def _load_status_if_any(journal: Path) -> JournalStatus | None:
    """Read the state of a run; None if it has not started. The run itself reports what is wrong with a journal."""
    try:
        return await _load_status(journal)
    except JournalError:
        return None


@attrs.define(eq=False)
class ShownRun:
    """Runs a bulk run and shows its events.

    Attributes:
        earlier: The state of the run that is resumed: events that an earlier process reported are counted and not
            shown again. None for a new run.
        warning: Printed once the run has started.
    """

    report: RunReport
    title: str
    as_json: bool
    earlier: JournalStatus | None = None
    warning: str = ""
    on_event: Callable[[events.Event], None] | None = None

    async def show_report(self, run: BulkRun) -> ExitStatus:
        """Run to the end, or until interrupted, show the report and return the exit status."""
        view = await self.show_events(run)
        view.show_report(self.report.as_json(), self.report.as_lines())
        return self.report.status

    async def show_events(self, run: BulkRun) -> RunView:
        """Run to the end, or until interrupted; the view has yet to show the report.

        With a journal the run must report its events from the first one. A `JournalError` is raised if the run cannot
        start; later errors of its journal are in the report.
        """

        def show_event(event: events.Event) -> None:
            self.report.record_event(event)
            if self.earlier is not None and event.id is not None and event.id <= self.earlier.acknowledged:
                return
            if self.on_event is not None:
                self.on_event(event)
            view.show_event(event)

        delay = describe_delay(options.CLIENT_SETTINGS["creating"])
        follower = EventFollower(show_event, run, noun="create", delay=delay)
        view = create_view(
            self.report,
            as_json=self.as_json,
            title=self.title,
            requests=lambda: _requests_by_name(run),
            on_output_error=follower.interrupt,
        )
        async with contextlib.AsyncExitStack() as entered:
            # Before anything is shown: it may be refused.
            await entered.enter_async_context(run)
            self._print_start()
            with view.table:
                try:
                    async with entered.pop_all():
                        await follower.follow_events(run)
                    # Requests that were under way when the run was left have their events, too.
                    async for event in run:
                        show_event(event)
                except JournalError as exc:
                    self.report.error = exc
        self.report.interrupted = follower.interrupted
        report = run.report
        self.report.requests, self.report.seconds = _requests_by_name(run), report.seconds
        self.report.possible_duplicates = report.possible_duplicates
        return view

    def _print_start(self) -> None:
        if self.warning:
            output.print_message(self.warning)
        if self.earlier is not None and not self.as_json:
            ended = sum(number for state, number in self.earlier.states.items() if state.final)
            targets = output.format_count(self.earlier.targets, "planet")
            output.print_message(f"resuming {self.earlier.path}: {ended:,} of {targets} finished before")


def _requests_by_name(run: BulkRun) -> dict[str, int]:
    return {str(kind): number for kind, number in run.report.requests.items()}


@click.command("delete", cls=Command)
@options.backups_argument
@option("--missing-ok", is_flag=True, help="Accept that a backup does not exist.")
@options.connection_options
@options.concurrency_option("deletes")
@options.json_option
async def delete_backups(
    backups: Sequence[str], missing_ok: bool, connection: options.Connection, concurrency: int, as_json: bool
) -> ExitStatus:
    """Delete backups."""
    is_single = len(backups) == 1 and not is_file_argument(backups[0])
    refs = load_targets(backups, BackupRef)
    report = DeletionReport(backups=len(refs))

    def show_event(event: events.BackupDeleted | events.DeleteFailed) -> None:
        shown: events.BackupDeleted | events.DeleteFailed | events.BackupGone = event
        # The deletion itself does not get --missing-ok: it would report a missing backup as deleted.
        if missing_ok and isinstance(event, events.DeleteFailed) and isinstance(event.error, NotFoundError):
            shown = events.BackupGone(ref=event.ref, elapsed=event.elapsed)
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


@click.command("wait", cls=Command)
@options.backups_argument
@options.connection_options
@options.deadline_option
@options.json_option
async def wait_for_backups(
    backups: Sequence[str], connection: options.Connection, deadline: float, as_json: bool
) -> ExitStatus:
    """Wait until every backup has succeeded or failed."""
    refs = load_distinct_backups(backups)
    report = RunReport(options=connection.options)
    report.add_watched(refs)

    def show_event(event: events.Event) -> None:
        report.record_event(event)
        view.show_event(event)

    follower: EventFollower[events.Event] = EventFollower(show_event)
    async with connection.create_client() as client:
        view = create_view(
            report,
            as_json=as_json,
            title=f"waiting for {output.format_count(len(refs), 'backup')}",
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


@click.command("status", cls=Command)
@options.journal_argument
@options.json_option
async def show_status(journal: Path, as_json: bool) -> ExitStatus:
    """Show the state of a bulk run from its journal.

    It works while the run is in progress, and needs neither the service nor credentials.
    """
    try:
        status = await _load_status(journal)
    except JournalError as exc:
        _print_created(str(journal), exc, as_json=as_json)
        return exit_status([exc])
    if as_json:
        output.print_json(_status_json(status))
        return ExitStatus.OK
    for line in _status_lines(status):
        output.print_message(line)
    states = _choose_states(status)
    headings = ("star system", "planets", *(state.value.replace("_", " ") for state in states))
    output.print_table(headings, list(_status_rows(status, states)))
    return ExitStatus.OK


def _print_created(journal: str, error: JournalError, *, as_json: bool) -> None:
    """Print the backups of a journal that is damaged, as far as they can be read: nothing else may know of them."""
    if as_json:
        output.print_json({"journal": journal, "error": error_json(error), "created": list(map(str, error.created))})
    else:
        for ref in error.created:
            output.print_line(output.strip_controls(str(ref)))
    output.print_message(f"asyncbackups: {error}")


def _status_json(status: JournalStatus) -> dict[str, Any]:
    holder = status.holder
    return {
        "journal": status.path,
        "tenant": status.tenant,
        "base_url": status.base_url,
        "spec": plain(status.spec),
        "started": status.started.isoformat(),
        "changed": status.changed.isoformat(),
        "planets": status.targets,
        "listed": status.listed,
        "finished": status.finished,
        "holder": None if holder is None else {**attrs.asdict(holder), "since": holder.since.isoformat()},
        "states": _states_by_name(status.states),
        "star_systems": {name: _states_by_name(states) for name, states in status.star_systems.items()},
        "created": list(map(str, status.created)),
        "last_event": status.last_event,
        "acknowledged": status.acknowledged,
    }


def _states_by_name(states: Mapping[TargetState, int]) -> dict[str, int]:
    return {state.value: number for state, number in states.items()}


def _status_lines(status: JournalStatus) -> Iterator[str]:
    planets = output.format_count(status.targets, "planet") + ("" if status.listed else " (may be incomplete)")
    yield f"{status.path}: {planets}; tenant {status.tenant} at {status.base_url}"
    yield f"started {output.format_time(status.started)}, last written {output.format_time(status.changed)}"
    if status.holder is not None:
        yield f"running: {status.holder}"
    elif status.finished:
        yield "finished: every planet has its outcome"
    else:
        yield f"not running; to resume: asyncbackups resume {shlex.quote(status.path)}"


def _choose_states(status: JournalStatus) -> Sequence[TargetState]:
    """Return all states for programs; for a terminal, which is narrow, those that occur and the usual ones."""
    from asyncbackups import TargetState  # noqa: PLC0415 - imports SQLite

    if not output.is_terminal(sys.stdout):
        return tuple(TargetState)
    usual = {TargetState.WAITING, TargetState.RUNNING, TargetState.SUCCEEDED, TargetState.FAILED}
    return [state for state in TargetState if state in usual or status.states[state]]


def _status_rows(status: JournalStatus, shown: Sequence[TargetState]) -> Iterator[list[str]]:
    for name, states in [*status.star_systems.items(), ("all", status.states)]:
        yield [name, str(sum(states.values())), *(str(states[state]) for state in shown)]
