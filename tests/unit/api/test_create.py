"""Creates over a service in memory: each once, recognized if the response is lost, reported if nothing can be known.

Cases are numbered: each is a way in which a service may treat a lost create.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from asyncbackups._api.create import Creation, Creator
from asyncbackups._api.marker import marker_for
from asyncbackups._api.reconcile import Baseline
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    ApiError,
    BackupsError,
    BadRequestError,
    ClientClosedError,
    ConflictError,
    ConnectError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    RedirectRefusedError,
    ServiceUnavailableError,
)
from asyncbackups.models import Backup, BackupMetadata, BackupRef, BackupSpec, Environment, PlanetRef
from asyncbackups.policies import CreatePolicy, RetryPolicy
from tests.fake_clock import FakeClock
from tests.unit.api.alterations import ALTERATIONS
from tests.unit.api.fake_operations import Body, FakeOperations, Lost, Never

PLANET, MARS = PlanetRef("solar", "earth"), PlanetRef("solar", "mars")
PLANETS = [PlanetRef("solar", f"planet-{number}") for number in range(6)]
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly Größe", "before the release"))
DOWN, SLOW = ServiceUnavailableError(status=503), AnswerTimeoutError("slow")
FEW_SECONDS = 5.0


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that sleeping advances."""
    return FakeClock(auto_advance=True)


@pytest.fixture
def service(clock: FakeClock) -> FakeOperations:
    """Return a service with an old backup of each planet: lists are seen to show them."""
    operations = FakeOperations(clock)
    for planet in (PLANET, MARS, *PLANETS):
        operations.make(planet, ago=86_400 * 3, status="succeeded", completed_at=clock.utcnow() - timedelta(days=3))
    return operations


def creator(service: FakeOperations, **policy: Any) -> Creator:
    return Creator(
        service,  # type: ignore[arg-type]
        policy=CreatePolicy(**policy),
        retry=RetryPolicy(),
        clock=service.clock,
        draw=lambda: 0.5,
    )


async def create_all(creating: Creator, *, bulk: bool = True) -> list[Creation]:
    """Create a backup of each of six planets at once, as a bulk run or as single creates."""

    async def create(planet: PlanetRef) -> Creation:
        baseline = await creating.baselines.for_run(planet) if bulk else None
        return await creating.create(planet, SPEC, key=planet.planet, baseline=baseline)

    return await asyncio.gather(*map(create, PLANETS))


def made_now(service: FakeOperations, planet: PlanetRef) -> list[int]:
    """Return the ids of the backups of a planet, the old one aside."""
    return service.ids_of(planet)[1:]


def assert_one_each(service: FakeOperations, creations: list[Creation], *, by: str | None) -> None:
    """Check against the truth of the service: one backup for each planet, recognized as expected, and without doubt."""
    for planet, creation in zip(PLANETS, creations, strict=True):
        assert made_now(service, planet) == [creation.backup.id]
        assert (creation.adopted, creation.possible_duplicate, creation.duplicates) == (by, False, ())


# -- without faults


async def test_create_returns_the_backup_of_the_response(service: FakeOperations) -> None:
    """One list before it, one POST, nothing else; and its origin is known to the watch."""
    creating = creator(service)
    creation = await creating.create(PLANET, SPEC)
    assert service.requests == [("list", "solar", "earth"), ("create", PLANET)]
    assert creation == Creation(backup=creation.backup)
    origin = creating.get_origin(BackupRef("solar", creation.backup.id))
    assert origin is not None
    assert (origin.planet, origin.mechanism, origin.started_at) == ("earth", "logical", service.clock.monotonic())


async def test_six_creates_of_a_bulk_run_need_one_list(service: FakeOperations) -> None:
    """That of their star system."""
    assert_one_each(service, await create_all(creator(service)), by=None)
    assert service.lists == [("solar", None)]
    assert len(service.requests) == 1 + 6


async def test_six_single_creates_need_two_lists(service: FakeOperations) -> None:
    """That of the first planet, and from the second one on that of the star system."""
    assert_one_each(service, await create_all(creator(service), bulk=False), by=None)
    assert sorted(service.lists, key=str) == [("solar", "planet-0"), ("solar", None)]


async def test_creates_without_baseline_need_no_list(service: FakeOperations) -> None:
    """With `baseline=False` only POSTs are sent."""
    assert_one_each(service, await create_all(creator(service, baseline=False), bulk=False), by=None)
    assert service.lists == []


# -- case 1: metadata comes back altered


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])
@pytest.mark.parametrize("shown_in", ["list", "get"])
@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
async def test_case_1_altered_metadata(
    service: FakeOperations, alter: Callable[[str], str], shown_in: str, bulk: bool
) -> None:
    """All six responses are lost after their effect: one backup each, recognized by the marker."""
    service.alter, service.metadata_in = alter, shown_in
    service.faults = [Lost(DOWN)] * 6
    assert_one_each(service, await create_all(creator(service, settle=FEW_SECONDS), bulk=bulk), by="marker")
    assert service.sends == 6


@pytest.mark.parametrize(
    "alter",
    [
        str.strip,
        str.upper,
        lambda text: text[:8],
        lambda text: text[:-1],
        lambda text: f"env-{text}",
        lambda text: f"  {text}  ",
        ALTERATIONS["NFC"],
        ALTERATIONS["NFD"],
        ALTERATIONS["NFKD"],
    ],
    ids=["trimmed", "upper case", "cut", "last one cut", "prefix", "padded", "NFC", "NFD", "NFKD"],
)
@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])
async def test_case_1_only_the_name_is_shown(service: FakeOperations, alter: Callable[[str], str], bulk: bool) -> None:
    """However it is altered, it excludes nothing: each planet has one new backup, which is the one."""
    service.only_name, service.alter, service.faults = True, alter, [Lost(DOWN)] * 6
    assert_one_each(service, await create_all(creator(service, settle=FEW_SECONDS), bulk=bulk), by="time")
    assert service.sends == 6


@pytest.mark.parametrize("length", range(0, 50, 3))
async def test_case_1_metadata_is_cut_anywhere(service: FakeOperations, length: int) -> None:
    """With the whole digest it is the marker that is recognized, otherwise the only new backup."""
    service.alter, service.faults = (lambda text: text[:length]), [Lost(DOWN)] * 6
    creations = await create_all(creator(service, settle=FEW_SECONDS))
    whole = length >= len("before the release [asyncbackups:7iixrxtl5cu5avzv")
    assert_one_each(service, creations, by="marker" if whole else "time")
    assert service.sends == 6


async def test_case_1_replaced_metadata_is_reported(service: FakeOperations) -> None:
    """A text that cannot come from what was sent is no proof of absence: the candidate is reported, nothing is sent."""
    service.alter, service.faults = (lambda text: "backup by portal"), [Lost(DOWN)]
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert [backup.id for backup in caught.value.candidates] == made_now(service, PLANET)
    assert service.sends == 1


# -- case 2: no metadata, other words or times


@pytest.mark.parametrize("mechanism", ["LOGICAL", "pg_dump", None])
@pytest.mark.parametrize("early", [0, 10, 59, 3600], ids=lambda seconds: f"{seconds} s early")
@pytest.mark.parametrize("date_offset", [0.0, 20.0, 3600.0, -3600.0, None], ids=lambda offset: f"Date {offset}")
async def test_case_2_other_words_and_times(
    service: FakeOperations, mechanism: str | None, early: float, date_offset: float | None
) -> None:
    """No clock has to agree with another, and no word with the one that was sent."""

    def show(backup: Backup) -> Backup:
        assert backup.started_at is not None
        return attrs.evolve(backup, mechanism=mechanism, started_at=backup.started_at - timedelta(seconds=early))

    service.metadata_in, service.show, service.date_offset = "none", show, date_offset
    service.faults = [Lost(SLOW)] * 6
    assert_one_each(service, await create_all(creator(service, settle=FEW_SECONDS)), by="time")
    assert service.sends == 6


# -- case 3: a wrong clock


async def test_case_3_strangers_backup_before_the_baseline_is_not_adopted(service: FakeOperations) -> None:
    """The process was killed after a POST that never arrived, and is resumed by a clock that is an hour ahead."""
    stranger = service.make(PLANET, ago=3_000, status="running")
    service.metadata_in = "none"
    baseline = await creator(service).baselines.for_run(PLANET)
    service.clock = FakeClock(utc=service.clock.utcnow() + timedelta(hours=1), auto_advance=True)
    service.date_offset = -3_600.0
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, baseline=baseline)
    assert made_now(service, PLANET) == [stranger.id, creation.backup.id]
    assert (creation.adopted, creation.possible_duplicate, service.sends) == (None, True, 1)


async def test_case_3_strangers_backup_after_the_baseline_is_labelled(service: FakeOperations) -> None:
    """The only unexplained backup is adopted by time, which the result says; it can be switched off."""
    service.metadata_in = "none"
    baseline = await creator(service).baselines.for_run(PLANET)
    stranger = service.make(PLANET)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, baseline=baseline)
    assert (creation.backup.id, creation.adopted, service.sends) == (stranger.id, "time", 0)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service, adopt_by_time=False).create(PLANET, SPEC, key="k", may_exist=True, baseline=baseline)
    assert [backup.id for backup in caught.value.candidates] == [stranger.id]
    assert service.sends == 0


async def test_case_3_without_a_baseline_nothing_is_adopted_by_time(service: FakeOperations) -> None:
    """The journal of an earlier version has none: what may be the backup is reported, and blocks the create."""
    service.metadata_in = "none"
    stranger = service.make(PLANET, ago=3_000)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == ([stranger.id], 0)


# -- case 4: ids that come again


async def test_case_4_marker_is_adopted_although_the_id_had_another_owner(service: FakeOperations) -> None:
    """The service was restored: the id that was another planet's is this create's now."""
    creating = creator(service, settle=FEW_SECONDS)
    creating.claim_backup(BackupRef("solar", service.next_id), MARS)
    service.faults = [Lost(DOWN)]
    creation = await creating.create(PLANET, SPEC)
    assert ([creation.backup.id], creation.adopted) == (made_now(service, PLANET), "marker")


async def test_case_4_response_with_an_id_that_came_again(service: FakeOperations) -> None:
    """With the marker it is accepted at once."""
    creating = creator(service)
    creating.claim_backup(BackupRef("solar", service.next_id), MARS)
    creation = await creating.create(PLANET, SPEC)
    assert (creation.adopted, service.sends, len(service.requests)) == (None, 1, 2)


async def test_case_4_backup_of_another_planet_is_foreign(service: FakeOperations) -> None:
    """After a restart, claimed backups are polled: their names show the planets that they belong to."""
    creating = creator(service)
    for number, planet in enumerate(PLANETS):
        creating.claim_backup(BackupRef("solar", number), planet)

    def backup(number: int, name: str | None) -> Backup:
        return Backup(id=number, environment=None if name is None else Environment(name=name))

    assert creating.is_foreign("solar", backup(0, "planet-3"))
    assert not creating.is_foreign("solar", backup(0, "planet-0"))
    assert not creating.is_foreign("solar", backup(0, "testbackup"))
    assert not creating.is_foreign("solar", backup(0, None))
    assert not creating.is_foreign("solar", backup(99, "planet-3"))
    assert not creating.is_foreign("lunar", backup(0, "planet-3"))


# -- case 5: one response for two planets


@pytest.mark.parametrize("names", [True, False], ids=["names shown", "no names"])
async def test_case_5_whole_object_of_another_planet(service: FakeOperations, names: bool) -> None:
    """The POST for mars returns the backup of earth: the response is lost, and the backup found."""
    service.names = names
    creating = creator(service, settle=FEW_SECONDS)
    first = await creating.create(PLANET, SPEC)
    service.faults = [Body({"id": first.backup.id, "mechanism": "logical", "status": "running"})]
    second = await creating.create(MARS, SPEC)
    assert [first.backup.id, second.backup.id] == [made_now(service, planet)[0] for planet in (PLANET, MARS)]
    assert (second.adopted, service.sends) == ("marker", 2)


@pytest.mark.parametrize("metadata_in", ["both", "none"])
@pytest.mark.parametrize("bulk", [True, False], ids=["at once", "one by one"])
async def test_case_5_one_bare_id_for_all(service: FakeOperations, metadata_in: str, bulk: bool) -> None:
    """Three POSTs return the id of the first one's backup: no planet gets the backup of another one."""
    service.metadata_in = metadata_in
    creating = creator(service, settle=FEW_SECONDS)
    baseline = await creating.baselines.for_run(PLANET)
    service.faults = [Body({"id": service.next_id})] * 3
    creates = [creating.create(planet, SPEC, baseline=baseline) for planet in PLANETS[:3]]
    if bulk:
        results = await asyncio.gather(*creates, return_exceptions=True)
    else:
        results = [result for create in creates for result in await asyncio.gather(create, return_exceptions=True)]
    for planet, result in zip(PLANETS, results, strict=False):
        if isinstance(result, Creation):
            assert made_now(service, planet) == [result.backup.id]
        else:
            assert isinstance(result, AmbiguousCreateError)
    assert sum(isinstance(result, Creation) for result in results) == 3
    assert service.sends == 3


async def test_case_5_response_that_contradicts_the_request(service: FakeOperations) -> None:
    """Another mechanism or another create's marker: the create is reconciled, and nothing is sent again."""
    other = marker_for(MARS, "k").text
    for body in (
        {"id": 900, "mechanism": "snapshot"},
        {"id": 900, "mechanism": "logical", "metadata": {"description": other}},
    ):
        service.faults = [Body(body)]
        creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
        assert (creation.backup.id, creation.adopted) == (made_now(service, PLANET)[-1], "marker")
    assert service.sends == 2


async def test_case_5_contradicted_bare_id_is_not_adopted(service: FakeOperations) -> None:
    """A GET of the id shows another mechanism: it is not this create's, also if the planet's list shows it."""
    service.metadata_in = "none"
    number = service.next_id
    service.before_create = lambda planet: service.make(planet, mechanism="snapshot")
    service.faults = [Body({"id": number})]
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert {backup.id for backup in caught.value.candidates} == {number, number + 1}


async def test_bare_id_that_existed_before_is_not_accepted(service: FakeOperations) -> None:
    """The id of an object that is not seen to be a backup is checked against the baseline."""
    service.faults = [Body({"id": service.ids_of(PLANET)[0]})]
    creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert ([creation.backup.id], creation.adopted) == (made_now(service, PLANET), "marker")


# -- case 6: a job's id

JOB = {"id": 900_362, "status": "accepted", "operation": "CREATE"}


@pytest.mark.parametrize(("metadata_in", "by"), [("both", "marker"), ("none", "time")])
async def test_case_6_id_of_a_job(service: FakeOperations, metadata_in: str, by: str) -> None:
    """A GET says 404: the backup that was created is found, not watched under the job's id."""
    service.metadata_in, service.faults = metadata_in, [Body(JOB)] * 6
    assert_one_each(service, await create_all(creator(service, settle=FEW_SECONDS)), by=by)
    assert service.sends == 6


@pytest.mark.parametrize("lag", [0.0, 3.0], ids=["shown at once", "shown later"])
@pytest.mark.parametrize("body", [True, False], ids=["body", "Location"])
async def test_case_6_bare_id_of_the_backup(service: FakeOperations, lag: float, body: bool) -> None:
    """A GET, or later the list, shows that the id is a new backup's: it is as good as a whole response."""
    service.get_lag = service.list_lag = lag
    service.metadata_in = "none"
    number = service.next_id
    service.faults = [Body({"id": number}) if body else Body({}, {"Location": f"/backups/{number}"})]
    creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted, service.sends) == (number, None, 1)
    assert creation.backup.status == "running"


@pytest.mark.parametrize("metadata_in", ["both", "none"])
async def test_case_6_bare_id_that_cannot_be_checked(
    service: FakeOperations, monkeypatch: pytest.MonkeyPatch, metadata_in: str
) -> None:
    """The GET fails: the planet's list decides."""

    async def down(self: FakeOperations, ref: BackupRef) -> Backup:
        raise DOWN

    monkeypatch.setattr(FakeOperations, "get", down)
    service.metadata_in, service.faults = metadata_in, [Body({"id": service.next_id})]
    creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert [creation.backup.id] == made_now(service, PLANET)
    assert creation.adopted == ("marker" if metadata_in == "both" else None)
    assert service.sends == 1


async def test_case_6_bare_id_is_ambiguous_if_the_client_closes(
    service: FakeOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The POST was sent, and the client can send nothing more."""

    async def closed(self: FakeOperations, ref: BackupRef) -> Backup:
        raise ClientClosedError("left")

    monkeypatch.setattr(FakeOperations, "get", closed)
    service.list_faults, service.faults = [None, ClientClosedError("left")], [Body({"id": service.next_id})]
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert isinstance(caught.value.__cause__, ClientClosedError)


# -- case 7: 404 for an empty list


@pytest.mark.parametrize("excerpt", ['{"message": "no backups"}', "<html>"], ids=["API", "gateway"])
@pytest.mark.parametrize(("metadata_in", "by"), [("both", "marker"), ("none", "time")])
async def test_case_7_list_is_404_for_a_while(clock: FakeClock, excerpt: str, metadata_in: str, by: str) -> None:
    """The planet is empty, and its list 404 until it shows the new backup."""
    service = FakeOperations(clock, list_lag=0.5, metadata_in=metadata_in, faults=[Lost(DOWN)])

    def error(star_system: str, planet: str | None) -> BackupsError | None:
        shown = any(made.at <= clock.monotonic() - 0.5 for made in service.made)
        return None if planet is None or shown else NotFoundError(status=404, excerpt=excerpt)

    service.list_error = error
    creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert (service.ids_of(PLANET), creation.adopted, service.sends) == ([creation.backup.id], by, 1)


async def test_case_7_list_that_stays_404_is_no_evidence(service: FakeOperations) -> None:
    """The planet's list is a 404 of a gateway: another planet's list must not prove that nothing was created."""
    creating = creator(service, settle=FEW_SECONDS)
    await creating.create(MARS, SPEC)
    service.list_error = lambda star_system, planet: (
        NotFoundError(status=404, excerpt="<html>") if planet != "mars" else None
    )
    service.faults = [Lost(DOWN)]
    with pytest.raises(AmbiguousCreateError):
        await creating.create(PLANET, SPEC)
    assert service.sends == 2


# -- case 9: what may have been processed

PROCESSED: list[BackupsError] = [
    SLOW,
    ProtocolError("what?", status=302),
    RedirectRefusedError("302 to another place", status=302),
    *(ApiError.class_for(status)(status=status) for status in (408, 409, 418, 424, 425, 499, 500, 502, 503, 504, 507)),
    *(ApiError.class_for(status)(status=status) for status in range(520, 528)),
]


@pytest.mark.parametrize("error", PROCESSED, ids=repr)
@pytest.mark.parametrize(("metadata_in", "by"), [("both", "marker"), ("none", "time")])
async def test_case_9_error_after_the_effect(
    service: FakeOperations, error: BackupsError, metadata_in: str, by: str
) -> None:
    """Whatever hid the response: one backup each, and one POST."""
    service.metadata_in, service.faults = metadata_in, [Lost(error)] * 6
    assert_one_each(service, await create_all(creator(service, settle=FEW_SECONDS)), by=by)
    assert service.sends == 6


@pytest.mark.parametrize("error", PROCESSED, ids=repr)
async def test_case_9_error_without_effect(service: FakeOperations, error: BackupsError) -> None:
    """It is sent again after the settle time, or raised if the second one would be rejected in the same way."""
    service.faults = [Never(error)]
    rejected = isinstance(error, RedirectRefusedError) or getattr(error, "status", 0) in {409, 418}
    before = service.clock.monotonic()
    if rejected:
        with pytest.raises(type(error)) as caught:
            await creator(service, settle=60).create(PLANET, SPEC)
        assert caught.value is error
        assert error.__context__ is None  # a cycle of causes and contexts never ends for code that follows it
    else:
        creation = await creator(service, settle=60).create(PLANET, SPEC)
        assert (creation.adopted, creation.possible_duplicate) == (None, True)
    assert service.sends == (1 if rejected else 2)
    assert service.clock.monotonic() - before >= 60


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 422, 451, 501, 505])
async def test_refusal_is_raised_at_once(service: FakeOperations, status: int) -> None:
    """The service has not processed it: no list but the baseline, nothing sent again."""
    service.faults = [Never(ApiError.class_for(status)(status=status))]
    with pytest.raises(ApiError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert caught.value.status == status
    assert service.requests == [("list", "solar", "earth"), ("create", PLANET)]


async def test_case_9_conflict_after_a_resend_leaves_the_create_ambiguous(service: FakeOperations) -> None:
    """It may be the first attempt that is in the way; a third one would be rejected in the same way."""
    service.metadata_in = "none"
    conflict = ConflictError(status=409)
    service.faults = [Never(DOWN), Never(conflict)]
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert caught.value.__cause__ is conflict
    assert service.sends == 2


@pytest.mark.parametrize("fault", [RateLimitedError(status=429, retry_after=7.0), ConnectError("refused")])
async def test_create_that_was_not_processed_is_sent_again_at_once(
    service: FakeOperations, fault: BackupsError
) -> None:
    """429 and a refused connection need no reconciling, and leave no doubt."""
    service.faults = [Never(fault), Never(fault)]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, creation.possible_duplicate, service.sends, len(service.lists)) == (None, False, 3, 1)
    assert service.clock.slept[0] >= (7.0 if isinstance(fault, RateLimitedError) else 0)


async def test_create_that_was_not_processed_is_given_up_after_the_attempts(service: FakeOperations) -> None:
    """The retry policy limits the attempts, and the error says that nothing was created."""
    service.faults = [Never(ConnectError("refused"))] * 9
    with pytest.raises(ConnectError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == RetryPolicy().attempts


# -- case 12: duplicates are reported


async def test_case_12_duplicate_is_found_later(service: FakeOperations) -> None:
    """The first POST has its effect after the resend: the result says that there may be two, and both can be found."""
    service.faults = [Lost(DOWN, late=60.0)]
    creating = creator(service, settle=FEW_SECONDS)
    creation = await creating.create(PLANET, SPEC, key="k")
    first, second = made_now(service, PLANET)
    assert (creation.backup.id, creation.possible_duplicate) == (second, True)
    ref = BackupRef("solar", second)
    assert await creating.find_duplicates(PLANET, "k", ref) == ()
    service.clock.advance(60)
    assert await creating.find_duplicates(PLANET, "k", ref) == (BackupRef("solar", first),)


async def test_case_12_duplicate_of_a_deleted_backup_is_found(service: FakeOperations) -> None:
    """The marker proves it, also if the known backup is not there any more."""
    service.faults = [Lost(DOWN, late=60.0)]
    creating = creator(service, settle=FEW_SECONDS)
    await creating.create(PLANET, SPEC, key="k")
    service.clock.advance(60)
    found = await creating.find_duplicates(PLANET, "k", BackupRef("solar", "deleted"))
    assert found is not None
    assert {ref.backup_id for ref in found} == set(made_now(service, PLANET))


async def test_case_12_only_a_create_that_was_sent_again_has_a_key(service: FakeOperations) -> None:
    """Nothing needs to be looked up for any other one."""
    creating = creator(service, settle=FEW_SECONDS)
    assert (await creating.create(PLANET, SPEC)).key is None
    service.faults = [Never(DOWN)]
    creation = await creating.create(PLANET, SPEC)
    assert creation.key is not None
    ref, lists = BackupRef("solar", creation.backup.id), len(service.lists)
    assert await creating.find_duplicates(PLANET, creation.key, ref) == ()
    assert len(service.lists) == lists + 1


async def test_case_12_duplicates_are_not_looked_up_without_markers(service: FakeOperations) -> None:
    """No request is sent."""
    creating = creator(service, marker=False)
    assert await creating.find_duplicates(PLANET, "k", BackupRef("solar", 1)) is None
    assert service.lists == []


async def test_case_12_duplicates_are_unknown_where_no_marker_is_shown(service: FakeOperations) -> None:
    """Only a list that shows the marker of the backup itself proves that there is no other one."""
    creating = creator(service)
    creation = await creating.create(PLANET, SPEC, key="k")
    ref = BackupRef("solar", creation.backup.id)
    assert await creating.find_duplicates(PLANET, "k", ref) == ()
    service.metadata_in = "none"
    assert await creating.find_duplicates(PLANET, "k", ref) is None


async def test_case_12_duplicates_that_are_seen_are_reported(service: FakeOperations) -> None:
    """A gateway repeated the POST by itself: the newest is adopted, the other one is reported and never adopted."""
    marked = {"metadata": {"name": "x", "description": marker_for(PLANET, "k").text}}
    service.before_create = lambda planet: service.make(planet, extra=marked)
    service.faults = [Lost(DOWN)]
    creating = creator(service, settle=FEW_SECONDS)
    creation = await creating.create(PLANET, SPEC, key="k")
    first, second = made_now(service, PLANET)
    assert {creation.backup.id, *(ref.backup_id for ref in creation.duplicates)} == {first, second}
    assert (creation.adopted, creation.possible_duplicate, len(creation.duplicates)) == ("marker", True, 1)


async def test_case_12_every_resend_is_reported(service: FakeOperations) -> None:
    """Also if it is adopted afterwards, and after one that an earlier process may have sent."""
    service.faults = [Never(DOWN), Lost(DOWN)]
    creation = await creator(service, settle=FEW_SECONDS).create(PLANET, SPEC)
    assert (creation.adopted, creation.possible_duplicate) == ("marker", True)
    creation = await creator(service, settle=FEW_SECONDS).create(MARS, SPEC, key="k", may_exist=True)
    assert (creation.adopted, creation.possible_duplicate) == (None, True)


# -- lists that show late, too little, or nothing


async def test_backup_listed_late_is_adopted(service: FakeOperations) -> None:
    """Nothing is sent again within the settle time."""
    service.faults, service.list_lag = [Lost(DOWN)], 55.0
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


async def test_create_is_sent_again_after_the_settle_time(service: FakeOperations) -> None:
    """The planet's list shows an old backup, so it would show the new one."""
    service.faults = [Never(DOWN)]
    before = service.clock.monotonic()
    creation = await creator(service, settle=60).create(PLANET, SPEC)
    assert ([creation.backup.id], creation.adopted, service.sends) == (made_now(service, PLANET), None, 2)
    assert service.clock.monotonic() - before >= 60


async def test_nothing_is_sent_again_where_lists_were_never_seen_to_show_anything(clock: FakeClock) -> None:
    """An empty planet in an empty star system: its absence proves nothing."""
    service = FakeOperations(clock, faults=[Never(DOWN)])
    with pytest.raises(AmbiguousCreateError, match="absence proves nothing") as caught:
        await creator(service).create(PLANET, SPEC)
    assert (service.sends, caught.value.candidates) == (1, ())
    assert caught.value.__cause__ is DOWN


async def test_own_backup_of_another_planet_is_evidence(clock: FakeClock) -> None:
    """Lists of this star system were seen to show what this client creates."""
    service = FakeOperations(clock, names=True)
    creating = creator(service, settle=FEW_SECONDS)
    await creating.create(MARS, SPEC)
    service.faults = [Never(DOWN)]
    creation = await creating.create(PLANET, SPEC)
    assert ([creation.backup.id], creation.possible_duplicate, service.sends) == (service.ids_of(PLANET), True, 3)


@pytest.mark.parametrize(("visibility", "sends"), [("planet", 2), ("new", 1), ("own", 1)])
async def test_policy_requires_evidence(service: FakeOperations, visibility: str, sends: int) -> None:
    """An old backup of the planet is enough by default only."""
    service.faults = [Never(DOWN)]
    creating = creator(service, visibility=visibility)
    if sends == 2:
        await creating.create(PLANET, SPEC)
    else:
        with pytest.raises(AmbiguousCreateError):
            await creating.create(PLANET, SPEC)
    assert service.sends == sends


async def test_list_that_shows_only_finished_backups(service: FakeOperations) -> None:
    """The default policy cannot notice that (see docs/guarantees.md), but reports the possible duplicate."""
    service.hidden, service.faults = True, [Lost(DOWN)]
    creation = await creator(service).create(PLANET, SPEC)
    assert (len(made_now(service, PLANET)), creation.possible_duplicate) == (2, True)
    service.faults = [Lost(DOWN)]
    with pytest.raises(AmbiguousCreateError):
        await creator(service, visibility="new").create(MARS, SPEC)
    assert len(made_now(service, MARS)) == 1


async def test_resends_are_limited(service: FakeOperations) -> None:
    """After the last resend, the create is reported as ambiguous."""
    service.faults = [Never(DOWN)] * 5
    with pytest.raises(AmbiguousCreateError, match=r"sent 3 time\(s\)"):
        await creator(service, resends=2).create(PLANET, SPEC)
    assert service.sends == 3


async def test_create_confirmed_without_an_id_is_never_sent_again(service: FakeOperations) -> None:
    """After a 2xx without an id the backup exists, even if it is never listed."""
    service.faults, service.hidden = [Body({"status": "accepted"})], True
    with pytest.raises(AmbiguousCreateError, match="has not appeared"):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1


# -- other people


async def test_backups_of_other_clients_are_not_adopted(service: FakeOperations) -> None:
    """The marker identifies ours, even in the same moment; without it, both are reported."""
    service.before_create = lambda planet: service.make(planet, extra={"metadata": {"name": "another client's"}})
    service.faults = [Lost(DOWN)]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted) == (made_now(service, PLANET)[1], "marker")
    service.metadata_in, service.faults = "none", [Lost(DOWN)]
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(MARS, SPEC)
    assert [backup.id for backup in caught.value.candidates] == made_now(service, MARS)[::-1]
    assert caught.value.__cause__ is DOWN
    assert service.sends == 2


async def test_strangers_backup_just_before_is_in_the_baseline(service: FakeOperations) -> None:
    """It has the same spec and was made a second ago: it is known to be older."""
    service.make(PLANET, ago=1)
    service.metadata_in, service.faults = "none", [Lost(DOWN)]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted) == (made_now(service, PLANET)[1], "time")


async def test_adoption_by_time_waits_for_all_candidates(service: FakeOperations) -> None:
    """Another client's backup that is listed earlier than ours is not adopted: there are two candidates."""
    service.metadata_in, service.faults, service.list_lag = "none", [Lost(DOWN, late=20.0)], 20.0
    service.before_create = lambda planet: service.make(planet, ago=20)
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert sorted(backup.id for backup in caught.value.candidates) == made_now(service, PLANET)
    assert service.sends == 1


@pytest.mark.parametrize("metadata_in", ["both", "none"])
async def test_possible_duplicate_can_be_accepted(service: FakeOperations, metadata_in: str) -> None:
    """With unresolved='duplicate' the create is sent again where nothing can be known, and the result says so."""
    service.metadata_in, service.faults = metadata_in, [Never(DOWN)]
    service.before_create = lambda planet: service.make(planet) if service.sends == 1 else None
    creation = await creator(service, unresolved="duplicate", adopt_by_time=False).create(PLANET, SPEC)
    assert (creation.backup.id, creation.possible_duplicate, service.sends) == (made_now(service, PLANET)[-1], True, 2)


async def test_two_creates_of_one_planet_take_turns(service: FakeOperations) -> None:
    """Both lose their responses, without metadata: each adopts its own backup."""
    service.faults, service.metadata_in = [Lost(DOWN)] * 2, "none"
    creating = creator(service, settle=FEW_SECONDS)
    first, second = await asyncio.gather(creating.create(PLANET, SPEC), creating.create(PLANET, SPEC))
    assert [first.backup.id, second.backup.id] == made_now(service, PLANET)
    assert first.adopted == second.adopted == "time"


async def test_backup_of_an_earlier_process_is_not_adopted(service: FakeOperations) -> None:
    """A backup claimed from the journal is explained, also if it is not in the baseline."""
    baseline = await creator(service).baselines.for_run(PLANET)
    taken = service.make(PLANET)
    service.faults, service.metadata_in = [Lost(DOWN)], "none"
    creating = creator(service)
    creating.claim_backup(BackupRef("solar", taken.id), PLANET)
    creation = await creating.create(PLANET, SPEC, baseline=baseline)
    assert ([taken.id, creation.backup.id], creation.adopted) == (made_now(service, PLANET), "time")


async def test_creates_in_flight_may_explain_what_has_appeared(service: FakeOperations) -> None:
    """The star system's list shows no planets: what another create of this client makes is waited for."""
    baseline = await creator(service).baselines.for_run(PLANET)
    creating = creator(service, settle=10)
    service.list_error = lambda star_system, planet: NotFoundError(status=404) if planet == "earth" else None

    async def slow(planet: PlanetRef) -> None:
        if planet == MARS:
            service.make(MARS, id=500)
            await service.clock.sleep(15)
            service.made.pop()
            service.next_id = 500

    service.metadata_in, service.before_create = "none", slow
    service.faults = [Never(DOWN)]
    earth = asyncio.create_task(creating.create(PLANET, SPEC, baseline=baseline))
    mars = asyncio.create_task(creating.create(MARS, SPEC, baseline=baseline))
    results = await asyncio.gather(earth, mars, return_exceptions=True)
    assert [type(result) for result in results] == [Creation, Creation]


# -- lists that fail


async def test_reconciling_continues_while_the_service_is_down(service: FakeOperations) -> None:
    """The backup is adopted once the service recovers."""
    service.faults = [Lost(DOWN)]
    service.list_faults = [None, *[DOWN, ConnectError("refused"), SLOW] * 5]
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.adopted, service.sends) == ("marker", 1)


async def test_failed_list_is_repeated_sooner(service: FakeOperations, clock: FakeClock) -> None:
    """The pause between lists grows to half a minute, and is one second again after a list that fails."""
    service.faults, service.list_lag = [Lost(DOWN)], 1e6
    service.list_faults = [None, *[None] * 6, *[DOWN] * 3]
    with pytest.raises(AmbiguousCreateError):
        await creator(service, settle=100.0).create(PLANET, SPEC)
    assert clock.slept[:9] == [1, 2, 4, 8, 16, 30, 1, 2, 4]


@pytest.mark.parametrize(
    "list_faults",
    [[PermissionDeniedError(status=403)], [ProtocolError("?")] * 3, [DOWN] * 99],
    ids=["forbidden", "not understood", "down for good"],
)
async def test_create_is_ambiguous_if_lists_keep_failing(
    service: FakeOperations, list_faults: list[BackupsError | None]
) -> None:
    """It is never sent again, and the error has the first fault as its cause. For a 404 see case 7."""
    service.faults, service.list_faults = [Lost(SLOW)], [None, *list_faults]
    with pytest.raises(AmbiguousCreateError, match="listing the planet's backups failed") as caught:
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 1
    assert caught.value.__cause__ is SLOW


async def test_refused_baseline_means_no_resend_without_evidence(service: FakeOperations) -> None:
    """It is unknown what existed before: a backup that may be the one is reported, one with the marker adopted."""
    service.make(PLANET, ago=1)
    service.list_faults, service.faults, service.metadata_in = [DOWN, DOWN], [Never(SLOW)], "none"
    with pytest.raises(AmbiguousCreateError) as caught:
        await creator(service).create(PLANET, SPEC)
    assert ([backup.id for backup in caught.value.candidates], service.sends) == (made_now(service, PLANET), 1)
    service.list_faults, service.faults, service.metadata_in = [DOWN, DOWN], [Lost(SLOW)], "both"
    creation = await creator(service).create(PLANET, SPEC)
    assert (creation.backup.id, creation.adopted) == (made_now(service, PLANET)[-1], "marker")


async def test_one_unreadable_list_is_repeated(service: FakeOperations) -> None:
    """One unreadable response does not end the reconciling."""
    service.faults, service.list_faults = [Lost(DOWN)], [None, ProtocolError("garbled")]
    assert (await creator(service).create(PLANET, SPEC)).adopted == "marker"


async def test_candidate_missing_from_get_is_decided_by_the_list(service: FakeOperations) -> None:
    """LIST and GET may disagree for a while."""
    service.faults, service.metadata_in, service.get_lag = [Lost(DOWN)], "none", 1e6
    assert (await creator(service).create(PLANET, SPEC)).adopted == "time"


@pytest.mark.parametrize("closed", ["reconciling", "sending"])
async def test_create_is_ambiguous_if_the_client_closes(service: FakeOperations, closed: str) -> None:
    """The first POST was sent, so its outcome is unknown."""
    left = ClientClosedError("the client was left")
    service.faults = [Never(DOWN), Never(left)]
    if closed == "reconciling":
        service.list_faults = [None, left]
    with pytest.raises(AmbiguousCreateError, match="the client was left") as caught:
        await creator(service).create(PLANET, SPEC)
    assert caught.value.__cause__ is left


async def test_closed_client_before_anything_was_sent_is_no_doubt(service: FakeOperations) -> None:
    """Nothing was created."""
    service.list_faults = [ClientClosedError("left")]
    with pytest.raises(ClientClosedError):
        await creator(service).create(PLANET, SPEC)
    assert service.sends == 0


@pytest.mark.parametrize("refusal", [PermissionDeniedError(status=403), BadRequestError(status=400)])
async def test_refusal_of_a_resend_leaves_the_create_ambiguous(service: FakeOperations, refusal: BackupsError) -> None:
    """The first response was lost and the second was a refusal: the first may have created a backup."""
    service.faults = [Lost(DOWN, late=120.0), Never(refusal)]
    creating = creator(service)
    with pytest.raises(AmbiguousCreateError, match="an earlier attempt had no response") as caught:
        await creating.create(PLANET, SPEC, key="k")
    assert caught.value.__cause__ is refusal
    service.clock.advance(120)
    creation = await creating.create(PLANET, SPEC, key="k")
    assert ([creation.backup.id], creation.adopted) == (made_now(service, PLANET), "marker")


# -- keys and earlier attempts


async def test_one_key_creates_one_backup(service: FakeOperations) -> None:
    """The same key in the same planet, concurrently or later, sends one POST and returns the same backup."""
    creating = creator(service)
    both = await asyncio.gather(*(creating.create(PLANET, SPEC, key="k") for _ in range(2)))
    later = await creating.create(PLANET, SPEC, key="k")
    assert {creation.backup.id for creation in (*both, later)} == {*made_now(service, PLANET)}
    assert service.sends == 1


async def test_key_is_scoped_to_its_planet(service: FakeOperations) -> None:
    """The same key in another planet is another create."""
    creating = creator(service)
    await creating.create(PLANET, SPEC, key="k")
    await creating.create(MARS, SPEC, key="k")
    assert service.sends == 2


async def test_backup_of_an_earlier_attempt_is_adopted_by_its_key(service: FakeOperations) -> None:
    """may_exist searches before it sends; here another process created the backup an hour ago."""
    await creator(service).create(PLANET, SPEC, key="k")
    service.clock.advance(3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True)
    assert ([creation.backup.id], creation.adopted, service.sends) == (made_now(service, PLANET), "marker", 1)


async def test_earlier_attempt_with_a_baseline_is_adopted_by_time(service: FakeOperations) -> None:
    """A backup that has appeared since then, and no older one; no clock decides."""
    service.metadata_in = "none"
    service.make(PLANET, ago=1)
    baseline = await creator(service).baselines.for_run(PLANET)
    await creator(service).create(PLANET, SPEC, key="k", baseline=baseline)
    service.clock.advance(4 * 3600)
    creation = await creator(service).create(PLANET, SPEC, key="k", may_exist=True, baseline=baseline)
    assert ([creation.backup.id], creation.adopted, service.sends) == (made_now(service, PLANET)[1:], "time", 1)


async def test_earlier_attempt_is_repeated_only_with_evidence(clock: FakeClock) -> None:
    """may_exist sends only where a list was seen to show such backups."""
    empty = FakeOperations(clock)
    with pytest.raises(AmbiguousCreateError):
        await creator(empty).create(PLANET, SPEC, key="k", may_exist=True, baseline=Baseline.from_ids("planet", []))
    assert empty.sends == 0
    creation = await creator(empty, unresolved="duplicate").create(PLANET, SPEC, key="k", may_exist=True)
    assert (creation.adopted, creation.possible_duplicate, empty.sends) == (None, True, 1)


async def test_cancelled_create_is_reconciled_next_time(service: FakeOperations) -> None:
    """The same key after a cancellation adopts the backup of the first attempt, by marker or by its baseline."""
    for metadata_in, planet, by in (("both", PLANET, "marker"), ("none", MARS, "time")):
        service.metadata_in = metadata_in

        async def cancel(planet: PlanetRef) -> None:
            marked = {"metadata": {"name": "x", "description": marker_for(planet, "k").text}}
            service.make(planet, extra=marked)
            raise asyncio.CancelledError

        creating = creator(service, settle=FEW_SECONDS)
        service.before_create = cancel
        with pytest.raises(asyncio.CancelledError):
            await creating.create(planet, SPEC, key="k")
        service.before_create = None
        sends = service.sends
        creation = await creating.create(planet, SPEC, key="k")
        assert ([creation.backup.id], creation.adopted) == (made_now(service, planet), by)
        assert service.sends == sends


# -- memory


async def test_nothing_is_kept_of_a_planet_after_its_creates(service: FakeOperations) -> None:
    """No lock remains after the creates of a planet but the one of its star system's baselines."""

    def count_locks() -> int:
        return sum(isinstance(one, asyncio.Lock) for one in gc.get_objects())

    creating, before = creator(service, baseline=False), count_locks()
    await asyncio.gather(*(creating.create(PLANET, SPEC) for _ in range(3)))
    assert count_locks() == before


async def test_remembered_keys_are_bounded(service: FakeOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with every key ever used."""
    monkeypatch.setattr("asyncbackups._api.create._KEYS", 2)
    creating = creator(service)
    for number in range(4):
        await creating.create(PLANET, SPEC, key=str(number))
    await creating.create(PLANET, SPEC, key="3")
    assert service.sends == 4
    await creating.create(PLANET, SPEC, key="0")
    assert service.sends == 5, "the first key was forgotten"
