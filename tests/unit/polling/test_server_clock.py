"""What time it is at the server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.server_clock import ServerClock

HERE = datetime(2024, 1, 29, 12, 0, tzinfo=UTC)


def true_time(monotonic: float, ahead: float = 0.0) -> datetime:
    return HERE + timedelta(seconds=monotonic + ahead)


def header(when: datetime) -> datetime:
    return when.replace(microsecond=0)


def test_our_own_clock_is_taken_while_nothing_is_known() -> None:
    """Without an answer that tells the time, the time here must do."""
    assert ServerClock().time_at(5.0, otherwise=HERE) == HERE


@given(
    ahead=st.floats(-86400, 86400),
    answers=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 2), st.floats(0, 1)), min_size=1, max_size=30),
)
def test_one_answer_is_within_a_second_and_more_never_hurt(
    ahead: float, answers: list[tuple[float, float, float]]
) -> None:
    """Whatever the latencies and where in them the server looked at its clock, the error stays below its bound."""
    server_time = ServerClock()
    shortest = min(took for _, took, _ in answers)
    for asked, took, share in answers:
        stamp = header(true_time(asked + took * share, ahead))
        server_time.record_date(stamp, sent=asked, received=asked + took)
    error = (server_time.time_at(200.0, otherwise=HERE) - true_time(200.0, ahead)).total_seconds()
    assert abs(error) <= (1 + shortest) / 2 + 0.001


def test_many_answers_tell_fractions_of_a_second() -> None:
    """Headers of whole seconds, seen at many moments, tell the time far more finely than a second."""
    server_time = ServerClock()
    for number in range(50):
        asked = number * 1.017
        server_time.record_date(header(true_time(asked + 0.01, 3600.4)), sent=asked, received=asked + 0.02)
    at_server = server_time.time_at(100.0, otherwise=HERE)
    assert abs((at_server - true_time(100.0, 3600.4)).total_seconds()) < 0.05


def test_clock_that_was_set_is_followed_at_once() -> None:
    """What contradicts all that was seen before counts more than that."""
    server_time = ServerClock()
    server_time.record_date(header(true_time(0.0)), sent=0.0, received=0.1)
    server_time.record_date(header(true_time(10.0, 7200)), sent=10.0, received=10.1)
    assert abs((server_time.time_at(10.0, otherwise=HERE) - true_time(10.0, 7200)).total_seconds()) <= 1


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_nonsense_is_not_believed(year: int) -> None:
    """A server that says it is the year 1 or 9999 has no clock; nothing overflows."""
    server_time = ServerClock()
    server_time.record_date(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), sent=0.0, received=0.1)
    assert server_time.time_at(1e6, otherwise=HERE) == HERE
