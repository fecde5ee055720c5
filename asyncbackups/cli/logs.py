"""The package's log, on stderr."""

from __future__ import annotations

import logging
import sys

from asyncbackups.cli.output import strip_controls, write_line

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which a live display replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:
            return
        try:
            write_line(sys.stderr, self.format(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)


class _LineFormatter(logging.Formatter):
    """One line per record; tracebacks only at the highest verbosity."""

    def __init__(self, *, is_debug: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s" if is_debug else None)
        self._is_debug = is_debug

    def format(self, record: logging.LogRecord) -> str:
        if self._is_debug:
            return super().format(record)
        return f"asyncbackups: {record.levelname.lower()}: {strip_controls(record.getMessage())}"


def show_logs(verbosity: int) -> None:
    """Show warnings on stderr; with 1 also what is done, with 2 everything. A lower value than before has no effect."""
    log = logging.getLogger("asyncbackups")
    handler = next((one for one in log.handlers if isinstance(one, _StderrHandler)), None)
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    if handler is None:
        handler = _StderrHandler()
        log.addHandler(handler)
    elif level >= log.level:
        return
    log.setLevel(level)
    handler.setFormatter(_LineFormatter(is_debug=level == logging.DEBUG))
