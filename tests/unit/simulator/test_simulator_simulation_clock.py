"""The simulator's clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncbackups.simulator import ManualClock, RealTimeClock, SimulationClock


def test_manual_clock_moves_only_when_advanced() -> None:
    """Both readings move by the same distance, and never back."""
    clock = ManualClock(datetime(2025, 1, 1, tzinfo=UTC), monotonic=1)
    clock.advance(2.5)
    assert clock.monotonic() == 3.5
    assert clock.utcnow() == datetime(2025, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2025, 1, 1))  # noqa: DTZ001


def test_real_time_clock_is_in_utc() -> None:
    """The machine's clock satisfies the protocol; its time of day is aware."""
    clock = RealTimeClock()
    assert isinstance(clock, SimulationClock)
    assert clock.utcnow().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
