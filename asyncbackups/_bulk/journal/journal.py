"""The journal of a bulk run: a ledger that survives the process."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import attrs
import msgspec

from asyncbackups._base.clock import Clock, Timer
from asyncbackups._bulk.journal.agreement import header_difference, target_difference
from asyncbackups._bulk.journal.connection import connected, insert
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header, Row, event_from, event_text, kind_of
from asyncbackups._bulk.journal.group_commit import GroupCommit, completed
from asyncbackups._bulk.journal.lock import Lock
from asyncbackups._bulk.journal.run_state import RunState, TargetState
from asyncbackups._bulk.run_store import Intent, ResumePoint, RunningBackup, Target, numbered
from asyncbackups._inputs import Planets
from asyncbackups.errors import ConfigurationError, JournalError, is_client_shutdown
from asyncbackups.events import BackupCreated, CreateFailed, Event, WatchFailed
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

if TYPE_CHECKING:
    import aiosqlite


_log = logging.getLogger(__name__)

_EVENT_WITHIN = 0.005
"""Seconds that an event may wait for an intent to be written with."""
_INTENT_WITHIN = 0.001
"""Seconds that an intent may wait for others while creates are under way: soon their workers intend the next ones."""
_ACKNOWLEDGE_AFTER = 0.1
"""Seconds that an acknowledgement may wait for something else to be written, which it then goes with."""
_AT_ONCE = 200
"""So many events are read between two turns of the event loop: a few milliseconds' work."""


class Journal:
    """A ledger in a SQLite file, for one run of one process at a time.

    Args:
        path: The file.
        tenant: The client's tenant.
        base_url: The client's service.
        spec: What to create; None for what the journal says, which must exist then.
        since: Deliver again what came after this event; None for what was not acknowledged.
        own: Claims a backup, so that no create adopts it.
        clock: The time.

    Raises:
        ConfigurationError: If aiosqlite is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        tenant: str,
        base_url: str,
        spec: BackupSpec | None,
        since: int | None,
        own: Callable[[BackupRef], None],
        clock: Clock,
    ) -> None:
        _required()
        self._path = path
        self._tenant, self._base_url, self._spec = tenant, base_url, spec
        self._since = since
        self._own = own
        self._clock = clock
        self._lock = Lock(path)
        self._state = RunState()
        self._writer: GroupCommit[Row] = GroupCommit(self._write, clock)
        self._connection: aiosqlite.Connection | None = None
        self._cause: Exception | None = None
        self._unwritten: list[BackupRef] = []
        self._acknowledged = 0
        self._last_sign: datetime | None = None
        self._under_way: set[int] = set()
        self._timer: Timer | None = None

    @property
    def spec(self) -> BackupSpec:
        """What is created.

        Raises:
            JournalError: If the journal has to say it, and was not read yet.
        """
        if self._spec is None:
            raise JournalError(f"the journal {self._path} was not opened yet", path=str(self._path))
        return self._spec

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be written any more, with all backups that were created; None while all is well."""
        if self._cause is None:
            return None
        from asyncbackups._bulk.journal import database  # noqa: PLC0415 - imports sqlite3

        error = database.failed(self._path, self._cause, (*self._state.refs(), *self._unwritten))
        error.__cause__ = self._cause
        return error

    async def open(self, planets: Planets) -> ResumePoint:
        """Begin the run, or go on with it.

        Args:
            planets: The targets; None for those that the journal has.

        Raises:
            JournalError: If another process runs it, it is of another run, or it cannot be used. Nothing was sent.
        """
        try:
            entries = await completed(asyncio.to_thread(self._prepared))
            return await self._opened(entries, planets)
        except BaseException:
            await self.close()
            raise

    async def intend(self, target: Target) -> Intent:
        """Write that a create is about to be sent; returns how to send it.

        Raises:
            JournalError: If it cannot be written.
        """
        place = self._state.places[target.number]
        if place.state is TargetState.CREATING:
            return attrs.evolve(place.intent, until=self._last_sign)
        key = uuid4().hex
        entry = self._entry(EntryKind.INTENT, target.number, msgspec.json.encode({"key": key}).decode())
        await self._written([entry], within=_INTENT_WITHIN if self._under_way else 0.0)
        self._under_way.add(target.number)
        return Intent(key=key, since=entry.at)

    def record(self, target: Target, event: Event, tell: Callable[[Event], None]) -> None:
        """Write an event, and tell it then."""
        self._under_way.discard(target.number)
        if self._cause is not None or _of_this_process(event):
            # What became of the backup is not known, or cannot be written: resuming finds it out.
            if isinstance(event, BackupCreated):
                self._unwritten.append(event.ref)
            self._writer.add((), lambda: tell(event), within=_EVENT_WITHIN)
            return
        entry = self._entry(kind_of(event), target.number, event_text(event))
        self._add([entry], functools.partial(self._told, event, entry.id, tell), within=_EVENT_WITHIN)

    def acknowledge(self, event_id: int) -> None:
        """Take note, and write it with what comes next, or soon."""
        if event_id > self._acknowledged:
            self._acknowledged = event_id
            if self._timer is None:
                when = self._clock.monotonic() + _ACKNOWLEDGE_AFTER
                self._timer = self._clock.call_at(when, self._write_acknowledged)

    async def flush(self) -> None:
        """Wait until all that was recorded is told."""
        self._write_acknowledged()
        await self._writer.flush()

    async def close(self) -> None:
        """Write what is left, and give the lock back."""
        await completed(self._close())

    async def _close(self) -> None:
        try:
            await self.flush()
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
        finally:
            self._lock.release()

    # -- opening -------------------------------------------------------------------------------------------------------

    def _prepared(self) -> list[Entry]:
        from asyncbackups._bulk.journal import database  # noqa: PLC0415 - imports sqlite3

        if self._spec is None and not self._path.exists():
            raise JournalError(f"there is no journal {self._path}", path=str(self._path))
        with database.translated(self._path):
            self._lock.acquire()
        database.prepare(self._path, create=self._spec is not None)
        return database.read(self._path)

    async def _opened(self, entries: list[Entry], planets: Planets) -> ResumePoint:
        from asyncbackups._bulk.journal import database  # noqa: PLC0415 - imports sqlite3

        self._state = await asyncio.to_thread(database.state_of, entries, self._path)
        self._acknowledged, self._last_sign = self._state.acknowledged, self._state.changed
        self._connection = await connected(self._path)
        if self._state.header is None:
            await self._begin()
        else:
            self._agree(self._state.header)
        targets = await self._targets(planets)
        for ref in self._state.refs():
            self._own(ref)
        return await self._earlier(entries, targets)

    async def _begin(self) -> None:
        header = Header(tenant=self._tenant, base_url=self._base_url, spec=self.spec)
        await self._written([self._entry(EntryKind.BEGUN, None, header.text)])

    def _agree(self, header: Header) -> None:
        spec = header.spec if self._spec is None else self._spec
        here = Header(tenant=self._tenant, base_url=self._base_url, spec=spec)
        self._spec = spec
        self._refuse(header_difference(header, here))

    def _refuse(self, difference: str | None) -> None:
        if difference is not None:
            created = self._state.refs()
            raise JournalError(
                f"the journal {self._path} is of another run: {difference}", path=str(self._path), created=created
            )

    async def _targets(self, planets: Planets) -> AsyncIterator[Target]:
        """Compare the targets with the journal's; return those that it will only know when they are taken."""
        known = [place.planet for place in self._state.places]
        if planets is None:
            return numbered(())
        if isinstance(planets, AsyncIterable):
            rest = aiter(planets)
            here = await _beginning(rest, len(known) + self._state.listed)
            self._refuse(target_difference(known, here, listed=self._state.listed))
            return numbered(()) if self._state.listed else self._listing(rest, len(known))
        self._refuse(target_difference(known, planets, listed=self._state.listed))
        if not self._state.listed:
            entries = [self._target(number, planet) for number, planet in enumerate(planets) if number >= len(known)]
            await self._written([*entries, self._entry(EntryKind.LISTED, None, "")])
        return numbered(())

    async def _listing(self, planets: AsyncIterator[PlanetRef], start: int) -> AsyncIterator[Target]:
        """Write targets as they are taken."""
        async for target in numbered(planets, start):
            self._add([self._target(target.number, target.planet)], within=_EVENT_WITHIN)
            yield target
        self._add([self._entry(EntryKind.LISTED, None, "")], within=_EVENT_WITHIN)

    async def _earlier(self, entries: list[Entry], new: AsyncIterator[Target]) -> ResumePoint:
        state = self._state
        told = await self._events(entries)
        mark = state.acknowledged if self._since is None else self._since
        left = [*state.in_state(TargetState.CREATING), *state.in_state(TargetState.WAITING)]
        again = [Target(number, place.planet) for number, place in left]
        # A planet that is listed twice was refused at its second place, which has no key: the first is still its own.
        begun = {place.planet for place in state.places if place.ref or (place.state.final and place.key)}
        return ResumePoint(
            targets=_chained(again, new),
            taken=len(state.places) - len(again),
            planets=frozenset(begun),
            told=told,
            undelivered=[event for event in told if (event.id or 0) > mark],
            running=self._running(),
            started=state.started if entries else None,
            ended=state.told if state.finished else None,
        )

    async def _events(self, entries: Sequence[Entry]) -> list[Event]:
        from asyncbackups._bulk.journal import database  # noqa: PLC0415 - imports sqlite3

        told: list[Event] = []
        for first in range(0, len(entries), _AT_ONCE):
            with database.translated(self._path):
                told += [
                    event_from(entry)
                    for entry in entries[first : first + _AT_ONCE]
                    if entry.is_event and entry.target is not None
                ]
            await asyncio.sleep(0)
        return told

    def _running(self) -> list[RunningBackup]:
        return [
            RunningBackup(
                target=Target(number, place.planet),
                ref=place.ref,
                intended=place.intended or place.created,
                created=place.created,
            )
            for number, place in self._state.in_state(TargetState.RUNNING)
            if place.ref is not None and place.created is not None
        ]

    # -- writing -------------------------------------------------------------------------------------------------------

    def _entry(self, kind: EntryKind, target: int | None, data: str) -> Entry:
        """Make the next entry. The state has it at once, the file a moment later: then only is it acted upon."""
        entry = Entry(self._state.last_id + 1, kind, target, self._clock.utcnow(), data)
        self._state.apply(entry)
        return entry

    def _target(self, number: int, planet: PlanetRef) -> Entry:
        return self._entry(EntryKind.TARGET, number, msgspec.json.encode((planet.star_system, planet.planet)).decode())

    def _add(self, entries: Sequence[Entry], then: Callable[[], None] | None = None, *, within: float) -> None:
        rows = [entry.row for entry in entries]
        if self._acknowledged > self._state.acknowledged:
            rows.append(self._entry(EntryKind.ACKNOWLEDGED, None, str(self._acknowledged)).row)
        self._writer.add(rows, then, within=within)

    async def _written(self, entries: Sequence[Entry], *, within: float = 0.0) -> None:
        done = asyncio.get_running_loop().create_future()
        self._add(entries, lambda: None if done.done() else done.set_result(None), within=within)
        await done
        failure = self.failure
        if failure is not None:
            raise failure

    def _told(self, event: Event, number: int, tell: Callable[[Event], None]) -> None:
        tell(event if self._cause is not None else attrs.evolve(event, id=number))

    def _write_acknowledged(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._acknowledged > self._state.acknowledged and self._connection is not None:
            self._add([], within=_EVENT_WITHIN)

    async def _write(self, rows: list[Row]) -> None:
        if self._connection is None:
            raise AssertionError("written to before it was opened")  # pragma: no cover
        try:
            await insert(self._connection, rows)
        except Exception as exc:
            self._cause = exc
            _log.error("the journal %s cannot be written, creating stops: %s", self._path, exc)
            raise


def _required() -> None:
    try:
        import aiosqlite  # noqa: F401, PLC0415 - an extra
    except ImportError as exc:
        raise ConfigurationError("a journal needs aiosqlite: pip install 'asyncbackups[journal]'") from exc


def _of_this_process(event: Event) -> bool:
    """Whether an event tells of this process's end rather than of a backup's."""
    return isinstance(event, CreateFailed | WatchFailed) and is_client_shutdown(event.error)


async def _beginning(planets: AsyncIterator[PlanetRef], number: int) -> list[PlanetRef]:
    """Read so many planets, or as many as there are."""
    read: list[PlanetRef] = []
    while len(read) < number and (planet := await anext(planets, None)) is not None:
        read.append(planet)
    return read


async def _chained(first: Sequence[Target], then: AsyncIterator[Target]) -> AsyncIterator[Target]:
    for target in first:
        yield target
    async for target in then:
        yield target
