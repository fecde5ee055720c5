"""The report of a bulk run: counts, and the outcome of each planet."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from asyncbackups._http.messages import RequestKind
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    DuplicateFound,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import BackupRef, PlanetRef


@attrs.frozen(kw_only=True)
class Outcome:
    """The outcome of one planet.

    Attributes:
        event: The last event of the planet.
        seconds: Seconds from the start of its create to that event.
    """

    event: Event
    seconds: float


@attrs.define(kw_only=True)
class Counts:
    """Numbers of backups by state.

    Attributes:
        created: Backups that were created, adopted ones included.
        create_failed: Backups that could not be created, or may not have been created.
        succeeded: Backups that succeeded.
        failed: Backups that ran and failed.
        gone: Backups that were deleted while watched, or never existed.
        expired: Backups that were in progress when their deadline passed.
        unchecked: Backups that could no longer be checked.
        duplicate_found: Backups whose create has made others, too.
    """

    created: int = 0
    create_failed: int = 0
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    expired: int = 0
    unchecked: int = 0
    duplicate_found: int = 0

    @property
    def final_events(self) -> int:
        """Number of created backups that have had their final event."""
        return self.succeeded + self.failed + self.gone + self.expired + self.unchecked

    @property
    def in_flight(self) -> int:
        """Number of created backups that have not had their final event."""
        return self.created - self.final_events

    def count(self, event: Event) -> None:
        """Count an event."""
        name = STATE_NAMES[type(event)]
        setattr(self, name, getattr(self, name) + 1)


@attrs.define(kw_only=True)
class BulkReport(Counts):
    """The counts of a bulk run so far, and more.

    Attributes:
        planets: Number of targets that were started.
        outcomes: The outcome of each planet; a planet in flight has none yet.
        duplicates: Further backups that creates of this run have certainly made.
        possible_duplicates: Number of backups of which it is unknown whether their create has made another one.
        requests: Requests that the client has sent since the run started, by kind; for a resumed run, since it resumed.
        seconds: Duration of the run in seconds; for a resumed run, since it first started.
    """

    planets: int = 0
    outcomes: dict[PlanetRef, Outcome] = attrs.field(factory=dict)
    duplicates: tuple[BackupRef, ...] = ()
    possible_duplicates: int = 0
    requests: collections.Counter[RequestKind] = attrs.field(factory=collections.Counter)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every planet that was started has a backup that succeeded."""
        return self.succeeded == self.planets

    def count(self, event: Event) -> None:
        """Count an event, and keep it as its planet's outcome if it is one."""
        Counts.count(self, event)
        if _is_outcome(event):
            _add_outcome(self.outcomes, event)


class ReportBuilder:
    """Builds the report of a bulk run as its events come. The client keeps counting in `requests`."""

    def __init__(self, requests: Mapping[RequestKind, int]) -> None:
        self.planets: int = 0
        self._counts = Counts()
        # The events that are outcomes, in order. The list only grows, so its length identifies a moment.
        self._outcome_events: list[Event] = []
        # The outcomes of the first `_built` of them: reading outcomes again costs only the events added since.
        self._outcomes: dict[PlanetRef, Outcome] = {}
        self._built = 0
        self._duplicates: dict[BackupRef, None] = {}
        self._in_doubt: set[BackupRef] = set()
        self._requests = requests
        self._requests_before: collections.Counter[RequestKind] | None = None
        self._started_at: float | None = None
        self._finished_at: float | None = None

    def start_requests(self) -> None:
        """Count requests from now on."""
        self._requests_before = collections.Counter(self._requests)

    def start_clock(self, started_at: float) -> None:
        """Set the time at which the run first started, in monotonic seconds."""
        self._started_at = started_at

    def finish(self, finished_at: float) -> None:
        """Set the time at which the run ended, in monotonic seconds; the first one counts."""
        if self._finished_at is None:
            self._finished_at = finished_at

    def add_event(self, event: Event) -> None:
        """Count an event, and keep it as its planet's outcome if it is one."""
        self._counts.count(event)
        if _is_outcome(event):
            self._outcome_events.append(event)
        elif isinstance(event, BackupCreated | DuplicateFound):
            self._duplicates.update(dict.fromkeys(event.duplicates))
            if event.duplicates:
                self._in_doubt.discard(event.ref)
            elif isinstance(event, BackupCreated) and event.possible_duplicate:
                self._in_doubt.add(event.ref)

    def settle_doubt(self, ref: BackupRef) -> None:
        """Record that the create of a backup has made no other one."""
        self._in_doubt.discard(ref)

    def snapshot(self, now: float) -> BulkReport:
        """Return the report as it is `now`, in monotonic seconds. Its cost does not grow with the run."""
        ended_at = now if self._finished_at is None else self._finished_at
        before = self._requests_before
        return _ReportSnapshot(
            functools.partial(self._outcomes_after, len(self._outcome_events)),
            planets=self.planets,
            duplicates=tuple(self._duplicates),
            possible_duplicates=len(self._in_doubt),
            requests=collections.Counter() if before is None else collections.Counter(self._requests) - before,
            seconds=0.0 if self._started_at is None else ended_at - self._started_at,
            **attrs.asdict(self._counts),
        )

    def _outcomes_after(self, length: int) -> dict[PlanetRef, Outcome]:
        """Return the outcomes as they were after the first `length` events that are outcomes."""
        if length < self._built:
            self._outcomes, self._built = {}, 0
        for number in range(self._built, length):
            _add_outcome(self._outcomes, self._outcome_events[number])
        self._built = length
        return self._outcomes.copy()


class _ReportSnapshot(BulkReport):
    """A report that collects its outcomes when they are first read.

    There may be a million of them: a program that reads only counts, after each event, must not copy them.
    """

    __slots__ = ("_collect_outcomes",)

    def __init__(self, collect_outcomes: Callable[[], dict[PlanetRef, Outcome]], **members: Any) -> None:
        super().__init__(**members)
        del self.outcomes
        self._collect_outcomes = collect_outcomes

    def __getattr__(self, name: str) -> Any:
        # Python calls this for a missing attribute only: for `outcomes` until they are first read.
        if name != "outcomes":
            raise AttributeError(name)
        self.outcomes = self._collect_outcomes()
        return self.outcomes


def _is_outcome(event: Event) -> bool:
    return event.planet is not None and not isinstance(event, BackupCreated | DuplicateFound)


def _add_outcome(outcomes: dict[PlanetRef, Outcome], event: Event) -> None:
    if event.planet is None:
        return
    outcome = Outcome(event=event, seconds=event.elapsed)
    if isinstance(event, CreateFailed):  # a planet that is listed twice keeps the outcome of its backup
        outcomes.setdefault(event.planet, outcome)
    else:
        outcomes[event.planet] = outcome


STATE_NAMES: dict[type[Event], str] = {
    BackupCreated: "created",
    CreateFailed: "create_failed",
    BackupSucceeded: "succeeded",
    BackupFailed: "failed",
    BackupGone: "gone",
    WatchExpired: "expired",
    WatchFailed: "unchecked",
    DuplicateFound: "duplicate_found",
}
"""The name of the count of each event in reports, and of its entry in journals."""
