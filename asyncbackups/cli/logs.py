"""The package's log, on stderr."""

from __future__ import annotations

import logging
import sys

from asyncbackups.cli.streams import write_line
from asyncbackups.cli.text import printable

__all__ = ["show_logs"]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_LOG = "asyncbackups"


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: a live display puts itself between."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:
            return
        try:
            write_line(sys.stderr, self.format(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)


class _OneLine(logging.Formatter):
    """One line for each record; tracebacks only for those who ask for everything."""

    def __init__(self, *, everything: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s" if everything else None)
        self._everything = everything

    def format(self, record: logging.LogRecord) -> str:
        if self._everything:
            return super().format(record)
        return f"asyncbackups: {record.levelname.lower()}: {printable(record.getMessage())}"


def show_logs(verbosity: int) -> None:
    """Show the log on stderr: warnings, with 1 what is done, with 2 everything.

    Args:
        verbosity: How often ``-v`` was given; less than before changes nothing.
    """
    log = logging.getLogger(_LOG)
    handler = next((one for one in log.handlers if isinstance(one, _Stderr)), None)
    if handler is None:
        handler = _Stderr()
        log.addHandler(handler)
        log.setLevel(_LEVELS[0])
        handler.setFormatter(_OneLine(everything=False))
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    if level < log.level:
        log.setLevel(level)
        handler.setFormatter(_OneLine(everything=level == logging.DEBUG))
