"""Which requests are retried, when, and how often."""

from __future__ import annotations

import logging
from random import Random

import pytest

from asyncbackups._http.messages import Request, RequestKind
from asyncbackups._http.retry import Retries, RetryQuota
from asyncbackups.errors import (
    AnswerTimeoutError,
    ApiError,
    AuthenticationError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConnectError,
    ProtocolError,
    TransportError,
)
from asyncbackups.policies import RetryPolicy

GET = Request(kind=RequestKind.GET, method="GET", path="/")
DELETE = Request(kind=RequestKind.DELETE, method="DELETE", path="/")
CREATE = Request(kind=RequestKind.CREATE, method="POST", path="/", body=b"{}")
TOKEN = Request(kind=RequestKind.TOKEN, method="POST", path="/", body=b"client_secret=hunter2")

TRANSIENT: list[BackupsError] = [
    *(ApiError.class_for(status)(status=status) for status in (408, 424, 429, 502, 503, 504)),
    ConnectError("x"),
    TransportError("x"),
    AnswerTimeoutError("x"),
]
PERMANENT: list[BackupsError] = [
    *(ApiError.class_for(status)(status=status) for status in (400, 401, 403, 404, 405, 409, 422, 500, 501)),
    AuthenticationError(status=None),
    CertificateError("x"),
    ProtocolError("x"),
    ClientClosedError("x"),
]


class Half(Random):
    def random(self) -> float:
        return 0.5


def retries(**policy: float) -> Retries:
    return Retries(RetryPolicy(**policy), Half())  # type: ignore[arg-type]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
@pytest.mark.parametrize("request_", [GET, DELETE, TOKEN], ids=lambda request: request.kind)
def test_transient_errors_are_retried(error: BackupsError, request_: Request) -> None:
    """Idempotent requests and token requests are retried with growing delays."""
    subject = retries(initial=2)
    assert subject.next_delay(error, request_, attempt=1, attempts=None) == 1.0
    assert subject.next_delay(error, request_, attempt=2, attempts=None) == 2.0


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_permanent_errors_are_not_retried(error: BackupsError) -> None:
    """If another attempt would not help, the error is raised immediately."""
    assert retries().next_delay(error, GET, attempt=1, attempts=None) is None


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_post_is_never_retried(error: BackupsError) -> None:
    """A create that is sent twice creates two backups."""
    assert retries().next_delay(error, CREATE, attempt=1, attempts=None) is None


def test_token_request_is_retried_after_any_5xx() -> None:
    """An extra token does no harm."""
    assert retries().next_delay(ApiError.class_for(500)(status=500), TOKEN, attempt=1, attempts=None) is not None
    assert retries().next_delay(ApiError.class_for(401)(status=401), TOKEN, attempt=1, attempts=None) is None


def test_attempts_are_limited() -> None:
    """The limit is the policy's, or the caller's."""
    error = TransportError("x")
    assert retries(attempts=3).next_delay(error, GET, attempt=2, attempts=None) is not None
    assert retries(attempts=3).next_delay(error, GET, attempt=3, attempts=None) is None
    assert retries(attempts=3).next_delay(error, GET, attempt=1, attempts=1) is None
    assert retries(attempts=3).next_delay(error, GET, attempt=3, attempts=4) is not None


def test_retry_after_is_respected() -> None:
    """The delay is `Retry-After` plus jitter."""
    error = ApiError.class_for(503)(status=503, retry_after=7)
    assert retries(initial=2).next_delay(error, GET, attempt=1, attempts=None) == 8.0


def test_quota_limits_the_retries_of_a_client(caplog: pytest.LogCaptureFixture) -> None:
    """During an outage a client stops multiplying its requests; ten successes allow one retry."""
    subject = retries(quota=2)
    error = TransportError("x")
    with caplog.at_level(logging.INFO, "asyncbackups"):
        assert [subject.next_delay(error, GET, attempt=1, attempts=None) is None for _ in range(3)] == [
            False,
            False,
            True,
        ]
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    assert caplog.records[0].getMessage() == "GET (get): TransportError; attempt 2 in 0.25 s"
    for _ in range(11):
        subject.quota.record_success()
    assert subject.next_delay(error, GET, attempt=1, attempts=None) is not None


def test_quota_does_not_exceed_its_capacity() -> None:
    """Many successes save up no more than the capacity."""
    quota = RetryQuota(1)
    assert quota.take_retry()
    for _ in range(100):
        quota.record_success()
    assert quota.available == 1
