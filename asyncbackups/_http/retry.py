"""Whether a request that failed is sent again, and when: the policy, the quota, and what may be repeated at all."""

from __future__ import annotations

import logging
from random import Random

from asyncbackups._http.messages import Request, RequestKind
from asyncbackups.errors import ApiError, BackupsError, may_heal, token_may_heal
from asyncbackups.policies import RetryPolicy

_log = logging.getLogger(__name__)


class RetryQuota:
    """How many retries a client has in hand, so that an outage is not multiplied by everybody's retries.

    Each retry takes one, each success gives back a tenth. Source: botocore's retry quota.

    Args:
        capacity: The most retries in hand.

    Attributes:
        available: How many retries are in hand now.
    """

    __slots__ = ("_capacity", "available")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.available: float = float(capacity)

    def take(self) -> bool:
        """Take one retry; False where there is none."""
        if self.available < 1:
            return False
        self.available -= 1
        return True

    def success(self) -> None:
        """Take note of a request that succeeded."""
        if self.available < self._capacity:
            self.available = min(float(self._capacity), self.available + 0.1)


class Retries:
    """Decides for all requests of a client; logs what it decides.

    Args:
        policy: The policy.
        random: Where jitter comes from.

    Attributes:
        quota: What is left of the policy's quota.
    """

    def __init__(self, policy: RetryPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self.quota: RetryQuota = RetryQuota(policy.quota)

    def delay(self, error: BackupsError, request: Request, *, attempt: int, attempts: int | None) -> float | None:
        """Return in how many seconds to send a request again, or None for never.

        Args:
            error: How it failed.
            request: What was sent.
            attempt: Which attempt that was, counted from 1.
            attempts: The most attempts, or None for the policy's.
        """
        allowed = token_may_heal(error) if request.kind is RequestKind.TOKEN else request.idempotent and may_heal(error)
        if not allowed or attempt >= (self._policy.attempts if attempts is None else attempts):
            return None
        what = f"{request.method} ({request.kind}): {type(error).__name__}"
        if not self.quota.take():
            _log.warning("%s; not sent again: the client's retry quota is used up", what)
            return None
        asked = error.retry_after if isinstance(error, ApiError) else None
        delay = self._policy.delay(attempt, draw=self._random.random(), retry_after=asked)
        _log.info("%s; attempt %d follows in %.2f s", what, attempt + 1, delay)
        return delay
