"""A dictionary of bounded size."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Recent(collections.OrderedDict[_Key, _Value], Generic[_Key, _Value]):
    """A dictionary of bounded size that forgets what was longest not asked for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def recall(self, key: _Key) -> _Value | None:
        """Return the value, now the most recently used, or `None`."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def remember(self, key: _Key, value: _Value) -> _Value:
        """Store a value, forgetting the least recently used one if there are too many; return it."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.size:
            self.popitem(last=False)
        return value
