"""Which lists stand for which gets in a star system, and when each list is due.

A flight is *listed* while a list stands for it: its own `due` is infinite.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

import attrs

from asyncbackups._polling import cost_model as planner
from asyncbackups._polling.due_queue import TimerQueue
from asyncbackups._polling.poll_interval import SAMPLE
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import ASKED, ListPoll, TrackedBackup

_LIST_FAULTS = 3
"""How many times in a row a list may be of no use before gets are tried instead."""
_MOST_PLANETS = 512
"""A list of their own is considered for so many planets: those with the most flights."""
_SLACK = 0.2
"""A list may go by so much of its pause sooner, along with another request: times so much less regular cost a third of
a per cent in delay at equal requests, and two of three lists no longer wake the process."""
_LOOKED_AT = 2048
"""How many flights are looked at to choose lists, at the most."""


@attrs.define(eq=False)
class ListPollState:
    """A list, and the flights that it stands for.

    Attributes:
        planet: Of which planet it is; None for all of the star system.
        due: When it is to be asked for; `ASKED` while that is under way, infinity while nobody needs it.
        ripe: From when on it may go along with another request.
        poll: The request that is under way.
        joined: Whether flights joined since the last request left: then a 304 would not tell of them.
        etag: The entity tag of the last answer.
        believed_until: Until then what it shows as running is taken to run.
        faults: How many times in a row it failed, or told of none of the flights.
        members: Of a planet's list, the flights that joined it, some of which may be over; a star system's has all.
    """

    planet: str | None
    due: float = math.inf
    ripe: float = math.inf
    poll: ListPoll | None = None
    joined: bool = True
    etag: str | None = None
    believed_until: float = -math.inf
    faults: int = 0
    members: dict[int, TrackedBackup] = attrs.field(factory=dict)


class ListPolls:
    """The lists that are in use in one star system.

    Args:
        star_system: Its id.
        knowledge: What all star systems share.
    """

    def __init__(self, star_system: str, knowledge: PollingState) -> None:
        self._star_system = star_system
        self._know = knowledge
        self._in_use: dict[str | None, ListPollState] = {}
        self._queue: TimerQueue[ListPollState] = TimerQueue()

    def of(self, flight: TrackedBackup) -> ListPollState | None:
        """Return the list that may stand for a flight."""
        if not self._in_use:
            return None
        return self._in_use.get(None) or (self._in_use.get(flight.planet) if flight.planet is not None else None)

    def covered(self, batch: ListPollState, flights: Mapping[int, TrackedBackup]) -> list[TrackedBackup]:
        """Return those of the flights that a list covers."""
        if batch.planet is None:
            return list(flights.values())
        batch.members = {number: flight for number, flight in batch.members.items() if flights.get(number) is flight}
        return list(batch.members.values())

    def cost(self, batch: ListPollState) -> float:
        """Return what a list costs, in gets."""
        return self._know.costs.of_list((self._star_system, batch.planet))

    # When each is due

    def next_due(self) -> float:
        """Return when the first list is due that is not under way; infinity where there is none."""
        return self._queue.next()

    def issue(self, now: float) -> ListPoll:
        """Ask for the list that is due first."""
        batch = self._queue.pop(due=ASKED)
        etag = None if batch.joined else batch.etag
        batch.joined = False
        batch.poll = ListPoll(star_system=self._star_system, planet=batch.planet, sent=now, etag=etag)
        return batch.poll

    def answered(self, poll: ListPoll) -> ListPollState | None:
        """Take note that a request is over; returns its list, or None where it was given up meanwhile."""
        batch = self._in_use.get(poll.planet)
        if batch is None or batch.poll is not poll:
            return None
        batch.poll, batch.due = None, math.inf
        return batch

    def ask_at(self, batch: ListPollState, when: float) -> None:
        """Let a list be due at a time, and not before; nor before the server wants to be asked for it."""
        batch.ripe = when = self._allowed(batch, when)
        self._queue.put(batch, when)

    def ask_in(self, batch: ListPollState, pause: float, now: float) -> None:
        """Let a list be due after a pause, or a little sooner along with something else."""
        self.ask_at(batch, now + pause)
        batch.ripe = self._allowed(batch, now + pause * (1 - _SLACK))

    def bring_forward(self, now: float) -> bool:
        """Let the list that is due next be due now, if it may go along with something else; returns whether it is."""
        batch = self._queue.first()
        if batch is None or batch.ripe > now:
            return False
        self._queue.put(batch, now)
        return True

    def ask_by(self, batch: ListPollState, when: float) -> None:
        """Let a list be due at a time, unless it is earlier; one that is under way is seen to when its answer comes."""
        if self._allowed(batch, when) < batch.due:
            self.ask_at(batch, when)

    def rest(self, batch: ListPollState, until: float) -> None:
        """Do not ask for a list before a time, whoever needs it: the server wants that."""
        self._know.rests.store((self._star_system, batch.planet), until)

    def _allowed(self, batch: ListPollState, when: float) -> float:
        return max(when, self._know.rests.get((self._star_system, batch.planet), -math.inf))

    def join(self, flight: TrackedBackup, batch: ListPollState, now: float, *, since: float) -> None:
        """Let a list stand for a flight; it is asked for no later than the flight alone would be worth it.

        Args:
            flight: Which.
            batch: The list.
            now: The time.
            since: Since when nothing is known of it.
        """
        self.stand_for(flight, batch)
        if batch.poll is None:
            self.ask_by(batch, max(now, since + self._know.gap([flight], since, cost=self.cost(batch))))

    def hasten(self, flights: Mapping[int, TrackedBackup], now: float) -> None:
        """Let each list be due no later than it is worth it for all that it stands for together."""
        for batch in self._in_use.values():
            together = [flight for flight in self.covered(batch, flights) if flight.due == math.inf]
            if batch.poll is None and together:
                self.ask_by(batch, now + self._know.gap(together, now, cost=self.cost(batch)))

    @staticmethod
    def stand_for(flight: TrackedBackup, batch: ListPollState) -> None:
        """Let a list stand for a flight, without seeing to it that the list is due."""
        flight.due = math.inf
        batch.joined = True
        if batch.planet is not None:
            batch.members[flight.backup_id] = flight

    def spread(self, now: float, window: float) -> None:
        """Put the lists that are overdue off by random parts of a window."""
        for batch in self._queue.overdue(now):
            self.ask_at(batch, now + self._know.draw() * window)

    # Which are in use

    def judge(self, batch: ListPollState, *, useful: bool) -> bool:
        """Count how often a list was of no use; returns whether that is enough to give it up for a time."""
        batch.faults = 0 if useful else batch.faults + 1
        return batch.faults >= _LIST_FAULTS

    def drop(self, batch: ListPollState) -> None:
        """No longer use a list that covers nothing."""
        del self._in_use[batch.planet]
        batch.due = math.inf

    def clear(self) -> None:
        """No longer use any."""
        self._in_use.clear()
        self._queue.clear()

    def choose(self, flights: Mapping[int, TrackedBackup], now: float) -> dict[str | None, float] | None:
        """Choose anew which lists are in use.

        Returns:
            When those were due that were in use before, by planet; None where nothing has changed.
        """
        loads = self._loads(flights, now)
        chosen = planner.plan(self._star_system, loads, self._know.costs, now=now)
        planets: set[str | None] = {None} if chosen.star_system else set(chosen.planets)
        before = self._in_use
        if planets == before.keys():
            return None
        self._in_use = {planet: before.get(planet) or ListPollState(planet) for planet in planets}
        dues = {planet: batch.due for planet, batch in before.items()}
        for planet in before.keys() - planets:
            before[planet].due = math.inf
        return dues

    def _loads(self, flights: Mapping[int, TrackedBackup], now: float) -> dict[str | None, planner.PollingLoad]:
        by_planet: dict[str | None, list[TrackedBackup]] = {}
        for flight in flights.values():
            by_planet.setdefault(flight.planet, []).append(flight)
        several = [planet for planet, of in by_planet.items() if planet is not None and len(of) > 1]
        apart = heapq.nlargest(_MOST_PLANETS, several, key=lambda planet: len(by_planet[planet]))
        groups: dict[str | None, list[TrackedBackup]] = {planet: by_planet.pop(planet) for planet in apart}
        groups[None] = [flight for of in by_planet.values() for flight in of]
        sample = max(1, min(SAMPLE, _LOOKED_AT // len(groups)))
        return {planet: self._know.load(of, now, sample=sample) for planet, of in groups.items() if of}
