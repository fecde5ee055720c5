"""Waits for one backup, and watches of any number of backups as a stream of events."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asyncbackups._base.containers import EventStream
from asyncbackups._base.validation import Seconds, check_seconds, quote_value
from asyncbackups._inputs import parse_ref, require_many
from asyncbackups.errors import (
    BackupFailedError,
    BackupGoneError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    WatchExpiredError,
)
from asyncbackups.events import (
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    Explanation,
    FinalEvent,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import Backup, BackupId, BackupRef

if TYPE_CHECKING:  # `import asyncbackups` imports this module, and the engine only when a client is opened
    from asyncbackups._polling.engine import Engine


_ADDED_PER_TURN = 1_000  # this many backups are added between two turns of the event loop: some milliseconds' work


def validate_deadline(deadline: Seconds) -> float:
    """Return a deadline in seconds; raise `ConfigurationError` unless it is positive and finite."""
    value = check_seconds(deadline, "deadline")
    if value <= 0:
        raise ConfigurationError(
            f"must be a positive number of seconds from now, not {quote_value(deadline)}", field="deadline"
        )
    return value


class Watch:
    """Watches backups until each has ended, and yields one final event for each, in the order in which they end.

    Enter it with ``async with``, then iterate with ``async for``. A slow consumer loses no event. After leaving early
    the remaining backups are no longer watched (the backups themselves continue).

    If `refs` are given, the iteration ends with the last of them; otherwise it continues until `finish`.

    Args:
        engine: The client's engine.
        refs: The backups to watch at first, or None.
        deadline: For how long each backup is watched unless `add` sets another deadline, in seconds.
    """

    def __init__(self, engine: Engine, refs: Iterable[BackupRef] | None, *, deadline: float) -> None:
        self._engine = engine
        self._initial_refs = (
            None if refs is None else dict.fromkeys(map(parse_ref, require_many(refs, "refs", "backups")))
        )
        self._deadline = deadline
        self._stream: EventStream[FinalEvent] = EventStream()
        self._in_flight: collections.Counter[str] = collections.Counter()  # by star system
        self._entered = False
        self._left = False
        self._finished = False
        self._client_closed = False

    async def __aenter__(self) -> Self:
        """Start to watch.

        Raises:
            ClientClosedError: If it was entered before: a watch is used once.
        """
        if self._entered:
            raise ClientClosedError("a watch can be entered only once: create another one")
        self._entered = True
        self._engine.add_close_callback(self._end_with_client)
        refs, self._initial_refs = self._initial_refs, None
        finished, self._finished = self._finished or refs is not None, False
        try:
            for number, ref in enumerate(refs or (), 1):
                self._track(ref, self._deadline)
                if number % _ADDED_PER_TURN == 0:
                    await asyncio.sleep(0)
        except BaseException:
            self._stop_watching()
            raise
        if finished:
            self.finish()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching the remaining backups."""
        self._stop_watching()

    def _stop_watching(self) -> None:
        self._left = True
        self._engine.remove_close_callback(self._end_with_client)
        if self._in_flight:
            self._engine.untrack_all(self, self._in_flight)
        self._in_flight.clear()
        self._stream.close()

    def _end_with_client(self) -> None:
        self._client_closed = not self._finished
        self._stream.close()

    def add(self, star_system: str, backup_id: BackupId, *, deadline: Seconds | None = None) -> BackupRef:
        """Watch one more backup; return at once. Adding a backup that is being watched already changes nothing.

        Args:
            star_system: Its star system.
            backup_id: Its id.
            deadline: For how long, in seconds from now; None for the watch's deadline.

        Returns:
            Its name, as in its event.

        Raises:
            ConfigurationError: If a name or the deadline is not valid.
            ClientClosedError: If the watch was not entered, is finished, or was closed.
        """
        ref = BackupRef(star_system, backup_id)
        limit = self._deadline if deadline is None else validate_deadline(deadline)
        if not self._entered or self._left or self._finished:
            state = "was closed" if self._left else "is finished" if self._finished else "is not entered (async with)"
            raise ClientClosedError(f"cannot add a backup: the watch {state}")
        self._track(ref, limit)
        return ref

    def _track(self, ref: BackupRef, deadline: float) -> None:
        if self._engine.track(ref, self, deadline=deadline, patient=True):
            self._in_flight[ref.star_system] += 1

    def _count_ended(self, ref: BackupRef) -> None:
        self._in_flight[ref.star_system] -= 1
        if not self._in_flight[ref.star_system]:
            del self._in_flight[ref.star_system]

    def discard(self, ref: BackupRef) -> None:
        """Stop watching a backup, without an event. A backup that is not watched is ignored.

        Raises:
            ConfigurationError: If `ref` is not a backup's name.
        """
        ref = parse_ref(ref)
        if self._engine.untrack(ref, self):
            self._count_ended(ref)
            self._close_if_over()

    def finish(self) -> None:
        """Declare that no backup will be added any more: the iteration ends with the last backup."""
        self._finished = True
        self._close_if_over()

    @property
    def in_flight(self) -> int:
        """How many of this watch's backups have not ended yet."""
        return self._in_flight.total()

    def explain(self, ref: BackupRef) -> Explanation | None:
        """Explain when a backup is polled next, and why; return None if it is not in progress.

        Raises:
            ConfigurationError: If `ref` is not a backup's name.
        """
        return self._engine.explain(parse_ref(ref))

    def deliver(self, event: FinalEvent) -> None:
        """Receive an event from the engine."""
        self._count_ended(event.ref)
        self._stream.put(event)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._entered and self._finished and not self._in_flight:
            self._stream.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FinalEvent:
        """Return the next event.

        Raises:
            StopAsyncIteration: When the last backup has ended.
            ClientClosedError: If the watch was not entered, or the client was closed before the watch was finished.
        """
        if not self._entered:
            raise ClientClosedError("enter the watch before iterating: `async with client.watch(...) as watch`")
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            if self._client_closed and not self._left:
                raise ClientClosedError("the client was closed while this watch was open") from None
            raise


class _BackupWaiter:
    """Waits for one backup."""

    def __init__(self) -> None:
        self.event: asyncio.Future[FinalEvent] = asyncio.get_running_loop().create_future()

    def deliver(self, event: FinalEvent) -> None:
        if not self.event.done():
            self.event.set_result(event)


async def wait_for(engine: Engine, ref: BackupRef, *, deadline: float) -> Backup:
    """Wait until a backup has succeeded. Waits for the same backup share its polls.

    Raises:
        BackupFailedError: If it failed.
        BackupGoneError: If it does not exist.
        WatchExpiredError: If the deadline passed; if the last poll failed, its error is the cause.
        BackupsError: If the backup could not be checked: the error of the last poll.
    """
    waiter = _BackupWaiter()
    engine.track(ref, waiter, deadline=deadline)
    try:
        event = await waiter.event
    finally:
        engine.untrack(ref, waiter)
    if isinstance(event, BackupSucceeded):
        return event.backup
    # Many waits may raise one error object, whose traceback would grow each time.
    raise error_from_event(event).with_traceback(None)


def error_from_event(event: BackupFailed | BackupGone | WatchExpired | WatchFailed) -> BackupsError:
    """Return the error that corresponds to an event other than a success."""
    match event:
        case BackupFailed():
            return BackupFailedError.of(event.ref, event.backup)
        case BackupGone():
            return BackupGoneError.of(event.ref, event.backup)
        case WatchExpired():
            expired = WatchExpiredError.of(event.ref, event.backup)
            expired.__cause__ = event.error
            return expired
        case WatchFailed():
            return event.error
