"""How long backups take, how many fail, and what was there before: the settings of the simulated world.

A model of durations is anything that takes a `random.Random` and returns seconds, so a test may pass a lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from asyncbackups.simulator.settings import (
    callable_model,
    flag,
    mapping,
    natural,
    not_negative,
    optional,
    positive,
    share,
    some_texts,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["Bimodal", "DurationModel", "Fixed", "Lognormal", "PlanetProfile", "Workload"]

DurationModel: TypeAlias = "Callable[[Random], float]"


@frozen
class Lognormal:
    """Durations whose logarithm is normal: most are near the median, a few take much longer.

    Args:
        median: Seconds that half of the backups need at most.
        sigma: Standard deviation of the logarithm; 0 makes all the same.
    """

    median: float = field(default=131.0, validator=positive)
    sigma: float = field(default=0.4, validator=not_negative)

    def __call__(self, rng: Random) -> float:
        """Draw one duration in seconds."""
        return self.median * math.exp(self.sigma * rng.gauss(0.0, 1.0))


@frozen
class Fixed:
    """Every backup takes the same time.

    Args:
        seconds: That time.
    """

    seconds: float = field(validator=not_negative)

    def __call__(self, rng: Random) -> float:  # noqa: ARG002 - the interface of a duration model
        """Return the one duration in seconds."""
        return self.seconds


@frozen
class Bimodal:
    """Either of two kinds: quick ones (a snapshot) and slow ones (a logical dump).

    Args:
        quick: Durations of the first kind.
        slow: Durations of the second kind.
        quick_share: Share of the first kind, from 0 to 1.
    """

    quick: DurationModel = field(default=Lognormal(median=240.0, sigma=0.2), validator=callable_model)
    slow: DurationModel = field(default=Lognormal(median=2400.0, sigma=0.5), validator=callable_model)
    quick_share: float = field(default=0.5, validator=share)

    def __call__(self, rng: Random) -> float:
        """Draw one duration in seconds."""
        return self.quick(rng) if rng.random() < self.quick_share else self.slow(rng)


_models = mapping(callable, "callables that take a random.Random and return seconds")


@frozen(kw_only=True)
class PlanetProfile:
    """What is different about one planet; `None` means as in the `Workload`.

    Args:
        duration: Durations of its backups.
        by_mechanism: Durations by the mechanism asked for; wins over `duration`.
        failure_share: Share of its backups that fail, from 0 to 1.
    """

    duration: DurationModel | None = field(default=None, validator=optional(callable_model))
    by_mechanism: Mapping[str, DurationModel] | None = field(default=None, validator=optional(_models))
    failure_share: float | None = field(default=None, validator=optional(share))


def _is_profile(value: object) -> bool:
    return isinstance(value, PlanetProfile)


@frozen(kw_only=True)
class Workload:
    """What backups in the simulated world are like. Times are in seconds before `speed` divides them.

    Args:
        duration: Durations of backups.
        by_mechanism: Durations by the mechanism asked for, such as `{"snapshot": Lognormal(240, 0.2)}`;
            wins over `duration`.
        planet_sigma: Spread between planets: each one's durations are multiplied by a lognormal factor of its
            own, drawn once, with this sigma.
        failure_share: Share of backups that fail, from 0 to 1.
        failure_messages: Error messages of failed backups, one of which is drawn.
        queue_time: Seconds for which a new backup stays queued before it starts.
        planets: Profiles of single planets, by `"planet"` or `"star system/planet"`.
        history: Finished backups in each star system at the start.
        history_span: Seconds of the past over which the history is spread; not divided by `speed`.
        history_planets: Number of planets that the history of a star system is shared out to when its planets are
            not known (they are then called `planet-1`, `planet-2`, ...).
        expire: Whether temporary backups vanish after their retention, which is in real days.
        first_id: The id of the first backup.
    """

    duration: DurationModel = field(default=Lognormal(), validator=callable_model)
    by_mechanism: Mapping[str, DurationModel] = field(factory=dict, validator=_models)
    planet_sigma: float = field(default=0.0, validator=not_negative)
    failure_share: float = field(default=0.0, validator=share)
    failure_messages: Sequence[str] = field(
        default=("pg_dump: error: connection to server was lost",), validator=some_texts
    )
    queue_time: float = field(default=0.0, validator=not_negative)
    planets: Mapping[str, PlanetProfile] = field(factory=dict, validator=mapping(_is_profile, "PlanetProfiles"))
    history: int = field(default=0, validator=natural(0))
    history_span: float = field(default=7 * 86400.0, validator=positive)
    history_planets: int = field(default=10, validator=natural(1))
    expire: bool = field(default=False, validator=flag)
    first_id: int = field(default=1, validator=natural(1))

    def duration_for(self, star_system: str, planet: str, mechanism: str) -> DurationModel:
        """Choose the model of durations for a planet and mechanism."""
        profile = self.profile(star_system, planet)
        if profile is not None:
            chosen = (profile.by_mechanism or {}).get(mechanism, profile.duration)
            if chosen is not None:
                return chosen
        return self.by_mechanism.get(mechanism, self.duration)

    def failure_share_for(self, star_system: str, planet: str) -> float:
        """Choose the failure share of a planet."""
        profile = self.profile(star_system, planet)
        own = None if profile is None else profile.failure_share
        return self.failure_share if own is None else own

    def profile(self, star_system: str, planet: str) -> PlanetProfile | None:
        """Find a planet's own profile, the one with its star system first."""
        return self.planets.get(f"{star_system}/{planet}") or self.planets.get(planet)
