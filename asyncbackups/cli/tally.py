"""What has come of many backups so far, counted by star system. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from asyncbackups import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupRef,
    BackupSucceeded,
    CreateFailed,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.cli.exits import ExitStatus, exit_status

__all__ = ["Counts", "Tally"]


@attrs.define(kw_only=True)
class Counts:
    """Numbers of backups.

    Attributes:
        created: Created; where nothing is created but watched, those that are watched.
        create_failed: Not created, or not known to be.
        succeeded: Ended well.
        failed: Ran and failed.
        gone: Deleted while watched, or never there.
        expired: Still in progress when the deadline passed.
        unchecked: Could no longer be checked.
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
        """How many of those created have ended for us."""
        return self.succeeded + self.failed + self.gone + self.expired + self.unchecked

    @property
    def in_flight(self) -> int:
        """How many have not."""
        return self.created - self.final_events

    def plus(self, other: Counts) -> Counts:
        """Add up."""
        return Counts(**{name: number + getattr(other, name) for name, number in attrs.asdict(self).items()})


_COUNTED: dict[type[object], str] = {
    BackupCreated: "created",
    CreateFailed: "create_failed",
    BackupSucceeded: "succeeded",
    BackupFailed: "failed",
    BackupGone: "gone",
    WatchExpired: "expired",
    WatchFailed: "unchecked",
}


class Tally:
    """Counts events.

    Args:
        watched: Backups that are watched from the start, without having been created by us.

    Attributes:
        by_star_system: Counts, in the order in which star systems were met.
        in_flight: Backups that have not ended, in the order in which they were met.
        status: The exit status that stands for all so far.
    """

    def __init__(self, watched: Iterable[BackupRef] = ()) -> None:
        self.by_star_system: dict[str, Counts] = {}
        self.in_flight: dict[BackupRef, None] = {}
        self.status: ExitStatus = ExitStatus.OK
        for ref in watched:
            if ref not in self.in_flight:
                self.of(ref.star_system).created += 1
                self.in_flight[ref] = None

    @property
    def total(self) -> Counts:
        """All star systems together."""
        total = Counts()
        for counts in self.by_star_system.values():
            total = total.plus(counts)
        return total

    def of(self, star_system: str) -> Counts:
        """Return a star system's counts."""
        return self.by_star_system.setdefault(star_system, Counts())

    def note(self, event: Event) -> None:
        """Count an event."""
        where = event.planet if isinstance(event, CreateFailed) else event.ref
        counts = self.of(where.star_system)
        name = _COUNTED[type(event)]
        setattr(counts, name, getattr(counts, name) + 1)
        if isinstance(event, BackupCreated):
            self.in_flight[event.ref] = None
        elif not isinstance(event, CreateFailed):
            self.in_flight.pop(event.ref, None)
        self.status = max(self.status, exit_status([event]))
