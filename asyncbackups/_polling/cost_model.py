"""Get or list: what each costs, measured, and which is cheaper for the backups in flight.

Polled one by one at the best rates, backups with hazards h cost sum(sqrt(2c h)) a second; polled by one list that
costs C gets, sqrt(2c C sum(h)). The list is cheaper if C < sum(sqrt(h))**2 / sum(h): the number of backups that
count, which is how many there are where all are alike, and less where few are about to finish. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs

from asyncbackups._base.lru import LruDict

if TYPE_CHECKING:
    from asyncbackups._polling.estimation.survival import SurvivalEstimate


_Key = TypeVar("_Key")
Where = tuple[str, str | None]
"""What a list covers: a star system and a planet of it, or `None` for all of it."""

_BYTES = 64 * 1024
"""So many bytes weigh as much as a request."""
_SECONDS = 1.0
"""So many seconds of the server's time weigh as much as a request."""
_NEWS = 0.3
"""Weight of the newest measurement in the average of a cost."""
_UNMEASURED = 4.0
"""What a list is taken to cost, in gets, before any was seen."""
_FIRST_PAUSE, _LONGEST_PAUSE = 300.0, 6 * 3600.0
"""How many seconds a list that does not work is left alone: at first, and at most."""


@attrs.frozen
class PollingLoad:
    """What polling some backups weighs; loads are added to each other.

    Attributes:
        hazards: The sum of their hazards, per second.
        roots: The sum of the square roots of their hazards.
    """

    hazards: float = 0.0
    roots: float = 0.0

    @classmethod
    def of(
        cls, members: Iterable[tuple[SurvivalEstimate, float]], *, horizon: float, scale: float = 1.0
    ) -> PollingLoad:
        """Weigh backups in flight, or a sample of them.

        Args:
            members: For each, the belief about it and its age now in seconds.
            horizon: Over how many seconds from now their hazards are averaged; the policy's maximum will do.
            scale: How many backups each member stands for.
        """
        hazards = [(belief.cumulative(age + horizon) - belief.cumulative(age)) / horizon for belief, age in members]
        return cls(scale * math.fsum(hazards), scale * math.fsum(map(math.sqrt, hazards)))

    def __add__(self, other: PollingLoad) -> PollingLoad:
        return PollingLoad(self.hazards + other.hazards, self.roots + other.roots)

    def by_get(self) -> float:
        """Return the cost rate of polling each by its own get, over sqrt(2c)."""
        return self.roots

    def by_list(self, cost: float) -> float:
        """Return the cost rate of polling all by one list that costs so many gets, over sqrt(2c)."""
        return math.sqrt(cost * self.hazards)


@attrs.frozen
class PollPlan:
    """Which lists to use for a star system; what they do not cover is asked by get.

    Attributes:
        star_system: Whether one list of the star system covers everything.
        planets: Else the planets that are covered by a list of their own.
    """

    star_system: bool = False
    planets: frozenset[str] = frozenset()


class _Average(LruDict[_Key, float]):
    """For each key, an average in which old measurements fade."""

    def learn(self, key: _Key, value: float) -> None:
        old = self.look_up(key)
        self.store(key, value if old is None else old + _NEWS * (value - old))


@attrs.define
class _Pause:
    """A list that does not work: since how often, and until when it is left alone."""

    until: float
    length: float


class RequestCosts:
    """What gets and lists were seen to cost, and which lists do not work.

    Args:
        keys: How many lists to remember.
    """

    def __init__(self, *, keys: int = 4096) -> None:
        self._gets: _Average[str] = _Average(keys)
        self._lists: _Average[Where] = _Average(keys)
        self._pauses: LruDict[Where, _Pause] = LruDict(keys)

    def got(self, star_system: str, *, size: int, seconds: float) -> None:
        """Learn what a get cost: the bytes of its answer, and how long that took."""
        self._gets.learn(star_system, _weight(size, seconds))

    def listed(self, where: Where, *, size: int, seconds: float) -> None:
        """Learn what a list cost that was answered: the bytes of its answers, and how long they took."""
        self._lists.learn(where, _weight(size, seconds))

    def worked(self, where: Where) -> None:
        """Take note that a list was of use: if it once is not, it is left alone for a short time first."""
        self._pauses.pop(where, None)

    def refused(self, where: Where, *, now: float) -> float:
        """Remember that a list did not work; return until when it is left alone, longer each time."""
        last = self._pauses.look_up(where)
        length = _FIRST_PAUSE if last is None else min(2 * last.length, _LONGEST_PAUSE)
        return self._pauses.store(where, _Pause(now + length, length)).until

    def works(self, where: Where, *, now: float) -> bool:
        """Tell whether a list may be used now."""
        pause = self._pauses.look_up(where)
        return pause is None or now >= pause.until

    def of_list(self, where: Where) -> float:
        """Return what a list costs, in gets."""
        weight = self._lists.look_up(where)
        if weight is None:
            return _UNMEASURED
        get = self._gets.look_up(where[0])
        return weight / (1.0 if get is None else get)


def plan(star_system: str, loads: Mapping[str | None, PollingLoad], costs: RequestCosts, *, now: float) -> PollPlan:
    """Choose the cheapest way to poll the backups in flight of a star system.

    Args:
        star_system: Which.
        loads: What polling the backups of each planet weighs; `None` for those of which the planet is unknown.
        costs: What lists cost here, and which of them work.
        now: The time, as given to `Costs.refused`.
    """
    total, apart, planets = PollingLoad(), 0.0, set()
    for planet, load in loads.items():
        total += load
        cheapest = load.by_get()
        if planet is not None and costs.works((star_system, planet), now=now):
            listed = load.by_list(costs.of_list((star_system, planet)))
            if listed < cheapest:
                planets.add(planet)
                cheapest = listed
        apart += cheapest
    if costs.works((star_system, None), now=now) and total.by_list(costs.of_list((star_system, None))) < apart:
        return PollPlan(star_system=True)
    return PollPlan(planets=frozenset(planets))


def _weight(size: int, seconds: float) -> float:
    """Return what a request weighs, in requests of no size that take no time."""
    return 1 + size / _BYTES + max(seconds, 0.0) / _SECONDS
