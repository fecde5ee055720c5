"""The output of a command: results on standard output, messages for people on stderr. A closed stream is None."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TextIO


class OutputError(Exception):
    """Standard output cannot be written: its reader is gone, the disk is full, or it is closed.

    Attributes:
        is_unread: Whether its reader is gone, as with `| head`.
    """

    def __init__(self, reason: str, *, is_unread: bool = False) -> None:
        super().__init__(f"standard output cannot be written: {reason}")
        self.is_unread = is_unread


def print_json(value: Any) -> None:
    """Print one JSON value as a line and flush it; all but ASCII is escaped, which is safe for every terminal.

    Raises:
        OutputError: If it cannot be written.
    """
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
    """Flush standard output while an error can still be reported.

    Raises:
        OutputError: If it cannot be written.
    """
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
    """Write a line and flush it; characters that the stream cannot encode are replaced.

    Raises:
        OSError: If it cannot be written.
    """
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


def format_time(moment: datetime | None) -> str:
    """Return a time to the second, in UTC; "-" for None."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def format_minute(moment: datetime | None) -> str:
    """Return a time to the minute, in UTC; "-" for None."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%MZ")


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 backup", "1,145 planets"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
