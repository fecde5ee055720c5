"""Containers: a dictionary of bounded size, and a closable queue with an async iterator."""

from __future__ import annotations

import asyncio
import collections
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Event = TypeVar("_Event")


class LruDict(collections.OrderedDict[_Key, _Value], Generic[_Key, _Value]):
    """A dictionary that evicts the least recently used entry when it grows beyond its size.

    Only `look_up` and `store` count as use.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def look_up(self, key: _Key) -> _Value | None:
        """Return the value and make it the most recently used, or return None."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def store(self, key: _Key, value: _Value) -> _Value:
        """Store a value as the most recently used and return it; evict the least recently used if full."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.size:
            self.popitem(last=False)
        return value


class EventStream(Generic[_Event]):
    """An async iterator over events; several consumers share the events. No event is lost if a consumer is cancelled.

    It is an object and not a generator, so that iteration may stop and continue anywhere (PEP 789).

    anyio's memory object stream does not fit: it hands an event to a waiting receiver, so a receiver that is cancelled
    in the same turn of the event loop (`asyncio.wait_for(anext(run), ...)`) takes the event with it. It also demands to
    be closed for receiving, while the events of a run may be read, or ignored, after leaving it.
    """

    def __init__(self) -> None:
        self._events: collections.deque[_Event] = collections.deque()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: _Event) -> None:
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        """End the iteration once all events are taken."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> EventStream[_Event]:
        return self

    async def __anext__(self) -> _Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
