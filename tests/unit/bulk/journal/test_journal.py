"""The journal as a run store: what it writes, how a run resumes, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from asyncbackups._api.reconcile import Baseline
from asyncbackups._bulk.journal import database
from asyncbackups._bulk.journal.lock import Lock, find_holder
from asyncbackups._bulk.journal.run_state import TargetState
from asyncbackups._bulk.journal.status import read_status
from asyncbackups._bulk.run_store import ResumePoint, Target
from asyncbackups.errors import ClientClosedError, ConfigurationError, EngineError, JournalError, NotFoundError
from asyncbackups.events import CreateFailed, DuplicateFound, Event, WatchFailed
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef
from tests.fake_clock import FakeClock, settle
from tests.unit.bulk.journal.journals import PLANETS, SPEC, Change, created, done, execute, journal, opened, succeeded

JOURNAL_V1 = Path(__file__).with_name("journal_v1.sql")
"""The entries of a run that was interrupted, as version 1 of the schema stored them."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


async def left(earlier: ResumePoint) -> list[int]:
    return [target.number async for target in earlier.targets]


async def some(*planets: PlanetRef) -> AsyncIterator[PlanetRef]:
    for planet in planets:
        yield planet


# -- starting and resuming ---------------------------------------------------------------------------------------------


async def test_new_run_starts_with_all_targets(path: Path) -> None:
    """All targets are left, in order; there are no events and no running backups."""
    async with opened(path) as (_, earlier):
        assert (*earlier.events, *earlier.undelivered, *earlier.running, *earlier.created_planets) == ()
        assert (earlier.started_targets, earlier.started_at) == (0, None)
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_run_resumes_where_it_stopped(path: Path) -> None:
    """Final events are restored, running backups are tracked, and intended creates come first with their intents."""
    async with opened(path) as (one, earlier):
        targets = [target async for target in earlier.targets]
        delivered = await done(one, targets[0], created(targets[0], 10), succeeded(targets[0], 10))
        delivered += await done(one, targets[2], created(targets[2], 12))
        intent = await one.record_intent(targets[3], None)
    owned: dict[BackupRef, PlanetRef] = {}
    async with opened(path, claim=owned.__setitem__) as (one, earlier):
        assert owned == {BackupRef("s0", 10): PLANETS[0], BackupRef("s0", 12): PLANETS[2]}
        assert list(earlier.events) == delivered
        assert [(running.target, running.ref) for running in earlier.running] == [(targets[2], BackupRef("s0", 12))]
        assert earlier.created_planets == {PLANETS[0], PLANETS[2]}
        assert earlier.started_targets == 2
        assert await left(earlier) == [3, 1, 4]
        again = await one.record_intent(targets[3], None)
        assert (again.key, again.since, again.may_exist) == (intent.key, intent.since, True)
        assert not (await one.record_intent(targets[1], None)).may_exist


@pytest.mark.parametrize("backup_id", ["3f2a-b", "362", "00362", '"q\\"', "é", 2**63, 2**64 - 1, -5])
async def test_ids_of_any_type_resume(path: Path, backup_id: int | str) -> None:
    """Backups are claimed, tracked and found in a damaged file under the ids that the service gave them."""
    async with opened(path) as (one, _):
        delivered = await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), backup_id))
        delivered += await done(
            one, Target(1, PLANETS[1]), created(Target(1, PLANETS[1]), 7), succeeded(Target(1, PLANETS[1]), 7)
        )
    ref = BackupRef("s0", backup_id)
    owned: dict[BackupRef, PlanetRef] = {}
    async with opened(path, claim=owned.__setitem__) as (one, earlier):
        assert owned == {ref: PLANETS[0], BackupRef("s1", 7): PLANETS[1]}
        assert list(earlier.events) == delivered
        (running,) = earlier.running
        assert (running.ref.backup_id, type(running.ref.backup_id)) == (backup_id, type(backup_id))
        one.record_event(running.target, succeeded(running.target, backup_id), delivered.append)
    execute(path, "PRAGMA user_version=2")
    with pytest.raises(JournalError, match="newer version") as caught:
        await journal(path).open(PLANETS)
    assert caught.value.created == (ref, BackupRef("s1", 7))
    assert type(caught.value.created[0].backup_id) is type(backup_id)
    assert delivered[-1].backup.id == backup_id


async def test_case_3_intent_resumes_with_its_baseline(path: Path) -> None:
    """The ids that existed before the first attempt are read from the journal, whatever the clock at the restart."""
    targets = [Target(number, planet) for number, planet in enumerate(PLANETS)]
    first = Baseline.from_ids("star_system", [3, "a-b", 2**63])
    second = Baseline.from_ids("planet", [])
    async with opened(path) as (one, _):
        assert all(map(one.needs_baseline, targets))
        intent = await one.record_intent(targets[0], first)
        assert (intent.baseline, intent.may_exist) == (first, False)
        await asyncio.gather(*(one.record_intent(target, first) for target in (targets[2], targets[4])))
        await one.record_intent(targets[1], second)
        await one.record_intent(targets[3], None)
    assert execute(path, "SELECT count(*) FROM log WHERE kind = 'baseline'") == [(2,)], "shared ones are written once"
    ahead = FakeClock(utc=datetime(2099, 1, 1, tzinfo=UTC))
    async with opened(path, clock=ahead) as (one, _):
        assert not any(map(one.needs_baseline, targets))
        for target, known in ((targets[0], first), (targets[2], first), (targets[4], first), (targets[1], second)):
            resumed = await one.record_intent(target, Baseline.from_ids("planet", [99]))
            assert resumed.may_exist
            assert resumed.baseline is not None
            assert (resumed.baseline.scope, resumed.baseline.keys) == (known.scope, known.keys)
        assert (await one.record_intent(targets[3], None)).baseline is None
    assert execute(path, "SELECT count(*) FROM log WHERE kind = 'baseline'") == [(2,)]


async def test_baseline_is_written_before_its_intent(path: Path) -> None:
    """A crash between the two leaves no intent whose baseline is unknown: both are in one transaction."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
        await one.record_intent(Target(1, PLANETS[1]), Baseline.from_ids("star_system", [1]))
    kinds = [kind for (kind,) in execute(path, "SELECT kind FROM log ORDER BY id")]
    assert kinds[-2:] == ["baseline", "intent"]


async def test_journal_alone_is_enough_to_resume(path: Path) -> None:
    """Targets and spec come from the journal if they are not given; without a journal there is nothing to resume."""
    with pytest.raises(JournalError, match="there is no journal"):
        await journal(path, spec=None).open(None)
    assert list(path.parent.iterdir()) == []
    async with opened(path):
        pass
    async with opened(path, None, spec=None) as (one, earlier):
        assert one.spec == SPEC
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_spec_is_unknown_before_opening(path: Path) -> None:
    """A run that takes its spec from the journal has none before it is opened."""
    with pytest.raises(JournalError, match="not opened"):
        _ = journal(path, spec=None).spec


async def test_targets_of_an_iterable_are_written_as_they_are_read(path: Path) -> None:
    """Targets are never read ahead; those that were read must come again, the rest may differ."""
    read: list[PlanetRef] = []

    async def watched() -> AsyncIterator[PlanetRef]:
        for planet in PLANETS:
            read.append(planet)
            yield planet

    async with opened(path, watched()) as (one, earlier):
        assert read == []
        await one.record_intent(await anext(earlier.targets), None)
        await anext(earlier.targets)
        assert read == PLANETS[:2]
    with pytest.raises(JournalError, match="target 2 is s1/p1 in the journal and s0/p4 here"):
        await journal(path).open(some(PLANETS[0], PLANETS[4]))
    with pytest.raises(JournalError, match="there are 2 targets in the journal and 1 here"):
        await journal(path).open(some(PLANETS[0]))
    async with opened(path, some(*PLANETS[:3])) as (_, earlier):
        assert await left(earlier) == [0, 1, 2]
    async with opened(path, some(*PLANETS[:3])) as (_, earlier):
        assert await left(earlier) == [0, 1, 2]
    with pytest.raises(JournalError, match="there are 3 targets in the journal and more here"):
        await journal(path).open(some(*PLANETS))


async def test_list_may_resume_a_run_of_an_iterable(path: Path) -> None:
    """A list with the same beginning completes the targets of an iterable."""
    async with opened(path, some(*PLANETS)) as (one, earlier):
        await one.record_intent(await anext(earlier.targets), None)
    async with opened(path, PLANETS[:2]) as (_, earlier):
        assert await left(earlier) == [0, 1]
    with pytest.raises(JournalError, match="more here"):
        await journal(path).open(PLANETS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tenant": "other"}, "tenant is 'example' in the journal and 'other' here"),
        ({"base_url": "https://other"}, "base_url is 'https://example.com' in the journal and 'https://other' here"),
        ({"spec": BackupSpec(retention_period_in_days=4)}, "spec.retentionPeriodInDays is 3 in the journal and 4 here"),
    ],
)
async def test_journal_of_another_run_is_refused(path: Path, changed: dict[str, Any], said: str) -> None:
    """The error has the difference and the created backups; the lock is free afterwards."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
    with pytest.raises(JournalError, match=f"belongs to another run: {said}") as caught:
        await journal(path, **changed).open(PLANETS)
    assert caught.value.created == (BackupRef("s0", 10),)
    assert find_holder(path) is None


async def test_second_run_at_once_is_refused(path: Path) -> None:
    """The error names the holder, and the first run is not disturbed."""
    async with opened(path) as (one, _):
        with pytest.raises(JournalError, match="is in use by process"):
            await journal(path).open(PLANETS)
        assert find_holder(path) is not None
        await one.record_intent(Target(0, PLANETS[0]), None)


# -- events ------------------------------------------------------------------------------------------------------------


async def test_event_is_written_before_it_is_delivered(path: Path) -> None:
    """It is delivered with its id, which never changes; ids ascend."""
    target = Target(0, PLANETS[0])
    seen: list[Any] = []

    def deliver(event: Event) -> None:
        seen.append((event.id, execute(path, f"SELECT kind FROM log WHERE id = {event.id}")))

    async with opened(path) as (one, _):
        await one.record_intent(target, None)
        one.record_event(target, created(target, 10), deliver)
        one.record_event(target, succeeded(target, 10), deliver)
        assert seen == []
        await one.flush()
    ids = [number for number, _ in seen]
    assert ids == sorted(set(ids))
    assert [kinds for _, kinds in seen] == [[("created",)], [("succeeded",)]]
    async with opened(path) as (_, earlier):
        assert [event.id for event in earlier.events] == ids


async def test_unacknowledged_events_are_delivered_again(path: Path) -> None:
    """Delivery resumes after the last acknowledged event, or after the requested one."""
    target, other = Target(0, PLANETS[0]), Target(1, PLANETS[1])
    async with opened(path) as (one, _):
        delivered = await done(one, target, created(target, 10), succeeded(target, 10))
        delivered += await done(one, other, created(other, 11))
        one.acknowledge_up_to(delivered[1].id or 0)
        one.acknowledge_up_to(delivered[0].id or 0)
    async with opened(path) as (_, earlier):
        assert list(earlier.undelivered) == delivered[2:]
    async with opened(path, since=delivered[0].id) as (_, earlier):
        assert list(earlier.undelivered) == delivered[1:]
    async with opened(path, since=0) as (_, earlier):
        assert list(earlier.undelivered) == delivered


async def test_acknowledgement_is_written_soon(path: Path) -> None:
    """It is written with the next entry, or by itself after a moment."""
    clock, target = FakeClock(), Target(0, PLANETS[0])
    async with opened(path, clock=clock) as (one, _):
        delivered = await done(one, target, created(target, 10))
        one.acknowledge_up_to(delivered[0].id or 0)
        assert execute(path, "SELECT data FROM log WHERE kind = 'acknowledged'") == []
        clock.advance(0.2)
        await one.flush()
        assert execute(path, "SELECT data FROM log WHERE kind = 'acknowledged'") == [(str(delivered[0].id),)]


@pytest.mark.parametrize("error", [ClientClosedError("left"), EngineError("broke")])
async def test_shutdown_of_the_client_is_not_an_outcome(path: Path, error: Any) -> None:
    """The end of the client or its engine is delivered without an id and not written; resuming continues."""
    first, second = Target(0, PLANETS[0]), Target(1, PLANETS[1])
    ref = BackupRef("s0", 10)
    async with opened(path) as (one, _):
        delivered = await done(one, first, created(first, 10), WatchFailed(ref=ref, planet=first.planet, error=error))
        delivered += await done(one, second, CreateFailed(planet=second.planet, error=error))
        assert [event.id is None for event in delivered] == [False, True, True]
    async with opened(path) as (_, earlier):
        assert [running.ref for running in earlier.running] == [ref]
        assert (await left(earlier))[0] == 1


async def test_search_for_duplicates_survives_a_kill(path: Path) -> None:
    """A create that was sent again keeps its key until its duplicates are known; then they are delivered again."""
    target = Target(0, PLANETS[0])
    in_doubt = attrs.evolve(created(target, 10), possible_duplicate=True)
    duplicates = (BackupRef("s0", 11), BackupRef("s0", "x"))
    found = DuplicateFound(ref=in_doubt.ref, planet=target.planet, duplicates=duplicates)
    async with opened(path) as (one, _):
        intent = await one.record_intent(target, None)
        one.record_event(target, in_doubt, lambda _: None)
        await done(one, Target(1, PLANETS[1]), created(Target(1, PLANETS[1]), 12))
    async with opened(path) as (one, earlier):
        assert [running.key_in_doubt for running in earlier.running] == [intent.key, None]
        one.record_event(target, found, lambda _: None)
    async with opened(path) as (one, earlier):
        assert [running.key_in_doubt for running in earlier.running] == [None, None]
        assert [attrs.evolve(event, id=None) for event in earlier.undelivered][2:] == [found]
        one.record_event(target, succeeded(target, 10), lambda _: None)
    assert read_status(path).states[TargetState.SUCCEEDED] == 1


async def test_failed_create_is_not_repeated(path: Path) -> None:
    """It is delivered again unchanged; so is a planet that is listed twice, which has no intent."""
    target = Target(0, PLANETS[0])
    failed = CreateFailed(planet=target.planet, error=NotFoundError(status=404))
    async with opened(path) as (one, _):
        one.record_event(target, failed, lambda _: None)
    async with opened(path) as (_, earlier):
        assert [type(event.error) for event in earlier.events if isinstance(event, CreateFailed)] == [NotFoundError]
        assert await left(earlier) == [1, 2, 3, 4]


# -- the file ----------------------------------------------------------------------------------------------------------


async def test_files_are_readable_by_the_owner_only(path: Path) -> None:
    """This holds for the database, its log, its index and the lock, also after the file was copied."""
    for number in range(2):
        async with opened(path) as (one, _):
            await done(one, Target(number, PLANETS[number]))
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
            assert modes == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm", "-lock")}
        path.chmod(0o644)


async def test_every_commit_is_synced(path: Path) -> None:
    """The database is in WAL mode and syncs at every commit."""
    async with opened(path) as (one, _):
        await one.flush()
    connection = await database.open_connection(path)
    assert list(await connection.execute_fetchall("PRAGMA synchronous")) == [(2,)]
    assert list(await connection.execute_fetchall("PRAGMA journal_mode")) == [("wal",)]
    await connection.close()


async def test_concurrent_intents_share_a_transaction(path: Path) -> None:
    """A single intent is written at once; intents of several workers are written together with earlier events."""
    targets = [Target(number, planet) for number, planet in enumerate(PLANETS)]
    clock, delivered = FakeClock(), []
    async with opened(path, clock=clock) as (one, _):
        await one.record_intent(targets[0], None)
        waiting = [asyncio.create_task(one.record_intent(target, None)) for target in targets[1:3]]
        await settle()
        assert execute(path, "SELECT target FROM log WHERE kind = 'intent'") == [(0,)]
        one.record_event(targets[0], created(targets[0], 10), delivered.append)
        # No create is in flight any more: this intent does not wait for others, and takes all before it along.
        await one.record_intent(targets[3], None)
        await asyncio.gather(*waiting)
        assert [event.ref.backup_id for event in delivered] == [10]
        assert clock.pending_timers == 0


async def test_journal_of_the_last_version_resumes(path: Path) -> None:
    """The stored form never changes: a journal that version 1 of the schema wrote is read as it was meant."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(JOURNAL_V1.read_text("utf-8"))
    async with opened(path, None, spec=None) as (one, earlier):
        assert one.spec == SPEC
        kinds = [(event.id, type(event).__name__) for event in earlier.events]
        assert [event.id for event in earlier.undelivered] == [16, 18, 19, 20]
        assert [(running.target.number, running.ref) for running in earlier.running] == [(1, BackupRef("s1", 11))]
        assert (await left(earlier), earlier.started_targets) == ([4, 5], 5)
        assert (await one.record_intent(Target(4, PLANETS[4]), None)).key == f"{5:032}"
        await one.record_intent(Target(5, PlanetRef("s1", "p5")), None)
    assert kinds == [
        (11, "BackupCreated"),
        (12, "BackupSucceeded"),
        (14, "BackupCreated"),
        (16, "CreateFailed"),
        (18, "BackupCreated"),
        (19, "WatchFailed"),
        (20, "CreateFailed"),
    ]
    [failed, unchecked] = [event for event in earlier.events if event.id in {16, 19}]
    assert isinstance(failed, CreateFailed)
    assert isinstance(failed.error, NotFoundError)
    assert (failed.error.status, failed.error.headers) == (404, {"Retry-After": "3"})
    assert isinstance(unchecked, WatchFailed)
    assert unchecked.backup == Backup(id=13, status="in_progress", extra={"zone": 1})
    assert read_status(path).states[TargetState.CREATING] == 2


def text_file(path: Path) -> None:
    path.write_text("no journal at all, but long enough that it might be a database of some kind" * 20)


def other_database(path: Path) -> None:
    execute(path, "CREATE TABLE bills (amount)")


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "said"),
    [(text_file, "is not a SQLite database"), (other_database, "another program's"), (directory, "not a regular file")],
)
async def test_other_files_are_refused_unchanged(path: Path, make: Change, said: str) -> None:
    """Another file keeps its content and its permissions."""
    make(path)
    path.chmod(0o755)
    before = path.read_bytes() if path.is_file() else None
    for spec, planets in ((SPEC, PLANETS), (None, None)):
        with pytest.raises(JournalError, match=said):
            await journal(path, spec=spec).open(planets)
    assert path.stat().st_mode & 0o777 == 0o755
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_empty_file_is_a_new_journal(path: Path) -> None:
    """A process that was killed while it created the journal leaves a usable file."""
    path.touch()
    async with opened(path) as (_, earlier):
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_journal_of_a_newer_version_is_refused(path: Path) -> None:
    """The error says what to do and lists the created backups."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
    execute(path, "PRAGMA user_version=2")
    with pytest.raises(JournalError, match=r"newer version .* upgrade") as caught:
        await journal(path).open(PLANETS)
    assert caught.value.created == (BackupRef("s0", 10),)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log SET kind = 'unknown' WHERE kind = 'intent'",
        "UPDATE log SET data = '{' WHERE kind = 'intent'",
        "UPDATE log SET at = 'yesterday' WHERE kind = 'intent'",
        "DELETE FROM log WHERE kind = 'intent'",
        "DELETE FROM log WHERE kind = 'begun'",
        "UPDATE log SET data = replace(data, '\"backup\"', '\"backdown\"') WHERE kind = 'created'",
        "UPDATE log SET data = '{}' WHERE kind = 'begun'",
        "UPDATE log SET data = '{' WHERE kind = 'baseline'",
        """UPDATE log SET data = '{"scope": "tenant", "ids": []}' WHERE kind = 'baseline'""",
        """UPDATE log SET data = '{"scope": "planet", "ids": [{}]}' WHERE kind = 'baseline'""",
        "UPDATE log SET target = 0 WHERE kind = 'baseline'",
        "DELETE FROM log WHERE kind = 'baseline'",
        "DROP TABLE log",
    ],
)
async def test_damaged_entries_are_refused(path: Path, damage: str) -> None:
    """Any change to the entries is found before anything is sent."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
        await one.record_intent(Target(1, PLANETS[1]), Baseline.from_ids("planet", [1]))
    execute(path, damage)
    with pytest.raises(JournalError, match=r"is damaged|cannot be used"):
        await journal(path).open(PLANETS)
    assert find_holder(path) is None


async def test_truncated_journal_lists_its_backups(path: Path) -> None:
    """Wherever the file is cut, the error lists the backups that the rest of the file names."""
    planets = [PlanetRef("s", f"p{number}") for number in range(60)]
    async with opened(path, planets) as (one, _):
        for number, planet in enumerate(planets):
            await done(one, Target(number, planet), created(Target(number, planet), number))
    whole = path.read_bytes()
    known: list[int] = []
    for size in range(1000, len(whole), 2500):
        path.write_bytes(whole[:size])
        with pytest.raises(JournalError, match=r"damaged|not a SQLite|malformed|cannot be used") as caught:
            await journal(path).open(planets)
        known.append(len(caught.value.created))
        assert set(caught.value.created) <= {BackupRef("s", number) for number in range(60)}
    assert known == sorted(known)
    assert known[-1] > 40


async def test_full_disk_stops_creating_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent that cannot be written is refused; later events are delivered, and their backups listed."""
    planets = [PlanetRef("s", f"p{number}") for number in range(400)]
    monkeypatch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "PRAGMA max_page_count=20"))
    delivered: list[Event] = []
    async with opened(path, planets) as (one, _):

        async def create_all() -> None:
            for number, planet in enumerate(planets):
                await one.record_intent(Target(number, planet), None)
                one.record_event(Target(number, planet), created(Target(number, planet), number), delivered.append)

        with pytest.raises(JournalError, match="database or disk is full") as caught:
            await create_all()
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        one.record_event(Target(0, planets[0]), succeeded(Target(0, planets[0]), 0), delivered.append)
        late = Target(399, planets[399])
        one.record_event(late, created(late, 399), delivered.append)
        await one.flush()
        assert delivered[-2:] == [succeeded(Target(0, planets[0]), 0), created(late, 399)]
        assert one.failure is not None
        assert set(one.failure.created) == {event.ref for event in delivered if not isinstance(event, CreateFailed)}
        assert "backup(s) that were created" in str(one.failure)
    monkeypatch.undo()
    async with opened(path, planets) as (_, earlier):
        assert [event for event in delivered if event.id is not None] == list(earlier.events)


async def test_unwritable_disk_is_reported_on_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the cause: a missing directory, a read-only file system. Nothing was sent."""
    with pytest.raises(JournalError, match="its directory does not"):
        await journal(path.parent / "nowhere" / "journal").open(PLANETS)

    def read_only(self: Lock) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Lock, "acquire", read_only)
    with pytest.raises(JournalError, match="cannot be used: Read-only file system"):
        await journal(path).open(PLANETS)


async def test_file_system_without_wal_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that the file system does not support SQLite's WAL mode."""
    real = database._open_blocking

    class Without:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, statement: str) -> Any:
            return self._connection.execute(statement.replace("WAL", "DELETE"))

    monkeypatch.setattr(database, "_open_blocking", lambda path, mode: Without(real(path, mode)))
    with pytest.raises(JournalError, match=r"WAL mode, .*'delete'.* local disk"):
        await journal(path).open(PLANETS)


async def test_large_batch_is_one_transaction(path: Path) -> None:
    """Thousands of rows are all written, or none."""
    planets = [PlanetRef("s", f"p{number}") for number in range(3000)]
    async with opened(path, planets):
        assert execute(path, "SELECT count(*) FROM log WHERE kind = 'target'") == [(3000,)]
    connection = await database.open_connection(path)
    rows = [(5000 + number, None, "x", "y", "z") for number in range(500)]
    with pytest.raises(sqlite3.IntegrityError):
        await database.insert_rows(connection, [*rows, rows[0]])
    await connection.close()
    assert execute(path, "SELECT count(*) FROM log WHERE kind = 'x'") == [(0,)]


async def test_cancelled_opening_leaves_no_lock(path: Path) -> None:
    """Whenever opening is cancelled, file and lock are free afterwards."""
    for turns in range(0, 40, 3):
        task = asyncio.create_task(journal(path).open(PLANETS))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert find_holder(path) is None
        assert not path.with_name(f"{path.name}-lock").exists()


async def test_missing_aiosqlite_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncbackups\[journal\]'"):
        journal(path)
