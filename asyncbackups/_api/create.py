"""Create one backup exactly once: a create with a lost response is reconciled before it is sent again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

import attrs

from asyncbackups._api.marker import build_marker
from asyncbackups._api.operations import Operations
from asyncbackups._api.reconcile import (
    AdoptBackup,
    ExpectedBackup,
    FetchCandidates,
    NotListed,
    SeveralCandidates,
    Verdict,
)
from asyncbackups._base.clock import Clock
from asyncbackups.errors import (
    AmbiguousCreateError,
    ApiError,
    ClientClosedError,
    NotFoundError,
    ProtocolError,
    TransportError,
    ends_reconcile,
    may_resend_create,
    surely_created,
)
from asyncbackups.events import Adoption
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef, StatusRule
from asyncbackups.policies import CreatePolicy, RetryPolicy

_Name = TypeVar("_Name")
_Value = TypeVar("_Value")

_log = logging.getLogger(__name__)

_MAX_REMEMBERED = 10_000
"""How many creates are remembered: their keys, so that a key is used once, and their backups, so that no other create
of the planet adopts them."""
_LOOKBACK = 3600.0
"""Maximum age of a backup made by an earlier attempt whose time is unknown, in seconds."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


@attrs.frozen
class CreateOrigin:
    """A backup as known because this client created it.

    Attributes:
        planet: The planet's id.
        mechanism: The requested mechanism.
        started_at: When the create returned, in seconds of the monotonic clock.
    """

    planet: str
    mechanism: str
    started_at: float


@attrs.frozen(kw_only=True)
class Creation:
    """The result of a create.

    Attributes:
        backup: The backup as last returned by the service.
        adopted: How the backup was identified after a lost response; None if the response named it.
        possible_duplicate: Whether the create was sent again without proof that the first one did nothing.
    """

    backup: Backup
    adopted: Adoption | None = None
    possible_duplicate: bool = False


@attrs.frozen
class _ClockReading:
    """A moment on two clocks: the time of day may jump, the monotonic clock stops while the machine sleeps."""

    monotonic: float
    utc: datetime

    def elapsed_range(self, clock: Clock) -> tuple[timedelta, timedelta]:
        """Return the minimum and the maximum time since then."""
        monotonic, utc = timedelta(seconds=clock.monotonic() - self.monotonic), clock.utcnow() - self.utc
        # If the time of day was set back, only the monotonic clock counts.
        return (monotonic, max(monotonic, utc))

    @classmethod
    def from_age(cls, clock: Clock, age: timedelta) -> _ClockReading:
        """Return the moment that lies `age` in the past."""
        return cls(clock.monotonic() - age.total_seconds(), clock.utcnow() - age)


@attrs.define(eq=False)
class _CreateAttempt:
    """The state of one create over all its requests."""

    planet: PlanetRef
    expected: ExpectedBackup
    first_sent: _ClockReading | None
    earlier_duration: timedelta | None = None  # how long an earlier process may have continued; None: this one sends
    possible_duplicate: bool = False


class Creator:
    """Creates backups, each exactly once as far as that can be known.

    Creates of one planet run one at a time, so that a create being reconciled gets no new candidates of ours.

    Args:
        operations: The operations of the API.
        policy: How to handle a lost response.
        retry: How often and when to resend a create that was surely not processed (429, no connection).
        status_rule: The client's status rule.
        clock: The client's clock.
        draw: Returns uniform random numbers from [0, 1).
    """

    def __init__(
        self,
        operations: Operations,
        *,
        policy: CreatePolicy,
        retry: RetryPolicy,
        status_rule: StatusRule,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._policy = policy
        self._retry = retry
        self._status_rule = status_rule
        self._clock = clock
        self._draw = draw
        self._planet_locks: dict[PlanetRef, tuple[asyncio.Lock, int]] = {}
        self._claimed: OrderedDict[BackupRef, CreateOrigin | None] = OrderedDict()
        self._created: OrderedDict[tuple[PlanetRef, str], Creation] = OrderedDict()
        self._unresolved: OrderedDict[tuple[PlanetRef, str], _ClockReading] = OrderedDict()

    def claim(self, ref: BackupRef) -> None:
        """Claim a backup for a create of an earlier process, so that no other create adopts it."""
        _store_bounded(self._claimed, ref, None)

    def get_origin(self, ref: BackupRef) -> CreateOrigin | None:
        """Return the origin of a backup created here; None for any other backup and for an adopted one."""
        return self._claimed.get(ref)

    async def create(
        self,
        planet: PlanetRef,
        spec: BackupSpec,
        *,
        key: str | None = None,
        may_exist: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Creation:
        """Create a backup.

        Args:
            planet: The planet.
            spec: What to create.
            key: The caller's idempotency key; None for a create without one.
            may_exist: Whether an earlier attempt with this key may have created the backup: reconcile first.
            since: When that earlier attempt started (aware); None if unknown.
            until: When its process was last known to run (aware); None if unknown.

        Raises:
            AmbiguousCreateError: If it may have been created and reconciling found no clear match.
            ApiError: If the service refused it.
            TransportError: If it could not be sent.
        """
        name = (planet, key or uuid.uuid4().hex)
        async with self._planet_lock(planet):
            created = self._created.get(name)
            if created is not None:
                return created
            attempt = self._new_attempt(name, spec, since, until)
            try:
                creation = await self._send_and_reconcile(attempt, may_exist=may_exist or name in self._unresolved)
            except (AmbiguousCreateError, asyncio.CancelledError):
                if key is not None and attempt.first_sent is not None:
                    _store_bounded(self._unresolved, name, attempt.first_sent)
                raise
            self._unresolved.pop(name, None)
            self._claim_created(planet, spec, creation)
            if key is not None:
                _store_bounded(self._created, name, creation)
            return creation

    def _claim_created(self, planet: PlanetRef, spec: BackupSpec, creation: Creation) -> None:
        # An adopted backup may have started long ago: nothing is known of its start.
        is_new = creation.adopted is None
        origin = CreateOrigin(planet.planet, spec.mechanism, self._clock.monotonic()) if is_new else None
        _store_bounded(self._claimed, BackupRef(planet.star_system, creation.backup.id), origin)

    def _new_attempt(
        self, name: tuple[PlanetRef, str], spec: BackupSpec, since: datetime | None, until: datetime | None
    ) -> _CreateAttempt:
        expected = ExpectedBackup(
            spec=spec,
            marker=build_marker(*name) if self._policy.marker else None,
            adopt_by_time=self._policy.adopt_by_time,
            status_rule=self._status_rule,
        )
        if since is None:
            return _CreateAttempt(name[0], expected, self._unresolved.get(name))
        age = self._clock.utcnow() - since
        # A time in the future was read from a wrong clock, so the real time is unknown.
        first_sent = None if age < timedelta(0) else _ClockReading.from_age(self._clock, age)
        duration = None if until is None else until - since + timedelta(seconds=self._policy.patience)
        return _CreateAttempt(name[0], expected, first_sent, duration)

    @contextlib.asynccontextmanager
    async def _planet_lock(self, planet: PlanetRef) -> AsyncIterator[None]:
        lock, users = self._planet_locks.get(planet, (None, 0))
        lock = lock or asyncio.Lock()
        self._planet_locks[planet] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._planet_locks.pop(planet)
            if users > 1:
                self._planet_locks[planet] = (lock, users - 1)

    async def _send_and_reconcile(self, attempt: _CreateAttempt, *, may_exist: bool) -> Creation:
        if may_exist:
            earlier = self._with_lookback(attempt)
            found = await self._reconcile(earlier, cause=None)
            if found is not None:
                return found
            attempt.possible_duplicate = earlier.possible_duplicate
        sends = 0
        while True:
            sends += 1
            try:
                return await self._send_with_retries(attempt)
            except (ApiError, TransportError, ClientClosedError) as exc:
                if sends == 1:
                    raise
                # This refusal says nothing about the earlier send.
                reason = f"{exc}; an earlier send lost its response, and no listed backup matched"
                raise AmbiguousCreateError(reason, planet=attempt.planet) from exc
            except AmbiguousCreateError as exc:
                found = await self._reconcile(attempt, cause=exc.__cause__)
                if found is not None:
                    return found
                if sends > self._policy.resends or surely_created(exc.__cause__):
                    reason = f"{exc.__cause__}; sent {sends} time(s), and no listed backup matched"
                    raise AmbiguousCreateError(reason, planet=attempt.planet) from exc.__cause__
                _log.warning("%s: no listed backup matches the create: sending it again", attempt.planet)

    def _with_lookback(self, attempt: _CreateAttempt) -> _CreateAttempt:
        """Return what to reconcile for an earlier attempt, which may have no known start.

        Without a known start the last hour is searched. Any create may have made a backup in that hour, so its time
        proves nothing.
        """
        if attempt.first_sent is not None:
            return attempt
        expected = attrs.evolve(attempt.expected, adopt_by_time=False)
        first_sent = _ClockReading.from_age(self._clock, timedelta(seconds=_LOOKBACK))
        return attrs.evolve(attempt, expected=expected, first_sent=first_sent)

    async def _send_with_retries(self, attempt: _CreateAttempt) -> Creation:
        """Send the create, and send it again after errors that prove it was not processed."""
        for number in itertools.count(1):
            if attempt.first_sent is None:
                attempt.first_sent = _ClockReading.from_age(self._clock, timedelta(0))
            attempt.earlier_duration = None  # from now on this process sends, too
            try:
                backup = await self._operations.create(attempt.planet, attempt.expected.spec_with_marker)
            except (ApiError, TransportError) as exc:
                if number >= self._retry.attempts or not may_resend_create(exc):
                    raise
                retry_after = exc.retry_after if isinstance(exc, ApiError) else None
                await self._clock.sleep(self._retry.delay(number, draw=self._draw(), retry_after=retry_after))
            else:
                return Creation(backup=backup, possible_duplicate=attempt.possible_duplicate)
        raise AssertionError  # pragma: no cover - count has no end

    async def _reconcile(self, attempt: _CreateAttempt, *, cause: BaseException | None) -> Creation | None:
        """Search for the backup until it is found or the service has had time to list it; None if it is not listed."""
        try:
            return await self._search_until_settled(attempt, cause)
        except ClientClosedError as exc:
            raise AmbiguousCreateError(f"{cause or 'an earlier attempt'}; {exc}", planet=attempt.planet) from exc

    async def _search_until_settled(self, attempt: _CreateAttempt, cause: BaseException | None) -> Creation | None:
        started = self._clock.monotonic()
        pause, failures = _FIRST_PAUSE, 0
        while True:
            elapsed = self._clock.monotonic() - started
            try:
                verdict, failures = await self._list_and_match(attempt), 0
            except (TransportError, ApiError, ProtocolError) as exc:
                failures += 1
                if elapsed >= self._policy.patience or ends_reconcile(exc, failures=failures):
                    self._handle_unresolved(attempt, f"reconciling it failed: {exc}", (), cause or exc)
                    return None
                verdict = NotListed()
            remaining = self._policy.settle - elapsed
            # By time alone, the only candidate is adopted after `settle`: until then others may still appear.
            if isinstance(verdict, AdoptBackup) and (verdict.by == "marker" or remaining <= 0):
                return self._adopt_backup(attempt, verdict)
            if isinstance(verdict, SeveralCandidates):
                reason = "several backups match" if len(verdict.backups) > 1 else "a backup may match"
                self._handle_unresolved(attempt, reason, verdict.backups, cause)
                return None
            if remaining <= 0 and not failures:
                return None
            # The last list is requested exactly when `settle` has passed.
            await self._clock.sleep(min(pause, remaining) if remaining > 0 else pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _adopt_backup(self, attempt: _CreateAttempt, verdict: AdoptBackup) -> Creation:
        _log.warning("%s: adopted backup %d, identified by %s", attempt.planet, verdict.backup.id, verdict.by)
        return Creation(backup=verdict.backup, adopted=verdict.by, possible_duplicate=attempt.possible_duplicate)

    def _handle_unresolved(
        self, attempt: _CreateAttempt, reason: str, candidates: tuple[Backup, ...], cause: BaseException | None
    ) -> None:
        """Apply `CreatePolicy.unresolved`: raise, or accept a possible duplicate."""
        if self._policy.unresolved == "raise":
            full_reason = f"{cause}; {reason}" if cause is not None and not candidates else reason
            raise AmbiguousCreateError(full_reason, planet=attempt.planet, candidates=candidates) from cause
        attempt.possible_duplicate = True

    async def _list_and_match(self, attempt: _CreateAttempt) -> Verdict:
        planet = attempt.planet
        listing = await self._operations.poll_list(
            planet.star_system, planet.planet, etag=None, wanted=lambda entries: {entry.id for entry in entries}
        )
        server_time = listing.info.date or self._clock.utcnow()
        verdict = self._match_backups(attempt, await listing.decode_all(), server_time, fetched=False)
        if isinstance(verdict, FetchCandidates):
            fetched = [await self._fetch_candidate(planet, backup) for backup in verdict.backups]
            verdict = self._match_backups(attempt, fetched, server_time, fetched=True)
        return verdict

    async def _fetch_candidate(self, planet: PlanetRef, listed: Backup) -> Backup:
        """Return a backup as a GET shows it, which may be more than a LIST does."""
        try:
            return await self._operations.get(BackupRef(planet.star_system, listed.id))
        except NotFoundError:
            return listed

    def _match_backups(
        self, attempt: _CreateAttempt, backups: Iterable[Backup], server_time: datetime, *, fetched: bool
    ) -> Verdict:
        latest_send = earliest_send = latest_end = None
        if attempt.first_sent is not None:
            minimum, maximum = attempt.first_sent.elapsed_range(self._clock)
            latest_send, earliest_send = server_time - minimum, server_time - maximum
            latest_end = None if attempt.earlier_duration is None else earliest_send + attempt.earlier_duration
        return attempt.expected.match_backups(
            backups,
            star_system=attempt.planet.star_system,
            earliest_send=earliest_send,
            latest_send=latest_send,
            latest_end=latest_end,
            claimed=self._claimed,
            fetched=fetched,
        )


def _store_bounded(cache: OrderedDict[_Name, _Value], name: _Name, value: _Value) -> None:
    cache[name] = value
    if len(cache) > _MAX_REMEMBERED:
        cache.popitem(last=False)
