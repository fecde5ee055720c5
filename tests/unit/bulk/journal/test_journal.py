"""The journal as a ledger: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncbackups._bulk.journal import database
from asyncbackups._bulk.journal.lock import Lock, holder_of
from asyncbackups._bulk.run_store import ResumePoint, Target
from asyncbackups.errors import ClientClosedError, ConfigurationError, EngineError, JournalError, NotFoundError
from asyncbackups.events import CreateFailed, Event, WatchFailed
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef
from tests.fake_clock import FakeClock, settle
from tests.unit.bulk.journal.journals import PLANETS, SPEC, Change, created, done, execute, journal, opened, succeeded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


async def left(earlier: ResumePoint) -> list[int]:
    return [target.number async for target in earlier.targets]


async def some(*planets: PlanetRef) -> AsyncIterator[PlanetRef]:
    for planet in planets:
        yield planet


# -- beginning and going on --------------------------------------------------------------------------------------------


async def test_a_new_run_has_everything_before_it(path: Path) -> None:
    """All targets are left, in order; nothing was told, nothing is running."""
    async with opened(path) as (_, earlier):
        assert (*earlier.told, *earlier.undelivered, *earlier.running, *earlier.planets) == ()
        assert (earlier.taken, earlier.started) == (0, None)
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_it_goes_on_where_it_was(path: Path) -> None:
    """Ended targets are told, running ones are watched, intended ones come first, with what was known of them."""
    async with opened(path) as (one, earlier):
        targets = [target async for target in earlier.targets]
        told = await done(one, targets[0], created(targets[0], 10), succeeded(targets[0], 10))
        told += await done(one, targets[2], created(targets[2], 12))
        intent = await one.intend(targets[3])
    owned: list[BackupRef] = []
    async with opened(path, own=owned.append) as (one, earlier):
        assert owned == [BackupRef("s0", 10), BackupRef("s0", 12)]
        assert list(earlier.told) == told
        assert [(running.target, running.ref) for running in earlier.running] == [(targets[2], owned[1])]
        assert earlier.planets == {PLANETS[0], PLANETS[2]}
        assert earlier.taken == 2
        assert await left(earlier) == [3, 1, 4]
        again = await one.intend(targets[3])
        assert (again.key, again.since, again.may_exist) == (intent.key, intent.since, True)
        assert not (await one.intend(targets[1])).may_exist


async def test_the_journal_alone_is_enough(path: Path) -> None:
    """Without targets and spec, the journal's are taken; where there is none, there is nothing to resume."""
    with pytest.raises(JournalError, match="there is no journal"):
        await journal(path, spec=None).open(None)
    assert list(path.parent.iterdir()) == []
    async with opened(path):
        pass
    async with opened(path, None, spec=None) as (one, earlier):
        assert one.spec == SPEC
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_a_spec_is_not_known_before_it_is_read(path: Path) -> None:
    """A run that takes its spec from the journal has none before it is opened."""
    with pytest.raises(JournalError, match="not opened"):
        _ = journal(path, spec=None).spec


async def test_an_iterable_is_written_as_it_is_taken(path: Path) -> None:
    """Never ahead; what was taken must come again, the rest may be anything."""
    read: list[PlanetRef] = []

    async def watched() -> AsyncIterator[PlanetRef]:
        for planet in PLANETS:
            read.append(planet)
            yield planet

    async with opened(path, watched()) as (one, earlier):
        assert read == []
        await one.intend(await anext(earlier.targets))
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


async def test_a_list_may_go_on_where_an_iterable_was_interrupted(path: Path) -> None:
    """What an iterable began, a list with the same beginning completes."""
    async with opened(path, some(*PLANETS)) as (one, earlier):
        await one.intend(await anext(earlier.targets))
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
async def test_another_run_is_refused(path: Path, changed: dict[str, Any], said: str) -> None:
    """With the difference, and with what the journal's run has created; the lock is free afterwards."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
    with pytest.raises(JournalError, match=f"is of another run: {said}") as caught:
        await journal(path, **changed).open(PLANETS)
    assert caught.value.created == (BackupRef("s0", 10),)
    assert holder_of(path) is None


async def test_two_at_once_are_refused(path: Path) -> None:
    """The second one is told who has it, and leaves the first one alone."""
    async with opened(path) as (one, _):
        with pytest.raises(JournalError, match="is being run by process"):
            await journal(path).open(PLANETS)
        assert holder_of(path) is not None
        await one.intend(Target(0, PLANETS[0]))


# -- events ------------------------------------------------------------------------------------------------------------


async def test_an_event_is_written_before_it_is_told(path: Path) -> None:
    """Told with its id, which is the same ever after; ids ascend."""
    target = Target(0, PLANETS[0])
    seen: list[Any] = []

    def tell(event: Event) -> None:
        seen.append((event.id, execute(path, f"SELECT kind FROM log WHERE id = {event.id}")))

    async with opened(path) as (one, _):
        await one.intend(target)
        one.record(target, created(target, 10), tell)
        one.record(target, succeeded(target, 10), tell)
        assert seen == []
        await one.flush()
    ids = [number for number, _ in seen]
    assert ids == sorted(set(ids))
    assert [kinds for _, kinds in seen] == [[("created",)], [("succeeded",)]]
    async with opened(path) as (_, earlier):
        assert [event.id for event in earlier.told] == ids


async def test_what_was_not_acknowledged_is_delivered_again(path: Path) -> None:
    """After the last acknowledged event, or after the one that is asked for."""
    target, other = Target(0, PLANETS[0]), Target(1, PLANETS[1])
    async with opened(path) as (one, _):
        told = await done(one, target, created(target, 10), succeeded(target, 10))
        told += await done(one, other, created(other, 11))
        one.acknowledge(told[1].id or 0)
        one.acknowledge(told[0].id or 0)
    async with opened(path) as (_, earlier):
        assert list(earlier.undelivered) == told[2:]
    async with opened(path, since=told[0].id) as (_, earlier):
        assert list(earlier.undelivered) == told[1:]
    async with opened(path, since=0) as (_, earlier):
        assert list(earlier.undelivered) == told


async def test_an_acknowledgement_is_written_soon(path: Path) -> None:
    """It goes with what is written next, or by itself before long."""
    clock, target = FakeClock(), Target(0, PLANETS[0])
    async with opened(path, clock=clock) as (one, _):
        told = await done(one, target, created(target, 10))
        one.acknowledge(told[0].id or 0)
        assert execute(path, "SELECT data FROM log WHERE kind = 'acknowledged'") == []
        clock.advance(0.2)
        await one.flush()
        assert execute(path, "SELECT data FROM log WHERE kind = 'acknowledged'") == [(str(told[0].id),)]


@pytest.mark.parametrize("error", [ClientClosedError("left"), EngineError("broke")])
async def test_the_end_of_a_process_is_no_outcome(path: Path, error: Any) -> None:
    """That this client was left or broke is told, without an id, but not written: resuming goes on."""
    first, second = Target(0, PLANETS[0]), Target(1, PLANETS[1])
    ref = BackupRef("s0", 10)
    async with opened(path) as (one, _):
        told = await done(one, first, created(first, 10), WatchFailed(ref=ref, planet=first.planet, error=error))
        told += await done(one, second, CreateFailed(planet=second.planet, error=error))
        assert [event.id is None for event in told] == [False, True, True]
    async with opened(path) as (_, earlier):
        assert [running.ref for running in earlier.running] == [ref]
        assert (await left(earlier))[0] == 1


async def test_a_create_that_failed_stands(path: Path) -> None:
    """It is told again as it was, and not tried again; also of a planet that is listed twice, which has no intent."""
    target = Target(0, PLANETS[0])
    failed = CreateFailed(planet=target.planet, error=NotFoundError(status=404))
    async with opened(path) as (one, _):
        one.record(target, failed, lambda _: None)
    async with opened(path) as (_, earlier):
        assert [type(event.error) for event in earlier.told if isinstance(event, CreateFailed)] == [NotFoundError]
        assert await left(earlier) == [1, 2, 3, 4]


# -- the file ----------------------------------------------------------------------------------------------------------


async def test_only_the_owner_may_read_it(path: Path) -> None:
    """The file, its log, its index and its lock; also a journal that was copied with more permissions."""
    for number in range(2):
        async with opened(path) as (one, _):
            await done(one, Target(number, PLANETS[number]))
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
            assert modes == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm", "-lock")}
        path.chmod(0o644)


async def test_every_intent_is_synced(path: Path) -> None:
    """WAL, and synced at every commit."""
    async with opened(path) as (one, _):
        assert one._connection is not None
        assert list(await one._connection.execute_fetchall("PRAGMA synchronous")) == [(2,)]
        assert list(await one._connection.execute_fetchall("PRAGMA journal_mode")) == [("wal",)]


async def test_intents_wait_for_each_other_while_others_are_under_way(path: Path) -> None:
    """One alone is written at once; of several workers' those that come soon share a sync with the events before."""
    targets = [Target(number, planet) for number, planet in enumerate(PLANETS)]
    clock, told = FakeClock(), []
    async with opened(path, clock=clock) as (one, _):
        await one.intend(targets[0])
        waiting = [asyncio.create_task(one.intend(target)) for target in targets[1:3]]
        await settle()
        assert execute(path, "SELECT target FROM log WHERE kind = 'intent'") == [(0,)]
        one.record(targets[0], created(targets[0], 10), told.append)
        # Nobody is under way any more who could come: the next one takes them all along, and no timer has to fire.
        await one.intend(targets[3])
        await asyncio.gather(*waiting)
        assert [event.ref.backup_id for event in told] == [10]
        assert clock.pending_timers == 0


def text_file(path: Path) -> None:
    path.write_text("no journal at all, but long enough that it might be a database of some kind" * 20)


def other_database(path: Path) -> None:
    execute(path, "CREATE TABLE bills (amount)")


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "said"),
    [(text_file, "is not a SQLite database"), (other_database, "another program's"), (directory, "it is no file")],
)
async def test_what_is_no_journal_is_refused_untouched(path: Path, make: Change, said: str) -> None:
    """Another file keeps its bytes and its permissions."""
    make(path)
    path.chmod(0o755)
    before = path.read_bytes() if path.is_file() else None
    for one in (journal(path), journal(path, spec=None)):
        with pytest.raises(JournalError, match=said):
            await one.open(None if one._spec is None else PLANETS)
    assert path.stat().st_mode & 0o777 == 0o755
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_an_empty_file_is_a_new_journal(path: Path) -> None:
    """A process that was killed while it made the journal leaves a file that can be gone on with."""
    path.touch()
    async with opened(path) as (_, earlier):
        assert await left(earlier) == [0, 1, 2, 3, 4]


async def test_a_newer_journal_is_refused_and_its_backups_listed(path: Path) -> None:
    """It says what to do, and what was created."""
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
        "DROP TABLE log",
    ],
)
async def test_damaged_entries_are_told(path: Path, damage: str) -> None:
    """Whatever was changed in it is found before anything is sent."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10))
    execute(path, damage)
    with pytest.raises(JournalError, match=r"is damaged|cannot be used"):
        await journal(path).open(PLANETS)
    assert holder_of(path) is None


async def test_a_truncated_journal_lists_what_it_still_knows(path: Path) -> None:
    """Wherever the file is cut: an error with the backups in what is left, or, cut to nothing, a new journal."""
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


async def test_a_full_disk_stops_creating_and_loses_nothing(path: Path) -> None:
    """The intent that cannot be written is refused; what comes of what was begun is told, and listed."""
    planets = [PlanetRef("s", f"p{number}") for number in range(400)]
    told: list[Event] = []
    async with opened(path, planets) as (one, _):
        assert one._connection is not None
        await one._connection.execute_fetchall("PRAGMA max_page_count=1")  # as large as it is, and no larger

        async def create_all() -> None:
            for number, planet in enumerate(planets):
                await one.intend(Target(number, planet))
                one.record(Target(number, planet), created(Target(number, planet), number), told.append)

        with pytest.raises(JournalError, match="database or disk is full") as caught:
            await create_all()
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        one.record(Target(0, planets[0]), succeeded(Target(0, planets[0]), 0), told.append)
        late = Target(399, planets[399])
        one.record(late, created(late, 399), told.append)
        await one.flush()
        assert told[-2:] == [succeeded(Target(0, planets[0]), 0), created(late, 399)]
        assert one.failure is not None
        assert set(one.failure.created) == {event.ref for event in told if not isinstance(event, CreateFailed)}
        assert "backup(s) that were created" in str(one.failure)
    async with opened(path, planets) as (_, earlier):
        assert [event for event in told if event.id is not None] == list(earlier.told)


async def test_a_disk_that_cannot_be_written_is_told_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing directory, a read-only file system, a full one: the error says which, and nothing was sent."""
    with pytest.raises(JournalError, match="its directory does not"):
        await journal(path.parent / "nowhere" / "journal").open(PLANETS)

    def read_only(self: Lock) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Lock, "acquire", read_only)
    with pytest.raises(JournalError, match="cannot be used: Read-only file system"):
        await journal(path).open(PLANETS)


async def test_without_wal_it_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which SQLite cannot have its WAL is named as the reason."""
    real = database._connected

    class Without:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, statement: str) -> Any:
            return self._connection.execute(statement.replace("WAL", "DELETE"))

    monkeypatch.setattr(database, "_connected", lambda path, mode: Without(real(path, mode)))
    with pytest.raises(JournalError, match=r"WAL mode, .*'delete'.* local disk"):
        await journal(path).open(PLANETS)


async def test_large_batches_are_one_transaction(path: Path) -> None:
    """Targets by the thousand are all written or none."""
    planets = [PlanetRef("s", f"p{number}") for number in range(3000)]
    async with opened(path, planets):
        assert execute(path, "SELECT count(*) FROM log WHERE kind = 'target'") == [(3000,)]
    async with opened(path.with_name("two"), []) as (one, _):
        rows: list[Any] = [(50 + number, None, "x", "y", "z") for number in range(500)]
        with pytest.raises(sqlite3.IntegrityError):
            await one._write([*rows, rows[0]])
        assert execute(path.with_name("two"), "SELECT count(*) FROM log WHERE kind = 'x'") == [(0,)]
        assert one.failure is not None


async def test_a_cancelled_beginning_leaves_no_lock(path: Path) -> None:
    """Whenever opening is cancelled, the file and the lock are free afterwards."""
    for turns in range(0, 40, 3):
        task = asyncio.create_task(journal(path).open(PLANETS))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert holder_of(path) is None
        assert not path.with_name(f"{path.name}-lock").exists()


async def test_aiosqlite_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the error says what to install."""
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncbackups\[journal\]'"):
        journal(path)
