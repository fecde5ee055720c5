"""What a list teaches of how long backups take: from those in it that are finished, each once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from asyncbackups.polling.flights import Entry, Sighting
from asyncbackups.polling.knowledge import Knowledge
from asyncbackups.polling.planner import Where

__all__ = ["Lesson", "learn"]

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
        self._known = knowledge.learned_until.get(where, "")
        self._found: list[tuple[str, int]] = []

    def look_at(self, entry: Entry) -> None:
        """Consider an entry that nobody waits for."""
        stamp = entry.completedAt
        if isinstance(stamp, str) and stamp > self._known:
            self._found.append((stamp, entry.id))

    def chosen(self) -> set[int]:
        """Return the ids to learn from: the newest, if there are many. They will not be chosen again."""
        if not self._know.policy.learn or not self._found:
            return set()
        self._know.learned_until.remember(self._where, max(self._found)[0])
        return {backup_id for _, backup_id in heapq.nlargest(_PER_LIST, self._found)}


def learn(knowledge: Knowledge, where: Where, sightings: Iterable[Sighting]) -> None:
    """Learn how long backups took, in the order in which they were completed: the newest is believed most."""
    finished = [(str(one.backup.completed_at), one.duration, one) for one in sightings if one.duration is not None]
    for _, duration, one in sorted(finished, key=lambda each: each[0]):
        knowledge.durations.observe(*where, one.backup.mechanism, duration)
