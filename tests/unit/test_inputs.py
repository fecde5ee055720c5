"""Targets and refs: the forms that callers may use, and when they are checked."""

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
        ("alpha/1", "for instance ['alpha/1']"),  # a string is iterable, too
        (PlanetRef("alpha", "prod"), "for instance [PlanetRef(star_system='alpha', planet='prod')]"),
        (BackupRef("alpha", 1), "for instance [BackupRef(star_system='alpha', backup_id=1)]"),
        (5, "not 5"),
        (None, "not None"),
    ],
)
def test_single_item_is_refused(given: Any, why: str) -> None:
    """A value that is not iterable is refused at once, and a single item is shown as a list of one."""
    message = f"must be a list or another iterable of %s, {why}"
    for whole in (False, True):
        with pytest.raises(ConfigurationError, match=re.escape(f"targets {message % 'planets'}")):
            parse_planets(given, whole=whole)
    with pytest.raises(ConfigurationError, match=re.escape(f"refs {message % 'backups'}")):
        parse_refs(given)


@pytest.mark.parametrize("collection", [list, tuple, set, dict.fromkeys])
def test_collection_is_checked_as_a_whole(collection: Callable[[list[str]], Any]) -> None:
    """An invalid last item is found before anything starts."""
    with pytest.raises(ConfigurationError, match="not 'bad'"):
        parse_planets(collection(["ss/p1", "ss/p2", "bad"]), whole=False)
    with pytest.raises(ConfigurationError, match="not 'bad'"):
        parse_refs(collection(["ss/1", "ss/2", "bad"]))


async def test_iterator_is_not_read_ahead() -> None:
    """An invalid item raises when it is read."""
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


async def test_collection_becomes_a_sequence_for_a_journal_only() -> None:
    """Otherwise it is read again, item by item; a set is sorted for the journal."""
    both = [PlanetRef("a", "b"), PlanetRef("c", "d")]
    assert parse_planets({"c/d", "a/b"}, whole=True) == both
    read = parse_planets(["a/b", ("c", "d")], whole=False)
    assert isinstance(read, AsyncIterable)
    assert [planet async for planet in read] == both


@pytest.mark.parametrize("given", [PlanetRef("a", "b"), ("a", "b"), "a/b"])
def test_planet_has_three_forms(given: object) -> None:
    """All three are equivalent."""
    assert parse_target(given) == PlanetRef("a", "b")


@pytest.mark.parametrize("given", [BackupRef("a", 1), ("a", 1), "a/1"])
def test_backup_has_three_forms(given: object) -> None:
    """All three are equivalent."""
    assert parse_ref(given) == BackupRef("a", 1)


@pytest.mark.parametrize("given", [BackupRef("a", "3f2a"), ("a", "3f2a"), "a/3f2a"])
def test_backup_may_have_an_id_that_is_a_string(given: object) -> None:
    """In all three forms."""
    assert parse_ref(given) == BackupRef("a", "3f2a")


@pytest.mark.parametrize("given", [None, 7, ("a",), ("a", "b", "c"), object])
def test_other_forms_are_refused(given: object) -> None:
    """The message lists what is allowed."""
    with pytest.raises(ConfigurationError, match="a target must be a PlanetRef"):
        parse_target(given)
    with pytest.raises(ConfigurationError, match="a backup must be a BackupRef"):
        parse_ref(given)
