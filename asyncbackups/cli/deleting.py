"""A bulk deletion: shown, counted, and left in an orderly way."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from asyncbackups import BackupDeleted, BulkDeletion, DeleteFailed
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
        failed: How many could not be deleted, or are not known to be.
        requests: Requests sent, by kind.
        seconds: How long it took.
        worst: The highest status of what happened.
        interrupted: Whether it was left before its end.
    """

    backups: int
    deleted: int
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
        return self.backups - self.deleted - self.failed

    def as_json(self) -> dict[str, Any]:
        """Return the report, the last line of a deletion."""
        return {
            "event": "report",
            "backups": self.backups,
            "deleted": self.deleted,
            "delete_failed": self.failed,
            "left": self.left,
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        failed = f", {self.failed} not deleted" if self.failed else ""
        counts = f"{counted(self.deleted, 'backup')} deleted{failed}"
        lines = [f"{counts}; {took(self.seconds)}; {requests_text(self.requests)}"]
        if self.interrupted:
            left = counted(self.left, "backup is", "backups are")
            lines.append(f"interrupted: {left} left; to go on: the same command, with --missing-ok")
        return lines


@attrs.define(eq=False)
class DeletionShow:
    """Lets a bulk deletion happen and shows it.

    Attributes:
        backups: How many there are to delete.
        json: Whether JSON goes to standard output.
    """

    backups: int
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
            failed=self._counts[DeleteFailed],
            requests=requests(),
            seconds=time.monotonic() - began,
            worst=self._worst,
            interrupted=following.interrupted,
        )
        return ending, self._view

    def _tell(self, event: BackupDeleted | DeleteFailed) -> None:
        self._counts[type(event)] += 1
        self._worst = max(self._worst, exit_status([event]))
        self._view.tell(event)
