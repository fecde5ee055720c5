"""`asyncbackups create`."""

from __future__ import annotations

import asyncio

from asyncbackups import Backup, BackupClient, BackupRef, BackupSpec, PlanetRef, plain
from asyncbackups.cli.arguments import Json, PlanetName
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import CLIENT, Where
from asyncbackups.cli.creating import lasting
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.output import print_json, print_line
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

    async with where.client() as client:
        with on_interrupt(interrupt):
            backup = await _created(client, target, spec)
    ref = BackupRef(target.star_system, backup.id)
    if json:
        print_json(plain(backup))
    else:
        print_line(str(ref))
        say(f"{target}: backup {backup.id} is created; its status is {backup.status or 'not given'}")
    return ExitStatus.INTERRUPTED if interrupted else ExitStatus.OK


async def _created(client: BackupClient, target: PlanetRef, spec: BackupSpec) -> Backup:
    try:
        return await client.create(target.star_system, target.planet, spec)
    except asyncio.CancelledError:
        say(f"{target}: whether the backup was created is unknown; to see: asyncbackups list {target}")
        raise
