"""The package's face: what it exports, and what importing it costs in modules."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import asyncbackups

DESIGNED = [
    "BackupClient",
    "ClientCredentials",
    "PollingPolicy",
    "Limits",
    "RetryPolicy",
    "BackupSpec",
    "BackupMetadata",
    "Backup",
    "BackupRef",
    "PlanetRef",
    "BackupCreated",
    "CreateFailed",
    "BackupSucceeded",
    "BackupFailed",
    "BackupGone",
    "WatchExpired",
    "WatchFailed",
    "BackupsError",
    "ApiError",
    "TransportError",
    "ProtocolError",
    "BackupFailedError",
    "BackupGoneError",
    "WatchExpiredError",
    "AmbiguousCreateError",
    "JournalError",
    "ConfigurationError",
    "BulkReport",
    "BulkRun",
    "Watch",
    "Health",
]


def test_all_is_sorted_true_and_whole() -> None:
    """Every name of `__all__` exists, none is missing, and they are in order."""
    names = asyncbackups.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(asyncbackups, name)] == []
    public = {name for name, value in vars(asyncbackups).items() if not name.startswith("_") and _is_ours(value)}
    assert public <= set(names)


def _is_ours(value: object) -> bool:
    return isinstance(value, type) and value.__module__.startswith("asyncbackups.")


@pytest.mark.parametrize("name", DESIGNED)
def test_every_designed_name_is_there(name: str) -> None:
    """Programs outside are written against these."""
    assert name in asyncbackups.__all__


def test_importing_stays_light() -> None:
    """Neither the command line, nor the simulator, nor the journal, nor cattrs is imported before it is needed."""
    heavy = ("click", "rich", "aiosqlite", "sqlite3", "cattrs", "asyncbackups.simulator", "asyncbackups.cli")
    program = f"import sys, asyncbackups; print(*[name for name in {heavy!r} if name in sys.modules])"
    # Coverage, where it measures child processes too, would import sqlite3 for itself.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=bare).stdout
    assert said.split() == []
