"""Whether what is to be done is what the journal is of; if not, in what it differs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asyncbackups._api.codec import plain
from asyncbackups._base.validation import quote_value
from asyncbackups._bulk.journal.entries import Header
from asyncbackups.models import PlanetRef

_NAMED = 3
"""So many planets are named in a message; of the others it says how many they are."""


def header_difference(journal: Header, here: Header) -> str | None:
    """Say in what two runs differ; None where they are the same."""
    there, now = _flat(journal), _flat(here)
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    return _joined(f"{name} is {_shown(there, name)} in the journal and {_shown(now, name)} here" for name in names)


def target_difference(journal: Sequence[PlanetRef], here: Sequence[PlanetRef], *, listed: bool) -> str | None:
    """Say in what two lists of targets differ; None where they agree.

    Args:
        journal: The targets in the journal.
        here: The targets now: all of them, or at least one more than the journal's where there are more.
        listed: Whether the journal has all targets; if not, the list now may go on.
    """
    parts = []
    both = zip(journal, here, strict=False)
    place = next((number for number, (there, now) in enumerate(both) if there != now), None)
    if place is not None:
        parts.append(f"target {place + 1} is {journal[place]} in the journal and {here[place]} here")
    if len(here) < len(journal) or (listed and len(here) != len(journal)):
        parts.append(f"there are {len(journal)} targets in the journal and {_at_least(journal, here)} here")
    if not parts:
        return None
    parts += _named("only in the journal", journal, here)
    parts += _named("only here", here, journal)
    return _joined(parts)


def _at_least(journal: Sequence[PlanetRef], here: Sequence[PlanetRef]) -> str:
    # Of an iterable no more is read than settles it.
    return f"{len(here)}" if len(here) < len(journal) else "more"


def _named(where: str, some: Sequence[PlanetRef], others: Sequence[PlanetRef]) -> list[str]:
    known = set(others)
    missing = [planet for planet in some if planet not in known]
    names = [str(planet) for planet in missing[:_NAMED]]
    if len(missing) > _NAMED:
        names.append(f"{len(missing) - _NAMED} more")
    return [f"{where}: {', '.join(names)}"] if names else []


def _flat(header: Header) -> dict[str, Any]:
    spec = dict(plain(header.spec))
    metadata = spec.pop("metadata", {})
    return {
        "tenant": header.tenant,
        "base_url": header.base_url.rstrip("/"),
        **{f"spec.{name}": value for name, value in spec.items()},
        **{f"spec.metadata.{name}": value for name, value in metadata.items()},
    }


def _shown(values: dict[str, Any], name: str) -> str:
    return quote_value(values[name]) if name in values else "not given"


def _joined(parts: Iterable[str]) -> str | None:
    return "; ".join(parts) or None
