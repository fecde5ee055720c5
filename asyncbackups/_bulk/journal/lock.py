"""The lock of a journal, so that one process at a time runs it: a lock file beside the journal.

The operating system's lock ends with the process, so there are no stale locks; the text only names the holder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import attrs
import msgspec

from asyncbackups.errors import JournalError

_FILE_MODE = 0o600
_ATTEMPTS = 20
_PAUSE = 0.01  # seconds between attempts: reading the holder takes the lock for a moment


@attrs.frozen(kw_only=True)
class Holder:
    """The process that runs a journal.

    Attributes:
        pid: The id of the process.
        host: The name of its machine.
        since: When it started to run the journal (aware, UTC).
    """

    pid: int
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class Lock:
    """The lock of one journal. Its methods block, for at most a fifth of a second."""

    def __init__(self, journal: Path) -> None:
        self._path = _lock_path(journal)
        self._journal = journal
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; a `JournalError` names the holder if another run has it."""
        for _ in range(_ATTEMPTS):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | _OPEN_FLAGS, _FILE_MODE)
            if _try_lock(file) and _is_same_file(file, self._path):
                self._file = file
                os.truncate(file, 0)
                here = Holder(pid=os.getpid(), host=socket.gethostname(), since=datetime.now(UTC))
                os.write(file, msgspec.json.encode(here))
                return
            os.close(file)
            time.sleep(_PAUSE)
        holder = _load_holder(self._path) or "another process"
        raise JournalError(
            f"the journal {self._journal} is in use by {holder}: two runs at once would create duplicate backups",
            path=str(self._journal),
        )

    def release(self) -> None:
        """Release the lock. Idempotent."""
        file, self._file = self._file, None
        if file is None:
            return
        # Removed while it is locked: a process that has opened it meanwhile sees that the path is no longer its file.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(file)


def find_holder(journal: Path) -> Holder | None:
    """Return the process that runs a journal now, or None."""
    path = _lock_path(journal)
    try:
        file = os.open(path, os.O_RDWR | _OPEN_FLAGS)
    except OSError:
        return None
    try:
        return None if _try_lock(file) else _load_holder(path)
    finally:
        os.close(file)


def _lock_path(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}-lock")


def _is_same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _load_holder(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

if sys.platform == "win32":  # pragma: no cover - not tested here
    import msvcrt

    def _try_lock(file: int) -> bool:
        # Far behind the text: on Windows, a lock forbids reading, too.
        os.lseek(file, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(file, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
