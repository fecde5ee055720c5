"""A bulk deletion: shown, counted, and left in an orderly way."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from asyncbackups import BackupDeleted, BackupGone, BulkDeletion, DeleteFailed, NotFoundError
from asyncbackups.cli.ending import requests_text
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.following import Following
from asyncbackups.cli.text import counted, took
from asyncbackups.cli.view import View
from asyncbackups.cli.views import JsonView, LinesView

__all__ = ["DeletionEnding", "DeletionShow"]


@attrs.frozen(kw_only=True)
class DeletionEnding:
    """What a bulk deletion has come to.

    Attributes:
        backups: How many were to be deleted.
        deleted: How many are.
        missing: How many did not exist, where that is fine.
        failed: How many could not be deleted, or are not known to be.
        requests: Requests sent, by kind.
        seconds: How long it took.
        worst: The highest status of what happened.
        interrupted: Whether it was left before its end.
    """

    backups: int
    deleted: int
    missing: int
    failed: int
    requests: Mapping[str, int]
    seconds: float
    worst: ExitStatus
    interrupted: bool

    @property
    def status(self) -> ExitStatus:
        """The exit status."""
        return ExitStatus.INTERRUPTED if self.interrupted else self.worst

    @property
    def left(self) -> int:
        """How many nothing is known of: not begun with, or cut off."""
        return self.backups - self.deleted - self.missing - self.failed

    def as_json(self) -> dict[str, Any]:
        """Return the report, the last line of a deletion."""
        return {
            "event": "report",
            "backups": self.backups,
            "deleted": self.deleted,
            "missing": self.missing,
            "delete_failed": self.failed,
            "left": self.left,
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        others = {"did not exist": self.missing, "not deleted": self.failed}
        counts = [f"{counted(self.deleted, 'backup')} deleted", *(f"{n} {what}" for what, n in others.items() if n)]
        lines = [f"{', '.join(counts)}; {took(self.seconds)}; {requests_text(self.requests)}"]
        if self.interrupted:
            left = counted(self.left, "backup is", "backups are")
            go_on = "; to go on: the same command, with --missing-ok" if self.left else ""
            lines.append(f"interrupted: {left} left{go_on}")
        return lines


@attrs.define(eq=False)
class DeletionShow:
    """Lets a bulk deletion happen and shows it.

    Attributes:
        backups: How many there are to delete.
        missing_ok: Whether it is fine that one does not exist. The deletion itself is not to be told: it would call
            that deleted.
        json: Whether JSON goes to standard output.
    """

    backups: int
    missing_ok: bool
    json: bool
    _counts: collections.Counter[type[object]] = attrs.field(factory=collections.Counter, init=False)
    _worst: ExitStatus = attrs.field(default=ExitStatus.OK, init=False)
    _view: View = attrs.field(factory=View, init=False)

    async def run(
        self, deletion: BulkDeletion, requests: Callable[[], Mapping[str, int]]
    ) -> tuple[DeletionEnding, View]:
        """Run to the end, or until interrupted.

        Args:
            deletion: The deletion, not entered yet.
            requests: Returns the requests sent so far, by kind.

        Returns:
            How it ended, and the view to which that is still to be told.
        """
        following = Following(deletion, self._tell, what="delete")
        self._view = JsonView(following.interrupt) if self.json else LinesView()
        began = time.monotonic()
        async with deletion:
            await following.follow()
        # What was still under way when it was left has been told of, too.
        async for event in deletion:
            self._tell(event)
        ending = DeletionEnding(
            backups=self.backups,
            deleted=self._counts[BackupDeleted],
            missing=self._counts[BackupGone],
            failed=self._counts[DeleteFailed],
            requests=requests(),
            seconds=time.monotonic() - began,
            worst=self._worst,
            interrupted=following.interrupted,
        )
        return ending, self._view

    def _tell(self, event: BackupDeleted | DeleteFailed) -> None:
        told = self._judged(event)
        self._counts[type(told)] += 1
        if not isinstance(told, BackupGone):
            self._worst = max(self._worst, exit_status([told]))
        self._view.tell(told)

    def _judged(self, event: BackupDeleted | DeleteFailed) -> BackupDeleted | DeleteFailed | BackupGone:
        if self.missing_ok and isinstance(event, DeleteFailed) and isinstance(event.error, NotFoundError):
            return BackupGone(ref=event.ref, elapsed=event.elapsed)
        return event
