"""`asyncbackups health`."""

from __future__ import annotations

from asyncbackups import plain
from asyncbackups.cli.arguments import Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_json, print_line
from asyncbackups.cli.text import printable

__all__ = ["health"]


@command
async def health(
    where: Where,
    json: Json = False,
) -> ExitStatus:
    """Ask how the service is, and print its word for it."""
    async with where.client() as client:
        found = await client.health()
    if json:
        print_json(plain(found))
    else:
        print_line(printable(found.status))
    return ExitStatus.OK
