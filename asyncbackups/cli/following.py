"""Taking the events of a run, and leaving it in an orderly way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.text import counted, say

__all__ = ["Following"]

_Event = TypeVar("_Event")
_Event_co = TypeVar("_Event_co", covariant=True)


class _Run(Protocol[_Event_co]):
    """A bulk run or a bulk deletion, entered."""

    @property
    def under_way(self) -> int:
        """How many requests were begun whose outcome is not known yet."""
        ...

    async def stop(self) -> None:
        """Begin no more of them; returns when the outcome of those under way is known."""
        ...

    def __aiter__(self) -> _Run[_Event_co]: ...

    async def __anext__(self) -> _Event_co: ...


@attrs.define(eq=False)
class Following(Generic[_Event]):
    """Takes events until there are no more, or it is interrupted.

    The first interrupt begins no more requests and waits for the answers to those under way, because a create that is
    cut off is a backup that nobody may know of. The second one leaves at once.

    Attributes:
        run: What tells the events.
        tell: Called with each.
        what: What the run's requests do: "create".
        lasting: For how long their outcome may be unknown, for people; empty for no longer than any request.
        interrupted: Whether it was.
    """

    run: _Run[_Event]
    tell: Callable[[_Event], None]
    what: str
    lasting: str = ""
    interrupted: bool = attrs.field(default=False, init=False)
    _taking: asyncio.Task[object] | None = attrs.field(default=None, init=False)
    _leaving: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def follow(self) -> None:
        """Take the events; returns when there are no more, or it is to be left.

        Raises:
            Exception: What the run raises.
        """
        self._taking = asyncio.current_task()
        try:
            with on_interrupt(self.interrupt):
                async for event in self.run:
                    self.tell(event)
        except asyncio.CancelledError:
            if not self.interrupted or self._taking is None:
                raise
            while self._taking.uncancel():
                pass
        finally:
            self._taking = None
            if self._leaving is not None:
                self._leaving.cancel()

    def interrupt(self) -> None:
        """Begin nothing more, and leave as soon as it is known what was done."""
        if self.interrupted:
            return
        self.interrupted = True
        if self._taking is None:
            return
        if under_way := self.run.under_way:
            requests = counted(under_way, self.what)
            lasting = f" ({self.lasting})" if self.lasting else ""
            say(f"interrupted: waiting for the answers to {requests} under way{lasting}; once more to leave at once")
        self._leaving = asyncio.get_running_loop().create_task(self._leave(), name="asyncbackups-leaving")

    async def _leave(self) -> None:
        await self.run.stop()
        if self._taking is not None:
            # It waits for an event that may never come.
            self._taking.cancel()
