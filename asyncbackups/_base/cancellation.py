"""Distinguish a task's own cancellation from the cancellation of work that it shares with other tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


async def await_shared_work(work: Callable[[], Awaitable[_T]], make_error: Callable[[], Exception]) -> _T:
    """Await work that may be shared with other tasks, and turn their cancellation into an error.

    Args:
        work: Starts the work.
        make_error: Makes the error to raise if the shared work was cancelled but the current task was not.
    """
    if _count_cancellations():
        # A cancellation requested while this task was running is delivered here: it is the task's own.
        await asyncio.sleep(0)
    before = _count_cancellations()
    try:
        return await work()
    except asyncio.CancelledError:
        if _count_cancellations() > before:
            raise
    raise make_error()  # without a cause: its traceback would show what was sent


def _count_cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
