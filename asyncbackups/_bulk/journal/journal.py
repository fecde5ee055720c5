"""The journal of a bulk run: a run store that survives the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import uuid4

import attrs
import msgspec

from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.clock import Clock
from asyncbackups._bulk.journal import database
from asyncbackups._bulk.journal.entries import (
    Entry,
    EntryKind,
    Header,
    baseline_to_json,
    entry_kind_of,
    event_from_entry,
    event_to_json,
    intent_to_json,
)
from asyncbackups._bulk.journal.group_commit import EntryLog, run_to_completion
from asyncbackups._bulk.journal.lock import Lock
from asyncbackups._bulk.journal.run_state import TargetState, describe_header_difference, describe_target_difference
from asyncbackups._bulk.run_store import Intent, ResumePoint, RunningBackup, Target, number_targets
from asyncbackups._inputs import Planets
from asyncbackups.errors import ConfigurationError, JournalError, is_client_shutdown
from asyncbackups.events import BackupCreated, CreateFailed, Event, WatchFailed
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

_INTENT_DELAY = 0.001
"""Seconds that an intent may wait for others while creates are in flight: their workers soon intend the next ones."""
_ENTRIES_PER_TURN = 200  # decoded between two turns of the event loop: a few milliseconds of work


class Journal:
    """A run store in a SQLite file, for one run in one process at a time.

    Args:
        spec: The backups to create; None for those of the journal, which must exist then.
        since: Deliver again the events after this one; None for those that were not acknowledged.
        claim: Claims a backup for this client, so that no create adopts it.
    """

    def __init__(
        self,
        path: Path,
        *,
        tenant: str,
        base_url: str,
        spec: BackupSpec | None,
        since: int | None,
        claim: Callable[[BackupRef, PlanetRef], None],
        clock: Clock,
    ) -> None:
        _require_aiosqlite()
        self._path = path
        self._tenant, self._base_url, self._spec = tenant, base_url, spec
        self._since = since
        self._claim = claim
        self._lock = Lock(path)
        self._log = EntryLog(path, clock)
        self._baselines: dict[Baseline, int] = {}
        self._in_flight: set[int] = set()

    @property
    def spec(self) -> BackupSpec:
        """The backups to create; a `JournalError` if the journal determines them and was not opened yet."""
        if self._spec is None:
            raise JournalError(f"the journal {self._path} was not opened yet", path=str(self._path))
        return self._spec

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be written any more, with all backups that were created; None if all is well."""
        return self._log.failure

    async def open(self, planets: Planets) -> ResumePoint:
        """Start the run, or resume it; without planets, with the targets that the journal has.

        Raises:
            JournalError: If another process runs it, it belongs to another run, or it cannot be used. Nothing was sent.
        """
        try:
            entries = await run_to_completion(asyncio.to_thread(self._prepare_file))
            return await self._load_run(entries, planets)
        except BaseException:
            await self.close()
            raise

    def needs_baseline(self, target: Target) -> bool:
        """Return True if no earlier process may have sent this create."""
        return self._log.state.targets[target.number].state is not TargetState.CREATING

    async def record_intent(self, target: Target, baseline: Baseline | None) -> Intent:
        """Write that a create is about to be sent, with the backups that exist before; return how to send it.

        Raises:
            JournalError: If it cannot be written.
        """
        progress = self._log.state.targets[target.number]
        if progress.state is TargetState.CREATING:
            return self._log.state.resend_intent(target.number)
        key = uuid4().hex
        entries = self._baseline_entries(target.planet.star_system, baseline)
        data = intent_to_json(key, None if baseline is None else self._baselines[baseline])
        entry = self._log.add_entry(EntryKind.INTENT, target.number, data)
        await self._log.write([*entries, entry], within=_INTENT_DELAY if self._in_flight else 0.0)
        self._in_flight.add(target.number)
        return Intent(key=key, since=entry.at, baseline=baseline)

    def _baseline_entries(self, star_system: str, baseline: Baseline | None) -> list[Entry]:
        """Return the entry of a baseline unless it was written before: many intents share one."""
        if baseline is None or baseline in self._baselines:
            return []
        entry = self._log.add_entry(EntryKind.BASELINE, None, baseline_to_json(star_system, baseline))
        self._baselines[baseline] = entry.id
        return [entry]

    def record_event(self, target: Target, event: Event, deliver: Callable[[Event], None]) -> None:
        """Write an event, then deliver it."""
        self._in_flight.discard(target.number)
        if self._log.has_failed or _is_process_end(event):
            # Not an outcome of the backup, or cannot be written: resuming the run finds the outcome.
            if isinstance(event, BackupCreated):
                self._log.unwritten.append(event.ref)
            self._log.enqueue((), lambda: deliver(event))
            return
        entry = self._log.add_entry(entry_kind_of(event), target.number, event_to_json(event))
        # If it could not be written, it has no id.
        self._log.enqueue([entry], lambda: deliver(event if self._log.has_failed else attrs.evolve(event, id=entry.id)))

    def acknowledge_up_to(self, event_id: int) -> None:
        """Write an acknowledgement with the next entry, or by itself after a moment."""
        self._log.acknowledge_up_to(event_id)

    async def flush(self) -> None:
        """Wait until all recorded events are delivered."""
        await self._log.flush()

    async def close(self) -> None:
        """Write what was recorded, and release the lock."""
        await run_to_completion(self._flush_and_unlock())

    async def _flush_and_unlock(self) -> None:
        try:
            await self._log.close()
        finally:
            self._lock.release()

    def _prepare_file(self) -> list[Entry]:
        if self._spec is None and not self._path.exists():
            raise JournalError(f"there is no journal {self._path}", path=str(self._path))
        with database.translate_errors(self._path):
            self._lock.acquire()
        database.prepare_database(self._path, create=self._spec is not None)
        return database.load_entries(self._path)

    async def _load_run(self, entries: list[Entry], planets: Planets) -> ResumePoint:
        await self._log.open(entries)
        state = self._log.state
        if state.header is None:
            await self._log.write([self._log.add_entry(EntryKind.STARTED, None, self._header.json_text)])
        else:
            self._spec = self._spec or state.header.spec
            self._raise_if_different(describe_header_difference(state.header, self._header))
        new_targets = await self._match_targets(planets)
        for target in state.targets:
            if target.ref is not None:
                self._claim(target.ref, target.planet)
        return await self._build_resume_point(entries, new_targets)

    @property
    def _header(self) -> Header:
        return Header(tenant=self._tenant, base_url=self._base_url, spec=self.spec)

    def _raise_if_different(self, difference: str | None) -> None:
        if difference is not None:
            created = self._log.state.list_created_refs()
            raise JournalError(
                f"the journal {self._path} belongs to another run: {difference}", path=str(self._path), created=created
            )

    async def _match_targets(self, planets: Planets) -> AsyncIterator[Target]:
        """Compare the targets with the journal's; return those that are written only when they are read."""
        known = [target.planet for target in self._log.state.targets]
        if planets is None:
            return number_targets(())
        if isinstance(planets, AsyncIterable):
            rest = aiter(planets)
            here = await _take_first(rest, len(known) + self._log.state.listed)
            self._raise_if_different(describe_target_difference(known, here, listed=self._log.state.listed))
            return number_targets(()) if self._log.state.listed else self._record_targets(rest, len(known))
        self._raise_if_different(describe_target_difference(known, planets, listed=self._log.state.listed))
        if not self._log.state.listed:
            missing = list(enumerate(planets))[len(known) :]
            entries = [self._target_entry(number, planet) for number, planet in missing]
            await self._log.write([*entries, self._log.add_entry(EntryKind.LISTED, None, "")])
        return number_targets(())

    async def _record_targets(self, planets: AsyncIterator[PlanetRef], start: int) -> AsyncIterator[Target]:
        """Write targets as they are read."""
        async for target in number_targets(planets, start):
            self._log.enqueue([self._target_entry(target.number, target.planet)])
            yield target
        self._log.enqueue([self._log.add_entry(EntryKind.LISTED, None, "")])

    async def _build_resume_point(self, entries: list[Entry], new_targets: AsyncIterator[Target]) -> ResumePoint:
        state = self._log.state
        events = await self._decode_events(entries)
        delivered_up_to = state.acknowledged if self._since is None else self._since
        # Creates that may have been sent come first, so that they are reconciled before anything new is created.
        open_targets = [*state.targets_in_state(TargetState.CREATING), *state.targets_in_state(TargetState.WAITING)]
        left = [Target(number, target.planet) for number, target in open_targets]
        # A duplicate planet was refused at its second place, which has no key; the first place still has its create.
        created = {target.planet for target in state.targets if target.ref or (target.state.final and target.key)}
        return ResumePoint(
            targets=_chain_targets(left, new_targets),
            started_targets=len(state.targets) - len(left),
            created_planets=frozenset(created),
            events=events,
            undelivered=[event for event in events if (event.id or 0) > delivered_up_to],
            running=self._running_backups(),
            started_at=state.started_at if entries else None,
            ended_at=state.last_event_at if state.is_finished else None,
        )

    async def _decode_events(self, entries: Sequence[Entry]) -> list[Event]:
        events: list[Event] = []
        for first in range(0, len(entries), _ENTRIES_PER_TURN):
            with database.translate_errors(self._path):
                turn = entries[first : first + _ENTRIES_PER_TURN]
                events += [event_from_entry(entry) for entry in turn if entry.is_event]
            await asyncio.sleep(0)
        return events

    def _running_backups(self) -> list[RunningBackup]:
        return [
            RunningBackup(
                target=Target(number, target.planet),
                ref=target.ref,
                intended_at=target.intended_at or target.created_at,
                created_at=target.created_at,
                key_in_doubt=target.key if number in self._log.state.in_doubt else None,
            )
            for number, target in self._log.state.targets_in_state(TargetState.RUNNING)
            if target.ref is not None and target.created_at is not None
        ]

    def _target_entry(self, number: int, planet: PlanetRef) -> Entry:
        data = msgspec.json.encode((planet.star_system, planet.planet)).decode()
        return self._log.add_entry(EntryKind.TARGET, number, data)


def _require_aiosqlite() -> None:
    try:
        import aiosqlite  # noqa: F401, PLC0415 - an optional dependency
    except ImportError as exc:
        raise ConfigurationError("a journal needs aiosqlite: pip install 'asyncbackups[journal]'") from exc


def _is_process_end(event: Event) -> bool:
    """Return True if an event reports the end of this process and not of a backup."""
    return isinstance(event, CreateFailed | WatchFailed) and is_client_shutdown(event.error)


async def _take_first(planets: AsyncIterator[PlanetRef], number: int) -> list[PlanetRef]:
    """Read at most the given number of planets."""
    first: list[PlanetRef] = []
    while len(first) < number and (planet := await anext(planets, None)) is not None:
        first.append(planet)
    return first


async def _chain_targets(first: Sequence[Target], then: AsyncIterator[Target]) -> AsyncIterator[Target]:
    for target in first:
        yield target
    async for target in then:
        yield target
