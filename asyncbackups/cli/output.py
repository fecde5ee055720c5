"""Standard output: results, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["flush_output", "print_json", "print_line", "silence_output"]


def print_json(value: Any) -> None:
    """Print one JSON value on a line of its own; a reader gets it at once.

    Everything but ASCII is escaped: that is valid whatever the encoding, and harmless on a terminal.
    """
    print_line(json.dumps(value))


def print_line(line: str) -> None:
    """Print a line; a reader gets it at once."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201 - its purpose


def flush_output() -> None:
    """Hand over what is still buffered, as long as an error can be told."""
    sys.stdout.flush()


def silence_output() -> None:
    """Print no more: nobody reads it. Else the interpreter would complain when it flushes at its end."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file: a test's
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
