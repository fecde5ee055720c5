"""What has come of many backups so far, counted by star system. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from asyncbackups import AmbiguousCreateError, BackupCreated, BackupRef, Counts, CreateFailed, Event
from asyncbackups.cli.exits import ExitStatus, exit_status

__all__ = ["Counts", "Tally"]


class Tally:
    """Counts events.

    Args:
        watched: Backups that are watched from the start, without having been created by us.

    Attributes:
        by_star_system: Counts, in the order in which star systems were met.
        in_flight: Backups that have not ended, in the order in which they were met.
        unknown: How many of the creates that failed may have been done all the same.
        status: The exit status that stands for all so far.
    """

    def __init__(self, watched: Iterable[BackupRef] = ()) -> None:
        self.by_star_system: dict[str, Counts] = {}
        self.in_flight: dict[BackupRef, None] = {}
        self.unknown: int = 0
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
            for name, number in attrs.asdict(counts).items():
                setattr(total, name, getattr(total, name) + number)
        return total

    def of(self, star_system: str) -> Counts:
        """Return a star system's counts."""
        return self.by_star_system.setdefault(star_system, Counts())

    def note(self, event: Event) -> None:
        """Count an event."""
        where = event.planet if isinstance(event, CreateFailed) else event.ref
        self.of(where.star_system).count(event)
        if isinstance(event, BackupCreated):
            self.in_flight[event.ref] = None
        elif not isinstance(event, CreateFailed):
            self.in_flight.pop(event.ref, None)
        elif isinstance(event.error, AmbiguousCreateError):
            self.unknown += 1
        self.status = max(self.status, exit_status([event]))
