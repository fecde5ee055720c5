"""`asyncbackups list`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups import PlanetRef, plain
from asyncbackups.cli.arguments import Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_json
from asyncbackups.cli.tables import print_backups

__all__ = ["list_"]

_Of = Annotated[
    str,
    typer.Argument(metavar="STAR_SYSTEM", help="A star system, or a planet: star_system/planet.", show_default=False),
]


@command
async def list_(
    of: _Of,
    where: Where,
    json: Json = False,
) -> ExitStatus:
    """List the backups of a star system, or of one planet."""
    star_system, planet = of, None
    if "/" in of:
        target = PlanetRef.parse(of)
        star_system, planet = target.star_system, target.planet
    async with where.client() as client:
        backups = await client.list(star_system, planet)
    if json:
        for backup in backups:
            print_json(plain(backup))
    else:
        print_backups(star_system, backups)
    return ExitStatus.OK
