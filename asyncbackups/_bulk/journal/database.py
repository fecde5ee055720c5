"""The journal's file, a SQLite database in WAL mode: opened, checked, read and written.

Imported only where a journal is used, because sqlite3 costs start-up time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from asyncbackups._bulk.journal.entries import REF_MEMBER, Entry, Row
from asyncbackups._bulk.journal.run_state import RunState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef

if TYPE_CHECKING:
    import aiosqlite  # an optional dependency

_APPLICATION_ID = 0x61_62_6A_6C
"""Marks the file as a journal ("abjl"); see https://www.sqlite.org/pragma.html#pragma_application_id."""

PRAGMAS = (
    # NORMAL would survive `kill -9`, too. But after a power cut it may have lost the last intents, whose creates were
    # sent: FULL syncs the log before an intent counts as written, at a tenth of a millisecond per batch.
    "PRAGMA synchronous=FULL",
    # On macOS, fsync alone leaves the data in the drive's cache. Elsewhere this has no effect.
    "PRAGMA fullfsync=ON",
)

_FILE_MODE = 0o600
_MAX_STATEMENT_ROWS = 199  # five values each: older versions of SQLite accept 999 in a statement
_MIGRATIONS = (
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY, -- of an event: the event's id
        target INTEGER,         -- the target's number in the list
        kind TEXT NOT NULL,
        at TEXT NOT NULL,       -- ISO 8601, UTC
        data TEXT NOT NULL      -- JSON
    );
    """,
)
"""Each leads from one version of the schema to the next. Only append: existing entries must never change."""

_JSON_STRING = rb'"(?:[^"\\\x00-\x1f]|\\.){1,1000}"'
_REF_PATTERN = re.compile(
    rb'\{"%s":(\[(?:%s),(?:%s|-?[0-9]{1,20})\])' % (REF_MEMBER.encode(), _JSON_STRING, _JSON_STRING)
)
"""The beginning of each event about a backup: it is found even if the database cannot be read."""


def prepare_database(path: Path, *, create: bool) -> None:
    """Check a journal and make it ready for writing: bring its schema up to date, or `create` it if there is none.

    Raises:
        JournalError: If it is not a journal, is damaged, is from a newer version, or cannot be written.
    """
    with translate_errors(path):
        if create:
            _create_file(path)
        with contextlib.closing(_open_blocking(path, "rw")) as connection:
            _check_database(connection, path, may_be_empty=True)
            _restrict_permissions(path)
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise JournalError(
                    f"the journal {path} needs SQLite's WAL mode, which its file system does not support "
                    f"(mode {mode!r} is used instead): use a local disk",
                    path=str(path),
                )
            _migrate_schema(connection)
            # A write without effect, so that a file that cannot be written is reported now, not during the run.
            connection.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")


def load_entries(path: Path) -> list[Entry]:
    """Return all entries of a journal, also while another process writes to it."""
    with translate_errors(path), contextlib.closing(_open_blocking(path, "ro")) as connection:
        _check_database(connection, path, may_be_empty=False)
        rows = connection.execute("SELECT id, target, kind, at, data FROM log ORDER BY id")
        return [Entry.from_row(row) for row in rows]


def build_run_state(entries: list[Entry], path: Path) -> RunState:
    """Add up the entries that were read. Inconsistent ones raise a `JournalError`."""
    state = RunState()
    with translate_errors(path):
        for entry in entries:
            state.apply_entry(entry)
    return state


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, the file system and damaged data into a `JournalError` that lists the named backups."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, msgspec.MsgspecError) as exc:
        raise build_journal_error(path, exc, _find_named_backups(path)) from exc


def build_journal_error(path: Path, cause: BaseException, created: tuple[BackupRef, ...]) -> JournalError:
    """Build the error that describes a fault of a journal, with the backups that the run has created."""
    known = f"; it names {len(created)} backup(s) that were created" if created else ""
    return JournalError(f"the journal {path} {_describe_cause(cause)}{known}", path=str(path), created=created)


def _describe_cause(cause: BaseException) -> str:
    text = str(cause)
    if isinstance(cause, FileNotFoundError):
        return "does not exist, or its directory does not"
    if isinstance(cause, OSError):
        return f"cannot be used: {cause.strerror or text}"
    if isinstance(cause, sqlite3.OperationalError | sqlite3.IntegrityError):
        return f"cannot be used: {text}"
    if isinstance(cause, sqlite3.DatabaseError) and "not a database" in text:
        return "is not a journal: it is not a SQLite database"
    return f"is damaged: {text}"


def _create_file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, _FILE_MODE))
    except FileExistsError:
        return
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _restrict_permissions(path: Path) -> None:
    """Deny others access to a journal that was copied here; SQLite gives new -wal and -shm files the same mode."""
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if part.stat().st_mode & 0o077:
                part.chmod(_FILE_MODE)


def _open_blocking(path: Path, mode: str) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise JournalError(f"{path} is not a journal: it is not a regular file", path=str(path))
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, isolation_level=None)


def _check_database(connection: sqlite3.Connection, path: Path, *, may_be_empty: bool) -> None:
    """Refuse a file that is not an intact journal of a known version, before anything in it is changed."""
    number = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if may_be_empty and not (number or version or tables):
        return
    if number != _APPLICATION_ID:
        raise JournalError(f"{path} is not a journal: it is another program's database", path=str(path))
    if version > len(_MIGRATIONS):
        raise JournalError(
            f"the journal {path} was written by a newer version of asyncbackups (schema {version}; this version "
            f"supports {len(_MIGRATIONS)}): upgrade asyncbackups",
            path=str(path),
            created=_find_named_backups(path),
        )
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if problems != ["ok"]:
        raise sqlite3.DatabaseError("; ".join(problems))


def _migrate_schema(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(_MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={number}; COMMIT;"
        )


def _find_named_backups(path: Path) -> tuple[BackupRef, ...]:
    """Find the backups that a journal names in its bytes, however damaged the database is."""
    found: set[BackupRef] = set()
    for part in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            for named in _REF_PATTERN.findall(part.read_bytes()):
                with contextlib.suppress(ValueError):
                    found.add(BackupRef(*msgspec.json.decode(named)))
    return tuple(sorted(found))


async def open_connection(path: Path) -> aiosqlite.Connection:
    """Connect to a journal that `prepare_database` has prepared. The functions above block, these do not."""
    import aiosqlite  # noqa: PLC0415 - reading a journal does not need it

    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        for pragma in PRAGMAS:
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


async def insert_rows(connection: aiosqlite.Connection, rows: Sequence[Row]) -> None:
    """Write entries in one transaction: all of them, or none.

    A single statement is a transaction of its own and needs one call to the thread instead of three, which halves the
    cost of a small batch.
    """
    if len(rows) <= _MAX_STATEMENT_ROWS:
        await connection.execute_fetchall(_insert_statement(len(rows)), [value for row in rows for value in row])
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        await connection.executemany(_insert_statement(1), rows)
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        if connection.in_transaction:
            await connection.execute_fetchall("ROLLBACK")
        raise


@functools.cache
def _insert_statement(rows: int) -> str:
    return f"INSERT INTO log (id, target, kind, at, data) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * rows)}"  # noqa: S608
