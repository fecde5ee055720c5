"""What a bulk run has come to: counts, and what became of each planet."""

from __future__ import annotations

import collections

import attrs

from asyncbackups._http.messages import RequestKind
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import PlanetRef


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one planet.

    Attributes:
        event: The last event that told of it.
        seconds: From the beginning of its create to that event.
    """

    event: Event
    seconds: float


@attrs.define(kw_only=True)
class Counts:
    """Numbers of backups, by what came of them.

    Attributes:
        created: How many were created (adopted ones included).
        create_failed: How many could not be created, or are not known to be.
        succeeded: How many succeeded.
        failed: How many ran and failed.
        gone: How many were deleted while watched, or never existed.
        expired: How many were still in progress when their deadline passed.
        unchecked: How many could no longer be checked.
    """

    created: int = 0
    create_failed: int = 0
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    expired: int = 0
    unchecked: int = 0

    @property
    def final_events(self) -> int:
        """How many of those created have had their final event."""
        return self.succeeded + self.failed + self.gone + self.expired + self.unchecked

    @property
    def in_flight(self) -> int:
        """How many of those created have not."""
        return self.created - self.final_events

    def count(self, event: Event) -> None:
        """Take an event into account."""
        name = _COUNTED[type(event)]
        setattr(self, name, getattr(self, name) + 1)


@attrs.define(kw_only=True)
class BulkReport(Counts):
    """What a bulk run has come to so far: the counts, and more.

    Attributes:
        planets: How many targets were taken up.
        outcomes: Per planet, what became of it; a planet in flight is not in it yet.
        requests: Requests that the client has sent since the run began, by kind; of a run that was resumed, since then.
        seconds: How long the run has taken; of a run that was resumed, since it first began.
    """

    planets: int = 0
    outcomes: dict[PlanetRef, Outcome] = attrs.field(factory=dict)
    requests: collections.Counter[RequestKind] = attrs.field(factory=collections.Counter)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every planet that was taken up has a backup that succeeded."""
        return self.succeeded == self.planets

    def count(self, event: Event) -> None:
        """Take an event into account."""
        Counts.count(self, event)
        if event.planet is None or isinstance(event, BackupCreated):
            return
        outcome = Outcome(event=event, seconds=event.elapsed)
        if isinstance(event, CreateFailed):  # a planet that is listed twice keeps what became of its backup
            self.outcomes.setdefault(event.planet, outcome)
        else:
            self.outcomes[event.planet] = outcome


_COUNTED: dict[type[object], str] = {
    BackupCreated: "created",
    CreateFailed: "create_failed",
    BackupSucceeded: "succeeded",
    BackupFailed: "failed",
    BackupGone: "gone",
    WatchExpired: "expired",
    WatchFailed: "unchecked",
}
