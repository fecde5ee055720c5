"""Decides which events are acknowledged: those that a consumer has dealt with. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Consumer = TypeVar("_Consumer", bound=Hashable)


class ConsumerState(enum.Enum):
    """Whether a consumer may still be processing the last event that it got."""

    ACTIVE = enum.auto()
    FINISHED = enum.auto()
    """It ended without an error."""
    FAILED = enum.auto()
    """It ended with an error or was cancelled: its last event may not have been processed."""


class Acknowledgement(Generic[_Consumer]):
    """Tracks the events of consumers that share one stream of events.

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
        """Record that a consumer requests the next event.

        Args:
            consumer: The consumer that requests it.
            state_of: Returns the state of another consumer.

        Returns:
            The id up to which all events are acknowledged.
        """
        self._held.pop(consumer, None)
        for other in list(self._held):
            state = state_of(other)
            if state is not ConsumerState.ACTIVE:
                event_id = self._held.pop(other)
                if state is ConsumerState.FAILED:
                    self._lost.append(event_id)
        return min([*self._held.values(), *self._lost, self._last_delivered + 1]) - 1
