"""What both streams for output have in common. One that is closed (`>&-`) is None in Python."""

from __future__ import annotations

from typing import TextIO

__all__ = ["is_terminal", "write_line"]


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether somebody may look at what is written."""
    return stream is not None and stream.isatty()


def write_line(stream: TextIO, line: str) -> None:
    """Write a line, whatever the stream's encoding can say; a reader gets it at once.

    Raises:
        OSError: If it cannot be written.
    """
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
