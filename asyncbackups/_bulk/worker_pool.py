"""Processes many items concurrently, and reads each item only when there is capacity for it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import anyio
import anyio.abc

from asyncbackups._base.cancellation import await_shared_work

_Item = TypeVar("_Item")


class WorkerPool(Generic[_Item]):
    """Processes items with a bounded number of workers. Workers start as items come, never ahead of them.

    One worker at a time reads an item, and only when it can process the item at once and the consumer keeps up.

    Args:
        items: The items.
        wait_for_capacity: Awaited before each item is read: returns when the consumer of the events keeps up.

    Attributes:
        failure: The error that the items or the processing raised; after one, no more items are read.
        in_progress: Number of items that are being processed.
    """

    def __init__(self, items: AsyncIterator[_Item], *, wait_for_capacity: Callable[[], Awaitable[None]]) -> None:
        self._items = items
        self._wait_for_capacity = wait_for_capacity
        self._reading = asyncio.Lock()
        self._waiting = 0  # workers without an item
        self._workers = 0
        self._item_done = asyncio.Event()
        self._stopped = False
        self.failure: Exception | None = None
        self.in_progress: int = 0

    def stop(self) -> None:
        """Read no more items."""
        self._stopped = True

    async def wait_until_idle(self) -> None:
        """Wait until no item is being processed."""
        while self.in_progress:
            self._item_done.clear()
            await self._item_done.wait()

    async def process_items(self, process: Callable[[_Item], Awaitable[None]], *, concurrency: int) -> None:
        """Process all items, at most `concurrency` at once.

        If `process` raises, no more items are read; items in progress are finished.
        """
        async with anyio.create_task_group() as tasks:

            def start_worker() -> None:
                if not self._waiting and self._workers < concurrency:
                    self._waiting += 1
                    self._workers += 1
                    tasks.start_soon(self._run_worker, process, start_worker)

            start_worker()

    async def _run_worker(self, process: Callable[[_Item], Awaitable[None]], start_worker: Callable[[], None]) -> None:
        await asyncio.sleep(0)  # with an eager task factory, workers that start each other would nest
        while (item := await self._next_item()) is not None:
            self._waiting -= 1
            # One worker at most waits for an item: the last one to get an item starts the next worker.
            start_worker()
            try:
                await await_shared_work(functools.partial(process, item), _stray_cancellation)
            except Exception as exc:  # noqa: BLE001 - a bug in one item must not end the others
                self.failure = exc
            finally:
                self.in_progress -= 1
                self._waiting += 1
                self._item_done.set()

    async def _next_item(self) -> _Item | None:
        async with self._reading:
            await self._wait_for_capacity()
            if self._stopped or self.failure is not None:
                return None
            try:
                item = await await_shared_work(lambda: anext(self._items, None), _stray_cancellation)
            except Exception as exc:  # noqa: BLE001 - the caller's iterable may raise anything; the caller gets it back
                self.failure = exc
                return None
            # The run may have been stopped while the item was awaited.
            if item is None or self._stopped:
                return None
            self.in_progress += 1
            return item


def _stray_cancellation() -> Exception:
    return RuntimeError("a task that this work shares with another task was cancelled by that other task")
