"""Detect resources that a client leaves behind: tasks, threads, sockets and files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from pathlib import Path
from typing import Any

import attrs

_ATTEMPTS = 100
_PAUSE = 0.01


def open_files() -> dict[int, str]:
    """Return the open file descriptors of this process with their targets; empty on systems without /proc."""
    found: dict[int, str] = {}
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # the descriptor that lists the directory is closed by now
            found[int(link.name)] = str(link.readlink())
    return found


def _open_threads() -> frozenset[threading.Thread]:
    """Return the threads, without those that the event loop keeps for `asyncio.to_thread`."""
    return frozenset(thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


@attrs.frozen
class OpenResources:
    """The tasks, threads and files of this process at one moment."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    files: dict[int, str]

    @classmethod
    def current(cls) -> OpenResources:
        return cls(frozenset(asyncio.all_tasks()), _open_threads(), open_files())

    async def find_leaks(self) -> list[str]:
        """Return descriptions of leaked resources; connections get up to a second to close."""
        for _ in range(_ATTEMPTS):
            leaks = self.new_since()
            if not leaks:
                return []
            gc.collect()
            await asyncio.sleep(_PAUSE)
        return leaks

    def new_since(self) -> list[str]:
        """Return descriptions of the resources that are open now and were not open then."""
        now = OpenResources.current()
        tasks = [f"a task is left: {task!r}" for task in now.tasks - self.tasks]
        threads = [f"a thread is left: {thread!r}" for thread in now.threads - self.threads]
        files = [
            f"a file is left open: {number} -> {what}"
            for number, what in now.files.items()
            if self.files.get(number) != what
        ]
        return tasks + threads + files
