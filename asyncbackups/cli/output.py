"""Standard output: results, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from asyncbackups.cli.streams import write_line

__all__ = ["OutputError", "flush_output", "print_json", "print_line"]


class OutputError(Exception):
    """Standard output cannot be written: nobody reads it, the disk is full, it is closed.

    Attributes:
        unread: Whether nobody reads it any more, as with `| head`.
    """

    def __init__(self, reason: str, *, unread: bool = False) -> None:
        super().__init__(f"standard output cannot be written: {reason}")
        self.unread = unread


def print_json(value: Any) -> None:
    """Print one JSON value on a line of its own; a reader gets it at once.

    Everything but ASCII is escaped: that is valid whatever the encoding, and harmless on a terminal. Where it cannot be
    written, that is an `OutputError`, as below.
    """
    print_line(json.dumps(value))


def print_line(line: str) -> None:
    """Print a line; a reader gets it at once.

    Where it cannot be written, that is an `OutputError`; what is printed after that may be lost without one.
    """
    if sys.stdout is None:
        raise OutputError("it is closed")
    with _writing():
        write_line(sys.stdout, line)


def flush_output() -> None:
    """Hand over what is still buffered, as long as an error can be told; that is an `OutputError`, too."""
    if sys.stdout is not None:
        with _writing():
            sys.stdout.flush()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        _silence()
        raise OutputError(exc.strerror or str(exc), unread=isinstance(exc, BrokenPipeError)) from exc


def _silence() -> None:
    """Print no more: it would be in vain. Else the interpreter would complain when it flushes at its end."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file: a test's
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
