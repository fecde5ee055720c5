"""A whole bulk run, as `bulk`, `resume` and `demo` do it: created, watched, shown, and left in an orderly way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import attrs

from asyncbackups import BulkRun, CreatePolicy, Event, JournalError, JournalStatus
from asyncbackups.cli.connection import CLIENT
from asyncbackups.cli.earlier import tell_where_it_stands
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.following import Following
from asyncbackups.cli.tally import Tally
from asyncbackups.cli.text import counted, say, took
from asyncbackups.cli.view import View
from asyncbackups.cli.views import views_for

__all__ = ["BulkShow", "lasting"]


@attrs.define(eq=False)
class BulkShow:
    """Lets a bulk run happen and shows it.

    Attributes:
        planets: How many planets are to get a backup.
        title: What is being done.
        json: Whether JSON goes to standard output.
        notice: Called with each event, too; None for nobody.
        outlived: Whether the backups go on after the command.
        journal: What remembers the run, or None.
        options: The connection's options as they were given.
        caution: What people are to know once the run has begun; empty for nothing.
        earlier: Where the run stood that is gone on with: what an earlier process told is counted, and not told again.
            None for a new run.
    """

    planets: int
    title: str
    json: bool
    notice: Callable[[Event], None] | None = None
    outlived: bool = True
    journal: Path | None = None
    earlier: JournalStatus | None = None
    options: tuple[str, ...] = ()
    caution: str = ""
    tally: Tally = attrs.field(factory=Tally, init=False)
    _view: View = attrs.field(factory=View, init=False)

    async def run(self, run: BulkRun) -> tuple[Ending, View]:
        """Run to the end, or until interrupted.

        Args:
            run: The run, not entered yet; with a journal it is to tell everything from the beginning.

        Returns:
            How it ended, and the view to which that is still to be told.

        Raises:
            JournalError: If the run cannot begin. What happens to its journal later is in what is returned.
        """
        following = Following(run, self._tell, what="create", lasting=lasting(CLIENT["creating"]))
        self._view = views_for(
            self.tally,
            json=self.json,
            title=self.title,
            begun="created",
            requests=lambda: _by_name(run),
            unread=following.interrupt,
            journaled=self.journal is not None,
        )
        error: JournalError | None = None
        async with contextlib.AsyncExitStack() as entered:
            # Before anything is shown: it may be refused.
            await entered.enter_async_context(run)
            if self.caution:
                say(self.caution)
            if self.earlier is not None and not self.json:
                tell_where_it_stands(self.earlier)
            with self._view:
                try:
                    async with entered.pop_all():
                        await following.follow()
                    # What was still under way when the run was left has been told of, too.
                    async for event in run:
                        self._tell(event)
                except JournalError as exc:
                    error = exc
        return self._ending(run, error, interrupted=following.interrupted), self._view

    def _tell(self, event: Event) -> None:
        self.tally.note(event)
        if self.earlier is not None and event.id is not None and event.id <= self.earlier.acknowledged:
            return
        if self.notice is not None:
            self.notice(event)
        self._view.tell(event)

    def _ending(self, run: BulkRun, error: JournalError | None, *, interrupted: bool) -> Ending:
        return Ending(
            tally=self.tally,
            requests=_by_name(run),
            seconds=run.report.seconds,
            targets=self.planets,
            interrupted=interrupted,
            outlived=self.outlived,
            journal=None if self.journal is None else str(self.journal),
            options=self.options,
            error=error,
        )


def lasting(policy: CreatePolicy) -> str:
    """Say for how long a create may keep an interrupt waiting: which of them are being looked for, no run tells."""
    looked_for = f"{took(policy.settle)} after each of at most {counted(policy.resends + 1, 'send')}"
    failing = f"up to {took(policy.patience)} while that fails"
    return f"where one is lost, its backup is looked for: {looked_for}, {failing}"


def _by_name(run: BulkRun) -> dict[str, int]:
    return {str(kind): number for kind, number in run.report.requests.items()}
