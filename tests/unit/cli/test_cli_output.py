"""Texts for people, and streams that cannot show all of them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from asyncbackups.cli.output import (
    format_count,
    format_duration,
    format_minute,
    format_time,
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
    assert (format_time(moment), format_minute(moment)) == ("2024-01-29 09:53:09Z", "2024-01-29 09:53Z")
    assert (format_time(None), format_minute(None)) == ("-", "-")


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
