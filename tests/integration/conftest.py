"""What tests of the command line share."""

from __future__ import annotations

import pytest

from asyncbackups.simulator import Simulator
from tests.cli_program import Program, settings_of


@pytest.fixture
def run(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Return what runs commands in this process, with the environment that leads to the module's simulator."""
    for name, value in settings_of(simulator).items():
        monkeypatch.setenv(name, value)
    return Program(capsys)
