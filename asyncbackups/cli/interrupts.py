"""Signals that end a command: the first one in an orderly way, the next one at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterable, Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from asyncbackups.cli.output import format_count, format_duration, print_message

if TYPE_CHECKING:
    from asyncbackups import CreatePolicy

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SIGHUP = getattr(signal, "SIGHUP", None)

_Event = TypeVar("_Event")


@contextlib.contextmanager
def on_interrupt(react: Callable[[], object]) -> Iterator[None]:
    """Call `react` on the first SIGINT, SIGTERM or SIGHUP; on the next one cancel the current task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    is_interrupted = False

    def respond(number: int) -> None:
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
            react()
        # A terminal that closes sends SIGHUP more than once: from the shell and from the kernel.
        elif number != _SIGHUP and task is not None:
            task.cancel()

    def handle_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        loop.call_soon_threadsafe(respond, number)

    previous: dict[int, Any] = {}
    # In another thread there are no signal handlers: asyncio's own way remains.
    with contextlib.suppress(ValueError):
        for number in _SIGNALS:
            # A signal that was ignored when the program started (`nohup`) stays ignored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, handle_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _RequestSource(Protocol):
    """A bulk run or a bulk deletion, entered."""

    @property
    def under_way(self) -> int: ...

    async def stop(self) -> None: ...


class EventFollower(Generic[_Event]):
    """Takes events until there are no more or it is interrupted.

    The first interrupt starts no more requests and waits for the responses to those under way: a create that is cut
    off may leave an unknown backup. The second one leaves at once.

    Args:
        source: Where the requests are sent; None if there are none to wait for.
        noun: What such a request is: "create".
        delay: How long a response may take, for people; empty if no longer than any request.
    """

    def __init__(
        self, on_event: Callable[[_Event], None], source: _RequestSource | None = None, noun: str = "", delay: str = ""
    ) -> None:
        self._on_event = on_event
        self._source = source
        self._noun = noun
        self._delay = delay
        self.interrupted: bool = False
        self._following: asyncio.Task[object] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def follow_events(self, events: AsyncIterable[_Event]) -> None:
        """Take the events; return when there are no more, or when it is time to leave."""
        self._following = asyncio.current_task()
        try:
            with on_interrupt(self.interrupt):
                async for event in events:
                    self._on_event(event)
        except asyncio.CancelledError:
            if not self.interrupted or self._following is None:
                raise
            while self._following.uncancel():
                pass
        finally:
            self._following = None
            if self._stopping is not None:
                self._stopping.cancel()

    def interrupt(self) -> None:
        """Start no more requests, and leave as soon as the outcome of those under way is known."""
        if self.interrupted:
            return
        self.interrupted = True
        if self._following is None:
            return
        if self._source is not None and (under_way := self._source.under_way):
            print_waiting(f"{format_count(under_way, self._noun)} under way", self._delay)
        self._stopping = asyncio.get_running_loop().create_task(self._stop_source(), name="asyncbackups-stop")

    async def _stop_source(self) -> None:
        if self._source is not None:
            await self._source.stop()
        if self._following is not None:
            # It waits for an event that may never come.
            self._following.cancel()


def print_waiting(requests: str, delay: str = "") -> None:
    """Print why an interrupt does not end the command at once; an empty `delay` is no longer than any request."""
    details = f" ({delay})" if delay else ""
    print_message(f"interrupted: waiting for the response to {requests}{details}; interrupt again to leave at once")


def describe_delay(policy: CreatePolicy) -> str:
    """Return for how long creates may keep an interrupt waiting: any of them may be reconciled at the moment."""
    sends = format_count(policy.resends + 1, "send")
    return (
        f"a create with a lost response is reconciled: {format_duration(policy.settle)} after each of at most {sends}, "
        f"up to {format_duration(policy.patience)} while that fails"
    )
