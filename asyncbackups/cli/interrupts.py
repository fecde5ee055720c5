"""Signals that ask to end: the first is answered in an orderly way, the next at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["on_interrupt"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_interrupt(react: Callable[[], None]) -> Iterator[None]:
    """Call `react` on the first SIGINT or SIGTERM, and cancel the current task on the next.

    Args:
        react: Called in the event loop.
    """
    task = asyncio.current_task()
    heard = False

    def hear() -> None:
        nonlocal heard
        if heard and task is not None:
            task.cancel()
        else:
            heard = True
            react()

    loop = asyncio.get_running_loop()
    heeded: list[signal.Signals] = []
    # Elsewhere (Windows, a thread) asyncio's own way remains: Ctrl-C cancels.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in _SIGNALS:
            loop.add_signal_handler(number, hear)
            heeded.append(number)
    try:
        yield
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
