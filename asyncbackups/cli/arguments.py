"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["BackupName", "Backups", "Concurrency", "Deadline", "JournalFile", "Json", "PlanetName", "file_path"]


def file_path(text: str) -> Path:
    """Read the path of a file, for typer. A blank one is refused: it would be the folder in which we are."""
    if not text.strip():
        raise typer.BadParameter("it is blank: give a file")
    return Path(text)


PlanetName = Annotated[str, typer.Argument(metavar="PLANET", help="Written star_system/planet.", show_default=False)]
BackupName = Annotated[str, typer.Argument(metavar="BACKUP", help="Written star_system/backup_id.", show_default=False)]
Backups = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|-|BACKUP",
        help="First a file with a star_system/backup_id per line, or - for standard input, or a backup; then backups.",
        show_default=False,
    ),
]
JournalFile = Annotated[
    Path,
    typer.Argument(
        metavar="JOURNAL", help="The file that `bulk --journal` wrote.", show_default=False, parser=file_path
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, and nothing else, on stdout.")]
Deadline = Annotated[
    str, typer.Option(metavar="TIME", help="For how long each backup is watched: 90s, 15m, 24h or 2d.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="The most creates in flight at once.")]
