"""An asyncio event loop in virtual time.

Whenever nothing is ready to run, the clock jumps to the next timer, so that hours pass in milliseconds. Every turn of
the loop takes one microsecond of virtual time: a program that spins on `sleep(0)` makes progress, as it would in life.
"""

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN_TIME: Final = 1e-6
# Real seconds to wait for other threads before a deadlock is reported.
_THREAD_PATIENCE: Final = 0.05
_CLEANUP_TIME: Final = 600.0
_CLEANUP_TURNS: Final = 100_000


class Deadlock(Exception):  # noqa: N818
    """Nothing is scheduled, and the main task is not done."""


class VirtualTimeout(Exception):  # noqa: N818
    """The clock passed its limit, or the loop made too many turns."""


class VirtualSelector(selectors.BaseSelector):
    """A selector that advances a clock instead of waiting."""

    def __init__(self, *, limit: float, max_turns: int, busy: Callable[[], bool] | None) -> None:
        self.clock = 0.0
        self.limit = limit
        self.turns = 0
        self.max_turns = max_turns
        self._busy = busy
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the files that are ready, or advance the clock by the timeout."""
        self.turns += 1
        self.clock += TURN_TIME
        if timeout is not None and timeout <= 0.0:
            if self.turns > self.max_turns:
                raise VirtualTimeout(f"{self.turns} turns of the loop at {self.clock:.3f} s: livelock")
            return []
        events = self._real.select(0)
        if not events and self._busy is not None and self._busy():
            events = self._real.select(_THREAD_PATIENCE)
            if not events:
                return []
        if events:
            return events
        if timeout is None:
            events = self._real.select(_THREAD_PATIENCE)
            if events:
                return events
            raise Deadlock(f"Nothing is scheduled at {self.clock:.3f} s")
        # A turn was counted above; the next timer is due at the clock before it plus the timeout.
        self.clock += max(timeout - TURN_TIME, 0.0)
        if self.clock > self.limit:
            raise VirtualTimeout(f"The clock passed {self.limit:g} s")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register a file."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Unregister a file."""
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change the registration of a file."""
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the registered files."""
        return self._real.get_map()

    def close(self) -> None:
        """Close the selector."""
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of a `VirtualSelector`."""

    def __init__(self, selector: VirtualSelector) -> None:
        super().__init__(selector)
        self._virtual_selector = selector

    def time(self) -> float:
        """Return the virtual time in seconds since the start."""
        return self._virtual_selector.clock

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call the function at once: a thread would make the order of events depend on real time."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run_virtually(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    limit: float,
    max_turns: int = 10_000_000,
    busy: Callable[[], bool] | None = None,
) -> T:
    """Run a coroutine to its end in virtual time.

    Args:
        main: Returns the coroutine.
        limit: Maximum virtual time in seconds.
        max_turns: Maximum number of turns of the loop.
        busy: Returns True while another thread works for the loop; the clock stands still meanwhile.

    Returns:
        What the coroutine returns.

    Raises:
        Deadlock: Nothing is scheduled, and the coroutine is not done.
        VirtualTimeout: The limit was passed.
    """
    selector = VirtualSelector(limit=limit, max_turns=max_turns, busy=busy)
    loop = VirtualLoop(selector)
    try:
        return loop.run_until_complete(main())
    finally:
        try:
            selector.limit = selector.clock + _CLEANUP_TIME
            selector.max_turns = selector.turns + _CLEANUP_TURNS
            _cancel_tasks(loop)
        finally:
            loop.close()


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    # What a task does when it is cancelled may deadlock as well; the first error is the one to report.
    with contextlib.suppress(Deadlock, VirtualTimeout):
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
