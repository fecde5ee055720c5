"""Planets and backups, many of them, as callers give them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Sequence, Set
from typing import TypeAlias, TypeVar

from asyncbackups._base.validation import quote_value
from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupRef, PlanetRef

_T = TypeVar("_T")
_Many = TypeVar("_Many")

Planets: TypeAlias = "Sequence[PlanetRef] | AsyncIterable[PlanetRef] | None"
"""All targets, where they are known at the start; else as they come; None for those that the journal has."""

Targets = Iterable[PlanetRef | tuple[str, str] | str] | AsyncIterable[PlanetRef | tuple[str, str] | str]
"""Planets: `PlanetRef`s, pairs, or texts ``star_system/planet``."""

Refs = Iterable[BackupRef | tuple[str, int] | str] | AsyncIterable[BackupRef | tuple[str, int] | str]
"""Backups: `BackupRef`s, pairs, or texts ``star_system/backup_id``."""


def planets_of(targets: Targets, *, whole: bool) -> Planets:
    """Return targets as planets. Those of a collection (which has an end) are all checked now.

    Args:
        targets: As the caller gave them.
        whole: Whether to keep those of a collection: for a journal, which writes them down.

    Raises:
        ConfigurationError: If they are not several, or one that is checked now is none.
    """
    several(targets, "targets", "planets", AsyncIterable)
    if whole and isinstance(targets, Collection):
        planets = [checked_target(target) for target in targets]
        # A set has another order in each process; the journal tells targets by their place.
        return sorted(planets) if isinstance(targets, Set) else planets
    return _each(targets, checked_target)


def several(given: _Many, name: str, what: str, *kinds: type) -> _Many:
    """Return what can be iterated over.

    Args:
        given: As the caller gave it.
        name: What the argument is called.
        what: What it is to hold.
        kinds: What may be given beside an iterable.

    Raises:
        ConfigurationError: If it cannot, or is only one planet or backup: a text's letters are none.
    """
    one = isinstance(given, str | PlanetRef | BackupRef)
    if one or not isinstance(given, (Iterable, *kinds)):
        example = f"[{quote_value(given)}]" if one else f"not {quote_value(given)}"
        raise ConfigurationError(f"must be several {what}: give a list, {example}", field=name)
    return given


def _each(given: Iterable[object] | AsyncIterable[object], checked: Callable[[object], _T]) -> AsyncIterator[_T]:
    """Check what was given: at once where it has an end, so that nothing is begun if a later one is wrong."""
    if isinstance(given, Collection):
        for one in given:
            checked(one)  # and again in its turn: there may be very many, and none is kept until then
    return _as_they_come(given, checked)


async def _as_they_come(
    given: Iterable[object] | AsyncIterable[object], checked: Callable[[object], _T]
) -> AsyncIterator[_T]:
    if isinstance(given, AsyncIterable):
        async for one in given:
            yield checked(one)
    else:
        for one in given:
            yield checked(one)


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
            raise ConfigurationError(f"a target must be a PlanetRef, or star_system/planet, not {quote_value(target)}")


def refs_of(refs: Refs) -> AsyncIterator[BackupRef]:
    """Return backups as they come, each checked when it is read. Those of a collection are all checked now, too.

    Raises:
        ConfigurationError: If they are not several, or one that is checked now is none.
    """
    several(refs, "refs", "backups", AsyncIterable)
    return _each(refs, checked_ref)


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
                f"a backup must be a BackupRef or a (star_system, backup_id) pair, not {quote_value(ref)}"
            )
