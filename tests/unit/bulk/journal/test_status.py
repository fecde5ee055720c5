"""The status of a run, read from its journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from asyncbackups._bulk.journal.run_state import TargetState
from asyncbackups._bulk.journal.status import read_status
from asyncbackups._bulk.run_store import Target
from asyncbackups.errors import ConfigurationError, JournalError
from asyncbackups.models import BackupRef
from tests.unit.bulk.journal.journals import PLANETS, SPEC, created, done, opened, succeeded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


async def test_status_of_a_running_run(path: Path) -> None:
    """It has counts per state and star system and the holder; reading does not disturb the run."""
    async with opened(path) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10), succeeded(Target(0, PLANETS[0]), 10))
        delivered = await done(one, Target(1, PLANETS[1]), created(Target(1, PLANETS[1]), 11))
        one.acknowledge_up_to(delivered[0].id or 0)
        await one.flush()
        await one.record_intent(Target(2, PLANETS[2]), None)
        status = read_status(path)
        assert status.holder is not None
        assert status.holder.pid == os.getpid()
        await one.record_intent(Target(3, PLANETS[3]), None)
    some = {TargetState.SUCCEEDED: 1, TargetState.RUNNING: 1, TargetState.CREATING: 1, TargetState.WAITING: 2}
    assert status.states == {state: some.get(state, 0) for state in TargetState}
    assert {name: sum(states.values()) for name, states in status.star_systems.items()} == {"s0": 3, "s1": 2}
    assert status.star_systems["s1"][TargetState.RUNNING] == 1
    assert (status.tenant, status.base_url, status.spec) == ("example", "https://example.com", SPEC)
    assert (status.targets, status.listed, status.finished) == (5, True, False)
    assert status.created == (BackupRef("s0", 10), BackupRef("s1", 11))
    assert status.started <= status.changed
    assert status.acknowledged == delivered[0].id
    assert status.last_event > status.acknowledged


async def test_status_of_a_finished_run(path: Path) -> None:
    """It has no holder, and every target has its outcome."""
    async with opened(path, PLANETS[:1]) as (one, _):
        await done(one, Target(0, PLANETS[0]), created(Target(0, PLANETS[0]), 10), succeeded(Target(0, PLANETS[0]), 10))
    status = read_status(str(path))
    assert (status.finished, status.holder) == (True, None)


def test_missing_or_empty_journal_is_an_error(path: Path) -> None:
    """There is no file, or no run has started in it."""
    with pytest.raises(JournalError, match="does not exist"):
        read_status(path)
    path.touch()
    with pytest.raises(JournalError, match=r"not started|not a journal"):
        read_status(path)


@pytest.mark.parametrize("wrong", ["", 5, None])
def test_invalid_path_is_a_configuration_error(wrong: Any) -> None:
    """The message is this library's, not Python's."""
    with pytest.raises(ConfigurationError, match="path must be the path of a file"):
        read_status(wrong)
