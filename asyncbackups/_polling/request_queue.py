"""The future polls of one star system: which backups are polled by GET, which by LIST, when, and when to replan."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from asyncbackups._polling.list_polls import ListPolls, ListPollState, end_time
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.timers import TimerQueue
from asyncbackups._polling.tracked import (
    LISTED,
    NEVER,
    REQUESTED,
    SCHEDULED,
    UNSCHEDULED,
    GetPoll,
    ListPoll,
    Observation,
    Poll,
    TrackedBackup,
)
from asyncbackups.models import BackupId

_GROWTH = 1.25  # the polls are replanned once the number of backups has grown by this factor since the last plan
_GATHER = 0.5  # for how long new backups wait for each other, in units of what a request is worth


class NewBackups:
    """The backups of one star system of which nothing is known yet, not even their age.

    The first is polled at once. Those that are added within a moment after a request wait until the moment is over, if
    their subscribers can wait: then one list is sent for all of them, if they are more than it costs in GETs.
    """

    def __init__(self, lists: ListPolls, *, request_worth: float) -> None:
        self._lists = lists
        self._moment = _GATHER * request_worth
        self._gather_until = -math.inf
        self._backups: deque[TrackedBackup] = deque()

    def add(self, backup: TrackedBackup, now: float, *, patient: bool) -> float:
        """Add a backup; return the time of its first poll."""
        self._backups.append(backup)
        return max(now, self._gather_until) if patient else now

    def gather_after(self, now: float) -> None:
        """Start to gather: a GET of a new backup, or a list, was sent."""
        self._gather_until = now + self._moment

    def merge_due(self, now: float) -> None:
        """Replace the GETs of new backups that are due by a list due now, if they are more than it costs in GETs."""
        while self._backups and not _is_new(self._backups[0]):
            self._backups.popleft()
        if not self._backups or self._backups[0].due > now:
            return
        state = self._lists.find_for(self._backups[0])
        # A list in flight could only be sent again; its response comes first.
        if state is None or state.poll is not None:
            return
        covered = [backup for backup in self._backups if _is_new(backup) and self._lists.find_for(backup) is state]
        if len(covered) > self._lists.cost_in_gets(state):
            for backup in covered:
                self._lists.cover_backup(backup, state)
            self._lists.schedule_at(state, now)

    def clear(self) -> None:
        self._backups.clear()


def _is_new(backup: TrackedBackup) -> bool:
    return backup.started_at is None and backup.state is SCHEDULED and not backup.unlisted


class RequestQueue:
    """The polls to come of one star system; `tracked` are its backups by `key`, only read here."""

    def __init__(self, star_system: str, tracked: Mapping[BackupId, TrackedBackup], shared: PollingState) -> None:
        self.replan_at: float = math.inf  # when to replan at once, whatever else is due
        self._star_system = star_system
        self._tracked = tracked
        self._shared = shared
        self._lists = ListPolls(star_system, tracked, shared)
        self._gets: TimerQueue[TrackedBackup] = TimerQueue()
        self._new = NewBackups(self._lists, request_worth=shared.policy.request_worth)
        # By `key`; not attributes of the backups, because few backups have one.
        self._etags: dict[BackupId, str] = {}
        self._get_pauses: dict[BackupId, float] = {}
        self._planned = 0
        self._plan_until = -math.inf

    def add(self, backup: TrackedBackup, now: float, *, patient: bool) -> None:
        """Schedule the first poll of a new backup; a `patient` one of unknown age may wait a moment for others."""
        if backup.started_at is None:
            self.schedule_get(backup, self._new.add(backup, now, patient=patient))
        else:
            self._schedule_next(backup, now, since=backup.started_at)
        if len(self._tracked) >= 2 * max(1, self._planned):
            self.replan_at = min(self.replan_at, now)

    def remove(self, backup: TrackedBackup) -> None:
        """Remove a backup, which is no longer in `tracked`."""
        backup.state, backup.due = UNSCHEDULED, NEVER
        self._etags.pop(backup.key, None)
        self._get_pauses.pop(backup.key, None)
        if not self._tracked:
            self._gets.clear()
            self._lists.clear_all()
            self._new.clear()
            self._planned, self._plan_until, self.replan_at = 0, -math.inf, math.inf

    def set_etag(self, backup: TrackedBackup, etag: str | None) -> None:
        """Keep the entity tag of the last GET of a backup; None if it had none."""
        if etag is None:
            self._etags.pop(backup.key, None)
        else:
            self._etags[backup.key] = etag

    def next_poll_of(self, backup: TrackedBackup) -> tuple[str, float, bool]:
        """Return how a backup is polled next ("get" or "list"), when, and whether that request is in flight."""
        state = self._lists.find_covering(backup)
        if state is None:
            return "get", backup.due, backup.state is REQUESTED
        return "list", state.due, state.poll is not None

    def next_due(self) -> float:
        """Return when the next poll is due; infinity if none is scheduled."""
        return min(self._gets.next_time(), self._lists.next_due())

    def prepare_due(self, now: float) -> None:
        """Replan if it is time to, and merge new backups into a list."""
        if now >= min(self._plan_until, self.replan_at) or len(self._tracked) > self._planned * _GROWTH:
            self.replan(now)
        self._new.merge_due(now)

    def take_poll(self, now: float) -> Poll:
        """Return the poll that is due first, which is in flight from now on."""
        if self._lists.next_due() <= self._gets.next_time():
            self._new.gather_after(now)
            return self._lists.take_next(now)
        backup = self._gets.pop_first()
        backup.state = REQUESTED
        if backup.started_at is None:
            self._new.gather_after(now)
        return GetPoll(ref=backup.ref, sent=now, etag=self._etags.get(backup.key))

    def bring_forward(self, now: float) -> bool:
        """Make the list that is due next due now, if it may be sent early; return whether it may."""
        return self._lists.bring_forward(now)

    def spread_overdue(self, now: float, window: float) -> None:
        """Delay what is overdue by random parts of a window: a stall must not be followed by a burst."""
        self._lists.spread_overdue(now, window)
        for backup in self._gets.overdue_items(now):
            self.schedule_get(backup, now + self._shared.draw() * window)

    def schedule_get(self, backup: TrackedBackup, when: float) -> None:
        backup.state = SCHEDULED
        self._gets.schedule(backup, when)

    def schedule_after_get(self, backup: TrackedBackup, now: float, *, pause: float) -> None:
        """Schedule the next poll of a backup that a GET has shown in progress; `pause` is its `Retry-After`, or 0."""
        self._get_pauses.pop(backup.key, None)
        if pause:
            self._get_pauses[backup.key] = now + pause
            self.schedule_get(backup, now + pause)
        elif backup.unlisted:
            self.schedule_get(backup, now + self._shared.next_interval([backup], now))
        else:
            self._schedule_next(backup, now, since=now)

    def cover_by_list(self, backup: TrackedBackup, now: float) -> None:
        """Poll a backup that a list has shown by that list from now on."""
        backup.unlisted = False
        if backup.state is SCHEDULED and (state := self._lists.find_for(backup)) is not None:
            self._join_list(backup, state, now, since=now)

    def poll_now(self, backup: TrackedBackup, now: float) -> None:
        """Poll a backup now, unless a poll is in flight; a `Retry-After` of the server delays the poll."""
        state = self._lists.find_covering(backup)
        if state is not None:
            self._lists.schedule_by(state, now)
        elif backup.state is not REQUESTED:
            allowed = max(now, self._get_pauses.get(backup.key, now))
            self.schedule_get(backup, min(backup.due, allowed))

    def _schedule_next(self, backup: TrackedBackup, now: float, *, since: float) -> None:
        """Schedule the next poll of a backup that was last observed at a time, by a list if one is in use."""
        state = self._lists.find_for(backup)
        if state is None:
            self.schedule_get(backup, max(now, since + self._shared.next_interval([backup], since)))
        else:
            self._join_list(backup, state, now, since=since)

    def _join_list(self, backup: TrackedBackup, state: ListPollState, now: float, *, since: float) -> None:
        self._etags.pop(backup.key, None)
        self._lists.add_backup(backup, state, now, since=since)

    def is_list_needed(self, poll: ListPoll) -> bool:
        """Return True if a list is still in use and any of its backups is still tracked."""
        return self._lists.is_needed(poll)

    def record_list(
        self, poll: ListPoll, now: float, *, etag: str | None, newest_end: float, pause: float, useful: bool
    ) -> None:
        """Schedule what follows a processed list: the next one, and a GET of each backup that it did not show.

        `newest_end` is the latest end that it showed, negative infinity if unknown; it was `useful` if it showed any.
        """
        state = self._lists.finish_poll(poll)
        if state is None:
            return
        backups = self._lists.backups_of(state)
        state.etag = etag
        # It would have shown any earlier end, too.
        state.trusted_until = max(state.trusted_until, newest_end + self._shared.policy.maximum)
        self._get_missing(poll, backups, now)
        useful = useful or any(not backup.unlisted for backup in backups)
        self._schedule_list(state, backups, now, pause=pause, useful=useful)

    def record_unchanged_list(self, poll: ListPoll, now: float, *, pause: float) -> list[TrackedBackup]:
        """Schedule the next list after a 304; return the backups that are in progress according to it."""
        state = self._lists.finish_poll(poll)
        if state is None:
            return []
        backups = self._lists.backups_of(state)
        # A backup that was never observed is newer than the list, which has not changed since.
        confirmed = [each for each in backups if each.state is LISTED and each.polls and each.observed_at < poll.sent]
        self._schedule_list(state, backups, now, pause=pause, useful=True)
        return confirmed

    def abort_list(self, poll: ListPoll) -> list[TrackedBackup]:
        """Record that a list failed for good; return the backups that it covers."""
        state = self._lists.finish_poll(poll)
        backups = [] if state is None else self._lists.backups_of(state)
        return [backup for backup in backups if backup.state is LISTED]

    def refuse_list(self, poll: ListPoll, now: float) -> None:
        """Use other polls than a list that does not work, for a time."""
        self._lists.finish_poll(poll)
        self._pause_list(poll.planet, now)

    def retry_list(self, poll: ListPoll, when: float, now: float) -> None:
        """Schedule a list again after a transient failure."""
        state = self._lists.finish_poll(poll)
        if state is None:
            return
        self._lists.schedule_at(state, when)
        if self._lists.is_useless(state, useful=False):
            self._pause_list(state.planet, now)

    def cancel_list(self, poll: ListPoll, now: float) -> None:
        """Record that a list was not sent because it is no longer needed."""
        state = self._lists.finish_poll(poll)
        if state is not None:
            self._drop_list(state, now)

    def check_list_lag(self, backup: TrackedBackup, observation: Observation, listed_at: float, now: float) -> None:
        """Stop using a list for a time, if it showed a backup in progress long after the backup had ended.

        A GET has shown `observation`; the poll that last showed the backup in progress was sent at `listed_at`.
        """
        state = self._lists.find_for(backup)
        if state is not None and -math.inf < end_time(observation, now) < listed_at - self._shared.policy.maximum:
            self._pause_list(state.planet, now)

    def _get_missing(self, poll: ListPoll, backups: Iterable[TrackedBackup], now: float) -> None:
        for backup in backups:
            # One that was added after the list was sent cannot be in it.
            if backup.state is LISTED and backup.observed_at < poll.sent and backup.subscriptions[0].added <= poll.sent:
                backup.unlisted = True
                self.schedule_get(backup, now)

    def _schedule_list(
        self, state: ListPollState, backups: list[TrackedBackup], now: float, *, pause: float, useful: bool
    ) -> None:
        if useful:
            self._shared.costs.clear_pause((self._star_system, state.planet))
        if pause:
            self._shared.list_pauses.store((self._star_system, state.planet), now + pause)
        if not backups:
            self._drop_list(state, now)
            return
        if pause:
            self._lists.schedule_at(state, now + pause)
        else:
            interval = self._shared.next_interval(backups, now, cost=self._lists.cost_in_gets(state))
            self._lists.schedule_after(state, interval, now)
        if self._lists.is_useless(state, useful=useful):
            self._pause_list(state.planet, now)
        elif (suspect := self._lists.find_suspect(state, backups, now)) is not None:
            self.schedule_get(suspect, now)

    def _drop_list(self, state: ListPollState, now: float) -> None:
        self._lists.drop_list(state)
        self._plan_until = now

    def _pause_list(self, planet: str | None, now: float) -> None:
        self._shared.costs.pause_list((self._star_system, planet), now=now)
        self.replan(now)

    def replan(self, now: float) -> None:
        """Choose again which lists to use, and which backups they cover."""
        self._planned = len(self._tracked)
        self._plan_until, self.replan_at = now + self._shared.policy.maximum, math.inf
        if not self._shared.policy.coalesce or not self._tracked:
            return
        before = self._lists.replan(now)
        if before is not None:
            for backup in self._tracked.values():
                self._reassign(backup, before, now)
        self._lists.advance_all(now)

    def _reassign(self, backup: TrackedBackup, before: Mapping[str | None, float], now: float) -> None:
        """Assign a backup to a GET or a list by the new plan; it is polled no later than by the old one."""
        state = self._lists.find_for(backup)
        if backup.state is REQUESTED or backup.unlisted:
            return
        if state is None:
            if backup.state is LISTED:
                interval = 0.0 if backup.started_at is None else self._shared.next_interval([backup], now)
                self.schedule_get(backup, now + interval)
            return
        when = before.get(None, before.get(backup.planet, NEVER)) if backup.state is LISTED else backup.due
        if when < NEVER:
            self._lists.cover_backup(backup, state)
            self._lists.schedule_by(state, when)
        else:
            self._join_list(backup, state, now, since=now)
