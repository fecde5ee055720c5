"""Texts and tables for people, and streams that cannot show all of them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from asyncbackups import Backup
from asyncbackups.cli.output import (
    draw_table,
    format_count,
    format_duration,
    format_time,
    print_backups,
    print_message,
    strip_controls,
    write_line,
)


def test_control_characters_are_replaced() -> None:
    """Line ends become spaces; characters that control a terminal are replaced."""
    assert strip_controls("a\n\tb\x1b[31m é\x9b") == "a b\N{REPLACEMENT CHARACTER}[31m é\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (12.34, "12.3 s"), (131, "2 min 11 s"), (3599.6, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_format_duration(seconds: float, text: str) -> None:
    """Durations have the units that people would use."""
    assert format_duration(seconds) == text


def test_format_count_and_times() -> None:
    """Nouns match their numbers, which have thousands separators; times are in UTC; None is a hyphen."""
    assert (format_count(1, "backup"), format_count(0, "backup")) == ("1 backup", "0 backups")
    assert format_count(1145, "entry", "entries") == "1,145 entries"
    moment = datetime(2024, 1, 29, 9, 53, 9, 500, tzinfo=UTC)
    assert format_time(moment) == "2024-01-29 09:53:09Z"
    assert format_time(moment, "%Y-%m-%d %H:%MZ") == "2024-01-29 09:53Z"
    assert format_time(None) == "-"


def test_messages_survive_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Characters that no encoding can express are replaced, and the message stays on one line."""
    print_message("lone \ud800\nsurrogate")
    assert capsys.readouterr().err == "lone \N{REPLACEMENT CHARACTER} surrogate\n"


def test_ascii_streams_get_ascii_punctuation() -> None:
    """A stream that cannot encode a character gets a replacement; names are escaped."""
    memory = io.BytesIO()
    stream = io.TextIOWrapper(memory, "ascii")
    write_line(stream, "and more…")
    write_line(stream, "planet é")
    assert memory.getvalue() == b"and more...\nplanet \\xe9\n"


COLUMNS = ("id", "planet", "note", "when")
ROW = ["alpha/123456789", "a-planet", "a note", "2026-11-24 10:08Z"]


def draw(width: int, *rows: list[str], optional: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Return the columns left out and the lines."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    return draw_table(COLUMNS, rows, optional=optional, console=console), out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(59, []), (58, ["note"]), (50, ["note"]), (49, ["when"]), (38, ["note", "when"]), (10, ["note", "when"])],
)
def test_optional_columns_are_left_out(width: int, left_out: list[str]) -> None:
    """Optional columns are shown in the order of their importance, as far as they fit; no cell is folded for them."""
    left_out_columns, lines = draw(width, ROW, optional=("when", "note"))
    assert left_out_columns == left_out
    assert lines[3].startswith(f"│ {ROW[0]} ")
    shown = [column for column in COLUMNS if column not in left_out]
    assert [cell.strip() for cell in lines[1].split("┃")[1:-1]] == shown
    assert len(lines) == 5


@pytest.mark.parametrize("width", [1, 30, 40, 58])
def test_the_first_column_is_never_folded(width: int) -> None:
    """Other columns are folded and lose nothing; if even that does not fit, the lines are too long."""
    _, lines = draw(width, ROW)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[3:-1]]
    first, planet, _, when = ("".join(column) for column in zip(*cells, strict=True))
    assert (cells[0][0], first, planet, when.replace(" ", "")) == (ROW[0], *ROW[:2], ROW[3].replace(" ", ""))


def test_wide_characters() -> None:
    """A character may occupy two cells of the terminal."""
    left_out_columns, lines = draw(59, ["星" * 8, *ROW[1:]], optional=("note",))
    assert (left_out_columns, lines[3].split()[1]) == (["note"], "星" * 8)


def test_empty_table() -> None:
    """An empty list has headings."""
    _, lines = draw(80)
    assert len(lines) == 4


def test_backups_are_sorted_by_id(capsys: pytest.CaptureFixture[str]) -> None:
    """Integers come first, whether written as such or as strings."""
    print_backups("alpha", [Backup(id=backup_id) for backup_id in ("b", "00002", "10", 9, 2**64 - 1, -5)])
    shown = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["alpha/-5", "alpha/9", "alpha/10", f"alpha/{2**64 - 1}", "alpha/00002", "alpha/b"]
