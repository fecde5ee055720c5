"""GET or LIST: what each costs, measured, and which is cheaper for the backups in progress.

Polled one by one at the optimal rates, backups with hazards h cost sum(sqrt(2c h)) a second, where a request is worth
c seconds of latency. Polled by one list that costs C GETs, they cost sqrt(2c C sum(h)). The list is cheaper if C <
sum(sqrt(h))**2 / sum(h): the effective number of backups, which is their number if all are alike, and less if a few
are about to finish.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from asyncbackups._base.containers import LruDict
from asyncbackups._polling.estimation.survival import SurvivalEstimate

_Key = TypeVar("_Key")
ListScope = tuple[str, str | None]
"""What a list covers: a star system and one of its planets, or `None` for all planets."""

_BYTES = 64 * 1024  # this many bytes weigh as much as a request
_SECONDS = 1.0  # this many seconds of the server's time weigh as much as a request
_NEWEST_WEIGHT = 0.3  # weight of the newest measurement in the average of a cost
_UNMEASURED = 4.0  # the assumed cost of a list, in GETs, before the first measurement
_FIRST_PAUSE, _LONGEST_PAUSE = 300.0, 6 * 3600.0
"""For how many seconds a list that does not work is not used: at first, and at most."""


@attrs.frozen
class PollingLoad:
    """How much it costs to poll some backups. Loads can be added."""

    hazards: float = 0.0  # the sum of their hazards, per second
    roots: float = 0.0  # the sum of the square roots of their hazards: the cost rate of a GET for each, over sqrt(2c)

    @classmethod
    def from_members(
        cls, members: Iterable[tuple[SurvivalEstimate, float]], *, horizon: float, scale: float = 1.0
    ) -> PollingLoad:
        """Return the load of some backups, or of a sample of them.

        Args:
            members: For each backup, its survival estimate and its age in seconds.
            horizon: Over how many seconds from now the hazards are averaged; the policy's maximum is suitable.
            scale: How many backups each member represents.
        """
        grown = [each.cumulative_hazard(age + horizon) - each.cumulative_hazard(age) for each, age in members]
        hazards = [increase / horizon for increase in grown]
        return cls(scale * math.fsum(hazards), scale * math.fsum(map(math.sqrt, hazards)))

    def __add__(self, other: PollingLoad) -> PollingLoad:
        return PollingLoad(self.hazards + other.hazards, self.roots + other.roots)

    def cost_by_list(self, cost: float) -> float:
        """Return the cost rate of polling all backups by one list that costs `cost` GETs, over sqrt(2c)."""
        return math.sqrt(cost * self.hazards)


class _Average(LruDict[_Key, float]):
    """An exponentially weighted average for each key."""

    def add_measurement(self, key: _Key, value: float) -> None:
        old = self.look_up(key)
        self.store(key, value if old is None else old + _NEWEST_WEIGHT * (value - old))


@attrs.define
class _ListPause:
    """Until when a list that does not work is not used, and for how long that is in seconds."""

    until: float
    length: float


class RequestCosts:
    """The measured costs of GETs and LISTs, and which lists do not work; at most `keys` lists are remembered."""

    def __init__(self, *, keys: int = 4096) -> None:
        self._gets: _Average[str] = _Average(keys)
        self._lists: _Average[ListScope] = _Average(keys)
        self._pauses: LruDict[ListScope, _ListPause] = LruDict(keys)

    def record_get(self, star_system: str, *, size: int, seconds: float) -> None:
        """Record the bytes of the response to a GET, and how long it took."""
        self._gets.add_measurement(star_system, _request_weight(size, seconds))

    def record_list(self, scope: ListScope, *, size: int, seconds: float) -> None:
        """Record the bytes of the responses to a LIST, and how long they took."""
        self._lists.add_measurement(scope, _request_weight(size, seconds))

    def clear_pause(self, scope: ListScope) -> None:
        """Record that a list was useful: its next pause, if any, is a short one again."""
        self._pauses.pop(scope, None)

    def pause_list(self, scope: ListScope, *, now: float) -> float:
        """Do not use a list that did not work for a while, longer each time; return until when."""
        last = self._pauses.look_up(scope)
        length = _FIRST_PAUSE if last is None else min(2 * last.length, _LONGEST_PAUSE)
        return self._pauses.store(scope, _ListPause(now + length, length)).until

    def is_usable(self, scope: ListScope, *, now: float) -> bool:
        pause = self._pauses.look_up(scope)
        return pause is None or now >= pause.until

    def list_cost(self, scope: ListScope) -> float:
        """Return the cost of a list, in GETs."""
        weight = self._lists.look_up(scope)
        if weight is None:
            return _UNMEASURED
        get = self._gets.look_up(scope[0])
        return weight / (1.0 if get is None else get)


def choose_lists(
    star_system: str, loads: Mapping[str | None, PollingLoad], costs: RequestCosts, *, now: float
) -> set[str | None]:
    """Return the planets that are polled most cheaply by a list of their own; other backups are polled by GET.

    The result is `{None}` if one list of the star system is to cover all. The load under `None` is that of backups
    whose planet is unknown; `now` is on the clock of `RequestCosts.pause_list`.
    """
    planets: set[str | None] = set()
    total, apart = PollingLoad(), 0.0
    for planet, load in loads.items():
        total += load
        cheapest = load.roots
        if planet is not None and costs.is_usable((star_system, planet), now=now):
            by_list = load.cost_by_list(costs.list_cost((star_system, planet)))
            if by_list < cheapest:
                planets.add(planet)
                cheapest = by_list
        apart += cheapest
    whole = (star_system, None)
    if costs.is_usable(whole, now=now) and total.cost_by_list(costs.list_cost(whole)) < apart:
        return {None}
    return planets


def _request_weight(size: int, seconds: float) -> float:
    """Return the weight of a request, in requests of no size that take no time."""
    return 1 + size / _BYTES + max(seconds, 0.0) / _SECONDS
