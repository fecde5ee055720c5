"""What a list teaches of how long backups take: from those in it that are finished, each once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from asyncbackups.polling.cohorts import Finished
from asyncbackups.polling.flights import Entry, Flight, Sighting
from asyncbackups.polling.knowledge import Knowledge
from asyncbackups.polling.planner import Where

__all__ = ["Lesson", "learn", "learn_watched"]

_PER_LIST = 256
"""How many finished backups of one list are learned from: older news fades anyway."""


class Lesson:
    """Picks from one list what is finished and was not learned from, by when it was completed and not by its id.

    A backup may well be finished long after those with higher ids; to leave it out would be to learn from quick ones.

    Args:
        knowledge: What is known so far.
        where: Which list.
    """

    def __init__(self, knowledge: Knowledge, where: Where) -> None:
        self._know = knowledge
        self._where = where
        self._known = self._newest = knowledge.learned_until.get(where, "")
        self._found: list[tuple[str, int]] = []

    def look_at(self, entry: Entry, *, watched: bool) -> None:
        """Consider an entry; what is watched teaches in its own way, and was seen here, too."""
        stamp = entry.completedAt
        if not isinstance(stamp, str) or stamp <= self._known:
            return
        self._newest = max(self._newest, stamp)
        if not watched and (self._where[0], entry.id) not in self._know.learned:
            self._found.append((stamp, entry.id))

    def chosen(self) -> set[int]:
        """Return the ids to learn from: the newest, if there are many. They will not be chosen again."""
        if not self._know.policy.learn:
            return set()
        if self._newest > self._known:
            self._know.learned_until.remember(self._where, self._newest)
        return {backup_id for _, backup_id in heapq.nlargest(_PER_LIST, self._found)}


def learn_watched(knowledge: Knowledge, flight: Flight, sighting: Sighting, cohort: int | None, now: float) -> None:
    """Learn from a flight that has ended, and has left its cohort; None where it was seen for the first time."""
    knowledge.learned.remember((flight.star_system, flight.backup_id), None)
    if cohort is None:
        learn(knowledge, (flight.star_system, flight.planet), [sighting], now)
    elif sighting.duration is not None:
        # Not by its age: what time it is there is known to a second or so, and may have been taken for another before.
        one = Finished(cohort, flight.planet, sighting.duration)
        _finished(knowledge, flight.star_system, sighting.backup.mechanism, one)


def learn(knowledge: Knowledge, where: Where, sightings: Iterable[Sighting], now: float) -> None:
    """Learn how long backups took, in the order in which they began: the newest is believed most."""
    found: list[tuple[Finished, str | None]] = []
    for sighting in sightings:
        if sighting.duration is not None:
            began = now - (sighting.duration if sighting.age is None else sighting.age)
            one = Finished(knowledge.cohorts.of(began), where[1], sighting.duration)
            found.append((one, sighting.backup.mechanism))
    for one, mechanism in sorted(found, key=lambda pair: pair[0].cohort):
        _finished(knowledge, where[0], mechanism, one)


def _finished(knowledge: Knowledge, star_system: str, mechanism: str | None, one: Finished) -> None:
    """Learn what may be learned from now that one more has finished."""
    for scope, released in knowledge.cohorts.finished(one, star_system, mechanism).items():
        for placed in released:
            each = placed.one
            knowledge.durations.observe_at(scope, each.planet, mechanism, each.seconds, place=placed.place)
