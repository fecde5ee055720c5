"""The LISTs of one star system: which are in use, which backups they cover, when each is due, which can be trusted."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping

import attrs

from asyncbackups._polling.cost_model import PollingLoad, choose_lists
from asyncbackups._polling.poll_interval import SAMPLE
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.timers import TimerQueue
from asyncbackups._polling.tracked import LISTED, NEVER, ListPoll, Observation, TrackedBackup
from asyncbackups.models import BackupId

_USELESS_LIMIT = 3  # a list that is useless this many times in a row is replaced by GETs for a time
_PLANETS_CONSIDERED = 512  # at most this many planets, the largest ones, are considered for a list of their own
_SLACK = 0.2
"""A list may be sent early by this fraction of its interval, together with another request. The less regular intervals
cost 0.3% in latency at equal requests, and two of three lists no longer wake the process."""
_BACKUPS_SAMPLED = 2048  # at most this many backups are examined to choose lists
_OVERDUE = 0.05
"""A backup that lists show in progress is suspect once its probability of taking this long is below this."""


@attrs.define(eq=False)
class ListPollState:
    """A list that is in use, and the backups that it covers."""

    planet: str | None  # None if it lists the whole star system
    due: float = NEVER  # `NEVER` while it is in flight or not needed
    earliest: float = NEVER  # from when on it may be sent together with another request
    poll: ListPoll | None = None  # the request in flight
    has_new: bool = True  # whether backups joined since the last request was sent; a 304 says nothing about them
    etag: str | None = None
    trusted_until: float = -math.inf  # until when backups that it shows in progress are assumed to be so
    useless: int = 0  # how many times in a row it failed, or showed none of its backups
    # The backups that joined the list of a planet, by `key`; some may have ended. A star system's list covers all.
    members: dict[BackupId, TrackedBackup] = attrs.field(factory=dict)


class ListPolls:
    """The lists that are in use in one star system; `tracked` are its backups by `key`, only read here."""

    def __init__(self, star_system: str, tracked: Mapping[BackupId, TrackedBackup], shared: PollingState) -> None:
        self._star_system = star_system
        self._tracked = tracked
        self._shared = shared
        self._in_use: dict[str | None, ListPollState] = {}
        self._queue: TimerQueue[ListPollState] = TimerQueue()

    def find_for(self, backup: TrackedBackup) -> ListPollState | None:
        """Return the list that can cover a backup, or None."""
        if not self._in_use:
            return None
        return self._in_use.get(None) or (self._in_use.get(backup.planet) if backup.planet is not None else None)

    def find_covering(self, backup: TrackedBackup) -> ListPollState | None:
        """Return the list that covers a backup; None while the backup is polled by GET."""
        return self.find_for(backup) if backup.state is LISTED else None

    def backups_of(self, state: ListPollState) -> list[TrackedBackup]:
        """Return the tracked backups of a list, also those that are polled by GET at the moment."""
        tracked = self._tracked
        if state.planet is None:
            return list(tracked.values())
        state.members = {key: backup for key, backup in state.members.items() if tracked.get(key) is backup}
        return list(state.members.values())

    def is_needed(self, poll: ListPoll) -> bool:
        """Return True if the list of a request is still in use and any of its backups is still tracked."""
        state = self._in_use.get(poll.planet)
        if state is None or state.poll is not poll:
            return False
        if state.planet is None:
            return bool(self._tracked)
        return any(self._tracked.get(key) is backup for key, backup in state.members.items())

    def cost_in_gets(self, state: ListPollState) -> float:
        return self._shared.costs.list_cost((self._star_system, state.planet))

    def next_due(self) -> float:
        """Return when the first list is due; infinity if none is scheduled."""
        return self._queue.next_time()

    def take_next(self, now: float) -> ListPoll:
        """Return the request of the list that is due first, which is in flight from now on."""
        state = self._queue.pop_first()
        etag = None if state.has_new else state.etag
        state.has_new = False
        state.poll = ListPoll(star_system=self._star_system, planet=state.planet, sent=now, etag=etag)
        return state.poll

    def finish_poll(self, poll: ListPoll) -> ListPollState | None:
        """Record that a request is no longer in flight; return its list, or None if that was replaced meanwhile."""
        state = self._in_use.get(poll.planet)
        if state is None or state.poll is not poll:
            return None
        state.poll = None
        return state

    def schedule_at(self, state: ListPollState, when: float) -> None:
        """Schedule a list at a time and not earlier; a `Retry-After` of the server delays it."""
        state.earliest = when = self._earliest_time(state, when)
        self._queue.schedule(state, when)

    def schedule_after(self, state: ListPollState, interval: float, now: float) -> None:
        """Schedule a list after an interval, or slightly earlier if it can be sent together with another request."""
        self.schedule_at(state, now + interval)
        state.earliest = self._earliest_time(state, now + interval * (1 - _SLACK))

    def schedule_by(self, state: ListPollState, when: float) -> None:
        """Schedule a list at a time, unless it is due earlier or in flight (its response schedules the next one)."""
        if state.poll is None and self._earliest_time(state, when) < state.due:
            self.schedule_at(state, when)

    def bring_forward(self, now: float) -> bool:
        """Make the list that is due next due now, if it may be sent early; return whether it may."""
        state = self._queue.peek_first()
        if state is None or state.earliest > now:
            return False
        self._queue.schedule(state, now)
        return True

    def _earliest_time(self, state: ListPollState, when: float) -> float:
        return max(when, self._shared.list_pauses.get((self._star_system, state.planet), -math.inf))

    def spread_overdue(self, now: float, window: float) -> None:
        """Delay the overdue lists by random parts of a window."""
        for state in self._queue.overdue_items(now):
            self.schedule_at(state, now + self._shared.draw() * window)

    def add_backup(self, backup: TrackedBackup, state: ListPollState, now: float, *, since: float) -> None:
        """Cover a backup last observed at `since`; the list is sent no later than is worth it for this backup alone."""
        self.cover_backup(backup, state)
        if state.poll is None:
            interval = self._shared.next_interval([backup], since, cost=self.cost_in_gets(state))
            self.schedule_by(state, max(now, since + interval))

    @staticmethod
    def cover_backup(backup: TrackedBackup, state: ListPollState) -> None:
        """Cover a backup, without scheduling the list."""
        backup.state, backup.due = LISTED, NEVER
        state.has_new = True
        if state.planet is not None:
            state.members[backup.key] = backup

    def advance_all(self, now: float) -> None:
        """Schedule each list no later than is worth it for all the backups that it covers together."""
        for state in self._in_use.values():
            together = [backup for backup in self.backups_of(state) if backup.state is LISTED]
            if state.poll is None and together:
                cost = self.cost_in_gets(state)
                self.schedule_by(state, now + self._shared.next_interval(together, now, cost=cost))

    def is_useless(self, state: ListPollState, *, useful: bool) -> bool:
        """Record whether a list was useful; return True if it was not for too many times in a row."""
        state.useless = 0 if useful else state.useless + 1
        return state.useless >= _USELESS_LIMIT

    def find_suspect(self, state: ListPollState, backups: Iterable[TrackedBackup], now: float) -> TrackedBackup | None:
        """Return a backup to check by GET, because the list may lag far behind; None if it can be trusted for now."""
        overdue = most_overdue(backups, self._shared, now) if now >= state.trusted_until else None
        if overdue is not None:
            state.trusted_until = now + self._shared.policy.maximum
        return overdue

    def drop_list(self, state: ListPollState) -> None:
        del self._in_use[state.planet]
        state.due = NEVER

    def clear_all(self) -> None:
        self._in_use.clear()
        self._queue.clear()

    def replan(self, now: float) -> dict[str | None, float] | None:
        """Choose again which lists to use; return None if the choice is the same.

        Otherwise return when each list that was in use until now was due (`NEVER` if in flight), by planet.
        """
        planets = choose_lists(self._star_system, self._loads_by_planet(now), self._shared.costs, now=now)
        before = self._in_use
        if planets == before.keys():
            return None
        self._in_use = {planet: before.get(planet) or ListPollState(planet) for planet in planets}
        times = {planet: state.due for planet, state in before.items()}
        for planet in before.keys() - planets:
            before[planet].due = NEVER
        return times

    def _loads_by_planet(self, now: float) -> dict[str | None, PollingLoad]:
        by_planet: dict[str | None, list[TrackedBackup]] = {}
        for backup in self._tracked.values():
            by_planet.setdefault(backup.planet, []).append(backup)
        several = [planet for planet, backups in by_planet.items() if planet is not None and len(backups) > 1]
        apart = heapq.nlargest(_PLANETS_CONSIDERED, several, key=lambda planet: len(by_planet[planet]))
        groups: dict[str | None, list[TrackedBackup]] = {planet: by_planet.pop(planet) for planet in apart}
        groups[None] = [backup for backups in by_planet.values() for backup in backups]
        sample = max(1, min(SAMPLE, _BACKUPS_SAMPLED // len(groups)))
        return {
            planet: self._shared.polling_load(backups, now, sample=sample)
            for planet, backups in groups.items()
            if backups
        }


def end_time(observation: Observation, now: float) -> float:
    """Return when a backup ended, in seconds of our monotonic clock; negative infinity if unknown."""
    if observation.age is None or observation.duration is None:
        return -math.inf
    # An end in the future counts as now; otherwise the list that showed it would be trusted for years.
    return min(now, now - observation.age + observation.duration)


def most_overdue(backups: Iterable[TrackedBackup], shared: PollingState, now: float) -> TrackedBackup | None:
    """Return the oldest backup that a list covers, if it has probably ended; else None."""
    covered = ((each.started_at, each) for each in backups if each.state is LISTED and each.started_at is not None)
    _, oldest = min(covered, key=lambda pair: pair[0], default=(now, None))
    if oldest is None:
        return None
    estimate, age = shared.estimate_of(oldest, now)
    return oldest if estimate.survival(age) < _OVERDUE else None
