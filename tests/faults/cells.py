"""One cell of the matrix: one operation under one fault, and every check on its result."""

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
    """The result of one cell.

    Attributes:
        case: The row.
        operation: The column.
        outcome: The observed outcome.
        expected: The expected outcome, or several separated by `OR`.
        violations: Descriptions of all other failed checks.
        seconds: The run time in real seconds.
        texts: The number of texts searched for secrets.
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
        violations = "".join(f"\n  {violation}" for violation in self.violations)
        return f"{self.operation}, {self.case}: {self.outcome} (expected: {self.expected}){violations}"


def expected_outcome(case: FaultCase, operation: str) -> str:
    return case.expected.get(operation, case.default_outcome)


async def run_cell(case: FaultCase, operation: str, *, debug: bool = False) -> MatrixCell:
    """Run one cell.

    Args:
        case: The row.
        operation: The column.
        debug: Whether asyncio's debug mode is on.
    """
    if debug:
        enable_debug_mode()
    start = time.monotonic()
    before = OpenResources.current()
    with LogCapture() as log:
        async with open_harness(case) as harness, harness.client:
            result = await _run_operation(harness, operation)
            await harness.clear_faults()
            violations = [*result.violations, *await _check_usable(harness), *_check_redirects(harness)]
            texts = _collect_texts(result, harness)
            secrets = harness.secrets
        violations += await before.find_leaks()
    texts += [*log.texts, *result.files]
    violations += find_secrets(secrets, texts)
    violations += [f"logged as an error: {text}" for text in log.logged_errors]
    return MatrixCell(
        case.name,
        operation,
        result.outcome,
        expected_outcome(case, operation),
        tuple(violations),
        time.monotonic() - start,
        len(texts),
    )


async def _run_operation(harness: Harness, operation: str) -> OperationResult:
    try:
        return await OPERATIONS[operation](harness)
    except Exception as exc:
        return OperationResult(outcome=f"{type(exc).__name__} escaped", errors=[exc])


async def _check_usable(harness: Harness) -> list[str]:
    """Check that the client works as usual after the faults are removed."""
    ref = harness.create_backup("mars")
    try:
        if harness.trusting_context is not None:  # a session keeps its certificates, so this client cannot recover
            async with new_client(harness) as client:
                return await _use_client(client, ref)
        return await _use_client(harness.client, ref)
    except BackupsError as exc:
        return [f"the client is not usable afterwards: {exc!r}"]


async def _use_client(client: BackupClient, ref: BackupRef) -> list[str]:
    await client.health()
    backup = await client.get(ref.star_system, ref.backup_id)
    return [] if backup.id == ref.backup_id else [f"the client returns a wrong backup afterwards: {backup}"]


def _check_redirects(harness: Harness) -> list[str]:
    """Check that the client followed no redirect."""
    return [f"a redirect was followed: {request!r}" for request in harness.trap.requests]


def _collect_texts(result: OperationResult, harness: Harness) -> list[str | bytes]:
    texts: list[str | bytes] = [
        repr(harness.client),
        repr(result.events),
        pickle.dumps(result.events).decode("latin-1"),
    ]
    for error in result.errors:
        texts += error_texts(error)
    return texts
