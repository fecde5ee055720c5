"""The demo's comparison with a loop that polls each backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from asyncbackups import Backup, BackupRef, BackupSucceeded
from asyncbackups.cli.demo import LoopComparison, simulate_loop


@pytest.mark.parametrize(("duration", "polls", "latency"), [(131, 6, 19), (30, 2, 0), (0, 1, 0)])
def test_polls_of_a_loop(duration: float, polls: int, latency: float) -> None:
    """A loop polls at once and after each sleep, until the first poll after the end."""
    assert simulate_loop(duration) == (polls, latency)


def test_comparison_is_labelled_as_computed() -> None:
    """The comparison separates what was counted from what was computed; without backups there is none."""
    comparison = LoopComparison(speed=10)
    now = datetime.now(UTC)
    for number, seconds in enumerate([13.1, 6.0]):
        ended = now - timedelta(seconds=0.3)
        backup = Backup(id=number, started_at=ended - timedelta(seconds=seconds), completed_at=ended)
        comparison.record_event(BackupSucceeded(ref=BackupRef("alpha", number), backup=backup))
    figures = comparison.compare({"create": 2, "get": 4, "list": 1})
    assert figures.pop("mean_delay") >= 3
    assert figures == {
        "backups": 2,
        "polls": 5,
        "loop_interval": 30,
        "loop_polls_computed": 9,
        "loop_mean_delay_computed": 9.5,
    }
    ours, loop = comparison.describe({**figures, "mean_delay": 8.1})
    assert ours == "5 polls detected 2 completions; average latency 8.1 s"
    assert loop == (
        "a loop polling every 30 s would have sent 9 GETs with 9.5 s latency "
        "(computed, not run; in the backups' own time)"
    )


def test_comparison_without_backups() -> None:
    """If no backup has ended there is nothing to compare."""
    assert LoopComparison(speed=1).compare({}) == {}
    assert LoopComparison(speed=1).describe({}) == []
