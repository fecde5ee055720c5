"""Helpers of the journal's tests: journals, events, and statements on the file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from asyncbackups._base.clock import SystemClock
from asyncbackups._bulk.journal.journal import Journal
from asyncbackups._bulk.run_store import ResumePoint, Target
from asyncbackups._inputs import Planets
from asyncbackups.events import BackupCreated, BackupSucceeded, Event
from asyncbackups.models import Backup, BackupId, BackupRef, BackupSpec, PlanetRef

PLANETS = [PlanetRef(f"s{number % 2}", f"p{number}") for number in range(5)]
SPEC = BackupSpec(retention_period_in_days=3)


def journal(path: Path, **changed: Any) -> Journal:
    given: dict[str, Any] = {
        "tenant": "example",
        "base_url": "https://example.com",
        "spec": SPEC,
        "since": None,
        "claim": lambda ref, planet: None,
        "clock": SystemClock(),
    }
    return Journal(path, **{**given, **changed})


@asynccontextmanager
async def opened(path: Path, planets: Planets = PLANETS, **changed: Any) -> AsyncIterator[tuple[Journal, ResumePoint]]:
    one = journal(path, **changed)
    earlier = await one.open(planets)
    try:
        yield one, earlier
    finally:
        await one.close()


def created(target: Target, number: BackupId) -> BackupCreated:
    ref = BackupRef(target.planet.star_system, number)
    return BackupCreated(ref=ref, planet=target.planet, backup=Backup(id=number, status="queued"), elapsed=0.5)


def succeeded(target: Target, number: BackupId) -> BackupSucceeded:
    ref = BackupRef(target.planet.star_system, number)
    return BackupSucceeded(ref=ref, planet=target.planet, backup=Backup(id=number, status="succeeded"), elapsed=2.5)


async def done(one: Journal, target: Target, *events: Event) -> list[Event]:
    """Record an intent and events, and return the delivered events."""
    delivered: list[Event] = []
    await one.record_intent(target, None)
    for event in events:
        one.record_event(target, event, delivered.append)
    await one.flush()
    return delivered


def execute(path: Path, *statements: str) -> list[Any]:
    """Execute statements on the file of a journal."""
    connection = sqlite3.connect(path)
    try:
        found: list[Any] = []
        for statement in statements:
            found = connection.execute(statement).fetchall()
        connection.commit()
        return found
    finally:
        connection.close()


Change = Callable[[Path], object]
