"""Planets and backups, many of them, as callers give them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from asyncbackups._inputs import parse_planets, parse_ref, parse_refs, parse_target
from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupRef, PlanetRef


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("alpha/1", "['alpha/1']"),  # its letters would be taken for planets
        (PlanetRef("alpha", "prod"), "[PlanetRef(star_system='alpha', planet='prod')]"),
        (BackupRef("alpha", 1), "[BackupRef(star_system='alpha', backup_id=1)]"),
        (5, "not 5"),
        (None, "not None"),
    ],
)
def test_one_is_not_several(given: Any, why: str) -> None:
    """What cannot be iterated over is refused at once, and one alone is shown as a list of one."""
    said = f"must be several %s: give a list, {why}"
    for whole in (False, True):
        with pytest.raises(ConfigurationError, match=re.escape(f"targets {said % 'planets'}")):
            parse_planets(given, whole=whole)
    with pytest.raises(ConfigurationError, match=re.escape(f"refs {said % 'backups'}")):
        parse_refs(given)


@pytest.mark.parametrize("collection", [list, tuple, set, dict.fromkeys])
def test_collection_is_checked_whole_before_the_first_is_used(collection: Callable[[list[str]], Any]) -> None:
    """A wrong one at its end is found before anything can be begun."""
    with pytest.raises(ConfigurationError, match="not 'bad'"):
        parse_planets(collection(["ss/p1", "ss/p2", "bad"]), whole=False)
    with pytest.raises(ConfigurationError, match="not 'bad'"):
        parse_refs(collection(["ss/1", "ss/2", "bad"]))


async def test_what_has_no_end_is_read_as_it_is_needed() -> None:
    """An iterator is never read ahead; a wrong one ends it when its turn comes."""
    taken: list[str] = []

    def coming() -> Iterator[str]:
        for written in ("ss/1", "ss/2", "bad"):
            taken.append(written)
            yield written

    async def later() -> AsyncIterator[str]:
        for written in coming():
            yield written

    for given in (coming(), later()):
        taken.clear()
        refs = parse_refs(given)
        assert (await anext(refs), taken) == (BackupRef("ss", 1), ["ss/1"])
        assert await anext(refs) == BackupRef("ss", 2)
        with pytest.raises(ConfigurationError, match="not 'bad'"):
            await anext(refs)


async def test_planets_of_a_collection_are_kept_for_a_journal_only() -> None:
    """Otherwise they are read again, one by one; a set is put in order for the journal."""
    both = [PlanetRef("a", "b"), PlanetRef("c", "d")]
    assert parse_planets({"c/d", "a/b"}, whole=True) == both
    read = parse_planets(["a/b", ("c", "d")], whole=False)
    assert isinstance(read, AsyncIterable)
    assert [planet async for planet in read] == both


@pytest.mark.parametrize("given", [PlanetRef("a", "b"), ("a", "b"), "a/b"])
def test_a_planet_may_be_written_in_three_ways(given: object) -> None:
    """All mean the same."""
    assert parse_target(given) == PlanetRef("a", "b")


@pytest.mark.parametrize("given", [BackupRef("a", 1), ("a", 1), "a/1"])
def test_a_backup_may_be_written_in_three_ways(given: object) -> None:
    """All mean the same."""
    assert parse_ref(given) == BackupRef("a", 1)


@pytest.mark.parametrize("given", [None, 7, ("a",), ("a", "b", "c"), object])
def test_anything_else_is_refused_by_name(given: object) -> None:
    """The message says what is allowed."""
    with pytest.raises(ConfigurationError, match="a target must be a PlanetRef"):
        parse_target(given)
    with pytest.raises(ConfigurationError, match="a backup must be a BackupRef"):
        parse_ref(given)
