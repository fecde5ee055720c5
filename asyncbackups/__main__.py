"""The program `asyncbackups`, also as `python -m asyncbackups`."""

from __future__ import annotations

import gc
import os
import signal
import sys

_EXTRA = frozenset({"click", "rich"})


def main() -> int:
    """Run the command line and return its exit status; without the extra `cli`, print what to install."""
    exit_on_signals()
    # Imports allocate 100,000 objects that stay: collecting garbage among them takes a tenth of the start-up time.
    # A command that keeps running enables the collector again.
    gc.disable()
    try:
        import rich  # noqa: F401, PLC0415 - the command line imports it late

        from asyncbackups.cli.main import run_program  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA:
            raise
        print("asyncbackups: the command line needs: pip install 'asyncbackups[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    return run_program()


def exit_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end the program with one line and status 130, from the first import on.

    Once a command runs, it handles them itself (`asyncbackups.cli.interrupts`). A signal that was ignored when the
    program started (by `nohup`, or in a background job of a script) stays ignored.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, frame: object) -> None:  # noqa: ARG001 - a signal handler
    # No exception: it could be raised inside an import or a destructor, which would print a traceback or swallow it.
    try:
        os.write(2, b"asyncbackups: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
