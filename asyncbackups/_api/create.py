"""Creating one backup, exactly once: sent, and where its answer is lost, looked for before it is sent again."""

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

from asyncbackups._api.operations import Operations
from asyncbackups._api.reconcile import (
    AdoptBackup,
    ExamineCandidates,
    ExpectedBackup,
    NotListed,
    SeveralCandidates,
    Verdict,
    marker_of,
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
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef
from asyncbackups.policies import CreatePolicy, RetryPolicy

_Name = TypeVar("_Name")
_Value = TypeVar("_Value")

_log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""How many creates are remembered: with a key, so that the same key again gives the same backup; and whose backup is
whose, which only matters while a create of the same planet is looked for."""
_LOOKBACK = 3600.0
"""How old a backup may be that an earlier attempt made, where nobody knows when that was; in seconds."""
_FIRST_LOOK = 1.0
_LONGEST_PAUSE = 30.0


@attrs.frozen
class CreateOrigin:
    """What is known of a backup because we created it.

    Attributes:
        planet: Its planet.
        mechanism: How it is made.
        born: When it was created, in seconds of the monotonic clock.
    """

    planet: str
    mechanism: str
    started_at: float


@attrs.frozen(kw_only=True)
class Creation:
    """A backup that was created.

    Attributes:
        backup: As the service showed it.
        adopted: None where the create's own answer named it; else how it was found.
        possible_duplicate: Whether there may be another one, because the create was sent again without certainty.
    """

    backup: Backup
    adopted: Adoption | None = None
    possible_duplicate: bool = False


@attrs.frozen
class _Moment:
    """When something was, on both clocks: the time of day may jump, the other stands still while a machine sleeps."""

    monotonic: float
    utc: datetime

    def ago(self, clock: Clock) -> tuple[timedelta, timedelta]:
        """Return how long ago that was at the least and at the most, by the one clock and the other."""
        first, second = timedelta(seconds=clock.monotonic() - self.monotonic), clock.utcnow() - self.utc
        # A time of day that was put back says nothing: the other clock never goes back.
        return (first, max(first, second))

    @classmethod
    def before(cls, clock: Clock, ago: timedelta) -> _Moment:
        """Return the moment that was so long ago."""
        return cls(clock.monotonic() - ago.total_seconds(), clock.utcnow() - ago)


@attrs.define(eq=False)
class _Attempt:
    """One create, over all its sends and looks."""

    planet: PlanetRef
    expectation: ExpectedBackup
    began: _Moment | None  # when it was first sent
    lasted: timedelta | None = None  # for how long an earlier process may have gone on with it; None: it is ours
    possible_duplicate: bool = False


class Creator:
    """Creates backups, each exactly once as far as that can be known.

    Creates of one planet take turns: while one is being looked for, no other may add to the candidates.

    Args:
        operations: What it asks with.
        policy: What is done about lost answers.
        retry: How often and when a create that was surely not processed (429, not connected) is sent again.
        clock: The time.
        draw: Gives uniform numbers from [0, 1).
    """

    def __init__(
        self,
        operations: Operations,
        *,
        policy: CreatePolicy,
        retry: RetryPolicy,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._policy = policy
        self._retry = retry
        self._clock = clock
        self._draw = draw
        self._turns: dict[PlanetRef, tuple[asyncio.Lock, int]] = {}
        self._owned: OrderedDict[BackupRef, CreateOrigin | None] = OrderedDict()
        self._made: OrderedDict[tuple[PlanetRef, str], Creation] = OrderedDict()
        self._unsure: OrderedDict[tuple[PlanetRef, str], _Moment] = OrderedDict()

    def own(self, ref: BackupRef) -> None:
        """Claim a backup for another create (of an earlier process): no create adopts it any more."""
        _remember(self._owned, ref, None)

    def origin(self, ref: BackupRef) -> CreateOrigin | None:
        """Return what is known of a backup that was created here; None of any other, and of one that was adopted."""
        return self._owned.get(ref)

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
            planet: Of which planet.
            spec: What to create.
            key: The caller's own identity for this create; None for a new one.
            may_exist: Whether an earlier attempt with this key may have got through: then it is looked for first.
            since: When that earlier attempt began (aware), where that is known.
            until: The last sign of life of whoever made it (aware), where that is known.

        Raises:
            AmbiguousCreateError: If it may have happened, and looking did not settle it.
            ApiError: If the service refused it.
            TransportError: If it could not be sent.
        """
        name = (planet, key or uuid.uuid4().hex)
        async with self._turn(planet):
            made = self._made.get(name)
            if made is not None:
                return made
            attempt = self._attempt(name, spec, since, until)
            try:
                creation = await self._settled(attempt, look_first=may_exist or name in self._unsure)
            except (AmbiguousCreateError, asyncio.CancelledError):
                if key is not None and attempt.began is not None:
                    _remember(self._unsure, name, attempt.began)
                raise
            self._unsure.pop(name, None)
            ref = BackupRef(planet.star_system, creation.backup.id)
            new = creation.adopted is None
            origin = CreateOrigin(planet.planet, spec.mechanism, self._clock.monotonic()) if new else None
            _remember(self._owned, ref, origin)
            if key is not None:
                _remember(self._made, name, creation)
            return creation

    def _attempt(
        self, name: tuple[PlanetRef, str], spec: BackupSpec, since: datetime | None, until: datetime | None
    ) -> _Attempt:
        marker = marker_of(*name) if self._policy.marker else None
        expectation = ExpectedBackup(spec=spec, marker=marker, by_time=self._policy.adopt_by_time)
        if since is None:
            return _Attempt(name[0], expectation, self._unsure.get(name))
        ago = self._clock.utcnow() - since
        # One that is still to come was read from a clock that was wrong: then nobody knows when it was.
        began = None if ago < timedelta(0) else _Moment.before(self._clock, ago)
        lasted = None if until is None else until - since + timedelta(seconds=self._policy.patience)
        return _Attempt(name[0], expectation, began, lasted)

    @contextlib.asynccontextmanager
    async def _turn(self, planet: PlanetRef) -> AsyncIterator[None]:
        lock, waiting = self._turns.get(planet, (None, 0))
        lock = lock or asyncio.Lock()
        self._turns[planet] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(planet)
            if waiting > 1:
                self._turns[planet] = (lock, waiting - 1)

    async def _settled(self, attempt: _Attempt, *, look_first: bool) -> Creation:
        if look_first:
            earlier = self._long_ago(attempt)
            found = await self._find(earlier, cause=None)
            if found is not None:
                return found
            attempt.possible_duplicate = earlier.possible_duplicate
        sends = 0
        while True:
            sends += 1
            try:
                return await self._send(attempt)
            except (ApiError, TransportError, ClientClosedError) as exc:
                if sends == 1:
                    raise
                # That this time it was refused says nothing about the time before.
                reason = f"{exc}; it was sent before, its answer was lost, and it did not show up"
                raise AmbiguousCreateError(reason, planet=attempt.planet) from exc
            except AmbiguousCreateError as exc:
                found = await self._find(attempt, cause=exc.__cause__)
                if found is not None:
                    return found
                if sends > self._policy.resends or surely_created(exc.__cause__):
                    reason = f"{exc.__cause__}; it was sent {sends} time(s) and did not show up"
                    raise AmbiguousCreateError(reason, planet=attempt.planet) from exc.__cause__
                _log.warning("%s: the create did not show up, it is sent again", attempt.planet)

    def _long_ago(self, attempt: _Attempt) -> _Attempt:
        """Return what to look for of an earlier attempt of which nobody knows when it was made.

        Among all that was made in the last hour, time proves nothing: another create may have made it.
        """
        if attempt.began is not None:
            return attempt
        unproven = attrs.evolve(attempt.expectation, by_time=False)
        began = _Moment.before(self._clock, timedelta(seconds=_LOOKBACK))
        return attrs.evolve(attempt, expectation=unproven, began=began)

    async def _send(self, attempt: _Attempt) -> Creation:
        """Send the create, and again as long as it was surely not processed."""
        for number in itertools.count(1):
            if attempt.began is None:
                attempt.began = _Moment.before(self._clock, timedelta(0))
            attempt.lasted = None  # from now on it is ours, too, and not over
            try:
                backup = await self._operations.create(attempt.planet, attempt.expectation.marked)
            except (ApiError, TransportError) as exc:
                if number >= self._retry.attempts or not may_resend_create(exc):
                    raise
                retry_after = exc.retry_after if isinstance(exc, ApiError) else None
                await self._clock.sleep(self._retry.delay(number, draw=self._draw(), retry_after=retry_after))
            else:
                return Creation(backup=backup, possible_duplicate=attempt.possible_duplicate)
        raise AssertionError  # pragma: no cover - count has no end

    async def _find(self, attempt: _Attempt, *, cause: BaseException | None) -> Creation | None:
        """Look for the backup until it is found, or the service has had time to show it; None: it is not there."""
        try:
            return await self._found(attempt, cause)
        except ClientClosedError as exc:
            raise AmbiguousCreateError(f"{cause or 'an earlier attempt'}; {exc}", planet=attempt.planet) from exc

    async def _found(self, attempt: _Attempt, cause: BaseException | None) -> Creation | None:
        began = self._clock.monotonic()
        pause, failures = _FIRST_LOOK, 0
        while True:
            elapsed = self._clock.monotonic() - began
            try:
                verdict, failures = await self._look(attempt), 0
            except (TransportError, ApiError, ProtocolError) as exc:
                failures += 1
                if elapsed >= self._policy.patience or ends_reconcile(exc, failures=failures):
                    self._unresolved(attempt, f"looking for it failed: {exc}", (), cause or exc)
                    return None
                verdict = NotListed()
            left = self._policy.settle - elapsed
            # By time alone the only candidate is ours only once every candidate has had time to show.
            if isinstance(verdict, AdoptBackup) and (verdict.by == "marker" or left <= 0):
                return self._adopted(attempt, verdict)
            if isinstance(verdict, SeveralCandidates):
                reason = "several backups may be the one" if len(verdict.backups) > 1 else "a backup may be the one"
                self._unresolved(attempt, reason, verdict.backups, cause)
                return None
            if left <= 0 and not failures:
                return None
            # The last look is taken when the service has had its time, not earlier and not much later.
            await self._clock.sleep(min(pause, left) if left > 0 else pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _adopted(self, attempt: _Attempt, verdict: AdoptBackup) -> Creation:
        _log.warning("%s: adopted backup %d, found by %s", attempt.planet, verdict.backup.id, verdict.by)
        return Creation(backup=verdict.backup, adopted=verdict.by, possible_duplicate=attempt.possible_duplicate)

    def _unresolved(
        self, attempt: _Attempt, reason: str, candidates: tuple[Backup, ...], cause: BaseException | None
    ) -> None:
        """Do what the policy says where looking settles nothing: raise, or let it be sent again."""
        if self._policy.unresolved == "raise":
            because = f"{cause}; {reason}" if cause is not None and not candidates else reason
            raise AmbiguousCreateError(because, planet=attempt.planet, candidates=candidates) from cause
        attempt.possible_duplicate = True

    async def _look(self, attempt: _Attempt) -> Verdict:
        planet = attempt.planet
        listing = await self._operations.poll_list(
            planet.star_system, planet.planet, etag=None, wanted=lambda entries: {entry.id for entry in entries}
        )
        at_server = listing.info.date or self._clock.utcnow()
        verdict = self._judged(attempt, await listing.decode_all(), at_server, examined=False)
        if isinstance(verdict, ExamineCandidates):
            shown = [await self._shown(planet, backup) for backup in verdict.backups]
            verdict = self._judged(attempt, shown, at_server, examined=True)
        return verdict

    async def _shown(self, planet: PlanetRef, listed: Backup) -> Backup:
        """Return what a get shows of a backup, which may be more than a list does."""
        try:
            return await self._operations.get(BackupRef(planet.star_system, listed.id))
        except NotFoundError:
            return listed

    def _judged(self, attempt: _Attempt, backups: Iterable[Backup], at_server: datetime, *, examined: bool) -> Verdict:
        surely = since = until = None
        if attempt.began is not None:
            least, most = attempt.began.ago(self._clock)
            surely, since = at_server - least, at_server - most
            until = None if attempt.lasted is None else since + attempt.lasted
        return attempt.expectation.judge(
            backups,
            star_system=attempt.planet.star_system,
            since=since,
            surely=surely,
            until=until,
            owned=self._owned,
            examined=examined,
        )


def _remember(cache: OrderedDict[_Name, _Value], name: _Name, value: _Value) -> None:
    cache[name] = value
    if len(cache) > _REMEMBERED:
        cache.popitem(last=False)
