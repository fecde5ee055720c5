"""A quick part of the matrix of faults and operations; `python -m tests.faults.matrix` runs all of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.cells import run_cell
from tests.faults.fault_cases import FAULT_CASES
from tests.faults.harness import ACCESS, FaultCase
from tests.faults.leak_checks import OpenResources
from tests.faults.matrix import table_lines
from tests.faults.operations import OPERATIONS
from tests.faults.outcomes import OR
from tests.faults.secret_scan import encoded_forms, find_secrets

QUICK = (
    "no fault",
    "refused for a second",
    "reset after the effect, once",
    "reset mid-response, once",
    "HTML page with 502, once",
    "401 once",
    "503 after the effect, often",
    "429, Retry-After: 3, once",
    "tokens expire every few seconds",
    "tokens revoked during a wait",
    "lists lag and are stale, lost create responses",
)
BY_NAME = {case.name: case for case in FAULT_CASES}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("case", [BY_NAME[name] for name in QUICK], ids=lambda case: case.name)
async def test_cell(case: FaultCase, operation: str):
    """The outcome is the expected one: nothing duplicated, lost or leaked, and no secret shown."""
    cell = await run_cell(case, operation)
    assert cell.passed, str(cell)


def test_expectations_name_existing_operations():
    """Each expectation is for an existing operation, and the names of the rows are unique."""
    assert len(BY_NAME) == len(FAULT_CASES)
    assert {name for case in FAULT_CASES for name in case.expected} <= set(OPERATIONS)


def test_documentation_states_the_number_of_faults():
    """`docs/guarantees.md` names as many kinds of faults as there are rows."""
    guarantees = Path(__file__).parents[2] / "docs" / "guarantees.md"
    assert f"Under {len(FAULT_CASES)} kinds of faults" in guarantees.read_text(encoding="utf-8")


async def test_table_shows_failed_cells():
    """A failed cell shows the observed and the expected outcome."""
    cell = await run_cell(FaultCase(name="no fault", expected={"get": f"this{OR}that"}), "get")
    assert not cell.passed
    assert list(table_lines([cell]))[-1] == f"| no fault | **FAILED**: ok, expected this{OR}that |"


async def test_leaks_are_found():
    """A task and a socket that are still open are described."""
    before = OpenResources.current()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    left = "\n".join(before.new_since())
    assert "forgotten" in left
    assert "socket:" in left
    task.cancel()
    server.close()
    await server.wait_closed()
    assert await before.find_leaks() == []


@pytest.mark.parametrize("secret", [ACCESS.token, ACCESS.client_secret])
def test_secrets_are_found_in_every_form(secret: str):
    """Secrets are found in base64 at any offset, percent-encoded and in hexadecimal."""
    for form in encoded_forms(secret):
        assert find_secrets({secret}, [b"x" + form + b"y"])
    assert not find_secrets({secret}, ["no secret"])


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_program_prints_the_table_and_no_secret():
    """The program passes in Python's development mode with asyncio's and aiohttp's debug modes on."""
    selected = ["--only", "401", "--only", "token", "--only", "reset", "--only", "certificate", "--only", "malformed"]
    command = [sys.executable, "-X", "dev", "-m", "tests.faults.matrix", "--debug", *selected]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=590)
    assert done.returncode == 0, done.stderr
    assert " passed, 0 failed" in done.stdout
    assert not find_secrets({ACCESS.token, ACCESS.client_secret}, [done.stdout, done.stderr])
