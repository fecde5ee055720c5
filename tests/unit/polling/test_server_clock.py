"""The estimate of the server's clock."""

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


def test_our_clock_is_used_while_the_offset_is_unknown() -> None:
    """There was no response with a date yet."""
    assert ServerClock().time_at(5.0, otherwise=HERE) == HERE


@given(
    ahead=st.floats(-86400, 86400),
    responses=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 2), st.floats(0, 1)), min_size=1, max_size=30),
)
def test_error_is_bounded_and_never_grows(ahead: float, responses: list[tuple[float, float, float]]) -> None:
    """The error stays within its bound, whatever the latencies and the moment at which the server reads its clock."""
    server_time = ServerClock()
    shortest = min(latency for _, latency, _ in responses)
    for sent, latency, share in responses:
        stamp = header(true_time(sent + latency * share, ahead))
        server_time.record_date(stamp, sent=sent, received=sent + latency)
    error = (server_time.time_at(200.0, otherwise=HERE) - true_time(200.0, ahead)).total_seconds()
    assert abs(error) <= (1 + shortest) / 2 + 0.001


def test_many_responses_give_fractions_of_a_second() -> None:
    """Dates of whole seconds at many moments give the time far more precisely than a second."""
    server_time = ServerClock()
    for number in range(50):
        sent = number * 1.017
        server_time.record_date(header(true_time(sent + 0.01, 3600.4)), sent=sent, received=sent + 0.02)
    at_server = server_time.time_at(100.0, otherwise=HERE)
    assert abs((at_server - true_time(100.0, 3600.4)).total_seconds()) < 0.05


def test_clock_that_was_set_is_followed_at_once() -> None:
    """A date that contradicts all earlier ones replaces them."""
    server_time = ServerClock()
    server_time.record_date(header(true_time(0.0)), sent=0.0, received=0.1)
    server_time.record_date(header(true_time(10.0, 7200)), sent=10.0, received=10.1)
    assert abs((server_time.time_at(10.0, otherwise=HERE) - true_time(10.0, 7200)).total_seconds()) <= 1


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_impossible_date_is_ignored(year: int) -> None:
    """A server in the year 1 or 9999 has a broken clock; nothing overflows."""
    server_time = ServerClock()
    server_time.record_date(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), sent=0.0, received=0.1)
    assert server_time.time_at(1e6, otherwise=HERE) == HERE
