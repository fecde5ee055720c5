"""The commands for backups and the service: `create`, `get`, `list`, `delete`, `wait`, `health`."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from asyncbackups import Backup, BackupRef, BackupsError, BackupSpec, NotFoundError, PlanetRef, events, plain
from asyncbackups.cli import options
from asyncbackups.cli.command import Command, argument, option
from asyncbackups.cli.exits import ExitStatus, print_error
from asyncbackups.cli.interrupts import EventFollower, describe_delay, on_interrupt, print_waiting
from asyncbackups.cli.output import (
    OutputError,
    format_count,
    print_backup,
    print_backups,
    print_json,
    print_line,
    print_message,
    strip_controls,
)
from asyncbackups.cli.reports import DeletionReport, RunReport
from asyncbackups.cli.targets import is_file_argument, load_distinct_backups, load_targets
from asyncbackups.cli.views import RunView, create_view

if TYPE_CHECKING:
    from asyncbackups import BackupClient  # imported when a client is made: completion does not need aiohttp


@click.command("create", cls=Command)
@options.planet_argument
@options.spec_options
@options.connection_options
@options.json_option
async def create_backup(planet: str, spec: BackupSpec, connection: options.Connection, as_json: bool) -> ExitStatus:
    """Create a backup of a planet and print its name.

    The name, star_system/backup_id, is what `asyncbackups wait` takes.
    """
    target, is_interrupted = PlanetRef.parse(planet), False

    def interrupt() -> None:
        nonlocal is_interrupted
        is_interrupted = True
        print_waiting("the create", describe_delay(options.CLIENT_SETTINGS["creating"]))

    try:
        async with connection.create_client() as client:
            with on_interrupt(interrupt):
                backup = await _send_create(client, target, spec, connection)
    except BackupsError as exc:
        if not is_interrupted:
            raise
        print_error(exc)
        return ExitStatus.INTERRUPTED
    is_printed = _print_created(target, backup, as_json=as_json)
    return ExitStatus.OK if is_printed and not is_interrupted else ExitStatus.INTERRUPTED


async def _send_create(
    client: BackupClient, target: PlanetRef, spec: BackupSpec, connection: options.Connection
) -> Backup:
    try:
        return await client.create(target.star_system, target.planet, spec)
    except asyncio.CancelledError:
        check = shlex.join(("asyncbackups", "list", str(target), *connection.options))
        print_message(f"{target}: whether the backup was created is unknown; to check: {check}")
        raise


def _print_created(target: PlanetRef, backup: Backup, *, as_json: bool) -> bool:
    """Print the new backup and return True; if that fails, name it on stderr: nothing else knows of it."""
    error: OutputError | None = None
    try:
        if as_json:
            print_json(plain(backup))
        else:
            print_line(str(BackupRef(target.star_system, backup.id)))
    except OutputError as exc:
        error = exc
    if not as_json or error:
        print_message(f"{target}: backup {backup.id} created; its status is {backup.status or 'not given'}")
    if error:
        print_error(error)
    return error is None


@click.command("get", cls=Command)
@options.backup_argument
@options.connection_options
@options.json_option
async def get_backup(backup: str, connection: options.Connection, as_json: bool) -> ExitStatus:
    """Show a backup."""
    ref = BackupRef.parse(backup)
    async with connection.create_client() as client:
        found = await client.get(ref.star_system, ref.backup_id)
    if as_json:
        print_json(plain(found))
    else:
        print_backup(found)
    return ExitStatus.OK


@click.command("list", cls=Command)
@argument("where", metavar="STAR_SYSTEM", help="A star system, or a planet: star_system/planet.")
@options.connection_options
@options.json_option
async def list_backups(where: str, connection: options.Connection, as_json: bool) -> ExitStatus:
    """List the backups of a star system or a planet."""
    star_system, planet = where, None
    if "/" in where:
        target = PlanetRef.parse(where)
        star_system, planet = target.star_system, target.planet
    async with connection.create_client() as client:
        backups = await client.list(star_system, planet)
    if as_json:
        for backup in backups:
            print_json(plain(backup))
    else:
        print_backups(star_system, backups)
    return ExitStatus.OK


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


@click.command("health", cls=Command)
@options.connection_options
@options.json_option
async def check_health(connection: options.Connection, as_json: bool) -> ExitStatus:
    """Check service health and print its status."""
    async with connection.create_client() as client:
        health = await client.health()
    if as_json:
        print_json(plain(health))
    else:
        print_line(strip_controls(health.status))
    return ExitStatus.OK
