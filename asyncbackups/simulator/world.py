"""The simulated world: star systems, planets and their backups, and what time makes of them.

Pure state: it opens no socket and starts no task, and its clock and randomness are passed in. A backup's whole fate
is decided when it is created; what a request sees of it is computed from the clock, so that backups in flight cost
nothing while nobody asks.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from asyncbackups.simulator.fate import Fate, FateOracle

if TYPE_CHECKING:
    from random import Random

    from asyncbackups.simulator.clock import Clock
    from asyncbackups.simulator.workload import Workload

__all__ = ["Order", "Phase", "Shelf", "SimulatedBackup", "World"]

DAY = 86400.0


class Phase(Enum):
    """Where a backup is in its life."""

    QUEUED = auto()
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self is Phase.SUCCEEDED or self is Phase.FAILED


@frozen(kw_only=True)
class Order:
    """What a create asked for, in the words of the documented body."""

    mechanism: str = "logical"
    planet_class: str = "dev"
    temporary: bool = False
    retention_days: int | None = None
    metadata: Mapping[str, Any] | None = None
    type: str = "permanent"


@frozen(eq=False)
class SimulatedBackup:
    """A backup and its whole fate. Times `*_at` are the server's monotonic seconds, `created` is its time of day."""

    id: int
    star_system: str
    planet: str
    order: Order
    fate: Fate
    created_at: float
    started_at: float
    completed_at: float
    created: datetime

    @property
    def started(self) -> datetime:
        """Server time of the start."""
        return self.created + timedelta(seconds=self.started_at - self.created_at)

    @property
    def completed(self) -> datetime:
        """Server time of the end, which may lie in the future."""
        return self.created + timedelta(seconds=self.completed_at - self.created_at)

    @property
    def expires(self) -> datetime | None:
        """Server time after which it is not kept any longer; `None` for ever."""
        days = self.order.retention_days
        return None if days is None else self.created + timedelta(days=days)

    def phase(self, now: float) -> Phase:
        """Say where it is at `now`, in the server's monotonic seconds."""
        if now >= self.completed_at:
            return Phase.SUCCEEDED if self.fate.error_message is None else Phase.FAILED
        return Phase.RUNNING if now >= self.started_at else Phase.QUEUED


@define(eq=False)
class Shelf:
    """The backups that one list shows, by id in the order of their creation; `removals` counts those taken away."""

    backups: dict[int, SimulatedBackup] = field(factory=dict)
    removals: int = 0


class World:
    """All backups of one tenant.

    Args:
        workload: What backups are like, and what was there before.
        clock: The time; backups go by its `monotonic()`.
        rng: Source of randomness; it is seeded anew for each draw.
        seed: What makes this world's draws differ from another's.
        speed: What durations are divided by.
        clock_offset: Seconds by which the server's time of day is ahead of `clock`.
        star_systems: The planets of each star system; `None` when any name is taken to exist.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        clock: Clock,
        rng: Random,
        seed: int = 0,
        speed: float = 1.0,
        clock_offset: float = 0.0,
        star_systems: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.workload = workload
        self.creates: Counter[tuple[str, str]] = Counter()
        """Creates that took effect, by star system and planet."""
        self._clock = clock
        self._oracle = FateOracle(rng, seed=seed, speed=speed, workload=workload)
        self._queue_time = workload.queue_time / speed
        self._offset = timedelta(seconds=clock_offset)
        self._known = star_systems
        self._next_id = workload.first_id
        self._backups: dict[int, SimulatedBackup] = {}
        self._star_systems: dict[str, Shelf] = {}
        self._planets: dict[tuple[str, str], Shelf] = {}
        self._expiring: list[tuple[float, int]] = []
        for star_system in star_systems or ():
            self._open(star_system)

    def now(self) -> float:
        """The server's monotonic time in seconds."""
        return self._clock.monotonic()

    def utcnow(self) -> datetime:
        """The server's time of day."""
        return self._clock.utcnow() + self._offset

    def knows(self, star_system: str, planet: str = "") -> bool:
        """Say whether a star system, or a planet in it, exists."""
        if self._known is None:
            return True
        planets = self._known.get(star_system)
        return planets is not None and (not planet or planet in planets)

    def create(self, star_system: str, planet: str, order: Order) -> SimulatedBackup:
        """Begin a backup and decide what will become of it."""
        self._open(star_system)
        ordinal = self.creates[star_system, planet]
        fate = self._oracle.draw(star_system, planet, ordinal, order.mechanism)
        self.creates[star_system, planet] += 1
        return self._place(star_system, planet, order, fate, age=0.0)

    def find(self, star_system: str, backup_id: int) -> SimulatedBackup | None:
        """Look a backup up; one in another star system is not found."""
        self._open(star_system)
        self._expire()
        backup = self._backups.get(backup_id)
        return backup if backup is not None and backup.star_system == star_system else None

    def shelf(self, star_system: str, planet: str | None = None) -> Shelf:
        """Return what the list of a star system, or of one planet, shows."""
        self._open(star_system)
        self._expire()
        if planet is None:
            return self._star_systems[star_system]
        return self._planets.get((star_system, planet)) or Shelf()

    def delete(self, star_system: str, backup_id: int) -> bool:
        """Take a backup away, finished or not; `False` when there is none."""
        if self.find(star_system, backup_id) is None:
            return False
        self._remove(backup_id)
        return True

    def __getitem__(self, backup_id: int) -> SimulatedBackup:
        return self._backups[backup_id]

    def __iter__(self) -> Iterator[SimulatedBackup]:
        return iter(self._backups.values())

    def __len__(self) -> int:
        return len(self._backups)

    def completed_at(self, backup_id: int) -> float:
        """The server's monotonic time in seconds at which a backup ends, or ended.

        Raises:
            KeyError: There is no such backup.
        """
        return self._backups[backup_id].completed_at

    def phase(self, backup_id: int) -> Phase:
        """Where a backup truly is at this moment.

        Raises:
            KeyError: There is no such backup.
        """
        return self._backups[backup_id].phase(self.now())

    def _open(self, star_system: str) -> None:
        """Bring a star system into being when it is first spoken of, with its history."""
        if star_system in self._star_systems:
            return
        self._star_systems[star_system] = Shelf()
        workload = self.workload
        planets: Sequence[str] = (self._known or {}).get(star_system, ())
        planets = planets or [f"planet-{n}" for n in range(1, workload.history_planets + 1)]
        order = Order(type="scheduled")
        for n, age in enumerate(self._oracle.spread(star_system, workload.history, workload.history_span)):
            planet = planets[n % len(planets)]
            fate = self._oracle.draw(star_system, planet, f"history {n}", order.mechanism)
            # Even the youngest has ended by now.
            self._place(star_system, planet, order, fate, age=age + fate.duration + self._queue_time)

    def _place(self, star_system: str, planet: str, order: Order, fate: Fate, *, age: float) -> SimulatedBackup:
        created_at = self.now() - age
        started_at = created_at + self._queue_time
        backup = SimulatedBackup(
            self._next_id,
            star_system,
            planet,
            order,
            fate,
            created_at,
            started_at,
            started_at + fate.duration,
            self.utcnow() - timedelta(seconds=age),
        )
        self._next_id += 1
        self._backups[backup.id] = backup
        self._star_systems[star_system].backups[backup.id] = backup
        self._planets.setdefault((star_system, planet), Shelf()).backups[backup.id] = backup
        if self.workload.expire and order.retention_days is not None:
            heapq.heappush(self._expiring, (created_at + order.retention_days * DAY, backup.id))
        return backup

    def _expire(self) -> None:
        while self._expiring and self._expiring[0][0] <= self.now():
            _, backup_id = heapq.heappop(self._expiring)
            if backup_id in self._backups:
                self._remove(backup_id)

    def _remove(self, backup_id: int) -> None:
        backup = self._backups.pop(backup_id)
        for shelf in (
            self._star_systems[backup.star_system],
            self._planets[backup.star_system, backup.planet],
        ):
            del shelf.backups[backup_id]
            shelf.removals += 1
