"""Containers: a stream of events, and the dictionary of bounded size."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._base.containers import EventStream, LruDict
from tests.fake_clock import settle


async def test_events_come_in_order() -> None:
    """Events that were added before anybody iterates are kept, and the end comes last."""
    stream: EventStream[int] = EventStream()
    for number in range(3):
        stream.put(number)
    stream.close()
    assert len(stream) == 3
    assert [event async for event in stream] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_consumer_waits_for_an_event() -> None:
    """It wakes for each event that is added to an empty stream."""
    stream: EventStream[int] = EventStream()
    for number in range(3):
        waiting = asyncio.create_task(anext(stream))
        await settle()
        assert not waiting.done()
        stream.put(number)
        assert await waiting == number


async def test_each_event_goes_to_one_consumer() -> None:
    """Several tasks may share the events; all of them end with the stream."""
    stream: EventStream[int] = EventStream()
    taken: list[int] = []

    async def consume() -> None:
        async for event in stream:
            taken.append(event)
            await asyncio.sleep(0)

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    await settle()
    for number in range(20):
        stream.put(number)
    await settle(50)
    stream.close()
    await asyncio.gather(*consumers)
    assert sorted(taken) == list(range(20))


@pytest.mark.parametrize("added_first", [True, False])
async def test_cancelled_consumer_loses_no_event(added_first: bool) -> None:
    """An event that is added just before or after its consumer is cancelled is there for the next one."""
    stream: EventStream[int] = EventStream()
    waiting = asyncio.create_task(anext(stream))
    await settle()
    for step in (lambda: stream.put(7), waiting.cancel) if added_first else (waiting.cancel, lambda: stream.put(7)):
        step()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await anext(stream) == 7


async def test_iteration_continues_after_a_break() -> None:
    """The stream is not a generator: leaving the loop loses no event (PEP 789)."""
    stream: EventStream[int] = EventStream()
    for number in range(4):
        stream.put(number)
    stream.close()
    async for event in stream:
        if event == 1:
            break
    assert [event async for event in stream] == [2, 3]


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
