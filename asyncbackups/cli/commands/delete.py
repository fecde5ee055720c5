"""`asyncbackups delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups import BackupDeleted, BackupGone, BackupRef, NotFoundError
from asyncbackups.cli.arguments import Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Connection, Where
from asyncbackups.cli.deleting import DeletionShow
from asyncbackups.cli.events import as_text, name_of
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_json
from asyncbackups.cli.targets import are_in_file, read_refs
from asyncbackups.cli.text import say

__all__ = ["delete"]

_Backups = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|-|BACKUP",
        help="First a file with a star_system/backup_id per line, or - for standard input, or a backup; then backups.",
        show_default=False,
    ),
]


@command
async def delete(
    backups: _Backups,
    where: Where,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="It is fine if there is no such backup.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="The most deletes in flight at once.")] = 8,
    json: Json = False,
) -> ExitStatus:
    """Delete backups."""
    if len(backups) == 1 and not are_in_file(backups[0]):
        await _delete_one(BackupRef.parse(backups[0]), where, missing_ok=missing_ok, json=json)
        return ExitStatus.OK
    refs = read_refs(backups)
    show = DeletionShow(len(refs), missing_ok=missing_ok, json=json)
    async with where.client() as client:
        deletion = client.bulk_delete(refs, concurrency=concurrency)
        ending, view = await show.run(deletion, lambda: client.requests)
    view.end(ending.as_json(), ending.as_lines())
    return ending.status


async def _delete_one(ref: BackupRef, where: Connection, *, missing_ok: bool, json: bool) -> None:
    event: BackupDeleted | BackupGone = BackupDeleted(ref=ref)
    async with where.client() as client:
        try:
            await client.delete(ref.star_system, ref.backup_id)
        except NotFoundError:
            if not missing_ok:
                raise
            event = BackupGone(ref=ref)
    if json:
        about = {"star_system": ref.star_system, "planet": None, "backup_id": ref.backup_id}
        print_json({"event": name_of(event), **about})
    else:
        say(as_text(event))
