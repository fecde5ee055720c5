"""The circuit breaker of a star system."""

from __future__ import annotations

import math

from asyncbackups._polling.circuit_breaker import CircuitBreaker
from asyncbackups.errors import RateLimitedError, ServiceUnavailableError
from tests.unit.polling.scenario import shared_state

DOWN = ServiceUnavailableError(status=503)


def breaker(**settings: float) -> CircuitBreaker:
    return CircuitBreaker(shared_state(jitter=0.0, **settings))


def test_pauses_grow_with_each_fault_in_a_row() -> None:
    """They grow as the policy's backoff does; a success closes the breaker."""
    state, now, pauses = breaker(initial=4.0, factor=2.0, maximum=20.0), 100.0, []
    assert state.open_until == -math.inf
    for _ in range(4):
        state.record_fault(DOWN, now)
        pauses.append(state.open_until - now)
        now = state.open_until
    assert pauses == [4.0, 8.0, 16.0, 20.0]
    assert state.is_half_open
    assert state.last_fault is DOWN
    state.record_success()
    assert not state.is_half_open
    assert state.last_fault is None
    state.record_fault(DOWN, now)
    assert state.open_until == now + 4.0


def test_requests_that_fail_together_are_one_fault() -> None:
    """Ten failed requests of one outage do not count as ten outages."""
    state = breaker(initial=4.0)
    for _ in range(10):
        state.record_fault(DOWN, 100.0)
    assert state.open_until == 104.0


def test_retry_after_is_honored_up_to_the_maximum() -> None:
    """The maximum is that of the retry policy; a `Retry-After` near zero is no reason for a busy loop."""
    state = breaker(initial=4.0, retry_after_maximum=300.0)
    state.record_fault(RateLimitedError(status=429, retry_after=60.0), 100.0)
    assert state.open_until == 160.0
    state.record_fault(RateLimitedError(status=429, retry_after=1e9), 100.0)
    assert state.open_until == 400.0
    assert [state.clamp_retry_after(seconds) for seconds in (0.001, 7.0, 1e9)] == [1.0, 7.0, 300.0]
    assert breaker(retry_after_maximum=10.0).clamp_retry_after(250.0) == 10.0
