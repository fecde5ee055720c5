"""Fixtures for tests of the command line."""

from __future__ import annotations

import pytest

from asyncbackups.simulator import Simulator
from tests.cli_program import Program, settings_of


@pytest.fixture
def run(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Return a runner for commands in this process, with an environment that points to the module's simulator."""
    for name, value in settings_of(simulator).items():
        monkeypatch.setenv(name, value)
    return Program(capsys)
