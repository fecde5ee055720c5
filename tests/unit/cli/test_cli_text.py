"""Texts for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncbackups import ConfigurationError
from asyncbackups.cli.text import counted, parse_duration, printable, say, stamp, to_the_minute, took


def test_printable_is_one_harmless_line() -> None:
    """Line ends become spaces, and what a terminal would obey is replaced."""
    assert printable("a\n\tb\x1b[31m é\x9b") == "a b\N{REPLACEMENT CHARACTER}[31m é\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (12.34, "12.3 s"), (131, "2 min 11 s"), (3599.6, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """Durations are written in the units that people would use."""
    assert took(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("15m", 900), ("24h", 86400), (" 2 D ", 172800)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """A number may carry a unit."""
    assert parse_duration(text, "--deadline") == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "h", "1w", "1h30m", "nan", "inf", "1e3", "٣", "9" * 400])
def test_other_durations_are_refused(text: str) -> None:
    """Anything else is an error that names the option and what would be right."""
    with pytest.raises(ConfigurationError, match=r"--deadline must be a positive duration such as 90s"):
        parse_duration(text, "--deadline")


def test_numbers_and_instants() -> None:
    """Nouns follow their numbers; instants are in UTC; what is not known is a hyphen."""
    assert (counted(1, "backup"), counted(0, "backup")) == ("1 backup", "0 backups")
    assert counted(2, "planet was", "planets were") == "2 planets were"
    moment = datetime(2024, 1, 29, 9, 53, 9, 500, tzinfo=UTC)
    assert (stamp(moment), to_the_minute(moment)) == ("2024-01-29 09:53:09Z", "2024-01-29 09:53Z")
    assert (stamp(None), to_the_minute(None)) == ("-", "-")


def test_say_survives_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Even what no encoding can carry is written, on one line."""
    say("lone \ud800\nsurrogate")
    assert capsys.readouterr().err == "lone \N{REPLACEMENT CHARACTER} surrogate\n"
