"""Policies: how often to retry, when to poll, how fast to go; and the pure rules that they stand for.

All durations are seconds, or `datetime.timedelta` where they are given.
"""

from __future__ import annotations

import attrs

from asyncbackups.checks import at_least, between, optional, seconds
from asyncbackups.errors import ConfigurationError

__all__ = ["Limits", "PollingPolicy", "RetryPolicy"]


@attrs.frozen(kw_only=True)
class PollingPolicy:
    """When to ask again about a backup in flight.

    Where nothing is known of how long backups take, polling is exponential backoff with full jitter: the n-th
    delay is uniform up to ``min(maximum, initial * factor**n)``. What is learned refines that.

    Attributes:
        initial: The first backoff interval, in seconds.
        factor: How much each interval is longer than the last.
        maximum: The longest interval, in seconds.
        jitter: Which part of each backoff interval is random: 1 is full jitter, 0 none.
        request_worth: How many seconds of delay of the news one request is worth: the one knob of the learned
            schedule. Four times as much halves the requests and doubles the delay.
        coalesce: Whether one list may stand for many gets.
        learn: Whether the schedule is refined by how long backups were seen to take.
    """

    initial: float = attrs.field(default=2.0, converter=seconds, validator=at_least(0, exclusive=True))
    factor: float = attrs.field(default=2.0, converter=float, validator=at_least(1))
    maximum: float = attrs.field(default=60.0, converter=seconds, validator=at_least(0, exclusive=True))
    jitter: float = attrs.field(default=1.0, converter=float, validator=between(0, 1))
    request_worth: float = attrs.field(default=10.0, converter=seconds, validator=at_least(0, exclusive=True))
    coalesce: bool = True
    learn: bool = True

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ConfigurationError(
                f"maximum ({self.maximum} s) must be at least initial ({self.initial} s)"
            )

    def sped_up(self, speed: float) -> PollingPolicy:
        """Return the policy for a world that runs `speed` times faster: every duration divided by it."""
        return attrs.evolve(
            self,
            initial=self.initial / speed,
            maximum=self.maximum / speed,
            request_worth=self.request_worth / speed,
        )
