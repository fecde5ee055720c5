"""The output of a command: results and tables on standard output, messages for people on stderr.

A closed stream is None. Tables are framed and fitted to a terminal; on a pipe they have tabs, for `cut` and `awk`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import asyncbackups

if TYPE_CHECKING:
    from rich.console import Console  # imported when a table is drawn: most commands draw none

_TO_THE_MINUTE, _TO_THE_SECOND = "%Y-%m-%d %H:%MZ", "%Y-%m-%d %H:%M:%SZ"


class OutputError(Exception):
    """Standard output cannot be written: its reader is gone (`is_unread`), the disk is full, or it is closed."""

    def __init__(self, reason: str, *, is_unread: bool = False) -> None:
        super().__init__(f"standard output cannot be written: {reason}")
        self.is_unread = is_unread


def print_json(value: Any) -> None:
    """Print one JSON value as a line and flush it; all but ASCII is escaped, which is safe for every terminal."""
    print_line(json.dumps(value))


def print_line(line: str) -> None:
    """Print a line and flush it.

    Raises:
        OutputError: If it cannot be written; later output is discarded without an error.
    """
    if sys.stdout is None:
        raise OutputError("it is closed")
    with _output_errors():
        write_line(sys.stdout, line)


def flush_output() -> None:
    """Flush standard output while an error can still be reported."""
    if sys.stdout is not None:
        with _output_errors():
            sys.stdout.flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        _discard_output()
        raise OutputError(exc.strerror or str(exc), is_unread=isinstance(exc, BrokenPipeError)) from exc


def _discard_output() -> None:
    """Send later output to the null device; otherwise the interpreter would complain when it flushes at exit."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file, but a test's buffer
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def print_message(text: str) -> None:
    """Write one line to stderr; if that fails, nothing is lost that a script would need."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            write_line(sys.stderr, strip_controls(text))


def is_terminal(stream: TextIO | None) -> bool:
    """Return True if a stream is a terminal."""
    return stream is not None and stream.isatty()


_ASCII = str.maketrans({"…": "...", "\N{REPLACEMENT CHARACTER}": "?"})
"""Replacements for the characters that this program's own texts use, for streams that cannot encode them."""


def write_line(stream: TextIO, line: str) -> None:
    """Write a line and flush it; characters that the stream cannot encode are replaced."""
    encoding = stream.encoding or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=stream, flush=True)


def strip_controls(text: str) -> str:
    """Return a text on one line and without control characters: the service wrote part of it."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def format_duration(seconds: float) -> str:
    """Return a duration for people: "12.3 s", "2 min 11 s", "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_time(moment: datetime | None, form: str = _TO_THE_SECOND) -> str:
    """Return a time in UTC; "-" for None."""
    return "-" if moment is None else moment.strftime(form)


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 backup", "1,145 planets"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


_COLUMNS = ("backup", "planet", "mechanism", "type", "status", "started", "completed", "expires")
# The columns that a narrow terminal may leave out, the most important one first.
_OPTIONAL_COLUMNS = ("started", "completed", "expires", "type", "mechanism")
_MIN_WIDTH = 12  # the width in characters to which a column may be narrowed


def print_backups(star_system: str, backups: Iterable[asyncbackups.Backup]) -> None:
    """Print one line per backup, oldest first; on a terminal with the columns that fit."""
    time_form = _TO_THE_MINUTE if is_terminal(sys.stdout) else _TO_THE_SECOND
    by_id = sorted(backups, key=lambda one: asyncbackups.BackupRef(star_system, one.id))
    rows = [_backup_row(star_system, backup, time_form) for backup in by_id]
    print_table(_COLUMNS, rows, optional=_OPTIONAL_COLUMNS)


def print_backup(backup: asyncbackups.Backup) -> None:
    """Print all fields of a backup, with the API's own names."""
    print_table(("field", "value"), list(_flatten_fields("", asyncbackups.plain(backup))))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = ()) -> None:
    """Print a table on standard output; control characters in its cells are replaced.

    A narrow terminal may leave out the optional columns, the last one first.
    """
    shown = [[strip_controls(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in (columns, *shown):
            print_line("\t".join(row))
        return
    console = _create_console()
    left_out = draw_table(columns, shown, optional=optional, console=console)
    print_line(_console_text(console))
    if left_out:
        print_message(f"the terminal is too narrow for {', '.join(left_out)}; --json shows everything")


def _backup_row(star_system: str, backup: asyncbackups.Backup, time_form: str) -> list[str]:
    # The name of what the API calls the environment is the planet's.
    planet = backup.environment.name if backup.environment else None
    words = [planet, backup.mechanism, backup.type, backup.status]
    times = [format_time(one, time_form) for one in (backup.started_at, backup.completed_at, backup.expiration_date)]
    return [f"{star_system}/{backup.id}", *(word or "-" for word in words), *times]


def _flatten_fields(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flatten_fields(f"{prefix}{key}.", inner)
        elif isinstance(inner, str):
            yield f"{prefix}{key}", inner
        else:
            yield f"{prefix}{key}", "-" if inner in (None, {}) else json.dumps(inner)


def draw_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = (), console: Console
) -> list[str]:
    """Draw a framed table of printable cells, and return the optional columns that were left out.

    Cells that are too wide are folded, except in the first column, which can be copied.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - most commands draw no table
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = {column: below for column, *below in zip(columns, *rows, strict=True)}
    widths = {column: max(map(cell_len, (column, *below))) for column, below in cells.items()}
    shown = _choose_columns(widths, optional, console.width)
    table = Table()
    for number, column in enumerate(shown):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in zip(*(cells[column] for column in shown), strict=True):
        table.add_row(*map(Text, row))
    first, *others = (widths[column] for column in shown)
    # If not even that fits, the terminal wraps the lines, which loses nothing.
    console.width = max(console.width, _frame_width([first, *(min(width, _MIN_WIDTH) for width in others)]))
    console.print(table)
    return [column for column in columns if column not in shown]


def _choose_columns(widths: Mapping[str, int], optional: Sequence[str], available: int) -> list[str]:
    """Return the columns that fit, in their own order."""
    chosen = widths.keys() - set(optional)
    for column in optional:
        if _frame_width(widths[one] for one in {*chosen, column}) <= available:
            chosen.add(column)
    return [column for column in widths if column in chosen]


def _frame_width(widths: Iterable[int]) -> int:
    """Return the width of a table with its frame: a line and two blanks per column, and a line at the end."""
    return sum(width + 3 for width in widths) + 1


def render_sections(
    usage: str, paragraphs: Sequence[str], sections: Mapping[str, Sequence[tuple[str, str]]], epilog: str
) -> str:
    """Return a help page; each section has a title, and rows of a name and its explanation."""
    from rich.panel import Panel  # noqa: PLC0415 - most commands show no help page
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = _create_console()
    console.print(Text(f"Usage: {usage}", style="bold"))
    for paragraph in paragraphs:
        console.print(f"\n{paragraph}")
    console.print()
    for title, rows in sections.items():
        table = Table.grid(padding=(0, 2))
        for name, explanation in rows:
            table.add_row(Text(name, style="cyan"), Text(explanation))
        console.print(Panel(table, title=title, title_align="left", border_style="dim"))
    if epilog:
        console.print(f"\n{epilog}")
    return _console_text(console)


def _create_console() -> Console:
    """Return a console that draws for standard output, into memory: errors in writing are then those of `output`."""
    from rich.console import Console  # noqa: PLC0415 - most commands draw nothing

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    memory = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    return Console(file=memory, force_terminal=is_terminal(sys.stdout), highlight=False, markup=False)


def _console_text(console: Console) -> str:
    memory = console.file
    memory.seek(0)
    return memory.read().rstrip()
