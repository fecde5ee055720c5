"""Creates whose answers are lost: found again, sent again only when they are not there, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from asyncbackups._api.create import Creation, Creator
from asyncbackups._api.operations import PolledList, ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._api.reconcile import marker_of
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
from asyncbackups.models import Backup, BackupMetadata, BackupRef, BackupSpec, PlanetRef
from asyncbackups.policies import CreatePolicy, RetryPolicy
from tests.fake_clock import FakeClock

PLANET = PlanetRef("solar", "earth")
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly"))
DOWN = ServiceUnavailableError(status=503)


@attrs.define
class Service:
    """The operations as a creator uses them, over a planet in memory.

    Attributes:
        lost: For each create to come, the fault that hides its answer after the backup was made, or None.
        refused: For each create to come, the fault before anything was made, or None.
        looks: For each list to come, the fault that it ends in, or None.
        lag: Seconds until a list shows a new backup.
        echo: Which answers show metadata: "list", "get", "both" or "none"; "name": all show nothing but the name.
    """

    clock: FakeClock
    lost: list[BackupsError | None] = attrs.field(factory=list)
    refused: list[BackupsError | None] = attrs.field(factory=list)
    looks: list[BackupsError | None] = attrs.field(factory=list)
    lag: float = 0.0
    echo: str = "both"
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
        fault = self.looks.pop(0) if self.looks else None
        if fault is not None:
            raise fault
        due = self.clock.monotonic() - self.lag
        shown = [self._as_shown(backup, "list") for made, backup in self.made if made <= due]
        answer = ResponseInfo(size=1, seconds=0.1, retry_after=None, etag=None, date=self.clock.utcnow())
        return PolledList(entries=[], backups={backup.id: backup for backup in shown}, info=answer)

    async def get(self, ref: BackupRef) -> Backup:
        return self._as_shown(self.made[ref.backup_id - 1][1], "get")

    def _as_shown(self, backup: Backup, where: str) -> Backup:
        if self.echo == "name":
            return attrs.evolve(backup, extra={"metadata": {"name": backup.extra["metadata"]["name"]}})
        return backup if self.echo in {where, "both"} else attrs.evolve(backup, extra={})


@pytest.fixture
def fast() -> FakeClock:
    """Return a clock that a sleep moves."""
    return FakeClock(auto_advance=True)


@pytest.fixture
def service(fast: FakeClock) -> Service:
    """Return a service with an empty planet."""
    return Service(fast)


def creator(service: Service, **policy: Any) -> Creator:
    return Creator(
        service,  # type: ignore[arg-type]
        policy=CreatePolicy(**policy),
        retry=RetryPolicy(),
        clock=service.clock,
        draw=lambda: 0.5,
    )


LOST = [AnswerTimeoutError("slow"), InternalServerError(status=500), DOWN, ProtocolError("what?", status=302)]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(
    ("echo", "by"),
    [("both", "marker"), ("list", "marker"), ("get", "marker"), ("none", "time"), ("name", "time")],
)
async def test_a_create_whose_answer_was_lost_is_found(service: Service, fault: BackupsError, echo: str, by: str):
    """Whatever hid the answer and wherever metadata is shown: one backup, adopted, and how is said."""
    service.lost, service.echo = [fault], echo
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted, creation.possible_duplicate) == (1, by, False)
    assert service.sends == 1


async def test_it_is_found_however_late_the_service_shows_it(service: Service):
    """Within the settle time nothing is sent again."""
    service.lost, service.lag = [DOWN], 55.0
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


async def test_what_is_not_there_after_the_settle_time_is_sent_again(service: Service):
    """A create that was never made is made, and not before the service has had time to show it."""
    service.refused = [_ambiguous(DOWN)]
    before = service.clock.monotonic()
    creation = await creator(service, settle=60).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted, service.sends) == (1, None, 2)
    assert service.clock.monotonic() - before >= 60


async def test_it_is_not_sent_again_for_ever(service: Service):
    """With the resends used up, whether it happened stays unknown."""
    service.refused = [_ambiguous(DOWN)] * 5
    with pytest.raises(AmbiguousCreateError, match="sent 3 time"):
        await creator(service, resends=2).create(PLANET, SPEC)
    assert service.sends == 3


async def test_what_the_service_says_to_have_made_is_never_sent_again(service: Service):
    """An answer of 201 without an id: it exists, and if it does not show up that is for a person to settle."""
    service.refused = [_ambiguous(ProtocolError("no id", status=201))]
    with pytest.raises(AmbiguousCreateError, match="did not show up"):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1


@pytest.mark.parametrize("fault", [RateLimitedError(status=429, retry_after=7.0), ConnectError("refused")])
async def test_what_was_surely_not_processed_is_simply_sent_again(service: Service, fault: BackupsError):
    """429 and a refused connection: the next attempt needs no look."""
    service.refused = [fault, fault]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == (None, 3)
    assert service.clock.slept[0] >= (7.0 if isinstance(fault, RateLimitedError) else 0)


async def test_what_was_surely_not_processed_is_given_up_after_the_attempts(service: Service):
    """The retry policy bounds it, and the error says that nothing was made."""
    service.refused = [ConnectError("refused")] * 9
    with pytest.raises(ConnectError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == RetryPolicy().attempts


async def test_a_refusal_is_final(service: Service):
    """409 is neither looked into nor sent again."""
    service.refused = [ConflictError(status=409)]
    with pytest.raises(ConflictError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1


async def test_others_are_not_adopted(service: Service):
    """Backups of other people in the same minute are told apart by their metadata."""
    service.add(BackupMetadata("somebody's"))
    service.lost = [DOWN]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted) == (2, "marker")


async def test_without_metadata_several_candidates_are_reported(service: Service):
    """What cannot be told apart is raised, with the candidates, newest first."""
    service.add(BackupMetadata("somebody's"))
    service.lost, service.echo = [DOWN], "none"
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert [backup.id for backup in caught.value.candidates] == [2, 1]
    assert caught.value.__cause__ is DOWN


async def test_a_possible_duplicate_can_be_accepted_and_is_told(service: Service):
    """With unresolved='duplicate' it is sent again, and the creation says so."""
    service.add(BackupMetadata("somebody's"))
    service.lost, service.echo = [DOWN], "none"
    creation = await creator(service, unresolved="duplicate").create(PLANET, SPEC)
    assert (creation.backup.id, creation.possible_duplicate, service.sends) == (3, True, 2)


async def test_what_another_create_owns_is_never_adopted(service: Service):
    """Two creates of one planet, both answers lost, no metadata: each finds its own."""
    service.lost, service.echo = [DOWN, DOWN], "none"
    creating = creator(service)
    first, second = await asyncio.gather(creating.create(PLANET, SPEC), creating.create(PLANET, SPEC))
    assert [first.backup.id, second.backup.id] == [1, 2]
    assert first.adopted == second.adopted == "time"


async def test_what_an_earlier_process_owns_is_never_adopted(service: Service):
    """A backup claimed from the journal is no candidate."""
    taken = service.add(BackupMetadata("ours"))
    service.lost, service.echo = [DOWN], "none"
    creating = creator(service)
    creating.own(BackupRef("solar", taken.id))
    assert (await creating.create(PLANET, SPEC)).backup.id == 2


async def test_looking_goes_on_while_the_service_is_down(service: Service):
    """An outage of minutes after the create: looked for until it can be seen."""
    service.lost, service.looks = [DOWN], [DOWN, ConnectError("refused"), AnswerTimeoutError("slow")] * 5
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


@pytest.mark.parametrize(
    "looks",
    [[PermissionDeniedError(status=403)], [NotFoundError(status=404)], [ProtocolError("?")] * 3, [DOWN] * 99],
    ids=["forbidden", "missing", "not understood", "down for good"],
)
async def test_where_looking_fails_for_good_nothing_is_guessed(service: Service, looks: list[BackupsError]):
    """A list that cannot be had settles nothing: never sent again, raised with the first fault as its cause."""
    service.lost, service.looks = [AnswerTimeoutError("slow")], list(looks)
    with pytest.raises(AmbiguousCreateError, match="looking for it failed") as caught:
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1
    assert isinstance(caught.value.__cause__, AnswerTimeoutError)


async def test_a_list_that_was_garbled_once_is_read_again(service: Service):
    """One answer that was not understood is not the end."""
    service.lost, service.looks = [DOWN], [ProtocolError("garbled")]
    assert (await creator(service).create(PLANET, SPEC)).adopted == "marker"


async def test_a_candidate_that_a_get_does_not_find_is_judged_by_the_list(service: Service, monkeypatch):
    """Lists and gets may disagree for a while."""

    async def missing(self: Service, ref: BackupRef) -> Backup:
        raise NotFoundError(status=404)

    monkeypatch.setattr(Service, "get", missing)
    service.lost, service.echo = [DOWN], "none"
    assert (await creator(service).create(PLANET, SPEC)).adopted == "time"


async def test_one_key_makes_one_backup(service: Service):
    """The same key in the same planet, at once or later, sends one POST and gives the same backup."""
    creating = creator(service)
    both = await asyncio.gather(*(creating.create(PLANET, SPEC, key="k") for _ in range(2)))
    later = await creating.create(PLANET, SPEC, key="k")
    assert {creation.backup.id for creation in (*both, later)} == {1}
    assert service.sends == 1


async def test_a_key_belongs_to_its_planet(service: Service):
    """The same key in another planet is another create."""
    creating = creator(service)
    await creating.create(PLANET, SPEC, key="k")
    await creating.create(PlanetRef("solar", "mars"), SPEC, key="k")
    assert service.sends == 2


async def test_what_an_earlier_attempt_made_is_found_by_its_key(service: Service):
    """may_exist looks before it sends: another process made it an hour ago."""
    await creator(service).create(PLANET, SPEC, key="k")
    service.clock.advance(3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.backup.id, creation.adopted, service.sends) == (1, "marker", 1)


async def test_what_an_earlier_attempt_did_not_make_is_made(service: Service):
    """may_exist sends once the service has had time to show what is not there."""
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.adopted, service.sends) == (None, 1)


async def test_an_earlier_attempt_of_known_time_is_found_without_metadata(service: Service):
    """`since` bounds what may be adopted by time."""
    service.echo = "none"
    service.add(BackupMetadata("old"), started_at=service.clock.utcnow() - timedelta(minutes=30))
    since = service.clock.utcnow()
    service.clock.advance(5)
    service.add(BackupMetadata("ours"))
    service.clock.advance(600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since)
    assert (creation.backup.id, creation.adopted) == (2, "time")


async def test_by_time_alone_nothing_is_adopted_before_all_candidates_show(service: Service):
    """Somebody else's backup that shows earlier than ours is not taken for it: there are two candidates."""
    service.echo, service.lost, service.lag = "none", [DOWN], 20.0
    service.on_send = _then(lambda: service.made.append((service.clock.monotonic() - 20, _like_ours(service))))
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert [backup.id for backup in caught.value.candidates] == [2, 1]
    assert service.sends == 1


def _like_ours(service: Service) -> Backup:
    return Backup(id=1, mechanism="logical", type="temporary", started_at=service.clock.utcnow())


async def test_a_create_that_was_cancelled_is_looked_for_next_time(service: Service):
    """The same key after a cancellation finds what the first attempt made."""

    async def cancel() -> None:
        service.add(BackupMetadata("nightly", creating_marker))
        raise asyncio.CancelledError

    creating = creator(service)
    creating_marker = creating._attempt((PLANET, "k"), SPEC, None, None).expectation.marker or ""
    service.on_send = cancel
    with pytest.raises(asyncio.CancelledError):
        await creating.create(PLANET, SPEC, key="k")
    service.on_send = None
    creation = await creating.create(PLANET, SPEC, key="k")
    assert (creation.backup.id, creation.adopted, service.sends) == (1, "marker", 1)


async def test_the_clock_of_the_day_may_jump(service: Service, monkeypatch):
    """Between the create and the look the time of day goes back a year: what was made is still found."""
    service.lost, service.echo = [DOWN], "none"
    true_now = service.clock.utcnow
    service.on_send = _then(lambda: monkeypatch.setattr(FakeClock, "utcnow", lambda _: true_now() - timedelta(365)))
    listed = Service.poll_list

    async def with_server_time(self: Service, *args: Any, **kwargs: Any) -> PolledList:
        listing = await listed(self, *args, **kwargs)
        return attrs.evolve(listing, info=attrs.evolve(listing.info, date=service.made[0][1].started_at))

    monkeypatch.setattr(Service, "poll_list", with_server_time)
    assert (await creator(service).create(PLANET, SPEC)).adopted == "time"


async def test_turns_of_planets_are_forgotten(service: Service):
    """Nothing is kept of a planet whose creates are over, but whose backups they are."""
    creating = creator(service)
    await asyncio.gather(*(creating.create(PLANET, SPEC) for _ in range(3)))
    assert creating._turns == {}


async def test_keys_are_remembered_up_to_a_bound(service: Service, monkeypatch):
    """Memory does not grow with every key ever used."""
    monkeypatch.setattr("asyncbackups._api.create._REMEMBERED", 2)
    creating = creator(service)
    for number in range(4):
        await creating.create(PLANET, SPEC, key=str(number))
    assert len(creating._made) == 2


def test_a_creation_is_a_value():
    """Equal by what it says."""
    backup = Backup(id=1)
    assert Creation(backup=backup) == Creation(backup=backup, adopted=None, possible_duplicate=False)


def _ambiguous(cause: BackupsError) -> BackupsError:
    error = AmbiguousCreateError(str(cause), planet=PLANET)
    error.__cause__ = cause
    return error


def _then(action: Callable[[], object]) -> Callable[[], Any]:
    async def act() -> None:
        action()

    return act


async def test_a_client_that_is_left_while_looking_leaves_the_create_unknown(service: Service):
    """The POST went out: that the client was closed says nothing about what it did."""
    service.lost, service.looks = [DOWN], [ClientClosedError("the client was left")]
    with pytest.raises(AmbiguousCreateError, match="the client was left") as caught:
        await creator(service).create(PLANET, SPEC)
    assert isinstance(caught.value.__cause__, ClientClosedError)


async def test_of_an_attempt_that_nobody_timed_time_proves_nothing(service: Service):
    """Another create may have made what is there: without metadata it is for a person to settle, nothing is sent."""
    service.echo = "none"
    service.add(BackupMetadata("somebody's"))
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert [backup.id for backup in caught.value.candidates] == [1]
    assert service.sends == 0


async def test_an_attempt_that_nobody_timed_may_be_repeated_at_the_users_risk(service: Service):
    """With unresolved='duplicate' it is sent, and the creation says that there may be two."""
    service.echo = "none"
    service.add(BackupMetadata("somebody's"))
    creation = await creator(service, unresolved="duplicate").create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.backup.id, creation.possible_duplicate, service.sends) == (2, True, 1)


async def test_what_a_machine_made_before_it_slept_is_not_made_twice(service: Service, monkeypatch):
    """The monotonic clock stands still while it sleeps, the service's does not: ours looks old, like another's."""
    service.echo = "none"
    awake = service.clock.utcnow

    async def fall_asleep() -> None:
        service.made.append((service.clock.monotonic(), _like_ours(service)))
        monkeypatch.setattr(FakeClock, "utcnow", lambda _: awake() + timedelta(minutes=10))
        raise AmbiguousCreateError("slow", planet=PLANET) from DOWN

    service.on_send = fall_asleep
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 1)


async def test_what_is_sent_again_after_resuming_is_ours_however_late(service: Service):
    """That the earlier process was over long ago bounds what it made, not what this one makes."""
    service.echo, service.lost = "none", [DOWN]
    since = service.clock.utcnow()
    service.clock.advance(3 * 3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since, until=since)
    assert (creation.adopted, service.sends) == ("time", 1)


async def test_an_attempt_of_a_clock_that_was_ahead_is_one_that_nobody_timed(service: Service):
    """Its time is still to come: what is there may be what it made, and nothing is sent."""
    service.echo = "none"
    service.add(SPEC.metadata)
    ahead = service.clock.utcnow() + timedelta(hours=1)
    service.clock.advance(60)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=ahead)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 0)


async def test_what_began_hours_after_the_process_died_is_not_adopted_by_time(service: Service):
    """Killed before the POST left: what somebody else made meanwhile is not taken for ours."""
    service.echo = "none"
    since = service.clock.utcnow()
    service.clock.advance(4 * 3600)
    service.add(BackupMetadata("somebody's"))
    service.clock.advance(3600)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True, since=since, until=since)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([1], 0)


@pytest.mark.parametrize("refusal", [PermissionDeniedError(status=403), ClientClosedError("left")], ids=["403", "left"])
async def test_a_refusal_says_nothing_of_the_send_before(service: Service, refusal: BackupsError):
    """The first answer was lost, the second was a refusal: whether the first made one stays unknown."""

    async def lose_the_first() -> None:
        if service.sends == 1:
            raise AmbiguousCreateError("slow", planet=PLANET) from DOWN

    service.on_send, service.refused = lose_the_first, [refusal]
    creating = creator(service)
    with pytest.raises(AmbiguousCreateError, match="sent before") as caught:
        await creating.create(PLANET, SPEC, key="k")
    assert caught.value.__cause__ is refusal
    service.add(BackupMetadata("nightly", marker_of(PLANET, "k")))
    assert (await creating.create(PLANET, SPEC, key="k")).adopted == "marker"
