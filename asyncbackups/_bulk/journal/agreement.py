"""Whether what is to be done is what the journal is of; if not, in what it differs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asyncbackups._api.codec import plain
from asyncbackups._base.validation import shown
from asyncbackups._bulk.journal.entries import Header
from asyncbackups.models import PlanetRef

_MAX_NAMED = 3
"""So many planets are named in a message; of the others it says how many they are."""


def describe_header_difference(journal: Header, here: Header) -> str | None:
    """Say in what two runs differ; None where they are the same."""
    there, now = _flatten_header(journal), _flatten_header(here)
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    return _join_parts(
        f"{name} is {_format_value(there, name)} in the journal and {_format_value(now, name)} here" for name in names
    )


def describe_target_difference(journal: Sequence[PlanetRef], here: Sequence[PlanetRef], *, listed: bool) -> str | None:
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
        parts.append(f"there are {len(journal)} targets in the journal and {_format_count(journal, here)} here")
    if not parts:
        return None
    parts += _describe_missing("only in the journal", journal, here)
    parts += _describe_missing("only here", here, journal)
    return _join_parts(parts)


def _format_count(journal: Sequence[PlanetRef], here: Sequence[PlanetRef]) -> str:
    # Of an iterable no more is read than settles it.
    return f"{len(here)}" if len(here) < len(journal) else "more"


def _describe_missing(where: str, some: Sequence[PlanetRef], others: Sequence[PlanetRef]) -> list[str]:
    known = set(others)
    missing = [planet for planet in some if planet not in known]
    names = [str(planet) for planet in missing[:_MAX_NAMED]]
    if len(missing) > _MAX_NAMED:
        names.append(f"{len(missing) - _MAX_NAMED} more")
    return [f"{where}: {', '.join(names)}"] if names else []


def _flatten_header(header: Header) -> dict[str, Any]:
    spec = dict(plain(header.spec))
    metadata = spec.pop("metadata", {})
    return {
        "tenant": header.tenant,
        "base_url": header.base_url.rstrip("/"),
        **{f"spec.{name}": value for name, value in spec.items()},
        **{f"spec.metadata.{name}": value for name, value in metadata.items()},
    }


def _format_value(values: dict[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else "not given"


def _join_parts(parts: Iterable[str]) -> str | None:
    return "; ".join(parts) or None
