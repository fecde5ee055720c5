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
from tests.faults.outcomes import summed_up
from tests.faults.stage import FAILING, SPEC, STAR_SYSTEM, Stage, another_client

PLANETS = ("mercury", "venus", "earth", FAILING)
TARGETS = [PlanetRef(STAR_SYSTEM, planet) for planet in PLANETS] + [
    PlanetRef("sirius", "a/b c"),
    PlanetRef("vega", "v"),
]


@attrs.define
class Observed:
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
    made: dict[PlanetRef, int] = attrs.field(factory=dict)
    unsure: dict[PlanetRef, BackupsError] = attrs.field(factory=dict)
    flaws: list[str] = attrs.field(factory=list)
    files: list[bytes] = attrs.field(factory=list)

    def failed(self, error: BackupsError) -> None:
        self.outcome = type(error).__name__
        self.errors.append(error)


Operation = Callable[[Stage], Awaitable[Observed]]


async def _trying(doing: Awaitable[Any], observed: Observed) -> Any:
    try:
        return await doing
    except BackupsError as exc:
        observed.failed(exc)
        return None


async def create(stage: Stage) -> Observed:
    """Create one backup."""
    await stage.begin()
    return await _create(stage, stage.client.create(STAR_SYSTEM, "earth", SPEC))


async def create_again(stage: Stage) -> Observed:
    """Create with a key what an earlier process had sent, without living to see the answer."""
    async with another_client(stage) as earlier:
        made = await earlier.create(STAR_SYSTEM, "earth", SPEC, key="nightly")
    await stage.begin()
    doing = stage.client.create(STAR_SYSTEM, "earth", SPEC, key="nightly", may_exist=True)
    observed = await _create(stage, doing, already=True)
    if observed.made and observed.made != {PlanetRef(STAR_SYSTEM, "earth"): made.id}:
        observed.flaws.append(f"another backup than {made.id} was found: {observed.made}")
    return observed


async def _create(stage: Stage, doing: Awaitable[Backup], *, already: bool = False) -> Observed:
    observed = Observed()
    planet = PlanetRef(STAR_SYSTEM, "earth")
    backup = await _trying(doing, observed)
    if backup is not None:
        observed.made[planet] = backup.id
    for error in observed.errors:
        observed.unsure[planet] = error
    if not already:
        _check_creates(stage, observed)
    elif stage.creates:
        observed.flaws.append(f"created again: {stage.creates}")
    return observed


async def get(stage: Stage) -> Observed:
    """Retrieve a backup."""
    ref = stage.backup_of("earth")
    await stage.begin()
    observed = Observed()
    backup = await _trying(stage.client.get(ref.star_system, ref.backup_id), observed)
    if backup is not None and backup.id != ref.backup_id:
        observed.flaws.append(f"asked for {ref}, got {backup.id}")
    return observed


async def listing(stage: Stage) -> Observed:
    """List a star system."""
    ids = {stage.backup_of(planet).backup_id for planet in PLANETS}
    await stage.begin()
    observed = Observed()
    backups = await _trying(stage.client.list(STAR_SYSTEM), observed)
    if backups is not None and (shown := {backup.id for backup in backups}) != ids:
        observed.outcome = "behind" if shown < ids else f"untrue: {shown}"
    return observed


async def delete(stage: Stage) -> Observed:
    """Delete a backup."""
    ref = stage.backup_of("earth")
    await stage.begin()
    observed = Observed()
    await _trying(stage.client.delete(ref.star_system, ref.backup_id), observed)
    if not observed.errors and stage.sim.state.find(ref.star_system, ref.backup_id) is not None:
        observed.flaws.append("it is said to be deleted, and is there")
    return observed


async def wait(stage: Stage) -> Observed:
    """Wait for one backup."""
    ref = stage.backup_of("earth")
    await stage.begin()
    observed = Observed()
    deadline = stage.trouble.deadline
    backup = await _trying(stage.client.wait(ref.star_system, ref.backup_id, deadline=deadline), observed)
    if backup is not None:
        _check_final(stage, ref, backup, Phase.SUCCEEDED, observed)
    return observed


async def watch(stage: Stage) -> Observed:
    """Watch several backups of two star systems."""
    refs = [stage.backup_of(planet) for planet in PLANETS] + [stage.backup_of("v", star_system="vega")]
    await stage.begin()
    observed = Observed()
    async with stage.client.watch(refs, deadline=stage.trouble.deadline) as watching:
        observed.events = [event async for event in watching]
        if watching.in_flight:
            observed.flaws.append(f"{watching.in_flight} are said to be in flight")
    _check_events(stage, observed)
    told = collections.Counter(event.ref for event in observed.events)
    if told != collections.Counter(refs):
        observed.flaws.append(f"not exactly one event for each: {told}")
    return observed


async def bulk(stage: Stage) -> Observed:
    """Create and watch backups of six planets in three star systems."""
    await stage.begin()
    observed = Observed()
    run = stage.client.bulk_create(TARGETS, SPEC, concurrency=3, deadline=stage.trouble.deadline)
    async with run:
        observed.events = [event async for event in run]
    report = run.report
    _check_bulk(stage, observed)
    if report.in_flight or report.planets != len(TARGETS) or set(report.outcomes) != set(TARGETS):
        observed.flaws.append(f"the report is not complete: {report}")
    return observed


async def resume(stage: Stage) -> Observed:
    """Go on with a journaled run of which two backups are in flight, one create was not answered, three not begun."""
    before = stage.sim.creates.copy()
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory) / "run.journal"
        earlier = await _interrupted(stage, journal)
        await stage.begin()
        stage.before = before
        observed = Observed()
        run = stage.client.resume(journal, concurrency=3, deadline=stage.trouble.deadline)
        async with run:
            later = [event async for event in run]
        observed.files = [file.read_bytes() for file in Path(directory).iterdir()]
    # At least once: an event that was not acknowledged comes again, and is the same one by its id.
    observed.events = list({event.id: event for event in [*earlier, *later]}.values())
    _check_bulk(stage, observed)
    return observed


async def _interrupted(stage: Stage, journal: Path) -> list[Event]:
    """Begin a run, and leave it while the service has made a backup and not yet said so."""
    gate = Gate()
    stage.sim.faults.append(Fault(kind="create", skip=2, gate_after=gate))
    events: list[Event] = []
    async with (
        another_client(stage) as client,
        client.bulk_create(TARGETS, SPEC, concurrency=1, journal=journal) as run,
    ):
        reading = asyncio.create_task(_read(run, events))
        await gate.arrived()
        reading.cancel()
        await asyncio.wait({reading})
    gate.open()
    stage.sim.faults.clear()
    return [event for event in events if event.id is not None]


async def _read(run: BulkRun, events: list[Event]) -> None:
    async for event in run:
        events.append(event)  # noqa: PERF401 - what was read before the task is cancelled is kept


def _check_bulk(stage: Stage, observed: Observed) -> None:
    """Hold a bulk run's events to the truth: each planet one outcome, and one create or an error that says why not."""
    for event in observed.events:
        if isinstance(event, BackupCreated):
            observed.made[event.planet] = event.ref.backup_id
        elif isinstance(event, CreateFailed):
            observed.unsure[event.planet] = event.error
    _check_creates(stage, observed, planets=TARGETS)
    _check_events(stage, observed)
    final = collections.Counter(event.planet for event in observed.events if not isinstance(event, BackupCreated))
    if final != collections.Counter(TARGETS):
        observed.flaws.append(f"not exactly one outcome for each planet: {final}")


def _check_creates(stage: Stage, observed: Observed, planets: Iterable[PlanetRef] | None = None) -> None:
    planets = [PlanetRef(STAR_SYSTEM, "earth")] if planets is None else planets
    for planet in planets:
        number = stage.creates[planet.star_system, planet.planet]
        error = observed.unsure.get(planet)
        allowed = {1} if planet in observed.made else {0, 1} if isinstance(error, AmbiguousCreateError) else {0}
        if number not in allowed:
            observed.flaws.append(f"{planet}: {number} creates, and the caller was told {error or observed.made!r}")
        if isinstance(error, AmbiguousCreateError):
            _check_candidates(stage, planet, error, observed)
    for planet, backup_id in observed.made.items():
        true = stage.sim.state.find(planet.star_system, backup_id)
        if true is None or true.planet != planet.planet:
            observed.flaws.append(f"{planet}: told of backup {backup_id}, which is not of that planet")


def _check_candidates(stage: Stage, planet: PlanetRef, error: AmbiguousCreateError, observed: Observed) -> None:
    for backup in error.candidates:
        true = stage.sim.state.find(planet.star_system, backup.id)
        if true is None or true.planet != planet.planet:
            observed.flaws.append(f"{planet}: {backup.id} cannot be a candidate")


def _check_events(stage: Stage, observed: Observed) -> None:
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
                if stage.sim.state.find(ref.star_system, ref.backup_id) is not None and not stage.trouble.lies:
                    observed.flaws.append(f"{ref} is said to be gone")
                outcomes.append("BackupGone")
            case WatchExpired():
                outcomes.append("WatchExpired")
            case WatchFailed(error=error) | CreateFailed(error=error):
                observed.errors.append(error)
                outcomes.append(type(error).__name__)
    observed.outcome = summed_up(outcomes)


def _check_final(stage: Stage, ref: BackupRef, backup: Backup, said: Phase, observed: Observed) -> None:
    true = stage.sim.state.phase(ref.backup_id)
    if true is not said or backup.id != ref.backup_id:
        observed.flaws.append(f"{ref} is said to have {said.name}, and has {true.name}")


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "create again": create_again,
    "get": get,
    "list": listing,
    "delete": delete,
    "wait": wait,
    "watch": watch,
    "bulk": bulk,
    "resume": resume,
}
