"""The marker of a create: built from planet and key, found anywhere in a backup."""

from __future__ import annotations

from typing import Any

import pytest

from asyncbackups._api.marker import build_marker, has_marker
from asyncbackups.models import PlanetRef

PLANET = PlanetRef("solar", "earth")
MARKER = build_marker(PLANET, "key")


def test_marker_depends_only_on_planet_and_key() -> None:
    """The same planet and key give the same marker; another planet or key gives another one."""
    assert build_marker(PlanetRef("solar", "earth"), "key") == MARKER
    assert len({MARKER, build_marker(PLANET, "other"), build_marker(PlanetRef("solar", "mars"), "key")}) == 3


def test_marker_is_short_and_readable() -> None:
    """It names this package, and is the same in every version: journals of earlier versions rely on it."""
    assert MARKER == "[asyncbackups:7iixrxtl5cu5avzv]"


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"metadata": {"name": "nightly", "description": f"before the release {MARKER}"}}, True),
        ({"annotations": [{"text": MARKER}]}, True),
        ({"a": {"b": {"c": {"d": {"e": MARKER}}}}}, True),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": MARKER}}}}}}}, False),
        ({"metadata": {"description": MARKER[:-1]}}, False),
        ({MARKER: 1, "size": 5, "none": None}, False),
        ({}, False),
    ],
    ids=str,
)
def test_marker_is_found_in_any_text(members: dict[str, Any], found: bool) -> None:
    """Whichever member shows it, down to a bounded depth; a truncated marker does not count."""
    assert has_marker(members, MARKER) is found
