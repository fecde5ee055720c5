"""What one star system is to be asked, and when: which flights by get, which by list, and when that is decided anew.

A flight is *single* while it is asked by get, and *listed* while a list stands for it (see `batches`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from asyncbackups._polling.due_queue import TimerQueue
from asyncbackups._polling.list_polls import ListPolls, ListPollState
from asyncbackups._polling.newcomers import Newcomers
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.staleness import ended, suspect
from asyncbackups._polling.tracked import ASKED, GetPoll, Observation, Poll, TrackedBackup

_GROWTH = 1.25
"""Once there are so many times the flights that were planned for, it is planned anew."""


class RequestQueue:
    """The requests to come of one star system.

    Args:
        star_system: Its id.
        flights: What is in flight there, by backup id; the star system's own, which this one only reads.
        knowledge: What all star systems share.

    Attributes:
        batches: The lists in use.
        plan_at: When it is to be planned anew at once, whatever else is due.
    """

    def __init__(self, star_system: str, flights: Mapping[int, TrackedBackup], knowledge: PollingState) -> None:
        self.batches: ListPolls = ListPolls(star_system, knowledge)
        self.plan_at: float = math.inf
        self._star_system = star_system
        self._flights = flights
        self._know = knowledge
        self._singles: TimerQueue[TrackedBackup] = TimerQueue()
        self._newcomers = Newcomers(self.batches, request_worth=knowledge.policy.request_worth)
        # Apart from the flights, because few have one.
        self._etags: dict[int, str] = {}
        self._rests: dict[int, float] = {}
        self._planned = 0
        self._plan_until = -math.inf

    # What is in flight

    def add(self, flight: TrackedBackup, now: float, *, patient: bool) -> None:
        """Take up a new flight, which is in `flights` already.

        Args:
            flight: Which.
            now: The time.
            patient: Whether one of unknown age may wait a moment for others.
        """
        if flight.started_at is None:
            self._singles.put(flight, self._newcomers.add(flight, now, patient=patient))
        else:
            self.ask_in_time(flight, now, since=flight.started_at)
        if len(self._flights) >= 2 * max(1, self._planned):
            self.plan_at = min(self.plan_at, now)

    def remove(self, flight: TrackedBackup) -> None:
        """Let go of a flight, which is no longer in `flights`."""
        flight.due = math.inf
        self._etags.pop(flight.backup_id, None)
        self._rests.pop(flight.backup_id, None)
        if not self._flights:
            self._singles.clear()
            self.batches.clear()
            self._newcomers.clear()
            self._planned, self._plan_until, self.plan_at = 0, -math.inf, math.inf

    def tag(self, flight: TrackedBackup, etag: str | None) -> None:
        """Remember the entity tag of a get's answer; None for none."""
        if etag is None:
            self._etags.pop(flight.backup_id, None)
        else:
            self._etags[flight.backup_id] = etag

    def route(self, flight: TrackedBackup) -> tuple[str, float]:
        """Return what will tell of a flight next ("get" or "list"), and when (`ASKED` while that is under way)."""
        batch = self._list_for(flight)
        return ("get", flight.due) if batch is None else ("list", batch.due)

    def _list_for(self, flight: TrackedBackup) -> ListPollState | None:
        """Return the list that stands for a flight; None while it is asked by get."""
        return self.batches.of(flight) if flight.due == math.inf else None

    # What is due

    def next_due(self) -> float:
        """Return when the next request is due; infinity for never."""
        return min(self._singles.next(), self.batches.next_due())

    def make_ready(self, now: float) -> None:
        """Plan anew where it is time to, and put together what may be asked about at once."""
        if now >= min(self._plan_until, self.plan_at) or len(self._flights) > self._planned * _GROWTH:
            self.plan(now)
        self._newcomers.fold(now)

    def take(self, now: float) -> Poll:
        """Return the request that is due first, which then counts as under way."""
        if self.batches.next_due() <= self._singles.next():
            self._newcomers.asked(now)
            return self.batches.issue(now)
        flight = self._singles.pop(due=ASKED)
        if flight.started_at is None:
            self._newcomers.asked(now)
        return GetPoll(ref=flight.ref, sent=now, etag=self._etags.get(flight.backup_id))

    def spread(self, now: float, window: float) -> None:
        """Put what is overdue off by random parts of a window: after a stall there must be no burst."""
        self.batches.spread(now, window)
        for flight in self._singles.overdue(now):
            self._singles.put(flight, now + self._know.draw() * window)

    # When to ask about a flight

    def ask_at(self, flight: TrackedBackup, when: float) -> None:
        """Ask about a flight by get."""
        self._singles.put(flight, when)

    def ask_in_time(self, flight: TrackedBackup, now: float, *, since: float) -> None:
        """Ask about a flight of which nothing is known since a time, by a list where there is one."""
        batch = self.batches.of(flight)
        if batch is None:
            self._singles.put(flight, max(now, since + self._know.gap([flight], since)))
        else:
            self._join(flight, batch, now, since=since)

    def ask_again(self, flight: TrackedBackup, now: float, *, rest: float) -> None:
        """Ask again about a flight that a get has told of.

        Args:
            flight: Which.
            now: The time.
            rest: For how many seconds the server does not want to be asked; 0 where it did not say.
        """
        self._rests.pop(flight.backup_id, None)
        if rest:
            self._rests[flight.backup_id] = now + rest
            self._singles.put(flight, now + rest)
        elif flight.unlisted:
            self._singles.put(flight, now + self._know.gap([flight], now))
        else:
            self.ask_in_time(flight, now, since=now)

    def listed(self, flight: TrackedBackup, now: float) -> None:
        """Let the list that showed a flight stand for it from now on."""
        flight.unlisted = False
        if math.isfinite(flight.due) and (batch := self.batches.of(flight)) is not None:
            self._join(flight, batch, now, since=now)

    def look_once_more(self, flight: TrackedBackup, now: float, *, since: float) -> None:
        """Ask about a flight now, unless something is known of it since a time, or it is being asked about."""
        # One that was not found is looked for again soon: that it is gone must not be concluded at once.
        if flight.told >= since or flight.due == ASKED or flight.missing:
            return
        batch = self._list_for(flight)
        if batch is None:
            allowed = max(now, self._rests.get(flight.backup_id, now))
            self._singles.put(flight, min(flight.due, allowed))
        elif batch.poll is None:
            self.batches.ask_by(batch, now)

    def _join(self, flight: TrackedBackup, batch: ListPollState, now: float, *, since: float) -> None:
        self._etags.pop(flight.backup_id, None)
        self.batches.join(flight, batch, now, since=since)

    # Lists

    def go_on(
        self, batch: ListPollState, covered: Collection[TrackedBackup], now: float, *, rest: float, useful: bool
    ) -> None:
        """See to it that a list is asked for again, if it is of any use.

        Args:
            batch: Which.
            covered: What it stands for.
            now: The time.
            rest: For how many seconds the server does not want to be asked for it; 0 where it did not say.
            useful: Whether it told of any of them.
        """
        if useful:
            self._know.costs.worked((self._star_system, batch.planet))
        if rest:
            self.batches.rest(batch, now + rest)
        if not covered:
            self.batches.drop(batch)
            self._plan_until = now
            return
        if rest:
            self.batches.ask_at(batch, now + rest)
        else:
            self.batches.ask_in(batch, self._know.gap(list(covered), now, cost=self.batches.cost(batch)), now)
        if self.batches.judge(batch, useful=useful):
            self.refuse(batch.planet, now)
        else:
            self._check(batch, covered, now)

    def _check(self, batch: ListPollState, covered: Iterable[TrackedBackup], now: float) -> None:
        """Now and then ask by get about the backup that should have ended most surely: lists may be far behind."""
        overdue = suspect(covered, self._know, now) if now >= batch.believed_until else None
        if overdue is not None:
            batch.believed_until = now + self._know.policy.maximum
            self._singles.put(overdue, now)

    def try_again(self, batch: ListPollState, when: float, now: float) -> None:
        """Ask for a list again that failed for the moment."""
        self.batches.ask_at(batch, when)
        if self.batches.judge(batch, useful=False):
            self.refuse(batch.planet, now)

    def hold_list_to(self, flight: TrackedBackup, sighting: Observation, told: float, now: float) -> None:
        """Give a list up for a time that showed a backup as running long after it had ended."""
        batch = self.batches.of(flight)
        if batch is not None and -math.inf < ended(sighting, now) < told - self._know.policy.maximum:
            self.refuse(batch.planet, now)

    def refuse(self, planet: str | None, now: float) -> None:
        """Give a list up for a time: that of a planet, or of the star system."""
        self._know.costs.refused((self._star_system, planet), now=now)
        self.plan(now)

    # The plan

    def plan(self, now: float) -> None:
        """Decide anew which lists stand for which gets."""
        self._planned = len(self._flights)
        self._plan_until, self.plan_at = now + self._know.policy.maximum, math.inf
        if not self._know.policy.coalesce or not self._flights:
            return
        before = self.batches.choose(self._flights, now)
        if before is not None:
            for flight in self._flights.values():
                self._assign(flight, before, now)
        self.batches.hasten(self._flights, now)

    def _assign(self, flight: TrackedBackup, before: Mapping[str | None, float], now: float) -> None:
        """Put a flight where the new plan wants it; it is asked no later than before, as far as that was known."""
        batch = self.batches.of(flight)
        if flight.due == ASKED or flight.unlisted:
            return
        if batch is None:
            if flight.due == math.inf:
                self._singles.put(flight, now if flight.started_at is None else now + self._know.gap([flight], now))
            return
        when = flight.due
        if when == math.inf:
            when = before.get(None, before.get(flight.planet, math.inf))
        if math.isfinite(when):
            self.batches.stand_for(flight, batch)
            self.batches.ask_by(batch, when)
        else:
            self._join(flight, batch, now, since=now)
