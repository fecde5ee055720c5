"""A stream of events: what is put in waits until somebody takes it, in order, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

_Event = TypeVar("_Event")


class EventStream(Generic[_Event]):
    """An async iterator that is an object, not a generator: it may be left and gone on with anywhere (PEP 789).

    Several consumers share the events: each event goes to one of them.
    """

    def __init__(self) -> None:
        self._events: deque[_Event] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: _Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._news.set()

    def close(self) -> None:
        """Let the iteration end once all events are taken."""
        self._closed = True
        self._news.set()

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
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()
