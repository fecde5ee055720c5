"""How long backups take and how many fail: the `Workload`, and the model that draws each backup's outcome from it.

A duration model is any callable that takes a `random.Random` and returns seconds, so a test may pass a lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field, frozen

from asyncbackups.simulator import settings

if TYPE_CHECKING:
    from random import Random  # the type alone: a source of randomness is always passed in

DurationModel: TypeAlias = "Callable[[Random], float]"

_model = settings.must_be("a callable that takes a random.Random and returns seconds", callable)
_models = settings.mapping_to("callables that take a random.Random and return seconds", callable)
_profiles = settings.mapping_to("PlanetProfiles", lambda value: isinstance(value, PlanetProfile))


def _are_messages(value: Any) -> bool:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return is_sequence and len(value) > 0 and all(isinstance(item, str) for item in value)


_messages = settings.must_be("a list of at least one string", _are_messages)
_FAILURE = "pg_dump: error: connection to server was lost"


@frozen
class Lognormal:
    """Durations whose logarithm is normally distributed: most are near the median, a few take much longer.

    Args:
        median: The median, in seconds.
        sigma: Standard deviation of the logarithm; with 0 every duration is the median.
    """

    median: float = field(default=131.0, validator=settings.positive)
    sigma: float = field(default=0.4, validator=settings.not_negative)

    def __call__(self, rng: Random) -> float:
        """Draw a duration in seconds."""
        return self.median * math.exp(self.sigma * rng.gauss(0.0, 1.0))


@frozen
class Fixed:
    """The same duration in seconds for every backup."""

    seconds: float = field(validator=settings.not_negative)

    def __call__(self, rng: Random) -> float:  # noqa: ARG002 - the interface of a duration model
        """Return the duration in seconds."""
        return self.seconds


@frozen
class Bimodal:
    """A mixture of two duration models, such as snapshots and logical dumps.

    Args:
        quick: The first model.
        slow: The second model.
        quick_share: Share of durations drawn from the first, from 0 to 1.
    """

    quick: DurationModel = field(default=Lognormal(median=240.0, sigma=0.2), validator=_model)
    slow: DurationModel = field(default=Lognormal(median=2400.0, sigma=0.5), validator=_model)
    quick_share: float = field(default=0.5, validator=settings.share)

    def __call__(self, rng: Random) -> float:
        """Draw a duration in seconds."""
        return self.quick(rng) if rng.random() < self.quick_share else self.slow(rng)


@frozen(kw_only=True)
class PlanetProfile:
    """How one planet differs from the `Workload`; None means no difference.

    Args:
        duration: Durations of its backups.
        by_mechanism: Durations by the requested mechanism; takes precedence over `duration`.
        failure_share: Share of its backups that fail, from 0 to 1.
    """

    duration: DurationModel | None = field(default=None, validator=settings.optional(_model))
    by_mechanism: Mapping[str, DurationModel] | None = field(default=None, validator=settings.optional(_models))
    failure_share: float | None = field(default=None, validator=settings.optional(settings.share))


_NO_PROFILE = PlanetProfile()


@frozen(kw_only=True)
class Workload:
    """Durations, failures and history of the simulated backups. Durations are in seconds, before `speed` divides them.

    Args:
        duration: Durations of backups.
        by_mechanism: Durations by the requested mechanism; takes precedence over `duration`.
        planet_sigma: Spread between planets: sigma of a lognormal factor of each planet's durations, drawn once.
        failure_share: Share of backups that fail, from 0 to 1.
        failure_messages: Error messages of failed backups, chosen at random.
        queue_time: Seconds that a new backup is queued before it starts.
        planets: Profiles of single planets, by `"planet"` or `"star system/planet"`.
        history: Number of finished backups that each star system has initially.
        history_span: Seconds of the past that the history covers; not divided by `speed`.
        history_planets: Number of planets in the history of a star system whose planets are not given; they are
            called `planet-1`, `planet-2`, ...
        expire: Whether temporary backups are removed after their retention period, which is in real days.
        first_id: The id of the first backup.
    """

    duration: DurationModel = field(default=Lognormal(), validator=_model)
    by_mechanism: Mapping[str, DurationModel] = field(factory=dict, validator=_models)
    planet_sigma: float = field(default=0.0, validator=settings.not_negative)
    failure_share: float = field(default=0.0, validator=settings.share)
    failure_messages: Sequence[str] = field(default=(_FAILURE,), validator=_messages)
    queue_time: float = field(default=0.0, validator=settings.not_negative)
    planets: Mapping[str, PlanetProfile] = field(factory=dict, validator=_profiles)
    history: int = field(default=0, validator=settings.whole_from(0))
    history_span: float = field(default=7 * 86400.0, validator=settings.positive)
    history_planets: int = field(default=10, validator=settings.whole_from(1))
    expire: bool = field(default=False, validator=settings.flag)
    first_id: int = field(default=1, validator=settings.whole_from(1))

    def duration_for(self, star_system: str, planet: str, mechanism: str) -> DurationModel:
        """Return the duration model for a planet and mechanism."""
        profile = self.profile(star_system, planet) or _NO_PROFILE
        chosen = (profile.by_mechanism or {}).get(mechanism, profile.duration)
        return self.by_mechanism.get(mechanism, self.duration) if chosen is None else chosen

    def failure_share_for(self, star_system: str, planet: str) -> float:
        """Return the failure share of a planet."""
        own_share = (self.profile(star_system, planet) or _NO_PROFILE).failure_share
        return self.failure_share if own_share is None else own_share

    def profile(self, star_system: str, planet: str) -> PlanetProfile | None:
        """Return a planet's profile; one given with the star system takes precedence."""
        return self.planets.get(f"{star_system}/{planet}") or self.planets.get(planet)


@frozen
class SimulatedOutcome:
    """A backup's duration in seconds, already divided by the speed, and its error message if it fails."""

    duration: float
    error_message: str | None

    @property
    def succeeds(self) -> bool:
        """Whether the backup succeeds."""
        return self.error_message is None


@define(eq=False)
class OutcomeModel:
    """Draws the outcomes of backups.

    A draw depends on nothing but the seed, the planet and the number of its earlier backups, so the order in which
    requests for different planets arrive does not change it. `rng` is reseeded before each draw.
    """

    _rng: Random
    _seed: int
    _speed: float
    _workload: Workload
    _factors: dict[tuple[str, str], float] = field(factory=dict, init=False)

    def draw_outcome(self, star_system: str, planet: str, ordinal: int | str, mechanism: str) -> SimulatedOutcome:
        """Draw the outcome of a planet's backup; `ordinal` is the number of its earlier backups."""
        factor = self._planet_factor(star_system, planet)
        rng, workload = self._rng, self._workload
        rng.seed(f"{self._seed}|{star_system}|{planet}|{ordinal}")
        fails = rng.random() < workload.failure_share_for(star_system, planet)
        message = rng.choice(workload.failure_messages)
        drawn = workload.duration_for(star_system, planet, mechanism)(rng)
        if not 0 <= drawn < math.inf:
            raise ValueError(f"the duration model returned {drawn!r} for planet {planet!r}: not a duration in seconds")
        return SimulatedOutcome(drawn * factor / self._speed, message if fails else None)

    def draw_history_ages(self, star_system: str) -> list[float]:
        """Draw the ages in seconds, oldest first, of a star system's initial backups."""
        self._rng.seed(f"{self._seed}|{star_system}|history")
        span = self._workload.history_span
        return sorted((self._rng.random() * span for _ in range(self._workload.history)), reverse=True)

    def _planet_factor(self, star_system: str, planet: str) -> float:
        sigma, key = self._workload.planet_sigma, (star_system, planet)
        if sigma and key not in self._factors:
            self._rng.seed(f"{self._seed}|{star_system}|{planet}|factor")
            self._factors[key] = math.exp(sigma * self._rng.gauss(0.0, 1.0))
        return self._factors.get(key, 1.0)
