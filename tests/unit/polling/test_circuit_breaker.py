"""How a star system slows down after faults."""

from __future__ import annotations

import math

import pytest

from asyncbackups._polling.circuit_breaker import CircuitBreaker, is_passing
from asyncbackups.errors import (
    AnswerTimeoutError,
    BackupsError,
    BadRequestError,
    ConnectError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
)
from tests.unit.polling.worlds import scheduler

DOWN = ServiceUnavailableError(status=503)


def health(**policy: float) -> CircuitBreaker:
    return CircuitBreaker(scheduler(jitter=0.0, **policy)._know)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (DOWN, True),
        (RateLimitedError(status=429), True),
        (AnswerTimeoutError("slow"), True),
        (ConnectError("refused"), True),
        (NotFoundError(status=404), False),
        (BadRequestError(status=400), False),
        (ProtocolError("garbage"), False),
    ],
)
def test_faults_of_the_service_and_of_the_question_are_told_apart(error: BackupsError, passing: bool) -> None:
    """Only what speaks of the service's state slows a star system down."""
    assert is_passing(error) is passing


def test_each_fault_in_a_row_holds_for_longer() -> None:
    """The pauses grow as the policy's backoff does; an answer ends the trial."""
    state, now, pauses = health(initial=4.0, factor=2.0, maximum=20.0), 100.0, []
    assert state.held_until == -math.inf
    for _ in range(4):
        state.fault(DOWN, now)
        pauses.append(state.held_until - now)
        now = state.held_until
    assert pauses == [4.0, 8.0, 16.0, 20.0]
    assert state.on_trial
    state.answers()
    assert not state.on_trial
    state.fault(DOWN, now)
    assert state.held_until == now + 4.0


def test_requests_that_fail_together_are_one_fault() -> None:
    """Ten answers of one outage do not count as ten outages."""
    state = health(initial=4.0)
    for _ in range(10):
        state.fault(DOWN, 100.0)
    assert state.held_until == 104.0


def test_retry_after_is_obeyed_within_bounds() -> None:
    """What the server asks for holds, but not for ever, and nothing is no busy loop."""
    state = health(initial=4.0)
    state.fault(RateLimitedError(status=429, retry_after=60.0), 100.0)
    assert state.held_until == 160.0
    state.fault(RateLimitedError(status=429, retry_after=1e9), 100.0)
    assert state.held_until == 400.0
    assert [state.obeyed(asked) for asked in (0.001, 7.0, 1e9)] == [1.0, 7.0, 300.0]
