"""Which finished backups may be learned from yet: those of a cohort that is nearly over.

Of backups that began together the quick ones finish first. Whoever learns from them at once expects the others to be
as quick, and asks about them far too often (the durations are right-censored). So what finishes is held back until
nearly all that began no later have finished, too; then the whole cohort is learned from, without bias. Where backups
begin all the time, or one after the other, that is soon. Only where nothing is known yet a third is enough.

Nor must the last of them be the last that is remembered: slow ones only, they would look like a world that has become
slow. So each gets a place among the others at random, as if it had finished with them; and of very many the same share
is learned from before and after. Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from collections import Counter

import attrs
import msgspec

from asyncbackups._base.lru import LruDict

_NEARLY = 0.9
"""Once so much of what began no later is over, what is over is learned from."""
_AT_FIRST = 1 / 3
"""Where nothing else is known, so much is enough: what is biased is better than nothing, a fifth in delay and cost."""
_ENOUGH = 8
"""So many without bias are something else."""
_KINDS = 4096
"""Of so many kinds it is remembered how much is known of them."""
_HELD = 256
"""So many finished backups are held back for each scope; of more, an even share is."""
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, modulo one, are spread evenly: the usual shuffle without randomness (H. Weyl's sequence)."""
_OFTEN = 8
"""It is looked whether a cohort is nearly over whenever this part of what is held back is new."""
_APART = 64
"""Of so many cohorts it is known apart how many are over: one that never ends must not make this grow with the days."""
_NEAR = 2
"""So near to the oldest that runs, what is over may well have begun with it: the server's clock says when, not ours."""

Kind = tuple[str | None, str | None]
"""What is learned together: a star system, or None for all; and a mechanism, or None where it is unknown."""


class Finished(msgspec.Struct, frozen=True, gc=False):
    """How long a backup took, of which planet it was, and when it began (the index of its cohort)."""

    cohort: int
    planet: str | None
    seconds: float


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A finished backup, and its place among all that are learned from: the newer, the higher."""

    place: float
    one: Finished


@attrs.define(eq=False)
class _Scope:
    """What is running and what is held back of one kind.

    Attributes:
        running: How many are under watch, by cohort.
        over: How many have finished, by cohort, as far back as the oldest that runs; old cohorts are put together.
        held: What is held back, each with a number from [0, 1).
        least: Only what has at least this number is.
        released: The last cohort that was released while others ran that began no later.
        share: What `least` was for that.
        unbiased: How many were released of cohorts that were nearly over.
        news: How many have finished since it was last looked what need not be held back any more.
    """

    running: Counter[int] = attrs.field(factory=Counter)
    over: Counter[int] = attrs.field(factory=Counter)
    held: list[Placed] = attrs.field(factory=list)
    least: float = 0.0
    released: float = -math.inf
    share: float = 0.0
    unbiased: int = 0
    news: int = 0

    def leave(self, cohort: int) -> None:
        """Take note that one is no longer under watch."""
        self.running[cohort] -= 1
        if not self.running[cohort]:
            del self.running[cohort]

    def hold(self, one: Finished, number: float) -> None:
        """Hold back a finished one, which has drawn a number from [0, 1)."""
        self.over[one.cohort] += 1
        self.news += 1
        if number >= (self.share if one.cohort <= self.released else self.least):
            self.held.append(Placed(number, one))
        if len(self.held) > _HELD:
            self.least = (1 + self.least) / 2
            self.held = [drawn for drawn in self.held if drawn.place >= self.least]
        if len(self.over) > 2 * _APART:
            self._put_together(sorted(self.over)[:-_APART])

    def _put_together(self, cohorts: list[int]) -> None:
        """Count what is over of some cohorts, ascending, as of the last of them."""
        self.over[cohorts[-1]] = sum(self.over.pop(cohort) for cohort in cohorts)

    def release(self) -> list[Placed]:
        """Return what need not be held back any more."""
        if self.running and self.news * _OFTEN < max(len(self.held), len(self.running) // _OFTEN):
            return []
        self.news = 0
        nearly = self._over_up_to(_NEARLY)
        last = max(self.released, nearly if self.known else self._over_up_to(_AT_FIRST))
        free = [drawn for drawn in self.held if drawn.one.cohort <= last]
        self.unbiased += sum(drawn.one.cohort <= nearly for drawn in free)
        self.held = [drawn for drawn in self.held if drawn.one.cohort > last]
        return self._placed(free)

    def _placed(self, free: list[Placed]) -> list[Placed]:
        """Give what is released its places: with what was released before, if it began no later."""
        newest = max((drawn.one.cohort for drawn in free), default=-math.inf)
        if newest > self.released:
            self.released, self.share = newest, self.least
        placed = [Placed(self.released + drawn.place, drawn.one) for drawn in free]
        if not self.held:
            self.least = 0.0
        if not self.running:
            self.released, self.share = -math.inf, 0.0
        return placed

    @property
    def known(self) -> bool:
        """Whether enough was learned of this kind, without bias."""
        return self.unbiased >= _ENOUGH

    def _over_up_to(self, part: float) -> float:
        """Return the last cohort up to which such a part of all is over."""
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
    """Everything under watch, by when it began.

    Args:
        width: What began within so many seconds is one cohort.
    """

    def __init__(self, width: float) -> None:
        self._width = width
        self._latest = 0
        self._finished = 0
        self._scopes: dict[Kind, _Scope] = {}
        self._unbiased: LruDict[Kind, int] = LruDict(_KINDS)

    def of(self, born: float) -> int:
        """Return the cohort of what began at a time, in seconds of the monotonic clock."""
        cohort = math.floor(born / self._width)
        if cohort != self._latest:
            self._latest = cohort
        return self._latest  # the same object for equal ones: a million flights have one each

    def enter(self, cohort: int, star_system: str, mechanism: str | None) -> None:
        """Take note that a backup is under watch."""
        for scope in (star_system, None):
            self._scope((scope, mechanism)).running[cohort] += 1

    def leave(self, cohort: int, star_system: str, mechanism: str | None) -> None:
        """Take note that a backup is no longer under watch, as it was entered."""
        for scope in (star_system, None):
            self._scopes[scope, mechanism].leave(cohort)
            self._tidy((scope, mechanism))

    def finished(self, one: Finished, star_system: str, mechanism: str | None) -> dict[str | None, list[Placed]]:
        """Take note that a backup has finished, under watch (then it has left) or not.

        Returns:
            What may be learned from now: of the star system, and of all (None).
        """
        free = {}
        self._finished += 1
        number = self._finished * _GOLDEN % 1
        for scope in (star_system, None):
            found = self._scope((scope, mechanism))
            found.hold(one, number)
            free[scope] = found.release()
            self._tidy((scope, mechanism))
        return free

    def _scope(self, kind: Kind) -> _Scope:
        found = self._scopes.get(kind)
        if found is None:
            found = self._scopes[kind] = _Scope(unbiased=self._unbiased.look_up(kind) or 0)
        return found

    def _tidy(self, kind: Kind) -> None:
        """Forget a scope of which nothing runs and nothing is held back."""
        scope = self._scopes[kind]
        if not scope.running and not scope.held:
            del self._scopes[kind]
            self._unbiased.store(kind, scope.unbiased)
