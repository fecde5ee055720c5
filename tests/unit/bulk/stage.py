"""Bulk runs over a service in memory, for the tests of the bulk layer."""

from __future__ import annotations

import asyncio
import collections
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs

from asyncbackups._api.create import Creation
from asyncbackups._api.reconcile import Baseline
from asyncbackups._bulk.bulk_create import BulkRun
from asyncbackups._bulk.report import BulkReport
from asyncbackups._bulk.run_store import MemoryRunStore
from asyncbackups._http.messages import RequestKind
from asyncbackups._inputs import parse_planets
from asyncbackups._polling.engine import Engine
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef
from tests.fake_clock import FakeClock
from tests.unit.service import Service


@attrs.define
class Stage:
    """Runs over a service in memory.

    Attributes:
        clock: The clock.
        service: The service.
        engine: The polling engine.
        before: Awaited before each create; may raise.
        creating: Number of creates in flight, and its maximum so far.
        adopted: How creates report to have found their backups.
        baselines: The baseline of each planet that has one; an error is raised.
        duplicates: What the list of a planet shows of other backups of its create; an error is raised.
        searches: The arguments of each search for duplicates.
        keys: The key of each create that may have made a duplicate.
        received: The keyword arguments of the create of each planet.
    """

    clock: FakeClock
    service: Service
    engine: Engine
    before: Callable[[PlanetRef], Awaitable[None]] | None = None
    creating: list[int] = attrs.field(factory=lambda: [0, 0])
    adopted: Any = None
    baselines: dict[PlanetRef, Baseline | Exception] = attrs.field(factory=dict)
    duplicates: dict[PlanetRef, Any] = attrs.field(factory=dict)
    searches: list[tuple[PlanetRef, str, BackupRef]] = attrs.field(factory=list)
    keys: dict[PlanetRef, str] = attrs.field(factory=dict)
    received: dict[PlanetRef, Any] = attrs.field(factory=dict)
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    requests: collections.Counter[RequestKind] = attrs.field(factory=collections.Counter)

    async def create(self, planet: PlanetRef, spec: BackupSpec, **received: Any) -> Creation:
        self.received[planet] = received
        self.requests[RequestKind.CREATE] += 1
        self.creating[0] += 1
        self.creating[1] = max(self.creating)
        try:
            await asyncio.sleep(0)
            if self.before is not None:
                await self.before(planet)
        finally:
            self.creating[0] -= 1
        (ref,) = self.service.begin(next(self.numbers), star_system=planet.star_system)
        key = self.keys.get(planet)
        backup = Backup(id=ref.backup_id)
        return Creation(backup=backup, adopted=self.adopted, possible_duplicate=key is not None, key=key)

    async def take_baseline(self, planet: PlanetRef) -> Baseline | None:
        await asyncio.sleep(0)
        baseline = self.baselines.get(planet)
        if isinstance(baseline, Exception):
            raise baseline
        return baseline

    async def find_duplicates(self, planet: PlanetRef, key: str, ref: BackupRef) -> tuple[BackupRef, ...] | None:
        self.searches.append((planet, key, ref))
        await asyncio.sleep(0)
        found = self.duplicates.get(planet)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, asyncio.Event):
            await found.wait()
            return None
        return found

    def run(self, targets: Any, *, concurrency: int = 3, deadline: float = 1e4) -> BulkRun:
        return BulkRun(
            self.engine,
            create=self.create,
            take_baseline=self.take_baseline,
            find_duplicates=self.find_duplicates,
            store=MemoryRunStore(BackupSpec()),
            planets=parse_planets(targets, whole=False),
            concurrency=concurrency,
            deadline=deadline,
            clock=self.clock,
            requests=self.requests,
        )

    async def finish(self, status: str = "succeeded") -> None:
        """Let all created backups end, and the engine poll them."""
        self.service.end(*self.service.backups, status=status)
        await self.clock.run(300)


def planets(number: int) -> list[str]:
    return [f"sun/planet-{place}" for place in range(number)]


def adds_up(report: BulkReport) -> bool:
    ended = report.succeeded + report.failed + report.gone + report.expired + report.unchecked
    return report.planets == report.create_failed + ended + report.in_flight


async def all_of(run: BulkRun) -> list[Any]:
    return [event async for event in run]
