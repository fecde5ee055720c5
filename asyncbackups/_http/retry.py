"""Decide whether and when to retry a failed request: by the policy, the quota, and the kind of request."""

from __future__ import annotations

import logging
from random import Random

from asyncbackups._http.messages import Request, RequestKind
from asyncbackups.errors import ApiError, BackupsError, is_transient, is_transient_for_token
from asyncbackups.policies import RetryPolicy

_log = logging.getLogger(__name__)


class RetryQuota:
    """The retries that a client has left, so that retries do not multiply the load during an outage.

    Each retry takes one, each success returns a tenth. Source: botocore's retry quota.
    """

    __slots__ = ("_capacity", "available")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.available: float = float(capacity)

    def take_retry(self) -> bool:
        """Take one retry; return False if none is left."""
        if self.available < 1:
            return False
        self.available -= 1
        return True

    def record_success(self) -> None:
        if self.available < self._capacity:
            self.available = min(float(self._capacity), self.available + 0.1)


class Retries:
    """Decides about retries for all requests of a client, and logs the decisions."""

    def __init__(self, policy: RetryPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self.quota: RetryQuota = RetryQuota(policy.quota)

    def next_delay(self, error: BackupsError, request: Request, *, attempt: int, attempts: int | None) -> float | None:
        """Return the delay in seconds after the attempt that failed with an error, or None for no further attempt.

        The number of attempts is limited by `attempts`, or by the policy if that is None.
        """
        if request.kind is RequestKind.TOKEN:
            may_retry = is_transient_for_token(error)
        else:
            may_retry = request.is_idempotent and is_transient(error)
        if not may_retry or attempt >= (self._policy.attempts if attempts is None else attempts):
            return None
        failure = f"{request.method} ({request.kind}): {type(error).__name__}"
        if not self.quota.take_retry():
            _log.warning("%s; not retried: the client's retry quota is used up", failure)
            return None
        retry_after = error.retry_after if isinstance(error, ApiError) else None
        delay = self._policy.delay(attempt, draw=self._random.random(), retry_after=retry_after)
        _log.info("%s; attempt %d in %.2f s", failure, attempt + 1, delay)
        return delay
