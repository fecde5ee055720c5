"""`asyncbackups delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups.cli.arguments import Backups, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.deleting import DeletionShow
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.targets import are_in_file, read_refs

__all__ = ["delete"]


@command
async def delete(
    backups: Backups,
    where: Where,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="It is fine if there is no such backup.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="The most deletes in flight at once.")] = 8,
    json: Json = False,
) -> ExitStatus:
    """Delete backups."""
    alone = len(backups) == 1 and not are_in_file(backups[0])
    refs = read_refs(backups)
    show = DeletionShow(len(refs), missing_ok=missing_ok, json=json)
    async with where.client() as client:
        deletion = client.bulk_delete(refs, concurrency=concurrency)
        ending, view = await show.run(deletion, lambda: client.requests)
    # Of a single one its event says everything, unless it was not waited for.
    if not alone or ending.interrupted:
        view.end(ending.as_json(), ending.as_lines())
    return ending.status
