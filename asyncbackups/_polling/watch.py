"""Waiting: for one backup, or for any number of them as a stream of events."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asyncbackups._base.event_stream import EventStream
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

if TYPE_CHECKING:
    from asyncbackups._polling.engine import Engine


DEFAULT_DEADLINE = 24 * 3600.0
"""For how long a backup is watched unless told otherwise, in seconds: a logical backup may take hours."""
_AT_ONCE = 1_000
"""How many backups are taken up between two turns of the event loop: some milliseconds' work."""


def validate_deadline(deadline: Seconds) -> float:
    """Return a deadline as a positive number of seconds from now.

    Raises:
        ConfigurationError: If it is not one.
    """
    value = check_seconds(deadline, "deadline")
    if value <= 0:
        raise ConfigurationError(
            f"must be a positive number of seconds from now, not {quote_value(deadline)}", field="deadline"
        )
    return value


class Watch:
    """Watches backups until each has ended, and tells of each exactly once, in the order in which they end.

    Enter it with ``async with``, then iterate with ``async for``. A slow consumer loses nothing. Leaving early is
    clean: what was still in flight is no longer watched (the backups themselves go on).

    Given `refs`, the iteration ends with the last of them; without, it goes on until `finish`.

    Args:
        engine: The client's engine.
        refs: The backups to begin with, or None.
        deadline: For how long each is watched unless `add` says otherwise, in seconds.
    """

    def __init__(self, engine: Engine, refs: Iterable[BackupRef] | None, *, deadline: float) -> None:
        self._engine = engine
        self._first = None if refs is None else dict.fromkeys(map(parse_ref, require_many(refs, "refs", "backups")))
        self._deadline = deadline
        self._stream: EventStream[FinalEvent] = EventStream()
        self._in_flight: collections.Counter[str] = collections.Counter()  # by star system
        self._entered = False
        self._left = False
        self._finished = False
        self._client_left = False

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            ClientClosedError: If it was entered before: a watch is used once.
        """
        if self._entered:
            raise ClientClosedError("a watch can be entered only once: make another one")
        self._entered = True
        self._engine.add_close_callback(self._end_with_client)
        first, self._first = self._first, None
        finished, self._finished = self._finished or first is not None, False
        try:
            for number, ref in enumerate(first or (), 1):
                self._track(ref, self._deadline)
                if number % _AT_ONCE == 0:
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
        """Stop watching what is still in flight."""
        self._stop_watching()

    def _stop_watching(self) -> None:
        self._left = True
        self._engine.remove_close_callback(self._end_with_client)
        if self._in_flight:
            self._engine.untrack_all(self, self._in_flight)
        self._in_flight.clear()
        self._stream.close()

    def _end_with_client(self) -> None:
        self._client_left = not self._finished
        self._stream.close()

    def add(self, star_system: str, backup_id: BackupId, *, deadline: Seconds | None = None) -> BackupRef:
        """Watch one more backup; returns at once. Adding one that is being watched already changes nothing.

        Args:
            star_system: Its star system.
            backup_id: Its id.
            deadline: For how long, in seconds from now; None for the watch's own.

        Returns:
            Its name, as events carry it.

        Raises:
            ConfigurationError: If a name or the deadline is not valid.
            ClientClosedError: If the watch was not entered, is finished, or was left.
        """
        ref = BackupRef(star_system, backup_id)
        limit = self._deadline if deadline is None else validate_deadline(deadline)
        if not self._entered or self._left or self._finished:
            state = "was left" if self._left else "is finished" if self._finished else "is not entered (async with)"
            raise ClientClosedError(f"nothing can be added: the watch {state}")
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
        """Stop watching a backup: it gets no event. One that is not being watched is ignored.

        Raises:
            ConfigurationError: If `ref` names none.
        """
        ref = parse_ref(ref)
        if self._engine.untrack(ref, self):
            self._count_ended(ref)
            self._close_if_over()

    def finish(self) -> None:
        """Say that nothing more will be added: the iteration ends with the last backup in flight."""
        self._finished = True
        self._close_if_over()

    @property
    def in_flight(self) -> int:
        """How many of this watch's backups have not ended yet."""
        return self._in_flight.total()

    def explain(self, ref: BackupRef) -> Explanation | None:
        """Say when a backup is asked about next, and why; None where it is not in flight.

        Raises:
            ConfigurationError: If `ref` names none.
        """
        return self._engine.explain(parse_ref(ref))

    def deliver(self, event: FinalEvent) -> None:
        """Take an event; for the engine."""
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
            ClientClosedError: If the watch was not entered, or the client was left before the watch was finished.
        """
        if not self._entered:
            raise ClientClosedError("enter the watch before iterating: `async with client.watch(...) as watch`")
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            if self._client_left and not self._left:
                raise ClientClosedError("the client was left while this watch was open") from None
            raise


class _Waiter:
    """Somebody who waits for one backup."""

    def __init__(self) -> None:
        self.event: asyncio.Future[FinalEvent] = asyncio.get_running_loop().create_future()

    def deliver(self, event: FinalEvent) -> None:
        if not self.event.done():
            self.event.set_result(event)


async def wait_for(engine: Engine, ref: BackupRef, *, deadline: float) -> Backup:
    """Wait until a backup has succeeded; waits for the same backup share its polls.

    Args:
        engine: The client's engine.
        ref: Which backup.
        deadline: For how long, in seconds.

    Raises:
        BackupFailedError: If it failed.
        BackupGoneError: If it does not exist.
        WatchExpiredError: If the deadline passed; its cause is what the last poll raised, where that told nothing.
        BackupsError: If it could not be checked: what the last poll raised.
    """
    waiter = _Waiter()
    engine.track(ref, waiter, deadline=deadline)
    try:
        event = await waiter.event
    finally:
        engine.untrack(ref, waiter)
    if isinstance(event, BackupSucceeded):
        return event.backup
    # Many may raise one error, and each time its traceback would grow.
    raise error_from_event(event).with_traceback(None)


def error_from_event(event: BackupFailed | BackupGone | WatchExpired | WatchFailed) -> BackupsError:
    """Return the error that says what an event of failure says."""
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
