"""`asyncbackups create`."""

from __future__ import annotations

import asyncio
import shlex

from asyncbackups import Backup, BackupClient, BackupRef, BackupsError, BackupSpec, PlanetRef, plain
from asyncbackups.cli.arguments import Json, PlanetName
from asyncbackups.cli.command import command, say_error
from asyncbackups.cli.connection import CLIENT, Connection, Where
from asyncbackups.cli.creating import lasting
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.output import OutputError, print_json, print_line
from asyncbackups.cli.spec import Spec
from asyncbackups.cli.text import say

__all__ = ["create"]


@command
async def create(
    planet: PlanetName,
    spec: Spec,
    where: Where,
    json: Json = False,
) -> ExitStatus:
    """Create a backup of a planet, and print its name, for `asyncbackups wait`."""
    target, interrupted = PlanetRef.parse(planet), False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        say(f"interrupted: waiting for the answer ({lasting(CLIENT['creating'])}); once more to leave at once")

    try:
        async with where.client() as client:
            with on_interrupt(interrupt):
                backup = await _created(client, target, spec, where)
    except BackupsError as exc:
        if not interrupted:
            raise
        say_error(exc)
        return ExitStatus.INTERRUPTED
    told = _told(target, backup, json=json)
    return ExitStatus.OK if told and not interrupted else ExitStatus.INTERRUPTED


async def _created(client: BackupClient, target: PlanetRef, spec: BackupSpec, where: Connection) -> Backup:
    try:
        return await client.create(target.star_system, target.planet, spec)
    except asyncio.CancelledError:
        look = shlex.join(("asyncbackups", "list", str(target), *where.options))
        say(f"{target}: whether the backup was created is unknown; to see: {look}")
        raise


def _told(target: PlanetRef, backup: Backup, *, json: bool) -> bool:
    """Print the backup, and return whether that went well; else people at least are told: nothing else knows of it."""
    unprinted: OutputError | None = None
    try:
        if json:
            print_json(plain(backup))
        else:
            print_line(str(BackupRef(target.star_system, backup.id)))
    except OutputError as exc:
        unprinted = exc
    if not json or unprinted:
        say(f"{target}: backup {backup.id} is created; its status is {backup.status or 'not given'}")
    if unprinted:
        say_error(unprinted)
    return unprinted is None
