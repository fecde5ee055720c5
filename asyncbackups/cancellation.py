"""Whose a cancellation is: a task that awaits another one's work sees that one's cancellation as if it were its own."""

from __future__ import annotations

import asyncio

__all__ = ["cancellations", "is_stray"]


def cancellations() -> int:
    """Return how often the current task has been asked to cancel so far."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def is_stray(before: int) -> bool:
    """Whether a CancelledError is about something that was awaited, and not about the current task.

    Args:
        before: What `cancellations` returned before the await.
    """
    return cancellations() <= before
