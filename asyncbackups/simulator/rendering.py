"""Backups as the API writes them, encoded once per state and kept.

A list of ten thousand backups must be cheap: the finished ones at its beginning never change, so their encoded form
is kept as one block, and only what follows is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import msgspec
from attrs import define, field

from asyncbackups.simulator.shape import ApiShape, Echo
from asyncbackups.simulator.world import Phase, Shelf, SimulatedBackup

__all__ = ["Renderer"]


@define
class _Settled:
    """The encoded beginning of a list: `count` backups that will not change any more."""

    removals: int
    count: int = 0
    block: bytearray = field(factory=bytearray)


_Encoded: TypeAlias = "WeakKeyDictionary[SimulatedBackup, tuple[Phase, bytes]]"


class Renderer:
    """Encodes backups and lists of them.

    Args:
        shape: How the API writes them.
        tenant: The tenant, for the backups' environment.
        fractional: Whether stamps have microseconds.
    """

    def __init__(self, shape: ApiShape, *, tenant: str, fractional: bool) -> None:
        self._shape = shape
        self._tenant = tenant
        self._fractional = fractional
        self._same_in_lists = shape.echo_metadata in (Echo.NONE, Echo.BOTH)
        words = shape.words
        self._words = {
            Phase.QUEUED: (words.queued, words.display_queued),
            Phase.RUNNING: (words.in_progress, words.display_in_progress),
            Phase.SUCCEEDED: (words.succeeded, words.display_succeeded),
            Phase.FAILED: (words.failed, words.display_failed),
        }
        # Weakly: a backup that was deleted is not kept, however long the simulator runs.
        self._encoded: _Encoded = WeakKeyDictionary()
        self._encoded_for_lists: _Encoded = self._encoded if self._same_in_lists else WeakKeyDictionary()
        self._settled: WeakKeyDictionary[Shelf, _Settled] = WeakKeyDictionary()

    def encode(self, backup: SimulatedBackup, phase: Phase, *, in_list: bool = False) -> bytes:
        """Encode a backup as it is in a phase; the same bytes again until the phase changes.

        Args:
            backup: The backup.
            phase: The phase to show.
            in_list: Whether it is for a list, where metadata may be left out.
        """
        known = self._encoded_for_lists if in_list else self._encoded
        kept = known.get(backup)
        if kept is not None and kept[0] is phase:
            return kept[1]
        encoded = msgspec.json.encode(self.members(backup, phase, in_list=in_list))
        known[backup] = (phase, encoded)
        return encoded

    def members(self, backup: SimulatedBackup, phase: Phase, *, in_list: bool = False) -> dict[str, Any]:
        """Write a backup down as the documented object."""
        order = backup.order
        status, display = self._words[phase]
        members: dict[str, Any] = {
            "id": backup.id,
            "mechanism": order.mechanism,
            "type": order.type,
            "environment": {
                "tenant": self._tenant,
                "project": backup.star_system,
                "stage": order.planet_class,
                "name": backup.planet,
            },
            "status": status,
            "displayStatus": display,
            "errorMessage": backup.fate.error_message if phase is Phase.FAILED else None,
            "startedAt": None if phase is Phase.QUEUED else self.stamp(backup.started),
            "completedAt": self.stamp(backup.completed) if phase.final else None,
            "expirationDate": None if backup.expires is None else self.stamp(backup.expires),
            "databaseToApplicationBuilds": {},
        }
        wanted = (Echo.BOTH, Echo.LIST if in_list else Echo.GET)
        if order.metadata is not None and self._shape.echo_metadata in wanted:
            members["metadata"] = order.metadata
        members.update(self._shape.extra_members)
        return members

    def stamp(self, when: datetime) -> str:
        """Write a stamp as the guide does: UTC with a `Z`."""
        spec = "microseconds" if self._fractional else "seconds"
        return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=spec) + "Z"

    def array(self, shelf: Shelf, now: float) -> bytes:
        """Encode everything that a shelf's list shows.

        Args:
            shelf: The backups.
            now: The monotonic time in seconds.
        """
        settled = self._settle(shelf, now)
        rest = self._items(list(shelf.backups.values())[settled.count :], now)
        parts = [bytes(settled.block), *rest] if settled.count else rest
        return b"[" + b",".join(parts) + b"]"

    def page(self, shelf: Shelf, now: float, start: int, size: int) -> tuple[bytes, bool, int]:
        """Encode a part of what a shelf's list shows.

        Args:
            shelf: The backups.
            now: The monotonic time in seconds.
            start: How many backups come before it.
            size: How many backups it has at most.

        Returns:
            The array, whether more follows, and how many there are in all.
        """
        visible = [backup for backup in shelf.backups.values() if self._visible(backup, now)]
        items = self._items(visible[start : start + size], now)
        return b"[" + b",".join(items) + b"]", start + size < len(visible), len(visible)

    def _visible(self, backup: SimulatedBackup, now: float) -> bool:
        return now - backup.created_at >= self._shape.list_lag

    def _items(self, backups: Sequence[SimulatedBackup], now: float) -> list[bytes]:
        seen_at = now - self._shape.list_stale
        return [
            self.encode(backup, backup.phase(seen_at), in_list=True) for backup in backups if self._visible(backup, now)
        ]

    def _settle(self, shelf: Shelf, now: float) -> _Settled:
        """Bring the kept beginning of a list up to date."""
        settled = self._settled.get(shelf)
        if settled is None or settled.removals != shelf.removals:
            settled = self._settled[shelf] = _Settled(shelf.removals)
        seen_at = now - self._shape.list_stale
        for backup in list(shelf.backups.values())[settled.count :]:
            phase = backup.phase(seen_at)
            if not (phase.final and self._visible(backup, now)):
                break
            if settled.count:
                settled.block += b","
            settled.block += self.encode(backup, phase, in_list=True)
            settled.count += 1
        return settled
