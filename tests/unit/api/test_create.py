"""Creates with lost responses: adopted if listed, sent again only if not, never duplicated."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from asyncbackups._api.create import Creator
from asyncbackups._api.marker import build_marker
from asyncbackups._api.operations import PolledList, ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    BackupsError,
    ClientClosedError,
    ConflictError,
    ConnectError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
)
from asyncbackups.models import (
    Backup,
    BackupMetadata,
    BackupRef,
    BackupSpec,
    PlanetRef,
    Progress,
    StatusRule,
    progress_of,
)
from asyncbackups.policies import CreatePolicy, RetryPolicy
from tests.fake_clock import FakeClock

PLANET = PlanetRef("solar", "earth")
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly"))
DOWN = ServiceUnavailableError(status=503)


@attrs.define
class PlanetService:
    """The operations that a creator uses, over a planet in memory.

    Attributes:
        lost: For each further create, the fault that replaces its response after the backup was created, or None.
        refused: For each further create, the fault before anything is created, or None.
        list_faults: For each further list, its fault, or None.
        lag: Time until a list shows a new backup, in seconds.
        metadata_in: Which responses show metadata: "list", "get", "both" or "none"; "name": all, but only the name.
    """

    clock: FakeClock
    lost: list[BackupsError | None] = attrs.field(factory=list)
    refused: list[BackupsError | None] = attrs.field(factory=list)
    list_faults: list[BackupsError | None] = attrs.field(factory=list)
    lag: float = 0.0
    metadata_in: str = "both"
    sends: int = 0
    made: list[tuple[float, Backup]] = attrs.field(factory=list)
    on_send: Callable[[], Any] | None = None

    async def create(self, planet: PlanetRef, spec: BackupSpec) -> Backup:
        await asyncio.sleep(0)
        self.sends += 1
        if self.on_send is not None:
            await self.on_send()
        refusal = self.refused.pop(0) if self.refused else None
        if refusal is not None:
            raise refusal
        backup = self.add(spec.metadata)
        fault = self.lost.pop(0) if self.lost else None
        if fault is not None:
            raise AmbiguousCreateError(str(fault), planet=planet) from fault
        return backup

    def add(self, metadata: BackupMetadata, **changes: Any) -> Backup:
        extra = {"metadata": attrs.asdict(metadata)}
        fields = {"mechanism": "logical", "type": "temporary", "started_at": self.clock.utcnow(), "extra": extra}
        backup = Backup(id=len(self.made) + 1, **{**fields, **changes})
        self.made.append((self.clock.monotonic(), backup))
        return backup

    async def poll_list(
        self,
        star_system: str,
        planet: str | None,
        *,
        etag: str | None,
        wanted: Callable[[Iterable[ListEntry]], set[int]],
    ) -> PolledList:
        fault = self.list_faults.pop(0) if self.list_faults else None
        if fault is not None:
            raise fault
        due = self.clock.monotonic() - self.lag
        shown = [self._as_shown(backup, "list") for made, backup in self.made if made <= due]
        info = ResponseInfo(size=1, seconds=0.1, retry_after=None, etag=None, date=self.clock.utcnow())
        return PolledList(entries=[], backups={backup.id: backup for backup in shown}, info=info)

    async def get(self, ref: BackupRef) -> Backup:
        return self._as_shown(self.made[ref.backup_id - 1][1], "get")

    def _as_shown(self, backup: Backup, where: str) -> Backup:
        if self.metadata_in == "name":
            return attrs.evolve(backup, extra={"metadata": {"name": backup.extra["metadata"]["name"]}})
        return backup if self.metadata_in in {where, "both"} else attrs.evolve(backup, extra={})


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that sleeping advances."""
    return FakeClock(auto_advance=True)


@pytest.fixture
def service(clock: FakeClock) -> PlanetService:
    """Return a service with an empty planet."""
    return PlanetService(clock)


def creator(service: PlanetService, *, status_rule: StatusRule = progress_of, **policy: Any) -> Creator:
    return Creator(
        service,  # type: ignore[arg-type]
        policy=CreatePolicy(**policy),
        retry=RetryPolicy(),
        status_rule=status_rule,
        clock=service.clock,
        draw=lambda: 0.5,
    )


LOST = [AnswerTimeoutError("slow"), InternalServerError(status=500), DOWN, ProtocolError("what?", status=302)]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(
    ("metadata_in", "by"),
    [("both", "marker"), ("list", "marker"), ("get", "marker"), ("none", "time"), ("name", "time")],
)
async def test_create_with_a_lost_response_is_adopted(
    service: PlanetService, fault: BackupsError, metadata_in: str, by: str
):
    """Whatever hid the response and wherever metadata is shown: one backup, adopted, and the result says how."""
    service.lost, service.metadata_in = [fault], metadata_in
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted, creation.possible_duplicate) == (1, by, False)
    assert service.sends == 1


async def test_backup_listed_late_is_adopted(service: PlanetService):
    """Nothing is sent again within the settle time."""
    service.lost, service.lag = [DOWN], 55.0
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


async def test_create_is_sent_again_after_the_settle_time(service: PlanetService):
    """If no backup was created, another create is sent, but not before the service had time to list one."""
    service.refused = [_ambiguous(DOWN)]
    before = service.clock.monotonic()
    creation = await creator(service, settle=60).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted, service.sends) == (1, None, 2)
    assert service.clock.monotonic() - before >= 60


async def test_resends_are_limited(service: PlanetService):
    """After the last resend, the create is reported as ambiguous."""
    service.refused = [_ambiguous(DOWN)] * 5
    with pytest.raises(AmbiguousCreateError, match="sent 3 time"):
        await creator(service, resends=2).create(PLANET, SPEC)
    assert service.sends == 3


async def test_create_confirmed_without_an_id_is_never_sent_again(service: PlanetService):
    """After a 201 without an id the backup exists, even if it is never listed."""
    service.refused = [_ambiguous(ProtocolError("no id", status=201))]
    with pytest.raises(AmbiguousCreateError, match="no listed backup matched"):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1


@pytest.mark.parametrize("fault", [RateLimitedError(status=429, retry_after=7.0), ConnectError("refused")])
async def test_create_that_was_not_processed_is_sent_again_at_once(service: PlanetService, fault: BackupsError):
    """429 and a refused connection need no reconciling."""
    service.refused = [fault, fault]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == (None, 3)
    assert service.clock.slept[0] >= (7.0 if isinstance(fault, RateLimitedError) else 0)


async def test_create_that_was_not_processed_is_given_up_after_the_attempts(service: PlanetService):
    """The retry policy limits the attempts, and the error says that nothing was created."""
    service.refused = [ConnectError("refused")] * 9
    with pytest.raises(ConnectError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == RetryPolicy().attempts


async def test_refused_create_is_not_repeated(service: PlanetService):
    """A 409 is neither reconciled nor sent again."""
    service.refused = [ConflictError(status=409)]
    with pytest.raises(ConflictError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1


async def test_backups_of_other_clients_are_not_adopted(service: PlanetService):
    """Their metadata identifies them, even in the same minute."""
    service.add(BackupMetadata("another client's"))
    service.lost = [DOWN]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted) == (2, "marker")


async def test_several_candidates_without_metadata_are_an_error(service: PlanetService):
    """The error lists the candidates, newest first."""
    service.add(BackupMetadata("another client's"))
    service.lost, service.metadata_in = [DOWN], "none"
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert [backup.id for backup in caught.value.candidates] == [2, 1]
    assert caught.value.__cause__ is DOWN


async def test_possible_duplicate_can_be_accepted(service: PlanetService):
    """With unresolved='duplicate' the create is sent again, and the result says so."""
    service.add(BackupMetadata("another client's"))
    service.lost, service.metadata_in = [DOWN], "none"
    creation = await creator(service, unresolved="duplicate").create(PLANET, SPEC)
    assert (creation.backup.id, creation.possible_duplicate, service.sends) == (3, True, 2)


async def test_backup_of_another_create_is_not_adopted(service: PlanetService):
    """Two creates of one planet lose their responses, without metadata: each adopts its own backup."""
    service.lost, service.metadata_in = [DOWN, DOWN], "none"
    creating = creator(service)
    first, second = await asyncio.gather(creating.create(PLANET, SPEC), creating.create(PLANET, SPEC))
    assert [first.backup.id, second.backup.id] == [1, 2]
    assert first.adopted == second.adopted == "time"


async def test_backup_of_an_earlier_process_is_not_adopted(service: PlanetService):
    """A backup claimed from the journal is no candidate."""
    taken = service.add(BackupMetadata("ours"))
    service.lost, service.metadata_in = [DOWN], "none"
    creating = creator(service)
    creating.claim(BackupRef("solar", taken.id))
    assert (await creating.create(PLANET, SPEC)).backup.id == 2


async def test_reconciling_continues_while_the_service_is_down(service: PlanetService):
    """The backup is adopted once the service recovers."""
    service.lost, service.list_faults = [DOWN], [DOWN, ConnectError("refused"), AnswerTimeoutError("slow")] * 5
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


@pytest.mark.parametrize(
    "list_faults",
    [[PermissionDeniedError(status=403)], [NotFoundError(status=404)], [ProtocolError("?")] * 3, [DOWN] * 99],
    ids=["forbidden", "missing", "not understood", "down for good"],
)
async def test_create_is_ambiguous_if_lists_keep_failing(service: PlanetService, list_faults: list[BackupsError]):
    """It is never sent again, and the error has the first fault as its cause."""
    service.lost, service.list_faults = [AnswerTimeoutError("slow")], list(list_faults)
    with pytest.raises(AmbiguousCreateError, match="reconciling it failed") as caught:
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1
    assert isinstance(caught.value.__cause__, AnswerTimeoutError)


async def test_one_unreadable_list_is_repeated(service: PlanetService):
    """One unreadable response does not end the reconciling."""
    service.lost, service.list_faults = [DOWN], [ProtocolError("garbled")]
    assert (await creator(service).create(PLANET, SPEC)).adopted == "marker"


async def test_candidate_missing_from_get_is_taken_from_the_list(service: PlanetService, monkeypatch):
    """LIST and GET may disagree for a while."""

    async def missing(self: PlanetService, ref: BackupRef) -> Backup:
        raise NotFoundError(status=404)

    monkeypatch.setattr(PlanetService, "get", missing)
    service.lost, service.metadata_in = [DOWN], "none"
    assert (await creator(service).create(PLANET, SPEC)).adopted == "time"


async def test_one_key_creates_one_backup(service: PlanetService):
    """The same key in the same planet, concurrently or later, sends one POST and returns the same backup."""
    creating = creator(service)
    both = await asyncio.gather(*(creating.create(PLANET, SPEC, key="k") for _ in range(2)))
    later = await creating.create(PLANET, SPEC, key="k")
    assert {creation.backup.id for creation in (*both, later)} == {1}
    assert service.sends == 1


async def test_key_is_scoped_to_its_planet(service: PlanetService):
    """The same key in another planet is another create."""
    creating = creator(service)
    await creating.create(PLANET, SPEC, key="k")
    await creating.create(PlanetRef("solar", "mars"), SPEC, key="k")
    assert service.sends == 2


async def test_backup_of_an_earlier_attempt_is_adopted_by_its_key(service: PlanetService):
    """may_exist searches before it sends; here another process created the backup an hour ago."""
    await creator(service).create(PLANET, SPEC, key="k")
    service.clock.advance(3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.backup.id, creation.adopted, service.sends) == (1, "marker", 1)


async def test_create_is_sent_if_the_earlier_attempt_created_nothing(service: PlanetService):
    """may_exist sends once the service had time to list the backup."""
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.adopted, service.sends) == (None, 1)


async def test_earlier_attempt_with_a_known_time_is_adopted_by_time(service: PlanetService):
    """`since` limits which backups may be adopted by time."""
    service.metadata_in = "none"
    service.add(BackupMetadata("old"), started_at=service.clock.utcnow() - timedelta(minutes=30))
    since = service.clock.utcnow()
    service.clock.advance(5)
    service.add(BackupMetadata("ours"))
    service.clock.advance(600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since)
    assert (creation.backup.id, creation.adopted) == (2, "time")


async def test_adoption_by_time_waits_for_all_candidates(service: PlanetService):
    """Another client's backup that is listed earlier than ours is not adopted: there are two candidates."""
    service.metadata_in, service.lost, service.lag = "none", [DOWN], 20.0
    service.on_send = _async(lambda: service.made.append((service.clock.monotonic() - 20, _like_ours(service))))
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert [backup.id for backup in caught.value.candidates] == [2, 1]
    assert service.sends == 1


def _like_ours(service: PlanetService) -> Backup:
    return Backup(id=1, mechanism="logical", type="temporary", started_at=service.clock.utcnow())


async def test_cancelled_create_is_reconciled_next_time(service: PlanetService):
    """The same key after a cancellation adopts the backup of the first attempt."""

    async def cancel() -> None:
        service.add(BackupMetadata("nightly", build_marker(PLANET, "k")))
        raise asyncio.CancelledError

    creating = creator(service)
    service.on_send = cancel
    with pytest.raises(asyncio.CancelledError):
        await creating.create(PLANET, SPEC, key="k")
    service.on_send = None
    creation = await creating.create(PLANET, SPEC, key="k")
    assert (creation.backup.id, creation.adopted, service.sends) == (1, "marker", 1)


@pytest.mark.parametrize(
    ("rule", "adopted"),
    [(progress_of, True), (lambda backup: Progress.SUCCEEDED, False)],
    ids=["default", "own"],
)
async def test_status_rule_of_the_client_is_applied(service: PlanetService, rule: StatusRule, adopted: bool):
    """A candidate without a start time is adopted only if the client's rule says that it is in progress."""
    service.metadata_in = "none"
    service.on_send = _async(lambda: service.made.append((0.0, Backup(id=1, mechanism="logical", status="ready"))))
    service.refused = [_ambiguous(DOWN)]
    creating = creator(service, status_rule=rule)
    if adopted:
        assert (await creating.create(PLANET, SPEC)).adopted == "time"
    else:
        with pytest.raises(AmbiguousCreateError) as caught:
            await creating.create(PLANET, SPEC)
        assert [backup.id for backup in caught.value.candidates] == [1]
    assert service.sends == 1


async def test_time_of_day_may_jump(service: PlanetService, monkeypatch):
    """The time of day goes back a year between the create and the list: the backup is still adopted."""
    service.lost, service.metadata_in = [DOWN], "none"
    true_now = service.clock.utcnow
    service.on_send = _async(lambda: monkeypatch.setattr(FakeClock, "utcnow", lambda _: true_now() - timedelta(365)))
    listed = PlanetService.poll_list

    async def with_server_time(self: PlanetService, *args: Any, **kwargs: Any) -> PolledList:
        listing = await listed(self, *args, **kwargs)
        return attrs.evolve(listing, info=attrs.evolve(listing.info, date=service.made[0][1].started_at))

    monkeypatch.setattr(PlanetService, "poll_list", with_server_time)
    assert (await creator(service).create(PLANET, SPEC)).adopted == "time"


async def test_planet_locks_are_released(service: PlanetService):
    """No lock remains after the creates of a planet."""

    def count_locks() -> int:
        return sum(isinstance(one, asyncio.Lock) for one in gc.get_objects())

    creating, before = creator(service), count_locks()
    await asyncio.gather(*(creating.create(PLANET, SPEC) for _ in range(3)))
    assert count_locks() == before


async def test_remembered_keys_are_bounded(service: PlanetService, monkeypatch):
    """Memory does not grow with every key ever used."""
    monkeypatch.setattr("asyncbackups._api.create._MAX_REMEMBERED", 2)
    creating = creator(service)
    for number in range(4):
        await creating.create(PLANET, SPEC, key=str(number))
    await creating.create(PLANET, SPEC, key="3")
    assert service.sends == 4
    await creating.create(PLANET, SPEC, key="0")
    assert service.sends == 5, "the first key was forgotten"


def _ambiguous(cause: BackupsError) -> BackupsError:
    error = AmbiguousCreateError(str(cause), planet=PLANET)
    error.__cause__ = cause
    return error


def _async(action: Callable[[], object]) -> Callable[[], Any]:
    async def act() -> None:
        action()

    return act


async def test_create_is_ambiguous_if_the_client_closes_while_reconciling(service: PlanetService):
    """The POST was sent, so its outcome is unknown."""
    service.lost, service.list_faults = [DOWN], [ClientClosedError("the client was left")]
    with pytest.raises(AmbiguousCreateError, match="the client was left") as caught:
        await creator(service).create(PLANET, SPEC)
    assert isinstance(caught.value.__cause__, ClientClosedError)


async def test_earlier_attempt_without_a_known_time_is_not_adopted_by_time(service: PlanetService):
    """Another create may have made the listed backup: it is reported, and nothing is sent."""
    service.metadata_in = "none"
    service.add(BackupMetadata("another client's"))
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert [backup.id for backup in caught.value.candidates] == [1]
    assert service.sends == 0


async def test_earlier_attempt_without_a_known_time_may_be_repeated(service: PlanetService):
    """With unresolved='duplicate' it is sent, and the result says that there may be two."""
    service.metadata_in = "none"
    service.add(BackupMetadata("another client's"))
    creation = await creator(service, unresolved="duplicate").create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.backup.id, creation.possible_duplicate, service.sends) == (2, True, 1)


async def test_backup_created_before_the_machine_slept_is_not_duplicated(service: PlanetService, monkeypatch):
    """The monotonic clock stops while the machine sleeps, so our backup list_faults old: it is reported."""
    service.metadata_in = "none"
    awake = service.clock.utcnow

    async def fall_asleep() -> None:
        service.made.append((service.clock.monotonic(), _like_ours(service)))
        monkeypatch.setattr(FakeClock, "utcnow", lambda _: awake() + timedelta(minutes=10))
        raise AmbiguousCreateError("slow", planet=PLANET) from DOWN

    service.on_send = fall_asleep
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 1)


async def test_create_sent_after_resuming_is_adopted_by_time(service: PlanetService):
    """The end of the earlier process limits only what that process may have created."""
    service.metadata_in, service.lost = "none", [DOWN]
    since = service.clock.utcnow()
    service.clock.advance(3 * 3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since, until=since)
    assert (creation.adopted, service.sends) == ("time", 1)


async def test_earlier_attempt_in_the_future_has_no_known_time(service: PlanetService):
    """A start in the future came from a wrong clock: the listed backup is reported, and nothing is sent."""
    service.metadata_in = "none"
    service.add(SPEC.metadata)
    ahead = service.clock.utcnow() + timedelta(hours=1)
    service.clock.advance(60)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=ahead)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 0)


async def test_backup_started_hours_after_the_process_died_is_not_adopted(service: PlanetService):
    """The process was killed before the POST; another client's later backup is reported, not adopted."""
    service.metadata_in = "none"
    since = service.clock.utcnow()
    service.clock.advance(4 * 3600)
    service.add(BackupMetadata("another client's"))
    service.clock.advance(3600)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since, until=since)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 0)


@pytest.mark.parametrize("refusal", [PermissionDeniedError(status=403), ClientClosedError("left")], ids=["403", "left"])
async def test_refusal_of_a_resend_leaves_the_create_ambiguous(service: PlanetService, refusal: BackupsError):
    """The first response was lost and the second was a refusal: the first may have created a backup."""

    async def lose_the_first() -> None:
        if service.sends == 1:
            raise AmbiguousCreateError("slow", planet=PLANET) from DOWN

    service.on_send, service.refused = lose_the_first, [refusal]
    creating = creator(service)
    with pytest.raises(AmbiguousCreateError, match="an earlier send lost its response") as caught:
        await creating.create(PLANET, SPEC, key="k")
    assert caught.value.__cause__ is refusal
    service.add(BackupMetadata("nightly", build_marker(PLANET, "k")))
    assert (await creating.create(PLANET, SPEC, key="k")).adopted == "marker"
