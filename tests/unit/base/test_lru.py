"""The dictionary of bounded size."""

from __future__ import annotations

from asyncbackups._base.lru import LruDict


def test_least_recently_used_entry_is_evicted() -> None:
    """Looking up and storing count as use; a look-up of a missing key returns None."""
    cache: LruDict[str, int] = LruDict(2)
    assert cache.store("a", 1) == 1
    cache.store("b", 2)
    assert cache.look_up("a") == 1
    cache.store("c", 3)
    assert dict(cache) == {"a": 1, "c": 3}
    assert cache.look_up("b") is None
    cache.store("a", 4)
    cache.store("d", 5)
    assert dict(cache) == {"a": 4, "d": 5}
