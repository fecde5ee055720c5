"""`asyncbackups bulk`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups.cli.arguments import Concurrency, Deadline, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.creating import BulkShow
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.spec import Spec
from asyncbackups.cli.targets import read_targets
from asyncbackups.cli.text import counted, parse_duration

__all__ = ["bulk"]

_Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|-|PLANET",
        help="First a file with one star_system/planet per line, or - for standard input, or a planet; then planets.",
        show_default=False,
    ),
]


@command
async def bulk(
    targets: _Targets,
    spec: Spec,
    where: Where,
    deadline: Deadline = "24h",
    concurrency: Concurrency = 8,
    json: Json = False,
) -> ExitStatus:
    """Create a backup of each of many planets, and wait until all have ended."""
    seconds = parse_duration(deadline, "--deadline")
    planets = read_targets(targets)
    show = BulkShow(planets, title=f"backups of {counted(len(planets), 'planet')}", json=json)
    async with where.client() as client:
        ending, view = await show.run(
            lambda feed: client.bulk_create(feed, spec, concurrency=concurrency, deadline=seconds)
        )
    view.end(ending.as_json(), ending.as_lines())
    return ending.status
