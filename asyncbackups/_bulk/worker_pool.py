"""Work on many items at once: a few workers that take one after the other, never ahead of what they can do."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from asyncbackups._base.cancellation import await_shared_work

_Item = TypeVar("_Item")

_UNREAD = 1_000
"""With so many events unread, work waits for the consumer: memory stays bounded by what is in flight."""


class WorkerPool(Generic[_Item]):
    """Hands items out to workers, each when it is asked for.

    Args:
        items: What there is to do. It is read by one worker at a time, and never ahead.
        unread: How many events wait for the consumer.

    Attributes:
        failure: What the items raised, or a bug in the work; then nothing more is handed out.
        under_way: How many items are being worked on.
    """

    def __init__(self, items: AsyncIterator[_Item], *, unread: Callable[[], int]) -> None:
        self._items = items
        self._unread = unread
        self._reading = asyncio.Lock()
        self._room = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopped = False
        self.failure: Exception | None = None
        self.under_way: int = 0

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True

    async def settled(self) -> None:
        """Wait until nothing is being worked on."""
        while self.under_way:
            self._ended.clear()
            await self._ended.wait()

    def consumed(self) -> None:
        """Take note that the consumer has taken an event."""
        self._room.set()

    async def work_off(self, work: Callable[[_Item], Awaitable[None]], *, workers: int) -> None:
        """Work on all items, on `workers` of them at once.

        Args:
            work: Does one. What it raises ends the handing out, and lets the work that was begun go on.
            workers: How many at once.
        """
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(self._worker, work)

    async def _worker(self, work: Callable[[_Item], Awaitable[None]]) -> None:
        while (item := await self._take()) is not None:
            try:
                await await_shared_work(functools.partial(work, item), _cancelled)
            except Exception as exc:  # noqa: BLE001 - a bug must not cut off what is done about the other items
                self.failure = exc
            finally:
                self.under_way -= 1
                self._ended.set()

    async def _take(self) -> _Item | None:
        async with self._reading:
            while self._unread() >= _UNREAD:
                self._room.clear()
                await self._room.wait()
            if self._stopped or self.failure is not None:
                return None
            try:
                item = await await_shared_work(lambda: anext(self._items, None), _cancelled)
            except Exception as exc:  # noqa: BLE001 - the caller's iterable may raise anything; it gets it back
                self.failure = exc
                return None
            # While it was waited for, the stop may have come.
            if item is None or self._stopped:
                return None
            self.under_way += 1
            return item


def _cancelled() -> Exception:
    return RuntimeError("what this shares with another task was cancelled by that one")
