"""Texts for people: safe for a terminal, short, on one line."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from datetime import datetime

from asyncbackups import ConfigurationError
from asyncbackups.cli.streams import write_line

__all__ = ["counted", "parse_duration", "printable", "say", "stamp", "to_the_minute", "took"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def printable(text: str) -> str:
    """Return a text on one line, without what a terminal would obey: the service wrote a part of it."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def say(text: str) -> None:
    """Write one line to stderr. Where nobody listens, nothing is lost that a script would need."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            write_line(sys.stderr, printable(text))


def took(seconds: float) -> str:
    """Return a duration as people write it: "12.3 s", "2 min 11 s", "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def stamp(moment: datetime | None) -> str:
    """Return an instant to the second, in UTC; "-" for none."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def to_the_minute(moment: datetime | None) -> str:
    """Return an instant to the minute, in UTC; "-" for none."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%MZ")


def counted(number: int, what: str, plural: str = "") -> str:
    """Return a number with its noun: "1 backup", "2 backups"."""
    return f"{number} {what if number == 1 else plural or f'{what}s'}"


def parse_duration(text: str, option: str) -> float:
    """Return a duration in seconds, from "90", "90s", "15m", "24h" or "2d".

    Args:
        text: As written.
        option: What it was written for.

    Raises:
        ConfigurationError: If it is none, not positive, or more than a number can hold.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{option} must be a positive duration such as 90s, 15m, 24h or 2d, not {text!r}")
    return seconds
