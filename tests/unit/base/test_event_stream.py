"""Events wait until somebody takes them."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._base.event_stream import EventStream
from tests.fake_clock import settle


async def test_events_come_out_in_order() -> None:
    """What was put in before anybody asked is not lost, and the end comes last."""
    stream: EventStream[int] = EventStream()
    for number in range(3):
        stream.put(number)
    stream.close()
    assert len(stream) == 3
    assert [event async for event in stream] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_consumer_is_woken_by_an_event() -> None:
    """Also one that came when there was none, again and again."""
    stream: EventStream[int] = EventStream()
    for number in range(3):
        waiting = asyncio.create_task(anext(stream))
        await settle()
        assert not waiting.done()
        stream.put(number)
        assert await waiting == number


async def test_each_event_goes_to_one_of_several_consumers() -> None:
    """Several tasks may share the work; all of them end with the stream."""
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


async def test_cancelled_consumer_takes_nothing_along() -> None:
    """An event that comes in the moment in which its consumer is cancelled is there for the next one."""
    stream: EventStream[int] = EventStream()
    waiting = asyncio.create_task(anext(stream))
    await settle()
    stream.put(7)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await anext(stream) == 7


async def test_iteration_may_go_on_after_it_was_left() -> None:
    """The stream is an object: `break` loses nothing (PEP 789)."""
    stream: EventStream[int] = EventStream()
    for number in range(4):
        stream.put(number)
    stream.close()
    async for event in stream:
        if event == 1:
            break
    assert [event async for event in stream] == [2, 3]
