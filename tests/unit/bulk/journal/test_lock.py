"""The lock of a journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import asyncbackups
from asyncbackups._bulk.journal.lock import Lock, find_holder
from asyncbackups.errors import JournalError

HOLD = """
import sys, time
from pathlib import Path
from asyncbackups._bulk.journal.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_second_process_learns_the_holder(tmp_path: Path) -> None:
    """The error names process and machine; after the release the lock is free and no file is left."""
    path = tmp_path / "journal"
    first, second = Lock(path), Lock(path)
    first.acquire()
    with pytest.raises(JournalError, match=f"in use by process {os.getpid()} on ") as caught:
        second.acquire()
    assert caught.value.path == str(path)
    holder = find_holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []
    second.acquire()
    second.release()


def test_killed_process_holds_no_lock(tmp_path: Path) -> None:
    """A killed process leaves its lock file, but no lock."""
    path = tmp_path / "journal"
    command = [sys.executable, "-c", HOLD, str(path)]
    env = {**os.environ, "PYTHONPATH": str(Path(asyncbackups.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        lock = Lock(path)
        with pytest.raises(JournalError, match=f"process {child.pid} on"):
            lock.acquire()
        child.send_signal(signal.SIGKILL)
    assert [file.name for file in tmp_path.iterdir()] == ["journal-lock"]
    assert find_holder(path) is None
    lock.acquire()
    lock.release()


def test_lock_file_is_readable_by_the_owner_only(tmp_path: Path) -> None:
    """A symbolic link in its place is not followed."""
    lock = Lock(tmp_path / "journal")
    lock.acquire()
    assert (tmp_path / "journal-lock").stat().st_mode & 0o077 == 0
    lock.release()
    (tmp_path / "journal-lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="journal-lock"):
        lock.acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_unreadable_holder_is_another_process(tmp_path: Path) -> None:
    """The lock counts, whatever the lock file contains."""
    path = tmp_path / "journal"
    first = Lock(path)
    first.acquire()
    (tmp_path / "journal-lock").write_text("?")
    with pytest.raises(JournalError, match="by another process"):
        Lock(path).acquire()
    assert find_holder(path) is None
    first.release()
