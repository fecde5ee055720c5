"""`asyncbackups create`."""

from __future__ import annotations

from asyncbackups import BackupRef, PlanetRef, plain
from asyncbackups.cli.arguments import Json, PlanetName
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.exits import ExitStatus
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
    target = PlanetRef.parse(planet)
    async with where.client() as client:
        backup = await client.create(target.star_system, target.planet, spec)
    ref = BackupRef(target.star_system, backup.id)
    if json:
        print_json(plain(backup))
    else:
        print_line(str(ref))
        say(f"{target}: backup {backup.id} is created; its status is {backup.status or 'not given'}")
    return ExitStatus.OK
