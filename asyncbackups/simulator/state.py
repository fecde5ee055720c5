"""The state of the simulated service, without I/O: its star systems, planets and backups.

A backup's outcome is drawn when it is created, and its phase is computed from the clock only when it is read.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from attrs import define, field, frozen

from asyncbackups.simulator import settings
from asyncbackups.simulator.outcome_model import OutcomeModel, SimulatedOutcome, Workload

if TYPE_CHECKING:
    from random import Random  # the type alone: a source of randomness is always passed in


@runtime_checkable
class SimulationClock(Protocol):
    """The time that the simulator works with."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never decreases."""
        ...

    def utcnow(self) -> datetime:
        """The time of day, timezone-aware and in UTC."""
        ...


class Phase(Enum):
    """The progress of a backup."""

    QUEUED = auto()
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()

    @property
    def final(self) -> bool:
        """Whether no other phase can follow."""
        return self is Phase.SUCCEEDED or self is Phase.FAILED


@frozen(kw_only=True)
class CreateBody:
    """The members of a create request's body."""

    mechanism: str = "logical"
    planet_class: str = "dev"
    temporary: bool = False
    retention_days: int | None = None
    metadata: Mapping[str, Any] | None = None
    type: str = "permanent"


@frozen(eq=False)
class SimulatedBackup:
    """A backup and its outcome. Times `*_at` are the server's monotonic seconds, `created` is its time of day."""

    id: int
    star_system: str
    planet: str
    create_body: CreateBody
    outcome: SimulatedOutcome
    created_at: float
    started_at: float
    completed_at: float
    created: datetime

    order: ClassVar[property] = settings.renamed_attribute("SimulatedBackup.order", "create_body")
    fate: ClassVar[property] = settings.renamed_attribute("SimulatedBackup.fate", "outcome")

    @property
    def started(self) -> datetime:
        """Server time of the start."""
        return self.created + timedelta(seconds=self.started_at - self.created_at)

    @property
    def completed(self) -> datetime:
        """Server time of the completion, which may lie in the future."""
        return self.created + timedelta(seconds=self.completed_at - self.created_at)

    @property
    def expires(self) -> datetime | None:
        """Server time at which its retention period ends; None if it has none."""
        days = self.create_body.retention_days
        return None if days is None else self.created + timedelta(days=days)

    def phase(self, now: float) -> Phase:
        """Return its phase at `now`, in the server's monotonic seconds."""
        if now >= self.completed_at:
            return Phase.SUCCEEDED if self.outcome.error_message is None else Phase.FAILED
        return Phase.RUNNING if now >= self.started_at else Phase.QUEUED


@define(eq=False)
class BackupList:
    """The backups that one list shows, by id in the order of creation, and the number of backups removed from it."""

    backups: dict[int, SimulatedBackup] = field(factory=dict)
    removals: int = 0


@define(eq=False, slots=False)
class SimulatorState:
    """All backups of one tenant.

    Args:
        workload: Durations, failures and history of the backups.
        clock: The time; a backup's phase depends on its `monotonic()`.
        rng: Source of randomness; reseeded before each draw.
        seed: The seed of all draws.
        speed: Divisor of durations.
        clock_offset: Seconds by which the server's time of day is ahead of `clock`; may be changed at any time.
        star_systems: The planets of each star system; None if every name exists.

    Attributes:
        creates: Creates that took effect, by star system and planet.
    """

    workload: Workload
    _clock: SimulationClock = field(kw_only=True, alias="clock")
    _rng: Random = field(kw_only=True, alias="rng")
    _seed: int = field(default=0, kw_only=True, alias="seed")
    _speed: float = field(default=1.0, kw_only=True, alias="speed")
    clock_offset: float = field(default=0.0, kw_only=True)
    _existing: Mapping[str, Sequence[str]] | None = field(default=None, kw_only=True, alias="star_systems")

    def __attrs_post_init__(self) -> None:
        self.creates: Counter[tuple[str, str]] = Counter()
        self._outcomes = OutcomeModel(self._rng, self._seed, self._speed, self.workload)
        self._queue_time = self.workload.queue_time / self._speed
        self._next_id = self.workload.first_id
        self._backups: dict[int, SimulatedBackup] = {}
        self._star_systems: dict[str, BackupList] = {}
        self._planets: dict[tuple[str, str], BackupList] = {}
        self._expirations: list[tuple[float, int]] = []
        for star_system in self._existing or ():
            self._ensure_star_system(star_system)

    def now(self) -> float:
        """The server's monotonic time in seconds."""
        return self._clock.monotonic()

    def utcnow(self) -> datetime:
        """The server's time of day."""
        return self._clock.utcnow() + timedelta(seconds=self.clock_offset)

    def has_planet(self, star_system: str, planet: str = "") -> bool:
        """Return True if a planet exists; with an empty `planet`, if the star system exists."""
        if self._existing is None:
            return True
        planets = self._existing.get(star_system)
        return planets is not None and (not planet or planet in planets)

    knows: ClassVar[property] = settings.renamed_attribute("SimulatorState.knows", "has_planet")

    def create(self, star_system: str, planet: str, body: CreateBody) -> SimulatedBackup:
        """Create a backup and draw its outcome."""
        self._ensure_star_system(star_system)
        ordinal = self.creates[star_system, planet]
        outcome = self._outcomes.draw_outcome(star_system, planet, ordinal, body.mechanism)
        self.creates[star_system, planet] += 1
        return self._add_backup(star_system, planet, body, outcome, age=0.0)

    def find(self, star_system: str, backup_id: int) -> SimulatedBackup | None:
        """Return a backup, or None if the star system has none with this id."""
        self._ensure_star_system(star_system)
        self._remove_expired()
        backup = self._backups.get(backup_id)
        return backup if backup is not None and backup.star_system == star_system else None

    def backup_list(self, star_system: str, planet: str | None = None) -> BackupList:
        """Return the list of a star system or of one planet."""
        self._ensure_star_system(star_system)
        self._remove_expired()
        if planet is None:
            return self._star_systems[star_system]
        return self._planets.get((star_system, planet)) or BackupList()

    shelf: ClassVar[property] = settings.renamed_attribute("SimulatorState.shelf", "backup_list")

    def delete(self, star_system: str, backup_id: int) -> bool:
        """Delete a backup, finished or not; return False if it does not exist."""
        if self.find(star_system, backup_id) is None:
            return False
        self._remove_backup(backup_id)
        return True

    def __getitem__(self, backup_id: int) -> SimulatedBackup:
        return self._backups[backup_id]

    def __iter__(self) -> Iterator[SimulatedBackup]:
        return iter(self._backups.values())

    def __len__(self) -> int:
        return len(self._backups)

    def completed_at(self, backup_id: int) -> float:
        """Return the server's monotonic time in seconds at which a backup completes; `KeyError` if there is none."""
        return self._backups[backup_id].completed_at

    def phase(self, backup_id: int) -> Phase:
        """Return the current phase of a backup; `KeyError` if there is none."""
        return self._backups[backup_id].phase(self.now())

    def _ensure_star_system(self, star_system: str) -> None:
        """Add a star system with its history at its first use."""
        if star_system in self._star_systems:
            return
        self._star_systems[star_system] = BackupList()
        planets: Sequence[str] = (self._existing or {}).get(star_system, ())
        planets = planets or [f"planet-{n}" for n in range(1, self.workload.history_planets + 1)]
        body = CreateBody(type="scheduled")
        for n, age in enumerate(self._outcomes.draw_history_ages(star_system)):
            planet = planets[n % len(planets)]
            outcome = self._outcomes.draw_outcome(star_system, planet, f"history {n}", body.mechanism)
            # Added to the age, so that even the youngest has completed by now.
            self._add_backup(star_system, planet, body, outcome, age=age + outcome.duration + self._queue_time)

    def _add_backup(
        self, star_system: str, planet: str, body: CreateBody, outcome: SimulatedOutcome, *, age: float
    ) -> SimulatedBackup:
        created_at = self.now() - age
        started_at = created_at + self._queue_time
        completed_at = started_at + outcome.duration
        created = self.utcnow() - timedelta(seconds=age)
        backup = SimulatedBackup(
            self._next_id, star_system, planet, body, outcome, created_at, started_at, completed_at, created
        )
        self._next_id += 1
        self._backups[backup.id] = backup
        self._star_systems[star_system].backups[backup.id] = backup
        self._planets.setdefault((star_system, planet), BackupList()).backups[backup.id] = backup
        if self.workload.expire and body.retention_days is not None:
            retention = timedelta(days=body.retention_days).total_seconds()
            heapq.heappush(self._expirations, (created_at + retention, backup.id))
        return backup

    def _remove_expired(self) -> None:
        while self._expirations and self._expirations[0][0] <= self.now():
            _, backup_id = heapq.heappop(self._expirations)
            if backup_id in self._backups:
                self._remove_backup(backup_id)

    def _remove_backup(self, backup_id: int) -> None:
        backup = self._backups.pop(backup_id)
        for shown in (self._star_systems[backup.star_system], self._planets[backup.star_system, backup.planet]):
            del shown.backups[backup_id]
            shown.removals += 1
