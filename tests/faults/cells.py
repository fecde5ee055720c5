"""One cell of the matrix: one operation, while one thing goes wrong, and everything that is to be true of it."""

from __future__ import annotations

import pickle
import time

import attrs

from asyncbackups import BackupClient, BackupRef, BackupsError
from tests.faults.harness import FaultCase, Harness, new_client, open_harness
from tests.faults.leak_checks import OpenResources
from tests.faults.operations import OPERATIONS, OperationResult
from tests.faults.outcomes import OR
from tests.faults.secret_scan import LogCapture, enable_debug_mode, error_texts, find_secrets


@attrs.frozen
class MatrixCell:
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

    case: str
    operation: str
    outcome: str
    expected: str
    violations: tuple[str, ...]
    seconds: float
    texts: int = 0

    @property
    def passed(self) -> bool:
        return self.outcome in self.expected.split(OR) and not self.violations

    def __str__(self) -> str:
        flaws = "".join(f"\n  {flaw}" for flaw in self.violations)
        return f"{self.operation}, {self.case}: {self.outcome} (expected: {self.expected}){flaws}"


def expected_outcome(trouble: FaultCase, operation: str) -> str:
    return trouble.expected.get(operation, trouble.default_outcome)


async def run_cell(trouble: FaultCase, operation: str, *, debug: bool = False) -> MatrixCell:
    """Run one cell.

    Args:
        trouble: The row.
        operation: The column.
        debug: Whether asyncio tells everything it can.
    """
    if debug:
        enable_debug_mode()
    began = time.monotonic()
    before = OpenResources.current()
    with LogCapture() as listening:
        async with open_harness(trouble) as stage, stage.client:
            observed = await _run_operation(stage, operation)
            await stage.clear_faults()
            flaws = [*observed.violations, *await _check_usable(stage), *_check_redirects(stage)]
            texts = _collect_texts(observed, stage)
            secrets = stage.secrets
        flaws += await before.find_leaks()
    texts += [*listening.texts, *observed.files]
    flaws += find_secrets(secrets, texts)
    flaws += [f"logged as an error: {text}" for text in listening.logged_errors]
    return MatrixCell(
        trouble.name,
        operation,
        observed.outcome,
        expected_outcome(trouble, operation),
        tuple(flaws),
        time.monotonic() - began,
        len(texts),
    )


async def _run_operation(stage: Harness, operation: str) -> OperationResult:
    try:
        return await OPERATIONS[operation](stage)
    except Exception as exc:
        return OperationResult(outcome=f"{type(exc).__name__} escaped", errors=[exc])


async def _check_usable(stage: Harness) -> list[str]:
    """Hold the client to going on as if nothing had happened, once nothing happens any more."""
    ref = stage.create_backup("mars")
    try:
        if stage.trusting_context is not None:  # this client never will be: its certificates are its session's
            async with new_client(stage) as client:
                return await _use_client(client, ref)
        return await _use_client(stage.client, ref)
    except BackupsError as exc:
        return [f"the client cannot be used afterwards: {exc!r}"]


async def _use_client(client: BackupClient, ref: BackupRef) -> list[str]:
    await client.health()
    backup = await client.get(ref.star_system, ref.backup_id)
    return [] if backup.id == ref.backup_id else [f"the client mixes answers up afterwards: {backup}"]


def _check_redirects(stage: Harness) -> list[str]:
    """Hold the client to never having gone where a redirect led."""
    return [f"a redirect was followed: {request!r}" for request in stage.trap.requests]


def _collect_texts(observed: OperationResult, stage: Harness) -> list[str | bytes]:
    texts: list[str | bytes] = [
        repr(stage.client),
        repr(observed.events),
        pickle.dumps(observed.events).decode("latin-1"),
    ]
    for error in observed.errors:
        texts += error_texts(error)
    return texts
