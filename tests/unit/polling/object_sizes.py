"""The memory that an object keeps, for tests of its limits."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType


def memory_of(root: object) -> int:
    """Return the bytes of an object and of all that it refers to, without code."""
    seen: set[int] = set()
    total, found = 0, [root]
    while found:
        item = found.pop()
        if id(item) not in seen and not isinstance(
            item, type | ModuleType | FunctionType | MethodType | BuiltinFunctionType
        ):
            seen.add(id(item))
            total += sys.getsizeof(item)
            found += gc.get_referents(item)
    return total
