"""A whole bulk run, as `bulk` and `demo` do it: created, watched, shown, and left in an orderly way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import attrs

from asyncbackups import BulkRun, Event, PlanetRef
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.tally import Tally
from asyncbackups.cli.text import counted, say
from asyncbackups.cli.view import View
from asyncbackups.cli.views import views_for

__all__ = ["BulkShow", "Feed"]


class Feed:
    """Hands out targets one by one, until it is stopped.

    Args:
        targets: The planets.

    Attributes:
        taken: How many were handed out.
        stopped: Whether no more will be.
    """

    def __init__(self, targets: Sequence[PlanetRef]) -> None:
        self._targets = targets
        self.taken = 0
        self.stopped = False

    def stop(self) -> None:
        """Hand out no more."""
        self.stopped = True

    def __iter__(self) -> Iterator[PlanetRef]:
        for planet in self._targets:
            if self.stopped:
                return
            self.taken += 1
            yield planet


@attrs.define(eq=False)
class BulkShow:
    """Lets a bulk run happen and shows it.

    The first interrupt begins no more creates and waits for the answers of those under way, because a create that is
    cut off is a backup that nobody may know of. The second one leaves at once.

    Attributes:
        targets: The planets.
        title: What is being done.
        json: Whether JSON goes to standard output.
        notice: Called with each event, too; None for nobody.
        outlived: Whether the backups go on after the command.
    """

    targets: Sequence[PlanetRef]
    title: str
    json: bool
    notice: Callable[[Event], None] | None = None
    outlived: bool = True
    tally: Tally = attrs.field(factory=Tally, init=False)
    _feed: Feed = attrs.field(init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _following: asyncio.Task[object] | None = attrs.field(default=None, init=False)
    _view: View = attrs.field(factory=View, init=False)

    def __attrs_post_init__(self) -> None:
        self._feed = Feed(self.targets)

    async def run(self, begin: Callable[[Feed], BulkRun]) -> tuple[Ending, View]:
        """Run to the end, or until interrupted.

        Args:
            begin: Makes the bulk run over the targets.

        Returns:
            How it ended, and the view to which that is still to be told.
        """
        run = begin(self._feed)
        self._view = views_for(
            self.tally,
            json=self.json,
            title=self.title,
            begun="created",
            requests=lambda: _by_name(run),
            unread=self.interrupt,
        )
        self._following = asyncio.current_task()
        with self._view:
            async with run:
                await self._follow(run)
            # What was still under way when the run was left has been told of, too.
            async for event in run:
                self._tell(event)
        return self._ending(run), self._view

    def interrupt(self) -> None:
        """Create no more, and leave as soon as it is known what was created."""
        if self._interrupted:
            return
        self._interrupted = True
        self._feed.stop()
        if self._under_way:
            creates = counted(self._under_way, "create")
            say(f"interrupted: waiting for the answers to {creates} under way; once more to leave at once")
        elif self._following is not None and self._following is not asyncio.current_task():
            # It waits for an event that may never come. Where it is itself that noticed, it looks before it waits.
            self._following.cancel()

    async def _follow(self, run: BulkRun) -> None:
        try:
            with on_interrupt(self.interrupt):
                async for event in run:
                    self._tell(event)
                    if self._interrupted and not self._under_way:
                        break
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            if self._following is not None:
                self._following.uncancel()
        finally:
            self._following = None

    def _tell(self, event: Event) -> None:
        self.tally.note(event)
        if self.notice is not None:
            self.notice(event)
        self._view.tell(event)

    @property
    def _under_way(self) -> int:
        total = self.tally.total
        return self._feed.taken - total.created - total.create_failed

    def _ending(self, run: BulkRun) -> Ending:
        return Ending(
            tally=self.tally,
            requests=_by_name(run),
            seconds=run.report.seconds,
            targets=len(self.targets),
            interrupted=self._interrupted,
            outlived=self.outlived,
        )


def _by_name(run: BulkRun) -> dict[str, int]:
    return {str(kind): number for kind, number in run.report.requests.items()}
