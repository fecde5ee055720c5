"""Whose a cancellation is: a task that awaits another one's work sees that one's cancellation as if it were its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


async def own_cancellation_only(work: Callable[[], Awaitable[_T]], stray: Callable[[], Exception]) -> _T:
    """Await something that may share its work with other tasks.

    Args:
        work: Begins it.
        stray: Makes the error that is raised if what it shares was cancelled, and not the current task.

    Raises:
        Exception: What `work` raises, or `stray` makes.
    """
    if _cancellations():
        await asyncio.sleep(0)  # one that was asked for while the task ran takes place now: it is the task's own
    before = _cancellations()
    try:
        return await work()
    except asyncio.CancelledError:
        if _cancellations() > before:
            raise
    raise stray()  # with no cause: its traceback would show what was sent


def _cancellations() -> int:
    """Return how often the current task has been asked to cancel."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
