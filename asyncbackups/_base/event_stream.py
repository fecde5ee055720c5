"""A stream of events: an unbounded, closable queue with an async iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

_Event = TypeVar("_Event")


class EventStream(Generic[_Event]):
    """An async iterator over events; several consumers share the events. No event is lost if a consumer is cancelled.

    It is an object and not a generator, so that iteration may stop and continue anywhere (PEP 789).

    anyio's memory object stream does not fit: it hands an event to a waiting receiver, so a receiver that is cancelled
    in the same turn of the event loop (`asyncio.wait_for(anext(run), ...)`) takes the event with it. It also demands to
    be closed for receiving, while the events of a run may be read, or ignored, after leaving it.
    """

    def __init__(self) -> None:
        self._events: deque[_Event] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: _Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        """End the iteration once all events are taken."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> EventStream[_Event]:
        return self

    async def __anext__(self) -> _Event:
        """Return the next event, waiting for one.

        Raises:
            StopAsyncIteration: If the stream is closed and empty.
        """
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
