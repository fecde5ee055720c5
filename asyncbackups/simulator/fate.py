"""What becomes of a backup, decided when it is created. Pure: a random source is passed in and seeded per backup."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from random import Random

    from asyncbackups.simulator.workload import Workload

__all__ = ["Fate", "FateOracle"]


@frozen
class Fate:
    """How long a backup runs, in seconds already divided by the speed, and how it ends."""

    duration: float
    error_message: str | None

    @property
    def succeeds(self) -> bool:
        """Whether the backup ends well."""
        return self.error_message is None


class FateOracle:
    """Draws fates that depend on nothing but the seed, the planet and how many backups it had before.

    So the order in which requests of different planets arrive changes nothing.
    """

    __slots__ = ("_factors", "_rng", "_seed", "_speed", "_workload")

    def __init__(self, rng: Random, *, seed: int, speed: float, workload: Workload) -> None:
        self._rng = rng
        self._seed = seed
        self._speed = speed
        self._workload = workload
        self._factors: dict[tuple[str, str], float] = {}

    def draw(self, star_system: str, planet: str, ordinal: int | str, mechanism: str) -> Fate:
        """Decide the fate of a planet's backup.

        Args:
            star_system: The planet's star system.
            planet: The planet.
            ordinal: Which of the planet's backups it is.
            mechanism: The mechanism asked for; chooses the model of durations.

        Raises:
            ValueError: The model of durations gave a number that is no duration.
        """
        factor = self._planet_factor(star_system, planet)
        rng, workload = self._rng, self._workload
        rng.seed(f"{self._seed}|{star_system}|{planet}|{ordinal}")
        fails = rng.random() < workload.failure_share_for(star_system, planet)
        message = rng.choice(workload.failure_messages)
        drawn = workload.duration_for(star_system, planet, mechanism)(rng)
        if not 0 <= drawn < math.inf:
            raise ValueError(f"the model of durations gave {drawn!r} for planet {planet!r}: not a duration in seconds")
        return Fate(drawn * factor / self._speed, message if fails else None)

    def spread(self, star_system: str, count: int, span: float) -> list[float]:
        """Draw ages in seconds, largest first, for the history of a star system."""
        self._rng.seed(f"{self._seed}|{star_system}|history")
        return sorted((self._rng.random() * span for _ in range(count)), reverse=True)

    def _planet_factor(self, star_system: str, planet: str) -> float:
        sigma = self._workload.planet_sigma
        if sigma == 0:
            return 1.0
        known = self._factors.get((star_system, planet))
        if known is None:
            self._rng.seed(f"{self._seed}|{star_system}|{planet}|factor")
            known = self._factors[star_system, planet] = math.exp(sigma * self._rng.gauss(0.0, 1.0))
        return known
