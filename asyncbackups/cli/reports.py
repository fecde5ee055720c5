"""The progress of a run or a deletion and its report, for programs and for people."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from asyncbackups import AmbiguousCreateError, ApiError, BackupRef, BackupsError, Counts, events
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.output import format_count, format_duration

RequestCounts: TypeAlias = Callable[[], Mapping[str, int]]
"""Returns the requests sent so far, by kind."""


@attrs.define(eq=False, kw_only=True)
class RunReport:
    """Counts the events of a run that creates or watches backups.

    Attributes:
        targets: The number of planets to back up; None if nothing is created.
        options: The connection's options as given: the command that continues needs them, too.
        is_outlived: Whether the backups continue after the command; those of a simulator that ends with it do not.
        error: Why nothing more was started: the journal cannot be written any more; None if there was no such error.
        in_flight: Backups that have not ended, in the order in which they appeared.
        unknown: The number of failed creates that may have been done all the same.
        possible_duplicates: The number of backups of which it is unknown whether their create has made another one.
        duplicates: The creates that have made several backups.
    """

    targets: int | None = None
    journal: str | None = None
    options: tuple[str, ...] = ()
    is_outlived: bool = True
    requests: Mapping[str, int] = attrs.field(factory=dict)
    seconds: float = 0.0
    interrupted: bool = False
    error: BackupsError | None = None
    possible_duplicates: int = 0
    by_star_system: dict[str, Counts] = attrs.field(factory=dict, init=False)
    in_flight: dict[BackupRef, None] = attrs.field(factory=dict, init=False)
    unknown: int = attrs.field(default=0, init=False)
    duplicates: list[events.DuplicateFound] = attrs.field(factory=list, init=False)
    _worst: ExitStatus = attrs.field(default=ExitStatus.OK, init=False)

    def add_watched(self, refs: Iterable[BackupRef]) -> None:
        """Count backups that are watched from the start and were not created by this run."""
        for ref in refs:
            self._counts_of(ref.star_system).created += 1
            self.in_flight[ref] = None

    def record_event(self, event: events.Event) -> None:
        """Count an event."""
        where = event.planet if isinstance(event, events.CreateFailed) else event.ref
        self._counts_of(where.star_system).count(event)
        if isinstance(event, events.BackupCreated):
            self.in_flight[event.ref] = None
        elif isinstance(event, events.DuplicateFound):
            self.duplicates.append(event)
        elif not isinstance(event, events.CreateFailed):
            self.in_flight.pop(event.ref, None)
        elif isinstance(event.error, AmbiguousCreateError):
            self.unknown += 1
        self._worst = max(self._worst, exit_status([event]))

    def _counts_of(self, star_system: str) -> Counts:
        return self.by_star_system.setdefault(star_system, Counts())

    @property
    def total(self) -> Counts:
        """The counts of all star systems together."""
        total = Counts()
        for counts in self.by_star_system.values():
            for name, number in attrs.asdict(counts).items():
                setattr(total, name, getattr(total, name) + number)
        return total

    @property
    def status(self) -> ExitStatus:
        """The exit status."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        return self._worst if self.error is None else max(self._worst, exit_status([self.error]))

    @property
    def not_started(self) -> int:
        """The number of planets whose create was not sent."""
        total = self.total
        return max(0, (self.targets or 0) - total.created - total.create_failed)

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs, the last line of a run."""
        total = self.total
        creating = {} if self.targets is None else {"planets": self.targets, "not_started": self.not_started}
        return {
            "event": "report",
            **creating,
            **({} if self.journal is None else {"journal": self.journal}),
            **attrs.asdict(total),
            "in_flight": total.in_flight,
            "final_events": total.final_events,
            "still_running": [str(ref) for ref in self.in_flight],
            "duplicates": [str(ref) for event in self.duplicates for ref in event.duplicates],
            "possible_duplicates": self.possible_duplicates,
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            **({} if self.error is None else {"error": error_json(self.error)}),
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        total = self.total
        verb = "watched" if self.targets is None else "created"
        numbers = {
            "not created": total.create_failed - self.unknown,
            "perhaps created": self.unknown,
            "succeeded": total.succeeded,
            "failed": total.failed,
            "gone": total.gone,
            "past the deadline": total.expired,
            "could not be checked": total.unchecked,
            "created twice": len(self.duplicates),
            "perhaps created twice": self.possible_duplicates,
        }
        created = f"{format_count(total.created, 'backup')} {verb}"
        duplicates = map(describe_duplicate, self.duplicates)
        return [_summary_line(self, created, numbers), *duplicates, *self._describe_rest()]

    def _describe_rest(self) -> list[str]:
        lines = [] if self.error is None else [str(self.error)]
        if self.interrupted:
            lines.append(f"interrupted: {self._describe_running()}")
        if not lines:
            return []
        if self.not_started:
            lines.append(f"{format_count(self.not_started, 'planet')} not started")
        if self.journal is not None:
            lines.append(f"to resume: {self._command_line('resume', self.journal)}")
        return lines

    def _describe_running(self) -> str:
        if not self.in_flight:
            return "no known backup is still running"
        # A backup that is only watched may never have been seen.
        verb = "watched and still in flight" if self.targets is None else "created and still running"
        count = f"{format_count(len(self.in_flight), 'backup')} {verb}"
        if self.journal is not None or not self.is_outlived:
            return count
        # All are named: on a terminal nothing else has named them.
        return f"{count}; to continue waiting: {self._command_line('wait', *map(str, self.in_flight))}"

    def _command_line(self, *words: str) -> str:
        return shlex.join(("asyncbackups", *words, *self.options))


class DeletionReport:
    """Counts the events of a deletion; a backup that is missing, where that is accepted, is one that is gone."""

    def __init__(self, backups: int) -> None:
        self.backups = backups
        self.requests: Mapping[str, int] = {}
        self.seconds: float = 0.0
        self.interrupted: bool = False
        self._counts: collections.Counter[type[object]] = collections.Counter()
        self._worst = ExitStatus.OK

    def record_event(self, event: events.BackupDeleted | events.DeleteFailed | events.BackupGone) -> None:
        """Count an event."""
        self._counts[type(event)] += 1
        if not isinstance(event, events.BackupGone):
            self._worst = max(self._worst, exit_status([event]))

    @property
    def status(self) -> ExitStatus:
        """The exit status."""
        return ExitStatus.INTERRUPTED if self.interrupted else self._worst

    @property
    def remaining(self) -> int:
        """The number of backups without a result: not started, or cut off."""
        return self.backups - self._counts.total()

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs, the last line of a deletion."""
        return {
            "event": "report",
            "backups": self.backups,
            "deleted": self._counts[events.BackupDeleted],
            "missing": self._counts[events.BackupGone],
            "delete_failed": self._counts[events.DeleteFailed],
            "left": self.remaining,
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        numbers = {"did not exist": self._counts[events.BackupGone], "not deleted": self._counts[events.DeleteFailed]}
        deleted = f"{format_count(self._counts[events.BackupDeleted], 'backup')} deleted"
        lines = [_summary_line(self, deleted, numbers)]
        if self.interrupted:
            advice = "; to delete them: the same command with --missing-ok" if self.remaining else ""
            lines.append(f"interrupted: {format_count(self.remaining, 'backup')} left{advice}")
        return lines


def describe_duplicate(event: events.DuplicateFound) -> str:
    """Return a line with all backups that one create has made: "alpha/prod: created twice: alpha/1, alpha/2; ..."."""
    refs = (event.ref, *event.duplicates)
    count, advice = ("twice", "one of them") if len(refs) == 2 else (f"{len(refs)} times", "all but one")
    return f"{event.planet}: created {count}: {', '.join(map(str, refs))}; delete {advice}"


def error_json(error: BackupsError) -> dict[str, Any]:
    """Return an error as plain JSON values."""
    members: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ApiError):
        members["status"] = error.status
    if isinstance(error, AmbiguousCreateError):
        members["candidates"] = [backup.id for backup in error.candidates]
    return members


def _summary_line(report: RunReport | DeletionReport, first: str, numbers: Mapping[str, int]) -> str:
    """Return a first count and all others that are not zero: "4 backups created, 1 failed; 2.0 s; 5 requests"."""
    counts = ", ".join([first, *(f"{number:,} {what}" for what, number in numbers.items() if number)])
    return f"{counts}; {format_duration(report.seconds)}; {format_requests(report.requests)}"


def format_requests(requests: Mapping[str, int]) -> str:
    """Return numbers of requests: "61 requests (create 50, list 11)"."""
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(requests.items()) if number)
    return format_count(sum(requests.values()), "request") + (f" ({kinds})" if kinds else "")
