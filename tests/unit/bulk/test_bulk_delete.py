"""Bulk deletion: how backups are given, and when the deletion may be entered and iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from asyncbackups._api.operations import Operations
from asyncbackups._bulk.bulk_delete import BulkDeletion
from asyncbackups.errors import ClientClosedError, ConfigurationError
from asyncbackups.events import BackupDeleted
from asyncbackups.models import BackupRef
from tests.fake_clock import FakeClock

REFS = [BackupRef("solar", number) for number in range(3)]


class Deletes:
    """Deletes any backup."""

    async def delete(self, ref: BackupRef, *, missing_ok: bool) -> None:
        pass


def deletion_of(refs: Any) -> BulkDeletion:
    operations = cast("Operations", Deletes())
    return BulkDeletion(operations, refs=refs, concurrency=2, missing_ok=False, clock=FakeClock())


async def test_invalid_item_is_raised_after_the_events_before_it() -> None:
    """It ends the reading of an iterator, and the error names it."""
    async with deletion_of(iter([REFS[0], "nonsense"])) as deletion:
        assert isinstance(await anext(deletion), BackupDeleted)
        with pytest.raises(ConfigurationError, match="nonsense"):
            await anext(deletion)


async def test_refs_may_come_from_an_async_iterable() -> None:
    """They are read as deletes start."""

    async def coming() -> AsyncIterator[BackupRef]:
        for ref in REFS:
            yield ref

    async with deletion_of(coming()) as deletion:
        assert {event.ref async for event in deletion} == set(REFS)


async def test_deletion_is_entered_once_and_before_iterating() -> None:
    """Anything else is an error."""
    deletion = deletion_of([])
    with pytest.raises(ClientClosedError, match="enter it"):
        await anext(deletion)
    async with deletion:
        assert [event async for event in deletion] == []
    with pytest.raises(ClientClosedError, match="only once"):
        await deletion.__aenter__()
