"""`asyncbackups delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups import BackupRef
from asyncbackups.cli.arguments import BackupName, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_json
from asyncbackups.cli.text import say

__all__ = ["delete"]


@command
async def delete(
    backup: BackupName,
    where: Where,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="It is fine if there is no such backup.")] = False,
    json: Json = False,
) -> ExitStatus:
    """Delete a backup."""
    ref = BackupRef.parse(backup)
    async with where.client() as client:
        await client.delete(ref.star_system, ref.backup_id, missing_ok=missing_ok)
    if json:
        about = {"star_system": ref.star_system, "planet": None, "backup_id": ref.backup_id}
        print_json({"event": "backup_deleted", **about})
    else:
        say(f"{ref} is deleted")
    return ExitStatus.OK
