"""Planets and backups, many of them, as callers give them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Set

from asyncbackups.checks import shown
from asyncbackups.errors import ConfigurationError
from asyncbackups.ledger import Planets
from asyncbackups.models import BackupRef, PlanetRef

__all__ = ["Refs", "Targets", "checked_ref", "checked_target", "planets_of", "refs_of"]

Targets = Iterable[PlanetRef | tuple[str, str] | str] | AsyncIterable[PlanetRef | tuple[str, str] | str]
"""Planets: `PlanetRef`s, pairs, or texts ``star_system/planet``."""

Refs = Iterable[BackupRef | tuple[str, int] | str] | AsyncIterable[BackupRef | tuple[str, int] | str]
"""Backups: `BackupRef`s, pairs, or texts ``star_system/backup_id``."""


def planets_of(targets: Targets, *, whole: bool) -> Planets:
    """Return targets as planets.

    Args:
        targets: As the caller gave them.
        whole: Whether to read them all now, where there is an end to them: for a journal, which keeps them.

    Raises:
        ConfigurationError: If one of those that are read is none.
    """
    if isinstance(targets, str):
        raise ConfigurationError(f"targets must be several planets: give a list, [{shown(targets)}]")
    if whole and isinstance(targets, Collection):
        planets = [checked_target(target) for target in targets]
        # A set has another order in each process; the journal tells targets by their place.
        return sorted(planets) if isinstance(targets, Set) else planets
    return _each_target(targets)


async def _each_target(targets: Targets) -> AsyncIterator[PlanetRef]:
    if isinstance(targets, AsyncIterable):
        async for target in targets:
            yield checked_target(target)
    else:
        for target in targets:
            yield checked_target(target)


def checked_target(target: object) -> PlanetRef:
    """Return a target as a planet.

    Raises:
        ConfigurationError: If it is none.
    """
    match target:
        case PlanetRef():
            return target
        case str():
            return PlanetRef.parse(target)
        case (str(star_system), str(planet)):
            return PlanetRef(star_system, planet)
        case _:
            raise ConfigurationError(f"a target must be a PlanetRef, or star_system/planet, not {shown(target)}")


async def refs_of(refs: Refs) -> AsyncIterator[BackupRef]:
    """Yield backups as they come, each checked when it is read.

    Raises:
        ConfigurationError: If one of them is none.
    """
    if isinstance(refs, AsyncIterable):
        async for ref in refs:
            yield checked_ref(ref)
    else:
        for ref in refs:
            yield checked_ref(ref)


def checked_ref(ref: object) -> BackupRef:
    """Return what stands for a backup as its `BackupRef`.

    Raises:
        ConfigurationError: If it stands for none.
    """
    match ref:
        case BackupRef():
            return ref
        case str():
            return BackupRef.parse(ref)
        case (str(star_system), int(backup_id)):
            return BackupRef(star_system, backup_id)
        case _:
            raise ConfigurationError(
                f"a backup must be a BackupRef or a (star_system, backup_id) pair, not {shown(ref)}"
            )
