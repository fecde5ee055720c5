"""What a list teaches of how long backups take: from those in it that are finished, each once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from asyncbackups._polling.cost_model import Where
from asyncbackups._polling.estimation.censoring import Finished
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import ListEntryLike, Observation, TrackedBackup

NO_INSTANT = "3000"
"""What is greater, compared as text, is no `completedAt`: another word, or a time that nobody has seen."""
_AHEAD = 60.0
"""Seconds by which a backup may seem to have taken longer than it is old: clocks disagree. More is nonsense."""

_PER_LIST = 256
"""How many finished backups of one list are learned from: older news fades anyway."""


class Lesson:
    """Picks from one list what is finished and was not learned from, by when it was completed and not by its id.

    A backup may well be finished long after those with higher ids; to leave it out would be to learn from quick ones.

    Args:
        knowledge: What is known so far.
        where: Which list.
        latest: What `completedAt` cannot be later than, as ISO 8601 writes it.
    """

    def __init__(self, knowledge: PollingState, where: Where, latest: str = NO_INSTANT) -> None:
        self._know = knowledge
        self._where = where
        self._latest = latest
        self._known = self._newest = knowledge.learned_until.get(where, "")
        self._found: list[tuple[str, int]] = []

    def look_at(self, entry: ListEntryLike, *, watched: bool) -> None:
        """Consider an entry; what is watched teaches in its own way, and was seen here, too."""
        stamp = entry.completedAt
        if not isinstance(stamp, str) or not self._known < stamp <= self._latest:
            return
        self._newest = max(self._newest, stamp)
        if not watched and (self._where[0], entry.id) not in self._know.learned:
            self._found.append((stamp, entry.id))

    def chosen(self) -> set[int]:
        """Return the ids to learn from: the newest, if there are many. They will not be chosen again."""
        if not self._know.policy.learn:
            return set()
        if self._newest > self._known:
            self._know.learned_until.store(self._where, self._newest)
        return {backup_id for _, backup_id in heapq.nlargest(_PER_LIST, self._found)}


def learn_watched(
    knowledge: PollingState, flight: TrackedBackup, sighting: Observation, cohort: int | None, now: float
) -> None:
    """Learn from a flight that has ended, and has left its cohort; None where it was seen for the first time."""
    knowledge.learned.store((flight.star_system, flight.backup_id), None)
    if cohort is None:
        learn(knowledge, (flight.star_system, flight.planet), [sighting], now, mechanism=flight.mechanism)
    elif (took := _took(sighting)) is not None:
        # Not by its age: what time it is there is known to a second or so, and may have been taken for another before.
        _finished(knowledge, flight.star_system, flight.mechanism, Finished(cohort, flight.planet, took))


def learn(
    knowledge: PollingState, where: Where, sightings: Iterable[Observation], now: float, *, mechanism: str | None = None
) -> None:
    """Learn how long backups took, in the order in which they began: the newest is believed most.

    Args:
        knowledge: What is known so far.
        where: Which list showed them.
        sightings: What it showed.
        now: The time.
        mechanism: How those were made that do not say so, where that is known.
    """
    found: list[tuple[Finished, str | None]] = []
    for sighting in sightings:
        if (took := _took(sighting)) is not None:
            began = now - (took if sighting.age is None else sighting.age)
            one = Finished(knowledge.cohorts.of(began), where[1], took)
            found.append((one, sighting.backup.mechanism or mechanism))
    for one, made in sorted(found, key=lambda pair: pair[0].cohort):
        _finished(knowledge, where[0], made, one)


def _took(sighting: Observation) -> float | None:
    """Return how long a backup took; None where its sighting does not say, or says what cannot be."""
    took, age = sighting.duration, sighting.age
    return None if took is None or (age is not None and took > age + _AHEAD) else took


def _finished(knowledge: PollingState, star_system: str, mechanism: str | None, one: Finished) -> None:
    """Learn what may be learned from now that one more has finished."""
    for scope, released in knowledge.cohorts.finished(one, star_system, mechanism).items():
        for placed in released:
            each = placed.one
            knowledge.durations.observe_at(scope, each.planet, mechanism, each.seconds, place=placed.place)
