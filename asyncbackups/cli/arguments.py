"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["BackupName", "Concurrency", "Deadline", "JournalFile", "Json", "PlanetName"]

PlanetName = Annotated[str, typer.Argument(metavar="PLANET", help="Written star_system/planet.", show_default=False)]
BackupName = Annotated[str, typer.Argument(metavar="BACKUP", help="Written star_system/backup_id.", show_default=False)]
JournalFile = Annotated[
    Path, typer.Argument(metavar="JOURNAL", help="The file that `bulk --journal` wrote.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, and nothing else, on stdout.")]
Deadline = Annotated[
    str, typer.Option(metavar="TIME", help="For how long each backup is watched: 90s, 15m, 24h or 2d.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="The most creates in flight at once.")]
