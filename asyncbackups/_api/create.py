"""Create a backup exactly once, as far as that can be known: send it once, and reconcile it if its response is lost."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable

import attrs

from asyncbackups._api.baselines import Baselines
from asyncbackups._api.marker import marker_for
from asyncbackups._api.operations import Operations
from asyncbackups._api.reconcile import (
    Absent,
    Adopt,
    Ambiguous,
    Baseline,
    CreateRequest,
    Decision,
    FetchDetails,
    FetchPlanetList,
    FetchStarSystemList,
    ListView,
    PlanetNames,
    Reconciliation,
    Visibility,
    Wait,
    environment_name,
    find_contradiction,
    shows_other_metadata,
)
from asyncbackups._api.responses import CreateResponse
from asyncbackups._base.clock import Clock
from asyncbackups._base.containers import LruDict
from asyncbackups.errors import (
    AmbiguousCreateError,
    ApiError,
    BackupsError,
    ClientClosedError,
    NotFoundError,
    ProtocolError,
    TransportError,
    ends_reconcile,
    is_transient,
    may_have_been_processed,
    may_resend_create,
    rejects_create,
    surely_created,
)
from asyncbackups.events import Adoption
from asyncbackups.models import Backup, BackupId, BackupRef, BackupSpec, PlanetRef, id_key
from asyncbackups.policies import CreatePolicy, RetryPolicy

_log = logging.getLogger(__name__)

_KEYS = 10_000
"""Creates with a key that are remembered: the same key again gives the same backup."""
_OWNED = 100_000
"""Backups of which it is remembered that this client created them."""
_STAR_SYSTEMS = 1_000
"""Star systems that are remembered: a response with an id of one may have been meant for it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two lists."""

_VISIBILITY = {"planet": Visibility.PLANET, "new": Visibility.NEW, "own": Visibility.OWN}


@attrs.frozen
class CreateOrigin:
    """The origin of a backup that this client created.

    Attributes:
        planet: Its planet's id.
        mechanism: Its mechanism.
        started_at: When it was created, in seconds of the monotonic clock; None for an adopted one.
    """

    planet: str
    mechanism: str
    started_at: float | None


@attrs.frozen(kw_only=True)
class Creation:
    """A backup that was created.

    Attributes:
        backup: As the service showed it.
        adopted: How it was recognized; None if a response named it.
        possible_duplicate: Whether there may be another one, because the create was sent again.
        duplicates: Other backups that this create has certainly made: they show the same marker.
        key: The identity of the create, for `Creator.find_duplicates`; None unless `possible_duplicate` is set.
    """

    backup: Backup
    adopted: Adoption | None = None
    possible_duplicate: bool = False
    duplicates: tuple[BackupRef, ...] = ()
    key: str | None = None


@attrs.define(eq=False)
class _Attempt:
    """One create, over all its sends and lists."""

    request: CreateRequest
    baseline: Baseline | None
    provisional_id: BackupId | None = None
    possible_duplicate: bool = False
    details: dict[BackupId, Backup] = attrs.field(factory=dict)


class Creator:
    """Creates backups, each exactly once as far as that can be known.

    Creates of one planet take turns: while one is reconciled, no other may add to the candidates.

    Args:
        operations: Sends the requests.
        policy: How to handle lost responses.
        retry: How often and when to send a create again that was surely not processed (429, not connected).
        clock: The clock.
        draw: Returns uniform random numbers from [0, 1).

    Attributes:
        names: Whether `environment.name` was seen to be a planet id.
        baselines: The backups that existed before creates were sent.
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
        self.names: PlanetNames = PlanetNames()
        self.baselines: Baselines = Baselines(operations, clock=clock, enabled=policy.baseline)
        self._turns: dict[PlanetRef, tuple[asyncio.Lock, int]] = {}
        self._active: collections.Counter[str] = collections.Counter()
        self._star_systems: LruDict[str, None] = LruDict(_STAR_SYSTEMS)
        self._owners: LruDict[BackupRef, PlanetRef] = LruDict(_OWNED)
        self._named: LruDict[BackupRef, PlanetRef] = LruDict(_KEYS)  # by responses to creates, verified or not
        self._origins: LruDict[BackupRef, CreateOrigin] = LruDict(_KEYS)
        self._created: LruDict[tuple[PlanetRef, str], Creation] = LruDict(_KEYS)
        self._unsettled: LruDict[tuple[PlanetRef, str], Baseline | None] = LruDict(_KEYS)

    def claim_backup(self, ref: BackupRef, planet: PlanetRef) -> None:
        """Record that a backup was created for a planet (by an earlier process): no other create adopts it."""
        self._owners.store(ref, planet)
        self.names.record_planet(planet.planet)

    def get_origin(self, ref: BackupRef) -> CreateOrigin | None:
        """Return what is known about a backup that was created here; None for any other."""
        return self._origins.get(ref)

    def is_foreign(self, star_system: str, backup: Backup) -> bool:
        """Return True if a backup with the id of one that was created here certainly belongs to another planet."""
        if not self._owners:
            return False  # nothing was created here: no reference is built for each backup of a list
        owner = self._owners.get(BackupRef(star_system, backup.id))
        return owner is not None and self.names.is_other(owner.planet, backup)

    async def create(
        self,
        planet: PlanetRef,
        spec: BackupSpec,
        *,
        key: str | None = None,
        may_exist: bool = False,
        baseline: Baseline | None = None,
    ) -> Creation:
        """Create a backup.

        Args:
            planet: The planet.
            spec: What to create.
            key: The caller's own identity for this create; None for a new one.
            may_exist: Whether an earlier attempt with this key may have been processed: then it is reconciled first.
            baseline: The backups that existed before the first attempt; None to take it now.

        Raises:
            AmbiguousCreateError: If the backup may have been created, and reconciling did not settle it.
            ApiError: If the service refused it.
            TransportError: If it could not be sent.
        """
        name = (planet, key or uuid.uuid4().hex)
        self.names.record_planet(planet.planet)
        async with self._take_turn(planet):
            created = self._created.get(name)
            if created is not None:
                return created
            marker = marker_for(*name) if self._policy.marker else None
            attempt = _Attempt(CreateRequest(planet=planet, spec=spec, marker=marker), baseline)
            try:
                creation = await self._send_until_settled(
                    attempt, name, reconcile_first=may_exist or name in self._unsettled
                )
            except (AmbiguousCreateError, asyncio.CancelledError):
                if key is not None:
                    self._unsettled.store(name, attempt.baseline)
                raise
            if creation.possible_duplicate:
                creation = attrs.evolve(creation, key=name[1])
            self._record_creation(attempt.request, creation)
            self._unsettled.pop(name, None)
            if key is not None:
                self._created.store(name, creation)
            return creation

    def _record_creation(self, request: CreateRequest, creation: Creation) -> None:
        planet, backup = request.planet, creation.backup
        ref = BackupRef(planet.star_system, backup.id)
        self._owners.store(ref, planet)
        for duplicate in creation.duplicates:
            self._owners.store(duplicate, planet)
        # An adopted backup may have started long ago.
        started_at = self._clock.monotonic() if creation.adopted is None else None
        self._origins.store(ref, CreateOrigin(planet.planet, request.spec.mechanism, started_at))
        proven = request.marker is not None and request.marker.is_shown_by(backup)
        self.names.record_backup(planet.planet, backup, proven=proven)

    @contextlib.asynccontextmanager
    async def _take_turn(self, planet: PlanetRef) -> AsyncIterator[None]:
        lock, waiting = self._turns.get(planet, (None, 0))
        lock = lock or asyncio.Lock()
        self._turns[planet] = (lock, waiting + 1)
        try:
            async with lock:
                self._active[planet.star_system] += 1
                self._star_systems.store(planet.star_system, None)
                try:
                    yield
                finally:
                    self._active[planet.star_system] -= 1
                    if not self._active[planet.star_system]:
                        del self._active[planet.star_system]
        finally:
            lock, waiting = self._turns.pop(planet)
            if waiting > 1:
                self._turns[planet] = (lock, waiting - 1)

    # Sending

    async def _send_until_settled(
        self, attempt: _Attempt, name: tuple[PlanetRef, str], *, reconcile_first: bool
    ) -> Creation:
        if reconcile_first:
            attempt.baseline = attempt.baseline or self._unsettled.get(name)
            found = await self._reconcile(attempt, cause=None)
            if found is not None:
                return found
            attempt.possible_duplicate = True
        for sends in itertools.count(1):
            try:
                if sends == 1 and attempt.baseline is None:
                    attempt.baseline = await self.baselines.for_planet(attempt.request.planet)
                return await self._send(attempt)
            except (ApiError, TransportError, ClientClosedError) as exc:
                if not attempt.possible_duplicate:
                    raise
                # A refusal now says nothing about the attempt before.
                reason = f"{exc}; an earlier attempt had no response, and has not appeared"
                raise AmbiguousCreateError(reason, planet=attempt.request.planet) from exc
            except AmbiguousCreateError as exc:
                cause = exc.__cause__
            # Not in the handler: an error that is raised again would be part of its own context.
            found = await self._reconcile(attempt, cause=cause)
            if found is not None:
                return found
            self._check_resend(attempt, cause, sends)
            attempt.possible_duplicate = True
        raise AssertionError  # pragma: no cover - count has no end

    def _check_resend(self, attempt: _Attempt, cause: BaseException | None, sends: int) -> None:
        """Raise an error unless the create may be sent again."""
        planet = attempt.request.planet
        rejection = cause if rejects_create(cause) else None
        if rejection is not None and not attempt.possible_duplicate:
            raise rejection
        if rejection is not None or surely_created(cause) or sends > self._policy.resends:
            reason = f"{cause}; it was sent {sends} time(s) and has not appeared"
            raise AmbiguousCreateError(reason, planet=planet) from cause
        _log.warning("%s: the create has not appeared and is sent again", planet)

    async def _send(self, attempt: _Attempt) -> Creation:
        """Send the create, and again as long as it was surely not processed."""
        request = attempt.request
        for number in itertools.count(1):
            try:
                response = await self._operations.create(request.planet, request.marked_spec)
            except BackupsError as exc:
                if may_have_been_processed(exc):
                    raise AmbiguousCreateError(str(exc), planet=request.planet) from exc
                if number >= self._retry.attempts or not may_resend_create(exc):
                    raise
                retry_after = exc.retry_after if isinstance(exc, ApiError) else None
                await self._clock.sleep(self._retry.delay(number, draw=self._draw(), retry_after=retry_after))
            else:
                backup = await self._check_response(attempt, response)
                return Creation(backup=backup, possible_duplicate=attempt.possible_duplicate)
        raise AssertionError  # pragma: no cover - count has no end

    async def _check_response(self, attempt: _Attempt, response: CreateResponse) -> Backup:
        """Return the backup of a response that fits the request.

        Raises:
            AmbiguousCreateError: If it names no backup, one of another create, or one that existed before.
        """
        if self._may_be_of_other_star_system(attempt.request, response):
            response = attrs.evolve(response, is_certain=False)
        flaw = self._describe_flaw(attempt, response)
        backup = response.backup
        if flaw is None and response.backup_id is not None and not response.is_certain:
            attempt.provisional_id = response.backup_id
            try:
                backup = await self._operations.get(BackupRef(attempt.request.planet.star_system, response.backup_id))
            except NotFoundError:
                flaw = f"the response to a create names {response.backup_id}, which does not exist"
            except ClientClosedError as exc:
                raise AmbiguousCreateError(str(exc), planet=attempt.request.planet) from exc
            except BackupsError as exc:
                flaw = f"the response to a create names {response.backup_id}, which may be no backup ({exc})"
            else:
                # Meanwhile another create may have received the same id.
                flaw = self._describe_flaw(attempt, attrs.evolve(response, backup=backup))
                if flaw is None and not self._belongs_to_planet(attempt, backup):
                    flaw = f"the response to a create names {backup.id}, which may be another backup"
        if flaw is None and backup is not None:
            return backup
        error = response.as_error(flaw or "the response to a create names no backup")
        raise AmbiguousCreateError(str(error), planet=attempt.request.planet) from error

    def _may_be_of_other_star_system(self, request: CreateRequest, response: CreateResponse) -> bool:
        """Return True if a response has an id of another star system, and shows nothing of the create."""
        if response.backup is None or _shows_origin(request, response.backup):
            return False
        others = (star_system for star_system in self._star_systems if star_system != request.planet.star_system)
        return any(BackupRef(other, response.backup.id) in self._owners for other in others)

    @staticmethod
    def _belongs_to_planet(attempt: _Attempt, backup: Backup) -> bool:
        """Return False if a backup may be an earlier one, or another planet's, that no baseline has."""
        request, baseline = attempt.request, attempt.baseline
        if baseline is None:
            return not shows_other_metadata(request, backup)
        return baseline.scope == "star_system" or _shows_origin(request, backup)

    def _describe_flaw(self, attempt: _Attempt, response: CreateResponse) -> str | None:
        """Describe what is wrong with the id and the object of a response; None if nothing is."""
        request = attempt.request
        if response.backup_id is None:
            return "the response to a create names no backup"
        named = f"the response to a create names backup {response.backup_id}"
        if response.backup is not None:
            reason = find_contradiction(request, response.backup, self.names)
            if reason is not None:
                return f"{named}, but {reason}"
            if request.marker is not None and request.marker.is_shown_by(response.backup):
                return None
        owner = self._other_owner(request, response.backup_id, response.backup)
        if owner is not None:
            return f"{named}, which was created for {owner}"
        baseline = attempt.baseline
        if not response.is_certain and baseline is not None and id_key(response.backup_id) in baseline.keys:
            return f"{named}, which existed before"
        return None

    def _other_owner(self, request: CreateRequest, backup_id: BackupId, backup: Backup | None) -> PlanetRef | None:
        """Return the planet whose create has this backup, or got its id first; None if there is none."""
        ref = BackupRef(request.planet.star_system, backup_id)
        owner = self._owners.get(ref)
        if owner is not None:
            return owner
        first = self._named.look_up(ref) or self._named.store(ref, request.planet)
        is_other = first != request.planet and (backup is None or not _shows_origin(request, backup))
        return first if is_other else None

    # Reconciling

    async def _reconcile(self, attempt: _Attempt, *, cause: BaseException | None) -> Creation | None:
        """List until the create is settled; None if it may be sent again."""
        started = self._clock.monotonic()
        pause, failures = _FIRST_PAUSE, 0
        while True:
            elapsed = self._clock.monotonic() - started
            left = self._policy.settle - elapsed
            try:
                decision, failures = await self._list_and_decide(attempt, settled=left <= 0), 0
            except ClientClosedError as exc:
                reason = f"{cause or 'an earlier attempt'}; {exc}"
                raise AmbiguousCreateError(reason, planet=attempt.request.planet) from exc
            except (TransportError, ApiError, ProtocolError) as exc:
                failures += 1
                decision = Wait()
                # A list that failed is repeated sooner than one that showed nothing.
                pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
                if elapsed >= self._policy.patience or ends_reconcile(exc, failures=failures):
                    reason = f"listing the planet's backups failed: {exc}"
                    return self._give_up(attempt, Ambiguous(reason), cause or exc)
            match decision:
                case Adopt():
                    return self._adopt(attempt, decision)
                case Absent():
                    return None
                case Ambiguous() if not self._may_be_explained_later(attempt, elapsed):
                    return self._give_up(attempt, decision, cause)
            # The last list is sent when `settle` has passed, not earlier and not much later.
            await self._clock.sleep(min(pause, left) if left > 0 else pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _may_be_explained_later(self, attempt: _Attempt, elapsed: float) -> bool:
        """Return True if other creates in flight in this star system may yet explain the candidates."""
        others = self._active[attempt.request.planet.star_system] > 1
        return others and elapsed < min(2 * self._policy.settle, self._policy.patience)

    def _adopt(self, attempt: _Attempt, decision: Adopt) -> Creation:
        planet = attempt.request.planet
        duplicates = tuple(BackupRef(planet.star_system, backup.id) for backup in decision.duplicates)
        if decision.by is not None:
            _log.warning("%s: adopted backup %s, recognized by %s", planet, decision.backup.id, decision.by)
        if duplicates:
            refs = (BackupRef(planet.star_system, decision.backup.id), *duplicates)
            _log.warning("%s: created %d times: %s; delete all but one", planet, len(refs), ", ".join(map(str, refs)))
        return Creation(
            backup=decision.backup,
            adopted=decision.by,
            possible_duplicate=attempt.possible_duplicate or bool(duplicates),
            duplicates=duplicates,
        )

    def _give_up(self, attempt: _Attempt, decision: Ambiguous, cause: BaseException | None) -> Creation | None:
        """Raise an error if nothing can be concluded, unless the policy accepts a possible duplicate."""
        if self._policy.unresolved == "raise":
            reason = decision.reason if cause is None or decision.candidates else f"{cause}; {decision.reason}"
            planet, candidates = attempt.request.planet, decision.candidates
            raise AmbiguousCreateError(reason, planet=planet, candidates=candidates) from cause
        attempt.possible_duplicate = True
        return None

    async def _list_and_decide(self, attempt: _Attempt, *, settled: bool) -> Decision:
        """List the planet's backups, and send the other requests that the decision needs."""
        planet = attempt.request.planet
        case = Reconciliation(
            request=attempt.request,
            baseline=attempt.baseline,
            owners=self._owners,
            names=self.names,
            provisional_id=attempt.provisional_id,
            adopt_by_time=self._policy.adopt_by_time,
            required=_VISIBILITY[self._policy.visibility],
        )
        # With many candidates, each round fetches the details of some; after `settle`, earlier details are discarded.
        view = attrs.evolve(await self._fetch_view(planet), details={} if settled else dict(attempt.details))
        while True:
            decision = case.decide(view, settled=settled)
            match decision:
                case FetchDetails(ids):
                    found = await self._fetch_details(planet, ids)
                    attempt.details |= found
                    listed = {id_key(backup.id): backup for backup in (*view.planet, *(view.star_system or ()))}
                    details = {**view.details, **{key: listed[key] for key in map(id_key, ids)}, **found}
                    view = attrs.evolve(view, details=details, fetched=view.fetched + len(ids))
                case FetchPlanetList():
                    view = attrs.evolve(
                        view, sibling=await self._fetch_list(decision.planet.star_system, decision.planet)
                    )
                case FetchStarSystemList():
                    view = attrs.evolve(view, star_system=await self._fetch_list(planet.star_system, None))
                case _:
                    return decision

    async def _fetch_view(self, planet: PlanetRef) -> ListView:
        try:
            backups, at_server = await self._operations.list_with_date(planet.star_system, planet.planet, attempts=1)
        except NotFoundError:
            return ListView(planet=(), is_missing=True)
        return ListView(planet=tuple(backups), at_server=at_server)

    async def _fetch_list(self, star_system: str, planet: PlanetRef | None) -> tuple[Backup, ...]:
        """Return the list of a planet or of a star system; an empty one if it is refused."""
        try:
            backups, _ = await self._operations.list_with_date(
                star_system, None if planet is None else planet.planet, attempts=2
            )
        except (ApiError, ProtocolError) as exc:
            if is_transient(exc):
                raise
            return ()
        return tuple(backups)

    async def _fetch_details(self, planet: PlanetRef, ids: Iterable[BackupId]) -> dict[BackupId, Backup]:
        """Return the backups that GETs find; they may show more than a list does."""
        details: dict[BackupId, Backup] = {}
        for backup_id in ids:
            with contextlib.suppress(NotFoundError):
                details[id_key(backup_id)] = await self._operations.get(BackupRef(planet.star_system, backup_id))
        return details

    # After a resend

    async def find_duplicates(self, planet: PlanetRef, key: str, ref: BackupRef) -> tuple[BackupRef, ...] | None:
        """Find other backups that a create has made, with one LIST.

        Args:
            planet: The planet.
            key: The identity of the create, see `Creation.key`.
            ref: The backup that is known.

        Returns:
            The other backups that show the create's marker; None if the list does not show the marker at all, so that
            nothing is known.
        """
        if not self._policy.marker:
            return None
        marker = marker_for(planet, key)
        marked = [backup for backup in (await self._fetch_view(planet)).planet if marker.is_shown_by(backup)]
        refs = dict.fromkeys(BackupRef(planet.star_system, backup.id) for backup in marked)
        duplicates = tuple(other for other in refs if other != ref)
        for duplicate in duplicates:
            self._owners.store(duplicate, planet)
        return duplicates if refs else None


def _shows_origin(request: CreateRequest, backup: Backup) -> bool:
    """Return True if a backup shows the marker of a create, or the name of its planet."""
    marked = request.marker is not None and request.marker.is_shown_by(backup)
    return marked or environment_name(backup) == request.planet.planet.casefold()
