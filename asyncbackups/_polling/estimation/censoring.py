"""Which durations may be recorded yet: those of backups whose cohort has nearly finished.

Of backups that started together, the quick ones finish first. An estimate from them alone expects the others to be as
quick, and polls them far too often (the durations are right-censored). So a duration is held back until nearly all
backups that started no later have finished, too; then the whole cohort is recorded, without bias. If backups start all
the time, or one after the other, that is soon. Only while nothing is known yet, a third is enough.

Nor may the last ones to finish be the newest observations: they are the slow ones, and would look like a workload that
has become slow. So each duration gets a random place among the others of its cohort, as if it had finished with them;
and of very many the same share is recorded before and after.
"""

from __future__ import annotations

import math
from collections import Counter

import attrs
import msgspec

from asyncbackups._base.containers import LruDict

_NEARLY_ALL = 0.9  # durations are released once this part of the backups that started no later has finished
_FIRST_PART = 1 / 3
"""While nothing else is known, this part is enough: a biased estimate is better than none, by a fifth in delay and
cost."""
_ENOUGH = 8  # this many unbiased durations count as something known
_SCOPES_KEPT = 4096  # for this many scopes the number of unbiased durations is remembered
_HELD_BACK = 256  # at most this many durations are held back per scope; of more, an even share is kept
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, modulo one, are spread evenly: a shuffle without random numbers (H. Weyl's sequence)."""
_CHECKS = 8  # a scope is checked for release whenever one in this many of the durations held back is new
_COHORTS_APART = 64
"""Finished backups are counted separately for this many cohorts, so that one backup that never ends does not make the
counts grow with the days."""
_NEAR = 2
"""A backup that started this few cohorts before the oldest running one may have started with it: the start is given by
the server's clock, not ours."""

ScopeKey = tuple[str | None, str | None]
"""Durations that are held back together: a star system, or None for all; and a mechanism, or None if unknown."""


class FinishedBackup(msgspec.Struct, frozen=True, gc=False):
    """The cohort, the planet and the duration in seconds of a finished backup."""

    cohort: int
    planet: str | None
    seconds: float


class PlacedBackup(msgspec.Struct, frozen=True, gc=False):
    """A finished backup, and its place among all that are recorded: the newer, the higher."""

    place: float
    finished: FinishedBackup


@attrs.define(eq=False)
class _CensoredScope:
    """The running backups and the durations held back of one scope."""

    running: Counter[int] = attrs.field(factory=Counter)  # how many backups are tracked, by cohort
    # How many have finished, by cohort, back to the oldest that runs; old cohorts are merged.
    over: Counter[int] = attrs.field(factory=Counter)
    held: list[PlacedBackup] = attrs.field(factory=list)  # the finished backups, each with a number from [0, 1)
    least: float = 0.0  # backups with a lower number are not kept
    released: float = -math.inf  # the last cohort that was released while backups ran that started no later
    share: float = 0.0  # the value of `least` at that release
    unbiased: int = 0  # how many backups of nearly finished cohorts were released
    unchecked: int = 0  # how many have finished since the last check for release

    def remove_running(self, cohort: int) -> None:
        self.running[cohort] -= 1
        if not self.running[cohort]:
            del self.running[cohort]

    def hold_back(self, finished: FinishedBackup, number: float) -> None:
        """Hold back a finished backup, under a number from [0, 1)."""
        self.over[finished.cohort] += 1
        self.unchecked += 1
        if number >= (self.share if finished.cohort <= self.released else self.least):
            self.held.append(PlacedBackup(number, finished))
        if len(self.held) > _HELD_BACK:
            self.least = (1 + self.least) / 2
            self.held = [placed for placed in self.held if placed.place >= self.least]
        if len(self.over) > 2 * _COHORTS_APART:
            self._merge_cohorts(sorted(self.over)[:-_COHORTS_APART])

    def _merge_cohorts(self, cohorts: list[int]) -> None:
        """Count the finished backups of some cohorts, ascending, in the last of them."""
        self.over[cohorts[-1]] = sum(self.over.pop(cohort) for cohort in cohorts)

    def take_released(self) -> list[PlacedBackup]:
        """Return what need not be held back any more, and stop holding it back."""
        if self.running and self.unchecked * _CHECKS < max(len(self.held), len(self.running) // _CHECKS):
            return []
        self.unchecked = 0
        nearly = self._last_cohort_over(_NEARLY_ALL)
        last = max(self.released, nearly if self.is_known else self._last_cohort_over(_FIRST_PART))
        free = [placed for placed in self.held if placed.finished.cohort <= last]
        self.unbiased += sum(placed.finished.cohort <= nearly for placed in free)
        self.held = [placed for placed in self.held if placed.finished.cohort > last]
        return self._assign_places(free)

    def _assign_places(self, free: list[PlacedBackup]) -> list[PlacedBackup]:
        """Assign places to what is released: among what was released before, if it started no later."""
        newest = max((placed.finished.cohort for placed in free), default=-math.inf)
        if newest > self.released:
            self.released, self.share = newest, self.least
        result = [PlacedBackup(self.released + placed.place, placed.finished) for placed in free]
        if not self.held:
            self.least = 0.0
        if not self.running:
            self.released, self.share = -math.inf, 0.0
        return result

    @property
    def is_known(self) -> bool:
        """Whether enough unbiased durations were recorded."""
        return self.unbiased >= _ENOUGH

    def _last_cohort_over(self, part: float) -> float:
        """Return the last cohort up to which the given part of all backups has finished."""
        if not self.running:
            self.over.clear()
            return math.inf
        oldest, last = min(self.running), -math.inf
        for cohort in [cohort for cohort in self.over if cohort < oldest]:
            del self.over[cohort]
        running = over = 0
        for cohort in sorted(self.running.keys() | self.over.keys()):
            running, over = running + self.running.get(cohort, 0), over + self.over.get(cohort, 0)
            if over >= part * (running + over):
                last = cohort
        return max(last, oldest - _NEAR)


class Cohorts:
    """All tracked backups by start time; those that start within `width` seconds are one cohort."""

    def __init__(self, width: float) -> None:
        self._width = width
        self._latest = 0
        self._count = 0
        self._scopes: dict[ScopeKey, _CensoredScope] = {}
        self._unbiased: LruDict[ScopeKey, int] = LruDict(_SCOPES_KEPT)

    def cohort_at(self, started_at: float) -> int:
        """Return the cohort of a start time, in seconds of the monotonic clock."""
        cohort = math.floor(started_at / self._width)
        if cohort != self._latest:
            self._latest = cohort
        return self._latest  # one object for equal cohorts: a million tracked backups hold one each

    def add_running(self, cohort: int, star_system: str, mechanism: str | None) -> None:
        for scope in (star_system, None):
            self._scope_for((scope, mechanism)).running[cohort] += 1

    def remove_running(self, cohort: int, star_system: str, mechanism: str | None) -> None:
        """Undo `add_running`, given the same arguments."""
        for scope in (star_system, None):
            self._scopes[scope, mechanism].remove_running(cohort)
            self._drop_idle((scope, mechanism))

    def record_finished(
        self, finished: FinishedBackup, star_system: str, mechanism: str | None
    ) -> dict[str | None, list[PlacedBackup]]:
        """Record that a backup has finished, and is not counted as running any more.

        Returns:
            The durations that may be recorded now: for the star system, and for all (None).
        """
        free = {}
        self._count += 1
        number = self._count * _GOLDEN % 1
        for scope in (star_system, None):
            found = self._scope_for((scope, mechanism))
            found.hold_back(finished, number)
            free[scope] = found.take_released()
            self._drop_idle((scope, mechanism))
        return free

    def _scope_for(self, key: ScopeKey) -> _CensoredScope:
        found = self._scopes.get(key)
        if found is None:
            found = self._scopes[key] = _CensoredScope(unbiased=self._unbiased.look_up(key) or 0)
        return found

    def _drop_idle(self, key: ScopeKey) -> None:
        scope = self._scopes[key]
        if not scope.running and not scope.held:
            del self._scopes[key]
            self._unbiased.store(key, scope.unbiased)
