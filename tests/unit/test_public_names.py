"""The public API: the exported names, and the modules that importing the package loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import asyncbackups
from asyncbackups import simulator

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


@pytest.mark.parametrize("package", [asyncbackups, simulator], ids=lambda package: package.__name__)
def test_all_is_sorted_and_complete(package: object) -> None:
    """Every name of `__all__` exists, none is missing, and they are in ruff's order (RUF022).

    That is the order of imports elsewhere in the package: constants, classes, then functions, each alphabetically.
    """
    names = package.__all__  # type: ignore[attr-defined]
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert [name for name in names if not hasattr(package, name)] == []
    public = {name for name, value in vars(package).items() if not name.startswith("_") and _is_own_class(value)}
    assert public <= set(names)


def _is_own_class(value: object) -> bool:
    return isinstance(value, type) and value.__module__.startswith("asyncbackups.")


@pytest.mark.parametrize("name", DESIGNED)
def test_designed_name_is_exported(name: str) -> None:
    """Programs outside this repository use these names."""
    assert name in asyncbackups.__all__


def test_import_is_light() -> None:
    """Command line, simulator, journal and cattrs are imported on first use."""
    heavy = ("click", "rich", "aiosqlite", "sqlite3", "cattrs", "asyncbackups.simulator", "asyncbackups.cli")
    program = f"import sys, asyncbackups; print(*[name for name in {heavy!r} if name in sys.modules])"
    # Coverage of child processes would import sqlite3 itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=env).stdout
    assert out.split() == []
