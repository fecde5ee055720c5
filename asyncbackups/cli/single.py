"""The commands for single backups and the service: `create`, `get`, `list`, `health`."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

import click

from asyncbackups import Backup, BackupRef, BackupsError, BackupSpec, PlanetRef, plain
from asyncbackups.cli import options, output
from asyncbackups.cli.command import Command, argument
from asyncbackups.cli.exits import ExitStatus, print_error
from asyncbackups.cli.interrupts import describe_delay, on_interrupt, print_waiting

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
        output.print_message(f"{target}: whether the backup was created is unknown; to check: {check}")
        raise


def _print_created(target: PlanetRef, backup: Backup, *, as_json: bool) -> bool:
    """Print the new backup and return True; if that fails, name it on stderr: nothing else knows of it."""
    error: output.OutputError | None = None
    try:
        if as_json:
            output.print_json(plain(backup))
        else:
            output.print_line(str(BackupRef(target.star_system, backup.id)))
    except output.OutputError as exc:
        error = exc
    if not as_json or error:
        output.print_message(f"{target}: backup {backup.id} created; its status is {backup.status or 'not given'}")
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
        output.print_json(plain(found))
    else:
        output.print_backup(found)
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
            output.print_json(plain(backup))
    else:
        output.print_backups(star_system, backups)
    return ExitStatus.OK


@click.command("health", cls=Command)
@options.connection_options
@options.json_option
async def check_health(connection: options.Connection, as_json: bool) -> ExitStatus:
    """Check service health and print its status."""
    async with connection.create_client() as client:
        health = await client.health()
    if as_json:
        output.print_json(plain(health))
    else:
        output.print_line(output.strip_controls(health.status))
    return ExitStatus.OK
