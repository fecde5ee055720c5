"""Delivers the events of a bulk run: each is stored, then counted in the report, then put into the stream."""

from __future__ import annotations

from asyncbackups._base.clock import Clock
from asyncbackups._base.event_stream import EventStream
from asyncbackups._bulk.report import ReportBuilder
from asyncbackups._bulk.run_store import RunStore, Target
from asyncbackups.events import Event


class EventDelivery:
    """Delivers events until nothing is left that could produce one.

    Args:
        store: Stores events.
        report: Counts events.
        clock: The clock.

    Attributes:
        stream: The events, for the consumers.
    """

    def __init__(self, store: RunStore, report: ReportBuilder, clock: Clock) -> None:
        self._store = store
        self._report = report
        self._clock = clock
        self._sources = 0
        self.stream: EventStream[Event] = EventStream()

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
