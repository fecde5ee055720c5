"""Backups as tables, on standard output: framed on a terminal, else with tabs, for `cut` and `awk`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from asyncbackups import Backup, plain
from asyncbackups.cli.output import print_line
from asyncbackups.cli.text import printable, stamp

__all__ = ["print_backup", "print_backups", "print_table"]

_COLUMNS = ("backup", "planet", "mechanism", "type", "status", "started", "completed", "expires")


def print_backups(star_system: str, backups: Iterable[Backup]) -> None:
    """Print one line for each backup, oldest first."""
    print_table(_COLUMNS, [_row(star_system, backup) for backup in sorted(backups, key=lambda backup: backup.id)])


def print_backup(backup: Backup) -> None:
    """Print all that an answer says of a backup, in the API's own field names."""
    print_table(("field", "value"), list(_fields("", plain(backup))))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. What the service wrote can do nothing to the terminal."""
    shown = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *shown):
            print_line("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415 - costs time to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in shown:
        table.add_row(*map(Text, row))
    Console().print(table)


def _row(star_system: str, backup: Backup) -> list[str]:
    # Of what the API calls the environment, its name is the planet's.
    planet = backup.environment.name if backup.environment else None
    words = [planet, backup.mechanism, backup.type, backup.status]
    moments = [backup.started_at, backup.completed_at, backup.expiration_date]
    return [f"{star_system}/{backup.id}", *(word or "-" for word in words), *map(stamp, moments)]


def _fields(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _fields(f"{prefix}{key}.", inner)
        else:
            yield (
                f"{prefix}{key}",
                inner if isinstance(inner, str) else "-" if inner in (None, {}) else json.dumps(inner),
            )
