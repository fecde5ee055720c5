"""The matrix of faults and operations: a quick part here, all of it by `python -m tests.faults.matrix`."""

from __future__ import annotations

import asyncio
import subprocess
import sys

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
    "nothing",
    "refused for a second",
    "reset after the effect, once",
    "reset mid-answer, once",
    "HTML page with 502, once",
    "401 once",
    "503 after the effect, often",
    "429, Retry-After: 3, once",
    "tokens expire every few seconds",
    "tokens revoked in mid-wait",
    "lists lag and are stale, creates' answers lost",
)
BY_NAME = {trouble.name: trouble for trouble in FAULT_CASES}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("trouble", [BY_NAME[name] for name in QUICK], ids=lambda trouble: trouble.name)
async def test_a_quick_cell(trouble: FaultCase, operation: str):
    """What the table says comes of it; nothing twice, nothing lost, nothing left behind, no secret shown."""
    cell = await run_cell(trouble, operation)
    assert cell.passed, str(cell)


def test_every_row_says_what_it_expects_of_real_columns():
    """No expectation is written for an operation that does not exist, and no two rows have one name."""
    assert len(BY_NAME) == len(FAULT_CASES)
    assert {name for trouble in FAULT_CASES for name in trouble.expected} <= set(OPERATIONS)


async def test_a_failing_cell_is_shown_as_one():
    """The table tells what came and what should have."""
    cell = await run_cell(FaultCase(name="nothing", expected={"get": f"this{OR}that"}), "get")
    assert not cell.passed
    assert list(table_lines([cell]))[-1] == f"| nothing | **FAILED**: ok, not this{OR}that |"


async def test_what_is_left_behind_is_found():
    """A task, a connection and a thread that go on are named."""
    before = OpenResources.current()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    left = "\n".join(before.leaks())
    assert "forgotten" in left
    assert "socket:" in left
    task.cancel()
    server.close()
    await server.wait_closed()
    assert await before.find_leaks() == []


@pytest.mark.parametrize("secret", [ACCESS.token, ACCESS.client_secret])
def test_secrets_are_found_in_every_form(secret: str):
    """In base64 with anything before and behind, percent-encoded, in hexadecimal."""
    for form in encoded_forms(secret):
        assert find_secrets({secret}, [b"x" + form + b"y"])
    assert not find_secrets({secret}, ["nothing of it"])


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_program_prints_the_table_and_no_secret():
    """Run as a program in Python's development mode, with the debug modes of asyncio and aiohttp on."""
    chosen = ["--only", "401", "--only", "token", "--only", "reset", "--only", "certificate", "--only", "malformed"]
    command = [sys.executable, "-X", "dev", "-m", "tests.faults.matrix", "--debug", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=590)
    assert done.returncode == 0, done.stderr
    assert " passed, 0 failed" in done.stdout
    assert not find_secrets({ACCESS.token, ACCESS.client_secret}, [done.stdout, done.stderr])
