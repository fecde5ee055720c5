"""What a client may not leave behind: tasks, threads, sockets, files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from pathlib import Path
from typing import Any

import attrs

_PATIENCE = 100
_PAUSE = 0.01


def open_files() -> dict[int, str]:
    """Return the open file descriptors of this process and what they are; nothing where the system does not say."""
    found: dict[int, str] = {}
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # the one that lists the directory is gone by now
            found[int(link.name)] = str(link.readlink())
    return found


def _open_threads() -> frozenset[threading.Thread]:
    """Return the threads, but for those that the event loop keeps for `asyncio.to_thread`."""
    return frozenset(thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


@attrs.frozen
class OpenResources:
    """What the process holds at one moment."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    files: dict[int, str]

    @classmethod
    def current(cls) -> OpenResources:
        return cls(frozenset(asyncio.all_tasks()), _open_threads(), open_files())

    async def find_leaks(self) -> list[str]:
        """Return what there is now that was not there then; connections get a moment to say goodbye."""
        for _ in range(_PATIENCE):
            more = self.leaks()
            if not more:
                return []
            gc.collect()
            await asyncio.sleep(_PAUSE)
        return more

    def leaks(self) -> list[str]:
        now = OpenResources.current()
        tasks = [f"a task is left: {task!r}" for task in now.tasks - self.tasks]
        threads = [f"a thread is left: {thread!r}" for thread in now.threads - self.threads]
        files = [
            f"a file is left open: {number} -> {what}"
            for number, what in now.files.items()
            if self.files.get(number) != what
        ]
        return tasks + threads + files
