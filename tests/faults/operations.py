"""The columns of the matrix: what is done while something goes wrong, and what is to be true of what comes of it."""

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
    """What came of an operation.

    Attributes:
        outcome: In one word, as the table of expectations has it.
        errors: Every error that the caller saw.
        events: Every event that the caller saw.
        made: Backups that the caller was told are its own, by planet.
        unsure: Errors that the caller got instead, by planet.
        flaws: What was not true.
        files: What was written to disk.
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


async def _record_errors(doing: Awaitable[Any], observed: OperationResult) -> Any:
    try:
        return await doing
    except BackupsError as exc:
        observed.record_error(exc)
        return None


async def create(stage: Harness) -> OperationResult:
    """Create one backup."""
    await stage.arm_faults()
    return await _create(stage, stage.client.create(STAR_SYSTEM, "earth", SPEC))


async def create_again(stage: Harness) -> OperationResult:
    """Create with a key what an earlier process had sent, without living to see the answer."""
    async with new_client(stage) as earlier:
        made = await earlier.create(STAR_SYSTEM, "earth", SPEC, key="nightly")
    await stage.arm_faults()
    doing = stage.client.create(STAR_SYSTEM, "earth", SPEC, key="nightly", may_exist=True)
    observed = await _create(stage, doing, already=True)
    if observed.created and observed.created != {PlanetRef(STAR_SYSTEM, "earth"): made.id}:
        observed.violations.append(f"another backup than {made.id} was found: {observed.created}")
    return observed


async def _create(stage: Harness, doing: Awaitable[Backup], *, already: bool = False) -> OperationResult:
    observed = OperationResult()
    planet = PlanetRef(STAR_SYSTEM, "earth")
    backup = await _record_errors(doing, observed)
    if backup is not None:
        observed.created[planet] = backup.id
    for error in observed.errors:
        observed.create_errors[planet] = error
    if not already:
        _check_creates(stage, observed)
    elif stage.creates:
        observed.violations.append(f"created again: {stage.creates}")
    return observed


async def get(stage: Harness) -> OperationResult:
    """Retrieve a backup."""
    ref = stage.create_backup("earth")
    await stage.arm_faults()
    observed = OperationResult()
    backup = await _record_errors(stage.client.get(ref.star_system, ref.backup_id), observed)
    if backup is not None and backup.id != ref.backup_id:
        observed.violations.append(f"asked for {ref}, got {backup.id}")
    return observed


async def list_backups(stage: Harness) -> OperationResult:
    """List a star system."""
    ids = {stage.create_backup(planet).backup_id for planet in PLANETS}
    await stage.arm_faults()
    observed = OperationResult()
    backups = await _record_errors(stage.client.list(STAR_SYSTEM), observed)
    if backups is not None and (shown := {backup.id for backup in backups}) != ids:
        observed.outcome = "behind" if shown < ids else f"untrue: {shown}"
    return observed


async def delete(stage: Harness) -> OperationResult:
    """Delete a backup."""
    ref = stage.create_backup("earth")
    await stage.arm_faults()
    observed = OperationResult()
    await _record_errors(stage.client.delete(ref.star_system, ref.backup_id), observed)
    if not observed.errors and stage.sim.world.find(ref.star_system, ref.backup_id) is not None:
        observed.violations.append("it is said to be deleted, and is there")
    return observed


async def wait(stage: Harness) -> OperationResult:
    """Wait for one backup."""
    ref = stage.create_backup("earth")
    await stage.arm_faults()
    observed = OperationResult()
    deadline = stage.case.deadline
    backup = await _record_errors(stage.client.wait(ref.star_system, ref.backup_id, deadline=deadline), observed)
    if backup is not None:
        _check_final(stage, ref, backup, Phase.SUCCEEDED, observed)
    return observed


async def watch(stage: Harness) -> OperationResult:
    """Watch several backups of two star systems."""
    refs = [stage.create_backup(planet) for planet in PLANETS] + [stage.create_backup("v", star_system="vega")]
    await stage.arm_faults()
    observed = OperationResult()
    async with stage.client.watch(refs, deadline=stage.case.deadline) as watching:
        observed.events = [event async for event in watching]
        if watching.in_flight:
            observed.violations.append(f"{watching.in_flight} are said to be in flight")
    _check_events(stage, observed)
    told = collections.Counter(event.ref for event in observed.events)
    if told != collections.Counter(refs):
        observed.violations.append(f"not exactly one event for each: {told}")
    return observed


async def bulk_create(stage: Harness) -> OperationResult:
    """Create and watch backups of six planets in three star systems."""
    await stage.arm_faults()
    observed = OperationResult()
    run = stage.client.bulk_create(TARGETS, SPEC, concurrency=3, deadline=stage.case.deadline)
    async with run:
        observed.events = [event async for event in run]
    report = run.report
    _check_bulk(stage, observed)
    if report.in_flight or report.planets != len(TARGETS) or set(report.outcomes) != set(TARGETS):
        observed.violations.append(f"the report is not complete: {report}")
    return observed


async def resume(stage: Harness) -> OperationResult:
    """Go on with a journaled run of which two backups are in flight, one create was not answered, three not begun."""
    before = stage.sim.creates.copy()
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory) / "run.journal"
        earlier = await _interrupt_run(stage, journal)
        await stage.arm_faults()
        stage.creates_before = before
        observed = OperationResult()
        run = stage.client.resume(journal, concurrency=3, deadline=stage.case.deadline)
        async with run:
            later = [event async for event in run]
        observed.files = [file.read_bytes() for file in Path(directory).iterdir()]
    # At least once: an event that was not acknowledged comes again, and is the same one by its id.
    observed.events = list({event.id: event for event in [*earlier, *later]}.values())
    _check_bulk(stage, observed)
    return observed


async def _interrupt_run(stage: Harness, journal: Path) -> list[Event]:
    """Begin a run, and leave it while the service has made a backup and not yet said so."""
    gate = Gate()
    stage.sim.faults.append(Fault(kind="create", skip=2, gate_after=gate))
    events: list[Event] = []
    async with (
        new_client(stage) as client,
        client.bulk_create(TARGETS, SPEC, concurrency=1, journal=journal) as run,
    ):
        reading = asyncio.create_task(_read_events(run, events))
        await gate.arrived()
        reading.cancel()
        await asyncio.wait({reading})
    gate.open()
    stage.sim.faults.clear()
    return [event for event in events if event.id is not None]


async def _read_events(run: BulkRun, events: list[Event]) -> None:
    async for event in run:
        events.append(event)  # noqa: PERF401 - what was read before the task is cancelled is kept


def _check_bulk(stage: Harness, observed: OperationResult) -> None:
    """Hold a bulk run's events to the truth: each planet one outcome, and one create or an error that says why not."""
    for event in observed.events:
        if isinstance(event, BackupCreated):
            observed.created[event.planet] = event.ref.backup_id
        elif isinstance(event, CreateFailed):
            observed.create_errors[event.planet] = event.error
    _check_creates(stage, observed, planets=TARGETS)
    _check_events(stage, observed)
    final = collections.Counter(event.planet for event in observed.events if not isinstance(event, BackupCreated))
    if final != collections.Counter(TARGETS):
        observed.violations.append(f"not exactly one outcome for each planet: {final}")


def _check_creates(stage: Harness, observed: OperationResult, planets: Iterable[PlanetRef] | None = None) -> None:
    planets = [PlanetRef(STAR_SYSTEM, "earth")] if planets is None else planets
    for planet in planets:
        number = stage.creates[planet.star_system, planet.planet]
        error = observed.create_errors.get(planet)
        allowed = {1} if planet in observed.created else {0, 1} if isinstance(error, AmbiguousCreateError) else {0}
        if number not in allowed:
            observed.violations.append(
                f"{planet}: {number} creates, and the caller was told {error or observed.created!r}"
            )
        if isinstance(error, AmbiguousCreateError):
            _check_candidates(stage, planet, error, observed)
    for planet, backup_id in observed.created.items():
        true = stage.sim.world.find(planet.star_system, backup_id)
        if true is None or true.planet != planet.planet:
            observed.violations.append(f"{planet}: told of backup {backup_id}, which is not of that planet")


def _check_candidates(
    stage: Harness, planet: PlanetRef, error: AmbiguousCreateError, observed: OperationResult
) -> None:
    for backup in error.candidates:
        true = stage.sim.world.find(planet.star_system, backup.id)
        if true is None or true.planet != planet.planet:
            observed.violations.append(f"{planet}: {backup.id} cannot be a candidate")


def _check_events(stage: Harness, observed: OperationResult) -> None:
    outcomes = []
    for event in observed.events:
        match event:
            case BackupSucceeded(ref=ref, backup=backup):
                _check_final(stage, ref, backup, Phase.SUCCEEDED, observed)
                outcomes.append("ok")
            case BackupFailed(ref=ref, backup=backup):
                _check_final(stage, ref, backup, Phase.FAILED, observed)
                observed.errors.append(BackupFailedError.of(ref, backup))
                outcomes.append("ok")
            case BackupGone(ref=ref):
                if stage.sim.world.find(ref.star_system, ref.backup_id) is not None and not stage.case.server_lies:
                    observed.violations.append(f"{ref} is said to be gone")
                outcomes.append("BackupGone")
            case WatchExpired():
                outcomes.append("WatchExpired")
            case WatchFailed(error=error) | CreateFailed(error=error):
                observed.errors.append(error)
                outcomes.append(type(error).__name__)
    observed.outcome = summarize_outcomes(outcomes)


def _check_final(stage: Harness, ref: BackupRef, backup: Backup, said: Phase, observed: OperationResult) -> None:
    true = stage.sim.world.phase(ref.backup_id)
    if true is not said or backup.id != ref.backup_id:
        observed.violations.append(f"{ref} is said to have {said.name}, and has {true.name}")


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
