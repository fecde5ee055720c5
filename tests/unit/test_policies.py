"""Policies: invalid settings are rejected, and delays stay within their bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups.errors import ConfigurationError
from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 3.0), (3, 9.0), (4, 10.0), (1000, 10.0)])
def test_retry_delay_is_exponential_with_full_jitter(attempt: int, longest: float) -> None:
    """The n-th delay is uniform between zero and the interval, which grows up to the maximum."""
    policy = RetryPolicy(initial=1, factor=3, maximum=10)
    assert policy.delay(attempt, draw=0.0) == 0.0
    assert policy.delay(attempt, draw=0.5) == longest / 2


def test_retry_after_is_a_lower_bound() -> None:
    """Jitter is added to `Retry-After`, so that clients do not return together."""
    policy = RetryPolicy(initial=1, maximum=10, retry_after_maximum=60)
    assert policy.delay(1, draw=0.0, retry_after=7) == 7.0
    assert policy.delay(1, draw=0.5, retry_after=7) == 7.5
    assert policy.delay(1, draw=0.5, retry_after=0) == 0.5


@pytest.mark.parametrize("retry_after", [61, 1e9, 1.7e308, float("inf")])
def test_retry_after_is_cut_to_its_maximum(retry_after: float) -> None:
    """A server cannot make the client sleep for a year."""
    assert RetryPolicy(initial=1, retry_after_maximum=60).delay(1, draw=0.0, retry_after=retry_after) == 60.0


@settings(max_examples=60)
@given(
    attempt=st.integers(1, 10**6),
    draw=st.floats(0, 1, exclude_max=True),
    factor=st.floats(1, 1000),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_retry_delay_is_bounded(attempt: int, draw: float, factor: float, retry_after: float | None) -> None:
    """A delay is at least `Retry-After` (up to its maximum), and at most the sum of both maxima."""
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
def test_settings_out_of_bounds_are_rejected(cls: Any, values: dict[str, Any]) -> None:
    """The error names the field."""
    (name,) = values
    with pytest.raises(ConfigurationError, match=f"^{name} must be ") as caught:
        cls(**values)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("cls", "name"),
    [(RetryPolicy, "initial"), (RetryPolicy, "maximum"), (PollingPolicy, "initial"), (PollingPolicy, "request_worth")],
)
def test_durations_must_be_durations(cls: Any, name: str) -> None:
    """Anything but a number of seconds or a timedelta is rejected."""
    with pytest.raises(ConfigurationError, match=r"must be a finite number of seconds or a timedelta .* not 'soon'"):
        cls(**{name: "soon"})


def test_durations_may_be_timedeltas() -> None:
    """Durations are seconds or timedeltas."""
    assert RetryPolicy(maximum=timedelta(minutes=2)).maximum == 120.0
    assert PollingPolicy(initial=timedelta(seconds=1), maximum=timedelta(minutes=1)).initial == 1.0


def test_polling_maximum_is_at_least_initial() -> None:
    """The message contains both values."""
    with pytest.raises(ConfigurationError, match=r"^maximum \(1.0 s\) must be at least initial \(2.0 s\)"):
        PollingPolicy(initial=2, maximum=1)


def test_rate_limit_is_optional() -> None:
    """By default the client does not limit requests per second."""
    assert Limits().requests_per_second is None
    assert Limits(requests_per_second=5).requests_per_second == 5.0


def test_defaults_are_valid_and_frozen() -> None:
    """Policies are values: equal by value and usable as keys."""
    assert {RetryPolicy(), RetryPolicy()} == {RetryPolicy()}
    assert {PollingPolicy(), Limits()}


def test_sped_up_divides_every_duration() -> None:
    """Durations are divided by the speed; ratios stay."""
    fast = PollingPolicy(initial=2, maximum=60, request_worth=10, factor=3, jitter=0.5).sped_up(2)
    assert (fast.initial, fast.maximum, fast.request_worth) == (1.0, 30.0, 5.0)
    assert (fast.factor, fast.jitter) == (3.0, 0.5)


@pytest.mark.parametrize(("number", "interval"), [(0, 2.0), (1, 4.0), (5, 60.0), (10**6, 60.0)])
@pytest.mark.parametrize(("jitter", "shortest"), [(0, 1.0), (0.5, 0.5), (1, 0.0)])
def test_polling_backoff_grows_to_its_maximum(number: int, interval: float, jitter: float, shortest: float) -> None:
    """The delay is between the part that is not random and the whole interval, which grows up to the maximum."""
    policy = PollingPolicy(initial=2, factor=2, maximum=60, jitter=jitter)
    assert policy.backoff(number, draw=0.0) == interval
    assert policy.backoff(number, draw=0.5) == interval * (1 + shortest) / 2


def test_flags_are_bools() -> None:
    """The string "no" would be true."""
    with pytest.raises(ConfigurationError, match=r"^coalesce must be True or False, not 'no'"):
        PollingPolicy(coalesce="no")  # type: ignore[arg-type]


def test_unresolved_is_one_of_two_values() -> None:
    """Anything else is rejected."""
    with pytest.raises(ConfigurationError, match=r"^unresolved must be 'raise' or 'duplicate', not 'ignore'"):
        CreatePolicy(unresolved="ignore")


def test_visibility_is_one_of_three_values() -> None:
    """Anything else is rejected; by default a list that shows any backup of the planet is evidence."""
    assert [CreatePolicy(visibility=name).visibility for name in ("planet", "new", "own")] == ["planet", "new", "own"]
    assert CreatePolicy().visibility == "planet"
    with pytest.raises(ConfigurationError, match=r"^visibility must be 'planet', 'new' or 'own', not 'none'"):
        CreatePolicy(visibility="none")


def test_baseline_is_a_flag() -> None:
    """It is on by default."""
    assert (CreatePolicy().baseline, CreatePolicy(baseline=False).baseline) == (True, False)
    with pytest.raises(ConfigurationError, match=r"^baseline must be"):
        CreatePolicy(baseline="no")  # type: ignore[arg-type]


def test_resends_is_not_negative() -> None:
    """Zero is valid."""
    assert CreatePolicy(resends=0).resends == 0
    with pytest.raises(ConfigurationError, match=r"^resends must be"):
        CreatePolicy(resends=-1)


def test_backoff_of_a_huge_factor_is_the_maximum() -> None:
    """An overflow does not raise."""
    assert PollingPolicy(factor=1e10, jitter=0).backoff(64, draw=0.5) == PollingPolicy().maximum


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_speed_is_positive(speed: float) -> None:
    """Zero, negative numbers and NaN are rejected."""
    with pytest.raises(ConfigurationError, match=r"^speed must be"):
        PollingPolicy().sped_up(speed)
