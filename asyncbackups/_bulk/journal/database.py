"""The journal's file: a SQLite database in WAL mode. What blocks is here; it is called in threads.

Imported only where a journal is used, so that `import asyncbackups` costs nothing for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from asyncbackups._bulk.journal.entries import REF_MEMBER, Entry
from asyncbackups._bulk.journal.run_state import InconsistentEntryError, RunState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef

FAULTS = (sqlite3.Error, OSError, ValueError, TypeError, KeyError, msgspec.MsgspecError)
"""What reading or writing a journal may raise, damaged ones included."""

APPLICATION_ID = 0x61_62_6A_6C
"""Marks the file as a journal of ours ("abjl"); see https://www.sqlite.org/pragma.html#pragma_application_id."""

PRAGMAS = (
    # After `kill -9` NORMAL would do, too. But after a power cut it may have forgotten the last intents, whose creates
    # were sent: FULL syncs the log before an intent counts as written, which costs a tenth of a millisecond per batch.
    "PRAGMA synchronous=FULL",
    # macOS: fsync alone leaves it in the drive's cache. Elsewhere this does nothing.
    "PRAGMA fullfsync=ON",
)

_MODE = 0o600
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
"""Each leads from one version of the schema to the next; what is here is never changed, only added to."""

_REF_PATTERN = re.compile(rb'\{"%s":\[("(?:[^"\\\x00-\x1f]|\\.){1,1000}"),(\d{1,19})\]' % REF_MEMBER.encode())
"""How each event about a backup begins: so it is found even where the database cannot be read."""


def prepare_database(path: Path, *, create: bool) -> None:
    """Open a journal for writing, making it where there is none, bring its schema up to date, and check it whole.

    Args:
        path: The file.
        create: Whether to make it.

    Raises:
        JournalError: If it is no journal, damaged, from a newer version, or cannot be written.
    """
    with translate_errors(path):
        if create:
            _create_file(path)
        with contextlib.closing(_open_blocking(path, "rw")) as connection:
            _check_database(connection, path, empty=True)
            _restrict_permissions(path)
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise JournalError(
                    f"the journal {path} needs SQLite's WAL mode, which its file system does not allow "
                    f"(it offers {mode!r}): use a local disk",
                    path=str(path),
                )
            _migrate_schema(connection)
            # A write that changes nothing: a file that cannot be written is told now, not in the middle of the run.
            connection.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")


def read_entries(path: Path) -> list[Entry]:
    """Return all entries; also while another process writes.

    Raises:
        JournalError: If it is no journal, damaged or from a newer version.
    """
    with translate_errors(path), contextlib.closing(_open_blocking(path, "ro")) as connection:
        _check_database(connection, path, empty=False)
        rows = connection.execute("SELECT id, target, kind, at, data FROM log ORDER BY id")
        return [Entry.from_row(row) for row in rows]


def build_run_state(entries: list[Entry], path: Path) -> RunState:
    """Add up what was read.

    Raises:
        JournalError: If it does not add up.
    """
    state = RunState()
    with translate_errors(path):
        for entry in entries:
            state.apply_entry(entry)
    return state


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite, the file system and damaged data raise into errors of the journal.

    Raises:
        JournalError: For any of these; it lists the backups that the file names.
    """
    try:
        yield
    except FAULTS as exc:
        raise build_journal_error(path, exc, _find_named_backups(path)) from exc


def build_journal_error(path: Path, cause: BaseException, created: tuple[BackupRef, ...]) -> JournalError:
    """Build the error that says what is wrong with a journal."""
    known = f"; it names {len(created)} backup(s) that were created" if created else ""
    return JournalError(f"the journal {path} {_describe_cause(cause)}{known}", path=str(path), created=created)


def _describe_cause(cause: BaseException) -> str:
    text = str(cause)
    if isinstance(cause, FileNotFoundError):
        return "does not exist, or its directory does not"
    if isinstance(cause, OSError):
        return f"cannot be used: {cause.strerror or text}"
    if isinstance(cause, InconsistentEntryError):
        return f"is damaged: {text}"
    if isinstance(cause, sqlite3.OperationalError | sqlite3.IntegrityError):
        return f"cannot be used: {text}"
    if isinstance(cause, sqlite3.DatabaseError) and "not a database" in text:
        return "is not a journal: it is not a SQLite database"
    return f"is damaged: {text}"


def _create_file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, _MODE))
    except FileExistsError:
        return
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _restrict_permissions(path: Path) -> None:
    """Take away what others may do with a journal that was copied here; new -wal and -shm get what it has."""
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if part.stat().st_mode & 0o077:
                part.chmod(_MODE)


def _open_blocking(path: Path, mode: str) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise JournalError(f"{path} is not a journal: it is no file", path=str(path))
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, isolation_level=None)


def _check_database(connection: sqlite3.Connection, path: Path, *, empty: bool) -> None:
    """Refuse what is not ours, before anything in it is changed."""
    number = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty and not (number or version or tables):
        return
    if number != APPLICATION_ID:
        raise JournalError(f"{path} is not a journal: it is another program's database", path=str(path))
    if version > len(_MIGRATIONS):
        raise JournalError(
            f"the journal {path} was written by a newer version of asyncbackups (its schema is {version}, this version "
            f"knows {len(_MIGRATIONS)}): upgrade",
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
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={number}; COMMIT;"
        )


def _find_named_backups(path: Path) -> tuple[BackupRef, ...]:
    """Find the backups that a journal names, in its bytes: whatever of the database is broken."""
    found: set[BackupRef] = set()
    for part in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            for name, number in _REF_PATTERN.findall(part.read_bytes()):
                with contextlib.suppress(ValueError):
                    found.add(BackupRef(msgspec.json.decode(name), int(number)))
    return tuple(sorted(found))
