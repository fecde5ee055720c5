"""Delivers the events of a bulk run: each is stored, counted, put into the stream, and acknowledged once processed.

While 1,000 events are unread, no further backups are started (`Backpressure`).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Hashable, Sized
from typing import TYPE_CHECKING, Generic, TypeVar

from asyncbackups._base.clock import Clock
from asyncbackups._base.containers import EventStream
from asyncbackups.events import Event

if TYPE_CHECKING:  # bulk deletions start without these, which take 12 ms to import
    from asyncbackups._bulk.report import ReportBuilder
    from asyncbackups._bulk.run_store import RunStore, Target

_Consumer = TypeVar("_Consumer", bound=Hashable)

_MAX_UNREAD = 1_000
"""With this many events unread, nothing more is started: memory stays bounded by the backups in flight."""


class Backpressure:
    """Makes workers wait while the consumer of a stream of events has too many of them unread."""

    def __init__(self, unread: Sized) -> None:
        self._unread = unread
        self._consumed = asyncio.Event()

    async def wait_for_capacity(self) -> None:
        """Wait until fewer than 1,000 events are unread."""
        while len(self._unread) >= _MAX_UNREAD:
            self._consumed.clear()
            await self._consumed.wait()

    def notify_consumed(self) -> None:
        """Let waiting workers check again how many events are unread."""
        self._consumed.set()


class EventDelivery:
    """Delivers events until nothing is left that could produce one."""

    def __init__(self, store: RunStore, report: ReportBuilder, clock: Clock) -> None:
        self._store = store
        self._report = report
        self._clock = clock
        self._sources = 0
        self.stream: EventStream[Event] = EventStream()
        self.backpressure: Backpressure = Backpressure(self.stream)

    def add_source(self) -> None:
        """Keep the stream open: something may still produce an event, for example a tracked backup."""
        self._sources += 1

    def remove_source(self) -> None:
        """Undo `add_source`; with the last source, the run is over and the stream ends."""
        self._sources -= 1
        if not self._sources:
            self.close()

    def record(self, target: Target, event: Event) -> None:
        """Store an event, then deliver it.

        Raises:
            Exception: What the store raised, which is a bug; the event is delivered, so that the run can end.
        """
        self.add_source()
        try:
            self._store.record_event(target, event, self._deliver_stored)
        except Exception:
            self._deliver_stored(event)
            raise

    def deliver(self, event: Event) -> None:
        """Deliver an event that is not to be stored, or is stored."""
        self._report.add_event(event)
        self.stream.put(event)

    def close(self) -> None:
        """End the stream; the events that it has can still be read."""
        self._report.finish(self._clock.monotonic())
        self.stream.close()

    def _deliver_stored(self, event: Event) -> None:
        self.deliver(event)
        self.remove_source()


class ConsumerState(enum.Enum):
    """Whether a consumer may still be processing the last event that it got."""

    ACTIVE = enum.auto()
    FINISHED = enum.auto()  # without an error
    FAILED = enum.auto()  # with an error, or cancelled: its last event may not have been processed


class Acknowledgement(Generic[_Consumer]):
    """Decides which events are acknowledged: those that the consumers of one stream have dealt with.

    A consumer has dealt with an event once it requests the next one, or once it has finished. The event of a consumer
    that failed is never acknowledged, nor is any event after it: resuming the run delivers them again.
    """

    def __init__(self) -> None:
        self._held: dict[_Consumer, int] = {}
        self._lost: list[int] = []
        self._last_delivered = 0

    def record_delivery(self, consumer: _Consumer, event_id: int) -> None:
        """Record that a consumer got an event; ids ascend."""
        self._last_delivered = event_id
        self._held[consumer] = event_id

    def record_request(self, consumer: _Consumer, state_of: Callable[[_Consumer], ConsumerState]) -> int:
        """Record that a consumer requests the next event; return the id up to which all events are acknowledged.

        Args:
            consumer: The consumer that requests it.
            state_of: Returns the state of another consumer.
        """
        self._held.pop(consumer, None)
        for other in list(self._held):
            state = state_of(other)
            if state is not ConsumerState.ACTIVE:
                event_id = self._held.pop(other)
                if state is ConsumerState.FAILED:
                    self._lost.append(event_id)
        return min([*self._held.values(), *self._lost, self._last_delivered + 1]) - 1
