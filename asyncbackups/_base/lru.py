"""A dictionary of bounded size that evicts the least recently used entry."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


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
