"""`asyncbackups bulk`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asyncbackups.cli.arguments import Concurrency, Deadline, Json, file_path
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.creating import BulkShow
from asyncbackups.cli.earlier import status_if_any
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
_Journal = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="A file that remembers the run: the same command, or `resume`, goes on with it, however this one ends.",
        show_default=False,
        parser=file_path,
    ),
]


@command
async def bulk(
    targets: _Targets,
    spec: Spec,
    where: Where,
    journal: _Journal = None,
    deadline: Deadline = "24h",
    concurrency: Concurrency = 8,
    json: Json = False,
) -> ExitStatus:
    """Create a backup of each of many planets, and wait until all have ended."""
    seconds = parse_duration(deadline, "--deadline")
    planets = read_targets(targets)
    earlier = None if journal is None else await status_if_any(journal)
    show = BulkShow(
        len(planets),
        title=f"backups of {counted(len(planets), 'planet')}",
        json=json,
        journal=journal,
        earlier=earlier,
        options=where.options,
    )
    async with where.client() as client:
        # From the beginning, because what earlier processes have told counts, too.
        since = None if journal is None else 0
        run = client.bulk_create(planets, spec, concurrency=concurrency, deadline=seconds, journal=journal, since=since)
        ending, view = await show.run(run)
    view.end(ending.as_json(), ending.as_lines())
    return ending.status
