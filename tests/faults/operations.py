"""The columns of the matrix: the operations, and the checks on their results."""

from __future__ import annotations

import asyncio
import collections
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from asyncbackups import (
    AmbiguousCreateError,
    Backup,
    BackupCreated,
    BackupFailed,
    BackupFailedError,
    BackupGone,
    BackupRef,
    BackupsError,
    BackupSucceeded,
    BulkRun,
    CreateFailed,
    PlanetRef,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.events import Event
from asyncbackups.simulator import Fault, Gate, Phase
from tests.faults.harness import FAILING, SPEC, STAR_SYSTEM, Harness, new_client
from tests.faults.outcomes import summarize_outcomes

PLANETS = ("mercury", "venus", "earth", FAILING)
TARGETS = [PlanetRef(STAR_SYSTEM, planet) for planet in PLANETS] + [
    PlanetRef("sirius", "a/b c"),
    PlanetRef("vega", "v"),
]


@attrs.define
class OperationResult:
    """The result of an operation, as its caller sees it.

    Attributes:
        outcome: The outcome in the notation of the expectations.
        errors: All errors raised or reported.
        events: All events delivered.
        created: The ids of created backups, by planet.
        create_errors: The errors of creates, by planet.
        violations: Descriptions of failed checks.
        files: The contents of the files written.
    """

    outcome: str = "ok"
    errors: list[BaseException] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    created: dict[PlanetRef, int] = attrs.field(factory=dict)
    create_errors: dict[PlanetRef, BackupsError] = attrs.field(factory=dict)
    violations: list[str] = attrs.field(factory=list)
    files: list[bytes] = attrs.field(factory=list)

    def record_error(self, error: BackupsError) -> None:
        self.outcome = type(error).__name__
        self.errors.append(error)


Operation = Callable[[Harness], Awaitable[OperationResult]]


async def _record_errors(operation: Awaitable[Any], result: OperationResult) -> Any:
    try:
        return await operation
    except BackupsError as exc:
        result.record_error(exc)
        return None


def _add_old_backups(harness: Harness, *planets: PlanetRef) -> None:
    """Add a backup of each planet: a create is sent again only where lists were seen to show the planet's backups."""
    for planet in planets if harness.case.has_old_backups else ():
        harness.create_backup(planet.planet, star_system=planet.star_system)


async def create(harness: Harness) -> OperationResult:
    """Create one backup."""
    _add_old_backups(harness, PlanetRef(STAR_SYSTEM, "earth"))
    await harness.arm_faults()
    return await _create(harness, harness.client.create(STAR_SYSTEM, "earth", SPEC))


async def create_again(harness: Harness) -> OperationResult:
    """Create with a key that an earlier process used; it ended before the response arrived."""
    async with new_client(harness) as earlier_client:
        existing = await earlier_client.create(STAR_SYSTEM, "earth", SPEC, key="nightly")
    await harness.arm_faults()
    operation = harness.client.create(STAR_SYSTEM, "earth", SPEC, key="nightly", may_exist=True)
    result = await _create(harness, operation, exists=True)
    if result.created and result.created != {PlanetRef(STAR_SYSTEM, "earth"): existing.id}:
        result.violations.append(f"expected backup {existing.id}, found {result.created}")
    return result


async def _create(harness: Harness, operation: Awaitable[Backup], *, exists: bool = False) -> OperationResult:
    result = OperationResult()
    planet = PlanetRef(STAR_SYSTEM, "earth")
    backup = await _record_errors(operation, result)
    if backup is not None:
        result.created[planet] = backup.id
    for error in result.errors:
        result.create_errors[planet] = error
    if not exists:
        _check_creates(harness, result)
    elif harness.creates:
        result.violations.append(f"created again: {harness.creates}")
    return result


async def get(harness: Harness) -> OperationResult:
    """Retrieve a backup."""
    ref = harness.create_backup("earth")
    await harness.arm_faults()
    result = OperationResult()
    backup = await _record_errors(harness.client.get(ref.star_system, ref.backup_id), result)
    if backup is not None and backup.id != ref.backup_id:
        result.violations.append(f"requested {ref}, received {backup.id}")
    return result


async def list_backups(harness: Harness) -> OperationResult:
    """List a star system."""
    ids = {harness.create_backup(planet).backup_id for planet in PLANETS}
    await harness.arm_faults()
    result = OperationResult()
    backups = await _record_errors(harness.client.list(STAR_SYSTEM), result)
    if backups is not None and (shown := {backup.id for backup in backups}) != ids:
        result.outcome = "stale" if shown < ids else f"wrong: {shown}"
    return result


async def delete(harness: Harness) -> OperationResult:
    """Delete a backup."""
    ref = harness.create_backup("earth")
    await harness.arm_faults()
    result = OperationResult()
    await _record_errors(harness.client.delete(ref.star_system, ref.backup_id), result)
    if not result.errors and harness.sim.state.find(ref.star_system, ref.backup_id) is not None:
        result.violations.append("reported as deleted, but still exists")
    return result


async def wait(harness: Harness) -> OperationResult:
    """Wait for one backup."""
    ref = harness.create_backup("earth")
    await harness.arm_faults()
    result = OperationResult()
    deadline = harness.case.deadline
    backup = await _record_errors(harness.client.wait(ref.star_system, ref.backup_id, deadline=deadline), result)
    if backup is not None:
        _check_final(harness, ref, backup, Phase.SUCCEEDED, result)
    return result


async def watch(harness: Harness) -> OperationResult:
    """Watch several backups of two star systems."""
    refs = [harness.create_backup(planet) for planet in PLANETS] + [harness.create_backup("v", star_system="vega")]
    await harness.arm_faults()
    result = OperationResult()
    async with harness.client.watch(refs, deadline=harness.case.deadline) as events:
        result.events = [event async for event in events]
        if events.in_flight:
            result.violations.append(f"{events.in_flight} reported as in flight after the end")
    _check_events(harness, result)
    reported = collections.Counter(event.ref for event in result.events)
    if reported != collections.Counter(refs):
        result.violations.append(f"not exactly one event for each backup: {reported}")
    return result


async def bulk_create(harness: Harness) -> OperationResult:
    """Create and watch backups of six planets in three star systems."""
    _add_old_backups(harness, *TARGETS)
    await harness.arm_faults()
    result = OperationResult()
    run = harness.client.bulk_create(TARGETS, SPEC, concurrency=3, deadline=harness.case.deadline)
    async with run:
        result.events = [event async for event in run]
    report = run.report
    _check_bulk(harness, result)
    if report.in_flight or report.planets != len(TARGETS) or set(report.outcomes) != set(TARGETS):
        result.violations.append(f"the report is incomplete: {report}")
    return result


async def resume(harness: Harness) -> OperationResult:
    """Resume a journaled run: two backups in flight, one create with a lost response, three planets not started."""
    _add_old_backups(harness, *TARGETS)
    before = harness.sim.creates.copy()
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory) / "run.journal"
        before_interrupt = await _interrupt_run(harness, journal)
        await harness.arm_faults()
        harness.creates_before = before
        result = OperationResult()
        run = harness.client.resume(journal, concurrency=3, deadline=harness.case.deadline)
        async with run:
            after_resume = [event async for event in run]
        result.files = [file.read_bytes() for file in Path(directory).iterdir()]
    # Delivery is at least once: an event that was not acknowledged is delivered again with the same id.
    result.events = list({event.id: event for event in [*before_interrupt, *after_resume]}.values())
    _check_bulk(harness, result)
    return result


async def _interrupt_run(harness: Harness, journal: Path) -> list[Event]:
    """Start a run, and leave it when the service has created a backup and not yet sent the response."""
    gate = Gate()
    harness.sim.faults.append(Fault(kind="create", skip=2, gate_after=gate))
    events: list[Event] = []
    async with (
        new_client(harness) as client,
        client.bulk_create(TARGETS, SPEC, concurrency=1, journal=journal) as run,
    ):
        reading = asyncio.create_task(_read_events(run, events))
        await gate.arrived()
        reading.cancel()
        await asyncio.wait({reading})
    gate.open()
    harness.sim.faults.clear()
    return [event for event in events if event.id is not None]


async def _read_events(run: BulkRun, events: list[Event]) -> None:
    async for event in run:
        events.append(event)  # noqa: PERF401 - events read before the task is cancelled are kept


def _check_bulk(harness: Harness, result: OperationResult) -> None:
    """Check a bulk run's events: one outcome per planet, and one create or an error that explains why not."""
    for event in result.events:
        if isinstance(event, BackupCreated):
            result.created[event.planet] = event.ref.backup_id
        elif isinstance(event, CreateFailed):
            result.create_errors[event.planet] = event.error
    _check_creates(harness, result, planets=TARGETS)
    _check_events(harness, result)
    final = collections.Counter(event.planet for event in result.events if not isinstance(event, BackupCreated))
    if final != collections.Counter(TARGETS):
        result.violations.append(f"not exactly one outcome per planet: {final}")


def _check_creates(harness: Harness, result: OperationResult, planets: Iterable[PlanetRef] | None = None) -> None:
    planets = [PlanetRef(STAR_SYSTEM, "earth")] if planets is None else planets
    for planet in planets:
        number = harness.creates[planet.star_system, planet.planet]
        error = result.create_errors.get(planet)
        allowed = {1} if planet in result.created else {0, 1} if isinstance(error, AmbiguousCreateError) else {0}
        if number not in allowed:
            result.violations.append(f"{planet}: {number} creates, but the caller got {error or result.created!r}")
        if isinstance(error, AmbiguousCreateError):
            _check_candidates(harness, planet, error, result)
    for planet, backup_id in result.created.items():
        actual = harness.sim.state.find(planet.star_system, backup_id)
        if actual is None or actual.planet != planet.planet:
            result.violations.append(f"{planet}: backup {backup_id} does not belong to that planet")


def _check_candidates(
    harness: Harness, planet: PlanetRef, error: AmbiguousCreateError, result: OperationResult
) -> None:
    for backup in error.candidates:
        actual = harness.sim.state.find(planet.star_system, backup.id)
        if actual is None or actual.planet != planet.planet:
            result.violations.append(f"{planet}: {backup.id} cannot be a candidate")


def _check_events(harness: Harness, result: OperationResult) -> None:
    outcomes = []
    for event in result.events:
        match event:
            case BackupSucceeded(ref=ref, backup=backup):
                _check_final(harness, ref, backup, Phase.SUCCEEDED, result)
                outcomes.append("ok")
            case BackupFailed(ref=ref, backup=backup):
                _check_final(harness, ref, backup, Phase.FAILED, result)
                result.errors.append(BackupFailedError.of(ref, backup))
                outcomes.append("ok")
            case BackupGone(ref=ref):
                if harness.sim.state.find(ref.star_system, ref.backup_id) is not None and not harness.case.server_lies:
                    result.violations.append(f"{ref} reported as gone, but exists")
                outcomes.append("BackupGone")
            case WatchExpired():
                outcomes.append("WatchExpired")
            case WatchFailed(error=error) | CreateFailed(error=error):
                result.errors.append(error)
                outcomes.append(type(error).__name__)
    result.outcome = summarize_outcomes(outcomes)


def _check_final(harness: Harness, ref: BackupRef, backup: Backup, reported: Phase, result: OperationResult) -> None:
    actual = harness.sim.state.phase(ref.backup_id)
    if actual is not reported or backup.id != ref.backup_id:
        result.violations.append(f"{ref} reported as {reported.name}, but is {actual.name}")


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "create again": create_again,
    "get": get,
    "list": list_backups,
    "delete": delete,
    "wait": wait,
    "watch": watch,
    "bulk": bulk_create,
    "resume": resume,
}
