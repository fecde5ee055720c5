"""The clocks, and the counts of requests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncbackups.simulator import ManualClock, OperationKind, RealTimeClock, RequestCounts, SimulationClock


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


def test_counts_by_operation_and_status() -> None:
    """Counts can be read by operation, by status and as plain values, and reset."""
    counts = RequestCounts()
    counts.enter()
    counts.add(OperationKind.GET, 200, 10)
    counts.add(OperationKind.GET, 503, 5)
    counts.add(OperationKind.LIST, 200, 7)
    assert (counts.of(), counts.of("get"), counts.of(status=200), counts.of(OperationKind.GET, 200)) == (3, 2, 2, 1)
    assert counts.as_dict() == {
        "total": 3,
        "requests": {"get": {"200": 1, "503": 1}, "list": {"200": 1}},
        "bytes_sent": {"get": 15, "list": 7},
        "in_flight": 1,
        "peak": 1,
    }
    counts.reset()
    assert (counts.total, counts.peak) == (0, 1)
    with pytest.raises(ValueError, match="not a valid OperationKind"):
        counts.of("gets")
