"""Backups as tables, on standard output: framed on a terminal, else with tabs, for `cut` and `awk`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from asyncbackups import Backup, BackupRef, plain
from asyncbackups.cli.output import print_line
from asyncbackups.cli.streams import is_terminal
from asyncbackups.cli.text import printable, say, stamp, to_the_minute

__all__ = ["print_backup", "print_backups", "print_table"]

_COLUMNS = ("backup", "planet", "mechanism", "type", "status", "started", "completed", "expires")
_AS_THERE_IS_ROOM = ("started", "completed", "expires", "type", "mechanism")
"""What a terminal that is too narrow for all shows first: when it was, rather than what it is."""


def print_backups(star_system: str, backups: Iterable[Backup]) -> None:
    """Print one line for each backup, oldest first; to a terminal as much of each as it has room for."""
    moment = to_the_minute if is_terminal(sys.stdout) else stamp
    by_id = sorted(backups, key=lambda backup: BackupRef(star_system, backup.id))
    rows = [_row(star_system, backup, moment) for backup in by_id]
    print_table(_COLUMNS, rows, optional=_AS_THERE_IS_ROOM)


def print_backup(backup: Backup) -> None:
    """Print all that an answer says of a backup, in the API's own field names."""
    print_table(("field", "value"), list(_fields("", plain(backup))))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = ()) -> None:
    """Print a table. What the service wrote can do nothing to the terminal.

    Args:
        columns: Their headings.
        rows: The cells.
        optional: Columns that a terminal may have no room for; the first of them is shown rather than the last.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in (columns, *shown):
            print_line("\t".join(row))
        return
    from asyncbackups.cli.framed import print_framed  # noqa: PLC0415 - rich costs time to import

    if left_out := print_framed(columns, shown, optional=optional):
        say(f"the terminal has no room for {', '.join(left_out)}: --json shows everything")


def _row(star_system: str, backup: Backup, moment: Callable[[datetime | None], str]) -> list[str]:
    # Of what the API calls the environment, its name is the planet's.
    planet = backup.environment.name if backup.environment else None
    words = [planet, backup.mechanism, backup.type, backup.status]
    moments = [backup.started_at, backup.completed_at, backup.expiration_date]
    return [f"{star_system}/{backup.id}", *(word or "-" for word in words), *map(moment, moments)]


def _fields(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _fields(f"{prefix}{key}.", inner)
        else:
            yield (
                f"{prefix}{key}",
                inner if isinstance(inner, str) else "-" if inner in (None, {}) else json.dumps(inner),
            )
