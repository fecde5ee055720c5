"""One cell of the matrix: one operation, while one thing goes wrong, and everything that is to be true of it."""

from __future__ import annotations

import pickle
import time

import attrs

from asyncbackups import BackupClient, BackupRef, BackupsError
from tests.faults.leftovers import Holdings
from tests.faults.operations import OPERATIONS, Observed
from tests.faults.outcomes import OR
from tests.faults.secrecy import Listening, everything_of, found, in_debug_mode
from tests.faults.stage import Stage, Trouble, another_client, staged


@attrs.frozen
class Cell:
    """What came of a cell.

    Attributes:
        trouble: The row.
        operation: The column.
        outcome: What was observed.
        expected: What the table says.
        flaws: What else is wrong.
        seconds: How long it took.
        texts: How many texts were searched for secrets.
    """

    trouble: str
    operation: str
    outcome: str
    expected: str
    flaws: tuple[str, ...]
    seconds: float
    texts: int = 0

    @property
    def passed(self) -> bool:
        return self.outcome in self.expected.split(OR) and not self.flaws

    def __str__(self) -> str:
        flaws = "".join(f"\n  {flaw}" for flaw in self.flaws)
        return f"{self.operation}, {self.trouble}: {self.outcome} (expected: {self.expected}){flaws}"


def expectation(trouble: Trouble, operation: str) -> str:
    return trouble.expected.get(operation, trouble.otherwise)


async def run_cell(trouble: Trouble, operation: str, *, debug: bool = False) -> Cell:
    """Run one cell.

    Args:
        trouble: The row.
        operation: The column.
        debug: Whether asyncio tells everything it can.
    """
    if debug:
        in_debug_mode()
    began = time.monotonic()
    before = Holdings.now()
    with Listening() as listening:
        async with staged(trouble) as stage, stage.client:
            observed = await _observed(stage, operation)
            await stage.calm()
            flaws = [*observed.flaws, *await _usable(stage), *_trapped(stage)]
            texts = _shown(observed, stage)
            secrets = stage.secrets
        flaws += await before.left_behind()
    texts += [*listening.texts, *observed.files]
    flaws += found(secrets, texts)
    flaws += [f"logged as an error: {text}" for text in listening.alarms]
    return Cell(
        trouble.name,
        operation,
        observed.outcome,
        expectation(trouble, operation),
        tuple(flaws),
        time.monotonic() - began,
        len(texts),
    )


async def _observed(stage: Stage, operation: str) -> Observed:
    try:
        return await OPERATIONS[operation](stage)
    except Exception as exc:
        return Observed(outcome=f"{type(exc).__name__} escaped", errors=[exc])


async def _usable(stage: Stage) -> list[str]:
    """Hold the client to going on as if nothing had happened, once nothing happens any more."""
    ref = stage.backup_of("mars")
    try:
        if stage.trusted is not None:  # this client never will be: its certificates are its session's
            async with another_client(stage) as client:
                return await _use(client, ref)
        return await _use(stage.client, ref)
    except BackupsError as exc:
        return [f"the client cannot be used afterwards: {exc!r}"]


async def _use(client: BackupClient, ref: BackupRef) -> list[str]:
    await client.health()
    backup = await client.get(ref.star_system, ref.backup_id)
    return [] if backup.id == ref.backup_id else [f"the client mixes answers up afterwards: {backup}"]


def _trapped(stage: Stage) -> list[str]:
    """Hold the client to never having gone where a redirect led."""
    return [f"a redirect was followed: {request!r}" for request in stage.trap.requests]


def _shown(observed: Observed, stage: Stage) -> list[str | bytes]:
    texts: list[str | bytes] = [
        repr(stage.client),
        repr(observed.events),
        pickle.dumps(observed.events).decode("latin-1"),
    ]
    for error in observed.errors:
        texts += everything_of(error)
    return texts
