"""Parse the targets and refs that callers give to a bulk run, a bulk deletion or a watch."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Sequence, Set
from typing import TypeAlias, TypeVar

from asyncbackups._base.validation import quote_value
from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupId, BackupRef, PlanetRef

_T = TypeVar("_T")
_Many = TypeVar("_Many")

Planets: TypeAlias = "Sequence[PlanetRef] | AsyncIterable[PlanetRef] | None"
"""A sequence of all targets, or an iterator that reads them one by one; None for the targets of the journal."""

Targets = Iterable[PlanetRef | tuple[str, str] | str] | AsyncIterable[PlanetRef | tuple[str, str] | str]
"""Planets, each a `PlanetRef`, a pair, or a string ``star_system/planet``."""

Refs = Iterable[BackupRef | tuple[str, BackupId] | str] | AsyncIterable[BackupRef | tuple[str, BackupId] | str]
"""Backups, each a `BackupRef`, a pair, or a string ``star_system/backup_id``."""


def parse_planets(targets: Targets, *, whole: bool) -> Planets:
    """Return targets as planets. The targets of a collection are all checked now, others when they are read.

    If `whole`, a collection is returned as a sequence, for a journal that stores it.
    """
    require_many(targets, "targets", "planets", AsyncIterable)
    if whole and isinstance(targets, Collection):
        planets = [parse_target(target) for target in targets]
        # The order of a set differs between processes, and the journal numbers targets by their order.
        return sorted(planets) if isinstance(targets, Set) else planets
    return _parse_each(targets, parse_target)


def require_many(given: _Many, name: str, items: str, *kinds: type) -> _Many:
    """Return an iterable of planets or backups: not a single one, although a string is iterable, too.

    The `kinds` are types allowed besides `Iterable`; `name` and `items` are for the error message.
    """
    is_single = isinstance(given, str | PlanetRef | BackupRef)
    if is_single or not isinstance(given, (Iterable, *kinds)):
        example = f"for instance [{quote_value(given)}]" if is_single else f"not {quote_value(given)}"
        raise ConfigurationError(f"must be a list or another iterable of {items}, {example}", field=name)
    return given


def _parse_each(given: Iterable[object] | AsyncIterable[object], parse: Callable[[object], _T]) -> AsyncIterator[_T]:
    """Parse items as they are read; check those of a collection now, so that nothing starts if one is invalid."""
    if isinstance(given, Collection):
        for item in given:
            parse(item)  # and again when it is read: keeping the results would take memory for each
    return _parse_lazily(given, parse)


async def _parse_lazily(
    given: Iterable[object] | AsyncIterable[object], parse: Callable[[object], _T]
) -> AsyncIterator[_T]:
    if isinstance(given, AsyncIterable):
        async for item in given:
            yield parse(item)
    else:
        for item in given:
            yield parse(item)


def parse_target(target: object) -> PlanetRef:
    """Parse a planet: a `PlanetRef`, a pair or a string."""
    match target:
        case PlanetRef():
            return target
        case str():
            return PlanetRef.parse(target)
        case (str(star_system), str(planet)):
            return PlanetRef(star_system, planet)
        case _:
            raise ConfigurationError(
                "a target must be a PlanetRef, a (star_system, planet) pair or a string star_system/planet, "
                f"not {quote_value(target)}"
            )


def parse_refs(refs: Refs) -> AsyncIterator[BackupRef]:
    """Return refs as an iterator that parses each when it is read. Refs of a collection are all checked now, too."""
    require_many(refs, "refs", "backups", AsyncIterable)
    return _parse_each(refs, parse_ref)


def parse_ref(ref: object) -> BackupRef:
    """Parse a backup: a `BackupRef`, a pair or a string."""
    match ref:
        case BackupRef():
            return ref
        case str():
            return BackupRef.parse(ref)
        case (str(star_system), int(backup_id) | str(backup_id)):
            return BackupRef(star_system, backup_id)
        case _:
            raise ConfigurationError(
                "a backup must be a BackupRef, a (star_system, backup_id) pair or a string star_system/backup_id, "
                f"not {quote_value(ref)}"
            )
