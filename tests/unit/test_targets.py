"""Planets and backups, many of them, as callers give them."""

from __future__ import annotations

import pytest

from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupRef, PlanetRef
from asyncbackups.targets import checked_ref, checked_target, planets_of


def test_one_text_is_not_several_planets() -> None:
    """Its letters would be taken for planets."""
    with pytest.raises(ConfigurationError, match=r"targets must be several planets: give a list, \['alpha/prod'\]"):
        planets_of("alpha/prod", whole=False)


@pytest.mark.parametrize("given", [PlanetRef("a", "b"), ("a", "b"), "a/b"])
def test_a_planet_may_be_written_in_three_ways(given: object) -> None:
    """All mean the same."""
    assert checked_target(given) == PlanetRef("a", "b")


@pytest.mark.parametrize("given", [BackupRef("a", 1), ("a", 1), "a/1"])
def test_a_backup_may_be_written_in_three_ways(given: object) -> None:
    """All mean the same."""
    assert checked_ref(given) == BackupRef("a", 1)


@pytest.mark.parametrize("given", [None, 7, ("a",), ("a", "b", "c"), object])
def test_anything_else_is_refused_by_name(given: object) -> None:
    """The message says what is allowed."""
    with pytest.raises(ConfigurationError, match="a target must be a PlanetRef"):
        checked_target(given)
    with pytest.raises(ConfigurationError, match="a backup must be a BackupRef"):
        checked_ref(given)
