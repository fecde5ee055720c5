"""Events are delivered until the last source is gone, and acknowledged once they are processed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._bulk.event_delivery import Acknowledgement, Backpressure, ConsumerState
from tests.fake_clock import settle
from tests.unit.bulk.stage import Stage, all_of, planets


def active(_: str) -> ConsumerState:
    return ConsumerState.ACTIVE


async def test_failing_store_does_not_hang_the_run(stage: Stage) -> None:
    """The event is delivered, and the iteration ends with the error."""
    run = stage.run(planets(3))

    def broken(*_: Any) -> None:
        raise LookupError("no such column")

    run._store.record_event = broken  # type: ignore[method-assign]
    async with run:
        task = asyncio.create_task(all_of(run))
        await settle()
        await stage.finish()
        with pytest.raises(LookupError):
            await task
    assert run.report.succeeded + run.report.create_failed == run.report.created


async def test_workers_wait_for_the_consumer() -> None:
    """With a thousand events unread, nothing is started until one is consumed."""
    unread = [0] * 1_000
    backpressure = Backpressure(unread)
    waiting = asyncio.create_task(backpressure.wait_for_capacity())
    await settle()
    assert not waiting.done()
    backpressure.notify_consumed()
    await settle()
    assert not waiting.done()
    unread.pop()
    backpressure.notify_consumed()
    await waiting


def test_requesting_the_next_event_acknowledges_the_last_one() -> None:
    """The event that a consumer holds is not acknowledged before."""
    one: Acknowledgement[str] = Acknowledgement()
    assert one.record_request("a", active) == 0
    one.record_delivery("a", 5)
    assert one.record_request("a", active) == 5


def test_other_consumers_keep_their_events() -> None:
    """Events after one that another consumer holds are not acknowledged, until it requests the next event."""
    one: Acknowledgement[str] = Acknowledgement()
    one.record_delivery("a", 5)
    one.record_delivery("b", 6)
    assert one.record_request("b", active) == 4
    one.record_delivery("b", 7)
    assert one.record_request("a", active) == 6
    assert one.record_request("b", active) == 7


def test_finished_consumer_has_dealt_with_its_event() -> None:
    """A task that read one event and ended without an error needs no further request."""
    one: Acknowledgement[str] = Acknowledgement()
    one.record_delivery("a", 5)
    one.record_delivery("b", 6)
    assert one.record_request("b", lambda _: ConsumerState.FINISHED) == 6


def test_event_of_a_failed_consumer_is_never_acknowledged() -> None:
    """Nor is any later event; whatever fails afterwards, the first lost event counts."""
    one: Acknowledgement[str] = Acknowledgement()
    one.record_delivery("a", 5)
    one.record_delivery("b", 6)
    assert one.record_request("b", lambda _: ConsumerState.FAILED) == 4
    one.record_delivery("b", 7)
    assert one.record_request("c", lambda _: ConsumerState.FAILED) == 4
    one.record_delivery("c", 8)
    assert one.record_request("c", active) == 4


def test_requesting_consumer_is_not_examined() -> None:
    """Its task is running: only the state of the others is unknown."""
    one: Acknowledgement[str] = Acknowledgement()
    one.record_delivery("a", 5)

    def state_of(consumer: str) -> ConsumerState:
        pytest.fail(f"{consumer} was examined")

    assert one.record_request("a", state_of) == 5


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_no_held_event_is_acknowledged(steps: list[tuple[str, bool]]) -> None:
    """Whatever the order of requests and deliveries, acknowledgement stays below every event in process, and rises."""
    one: Acknowledgement[str] = Acknowledgement()
    held: dict[str, int] = {}
    acknowledged = 0
    for number, (consumer, delivered) in enumerate(steps, 1):
        held.pop(consumer, None)
        now = one.record_request(consumer, active)
        assert now >= acknowledged
        assert all(now < event_id for event_id in held.values())
        acknowledged = now
        if delivered:
            one.record_delivery(consumer, number)
            held[consumer] = number
