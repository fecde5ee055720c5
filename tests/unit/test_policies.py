"""Policies: bad settings are refused, and delays keep their bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups.errors import (
    ApiError,
    BackupsError,
    CertificateError,
    ConfigurationError,
    ConnectError,
    ProtocolError,
    TransportError,
    may_heal,
    token_may_heal,
)
from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy


@pytest.mark.parametrize(
    ("error", "heals", "token_heals"),
    [
        *((ApiError(status=status), True, True) for status in (408, 424, 429, 502, 503, 504)),
        *((ApiError(status=status), False, False) for status in (400, 401, 403, 404, 405, 409, 422, None)),
        *((ApiError(status=status), False, True) for status in (500, 501)),
        (ConnectError("refused"), True, True),
        (TransportError("reset"), True, True),
        (CertificateError("expired"), False, False),
        (ProtocolError("no JSON"), False, False),
    ],
    ids=repr,
)
def test_only_what_may_pass_is_asked_again(error: BackupsError, heals: bool, token_heals: bool) -> None:
    """What the service or a gateway calls passing heals; 500 ("contact support") does for tokens only."""
    assert (may_heal(error), token_may_heal(error)) == (heals, token_heals)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 3.0), (3, 9.0), (4, 10.0), (1000, 10.0)])
def test_retry_delay_is_exponential_with_full_jitter(attempt: int, longest: float) -> None:
    """The n-th delay is drawn evenly from nothing to the interval, which grows to its maximum and stays there."""
    policy = RetryPolicy(initial=1, factor=3, maximum=10)
    assert policy.delay(attempt, draw=0.0) == 0.0
    assert policy.delay(attempt, draw=0.5) == longest / 2


def test_retry_delay_begins_where_the_server_says() -> None:
    """`Retry-After` is a lower bound; the jitter comes on top, so that clients do not come back together."""
    policy = RetryPolicy(initial=1, maximum=10, retry_after_maximum=60)
    assert policy.delay(1, draw=0.0, retry_after=7) == 7.0
    assert policy.delay(1, draw=0.5, retry_after=7) == 7.5
    assert policy.delay(1, draw=0.5, retry_after=0) == 0.5


@pytest.mark.parametrize("retry_after", [61, 1e9, 1.7e308, float("inf")])
def test_retry_delay_cuts_an_absurd_retry_after(retry_after: float) -> None:
    """A server cannot send us to sleep for a year."""
    assert RetryPolicy(initial=1, retry_after_maximum=60).delay(1, draw=0.0, retry_after=retry_after) == 60.0


@settings(max_examples=60)
@given(
    attempt=st.integers(1, 10**6),
    draw=st.floats(0, 1, exclude_max=True),
    factor=st.floats(1, 1000),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_retry_delay_is_bounded(attempt: int, draw: float, factor: float, retry_after: float | None) -> None:
    """No delay is negative, shorter than asked for (up to the cut), or longer than the two maxima together."""
    policy = RetryPolicy(factor=factor)
    delay = policy.delay(attempt, draw=draw, retry_after=retry_after)
    assert min(retry_after or 0.0, policy.retry_after_maximum) <= delay <= policy.maximum + policy.retry_after_maximum


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (RetryPolicy, {"attempts": 0}),
        (RetryPolicy, {"attempts": 2.0}),
        (RetryPolicy, {"initial": -1}),
        (RetryPolicy, {"factor": 0.5}),
        (RetryPolicy, {"maximum": -1}),
        (RetryPolicy, {"retry_after_maximum": -0.1}),
        (RetryPolicy, {"quota": 0}),
        (Limits, {"concurrency": 0}),
        (Limits, {"concurrency": True}),
        (Limits, {"requests_per_second": 0}),
        (PollingPolicy, {"initial": 0}),
        (PollingPolicy, {"factor": 0}),
        (PollingPolicy, {"maximum": timedelta(0)}),
        (PollingPolicy, {"jitter": 1.5}),
        (PollingPolicy, {"jitter": -0.5}),
        (PollingPolicy, {"request_worth": 0}),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(cls: Any, values: dict[str, Any]) -> None:
    """The message names the field."""
    with pytest.raises(ConfigurationError, match=f"^{next(iter(values))} must be "):
        cls(**values)


@pytest.mark.parametrize(
    ("cls", "name"),
    [(RetryPolicy, "initial"), (RetryPolicy, "maximum"), (PollingPolicy, "initial"), (PollingPolicy, "request_worth")],
)
def test_durations_must_be_durations(cls: Any, name: str) -> None:
    """What is no number of seconds is refused as a configuration."""
    with pytest.raises(ConfigurationError, match=r"must be a finite number of seconds or a timedelta, .* not 'soon'"):
        cls(**{name: "soon"})


def test_durations_may_be_timedeltas() -> None:
    """Wherever seconds are asked for, a timedelta will do."""
    assert RetryPolicy(maximum=timedelta(minutes=2)).maximum == 120.0
    assert PollingPolicy(initial=timedelta(seconds=1), maximum=timedelta(minutes=1)).initial == 1.0


def test_polling_maximum_is_not_below_the_beginning() -> None:
    """Two settings that contradict each other are refused together, with both values."""
    with pytest.raises(ConfigurationError, match=r"^maximum \(1.0 s\) must be at least initial \(2.0 s\)"):
        PollingPolicy(initial=2, maximum=1)


def test_limits_may_leave_the_rate_open() -> None:
    """No rate of ours unless one is set."""
    assert Limits().requests_per_second is None
    assert Limits(requests_per_second=5).requests_per_second == 5.0


def test_defaults_are_valid_and_frozen() -> None:
    """Policies are values: equal by value, usable as keys, valid as they come."""
    assert {RetryPolicy(), RetryPolicy()} == {RetryPolicy()}
    assert {PollingPolicy(), Limits()}


def test_sped_up_divides_every_duration() -> None:
    """A policy for a faster world keeps its shape."""
    fast = PollingPolicy(initial=2, maximum=60, request_worth=10, factor=3, jitter=0.5).sped_up(2)
    assert (fast.initial, fast.maximum, fast.request_worth) == (1.0, 30.0, 5.0)
    assert (fast.factor, fast.jitter) == (3.0, 0.5)


@pytest.mark.parametrize(("number", "interval"), [(0, 2.0), (1, 4.0), (5, 60.0), (10**6, 60.0)])
@pytest.mark.parametrize(("jitter", "shortest"), [(0, 1.0), (0.5, 0.5), (1, 0.0)])
def test_polling_backoff_grows_to_its_maximum(number: int, interval: float, jitter: float, shortest: float) -> None:
    """The delay lies between the part that is not random and the whole interval, which grows and then stays."""
    policy = PollingPolicy(initial=2, factor=2, maximum=60, jitter=jitter)
    assert policy.backoff(number, draw=0.0) == interval
    assert policy.backoff(number, draw=0.5) == interval * (1 + shortest) / 2


def test_a_flag_must_be_a_bool() -> None:
    """A text that says "no" would be taken for true."""
    with pytest.raises(ConfigurationError, match=r"^coalesce must be True or False, not 'no'"):
        PollingPolicy(coalesce="no")  # type: ignore[arg-type]


def test_what_to_do_with_unresolved_creates_is_one_of_two_words() -> None:
    """Anything else is refused by name."""
    with pytest.raises(ConfigurationError, match=r"^unresolved must be 'raise' or 'duplicate', not 'ignore'"):
        CreatePolicy(unresolved="ignore")


def test_a_create_is_not_resent_a_negative_number_of_times() -> None:
    """Zero is fine, less is not."""
    assert CreatePolicy(resends=0).resends == 0
    with pytest.raises(ConfigurationError, match=r"^resends must be"):
        CreatePolicy(resends=-1)


def test_backoff_survives_factors_that_overflow() -> None:
    """However large the factor: the interval is the maximum."""
    assert PollingPolicy(factor=1e10, jitter=0).backoff(64, draw=0.5) == PollingPolicy().maximum


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_world_runs_at_a_positive_speed(speed: float) -> None:
    """Durations cannot be divided by anything else."""
    with pytest.raises(ConfigurationError, match=r"^speed must be"):
        PollingPolicy().sped_up(speed)
