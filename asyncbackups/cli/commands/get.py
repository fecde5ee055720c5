"""`asyncbackups get`."""

from __future__ import annotations

from asyncbackups import BackupRef, plain
from asyncbackups.cli.arguments import BackupName, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_json
from asyncbackups.cli.tables import print_backup

__all__ = ["get"]


@command
async def get(
    backup: BackupName,
    where: Where,
    json: Json = False,
) -> ExitStatus:
    """Show a backup."""
    ref = BackupRef.parse(backup)
    async with where.client() as client:
        found = await client.get(ref.star_system, ref.backup_id)
    if json:
        print_json(plain(found))
    else:
        print_backup(found)
    return ExitStatus.OK
