"""Policies: how often to retry, when to poll, how fast to go; and the pure rules that they stand for.

All durations are seconds, or `datetime.timedelta` where they are given.
"""

from __future__ import annotations

import attrs

from asyncbackups._base.validation import at_least, between, flag, in_seconds, integer, lasting, number, optional, shown
from asyncbackups.errors import (
    ConfigurationError,
)

__all__ = [
    "CreatePolicy",
    "Limits",
    "PollingPolicy",
    "RetryPolicy",
    "Timeouts",
]


def _flag(_: object, attribute: attrs.Attribute[bool], value: object) -> None:
    flag(value, attribute.name)


def _interval(initial: float, factor: float, maximum: float, number: int) -> float:
    """Return the n-th interval of an exponential backoff, counted from 0, whatever the numbers are."""
    try:
        return min(maximum, initial * factor**number)
    except OverflowError:
        return maximum


def _natural(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    integer(value, attribute.name, lowest=0)


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    integer(value, attribute.name, lowest=1)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When to send an idempotent request again. A create is never sent again by this policy.

    Delays grow exponentially with full jitter: the n-th is uniform up to ``min(maximum, initial * factor**n)``.
    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Attributes:
        attempts: The most attempts for one call, the first included.
        initial: The first backoff interval, in seconds.
        factor: How much each interval is longer than the last.
        maximum: The longest interval, in seconds.
        retry_after_maximum: The longest `Retry-After` that is obeyed, in seconds; a longer one is cut to it.
        quota: How many retries a client may have in hand. Each retry takes one, each success gives back a tenth:
            an outage is not multiplied by everybody's retries (botocore's retry quota is the model).
    """

    attempts: int = attrs.field(default=4, validator=_count)
    initial: float = attrs.field(default=0.5, converter=in_seconds, validator=lasting(0))
    factor: float = attrs.field(default=2.0, validator=at_least(1))
    maximum: float = attrs.field(default=30.0, converter=in_seconds, validator=lasting(0))
    retry_after_maximum: float = attrs.field(default=300.0, converter=in_seconds, validator=lasting(0))
    quota: int = attrs.field(default=100, validator=_count)

    def delay(self, attempt: int, *, draw: float, retry_after: float | None = None) -> float:
        """Return how long to wait before the next attempt.

        Args:
            attempt: The attempt that failed, counted from 1.
            draw: A uniform number from [0, 1).
            retry_after: Seconds that the server asked for, or None. It is a lower bound, never exceeded by more than
                the backoff interval, so that many clients do not come back in the same instant.

        Returns:
            Seconds.
        """
        interval = _interval(self.initial, self.factor, self.maximum, attempt - 1)
        asked = min(retry_after or 0.0, self.retry_after_maximum)
        return asked + draw * interval


def _unresolved(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in {"raise", "duplicate"}:
        raise ConfigurationError(f"{attribute.name} must be 'raise' or 'duplicate', not {shown(value)}")


@attrs.frozen(kw_only=True)
class CreatePolicy:
    """What is done about a create whose answer was lost: it is looked for, and never blindly sent again.

    Attributes:
        marker: Whether a short marker is put at the end of the description, by which the backup is found again, where
            the service shows metadata: " [asyncbackups:" + 16 letters and digits + "]".
        adopt_by_time: Whether a backup may be adopted that only its kind and its start time point to, where the service
            shows no metadata: the only one of its kind that is new once `settle` has passed. Never where nobody knows
            when the create was sent (`may_exist` in another process).
        settle: How long the service may take to show a new backup, in seconds; only after that is a create sent again.
        resends: How often a create that was not found is sent again at the most.
        patience: How long to go on looking while looking itself fails, in seconds.
        unresolved: What to do when looking settles nothing: "raise" an `AmbiguousCreateError`, or accept a possible
            "duplicate": send again, and say so (`BackupCreated.possible_duplicate`).
    """

    marker: bool = attrs.field(default=True, validator=_flag)
    adopt_by_time: bool = attrs.field(default=True, validator=_flag)
    settle: float = attrs.field(default=60.0, converter=in_seconds, validator=lasting(0))
    resends: int = attrs.field(default=2, validator=_natural)
    patience: float = attrs.field(default=900.0, converter=in_seconds, validator=lasting(0))
    unresolved: str = attrs.field(default="raise", validator=_unresolved)


@attrs.frozen(kw_only=True)
class Limits:
    """How fast the calls of one client may go, all together.

    Attributes:
        concurrency: The most requests in flight at once.
        requests_per_second: The most requests started in a second, or None for no limit of ours.
    """

    concurrency: int = attrs.field(default=32, validator=_count)
    requests_per_second: float | None = attrs.field(
        default=None,
        validator=optional(at_least(0, exclusive=True)),
    )


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long one attempt may take. How long a wait for a backup may take is the wait's deadline, not this.

    Attributes:
        total: From the moment that the request may start to the last byte of the answer, in seconds.
        connect: To get a connection, TLS included, in seconds.
        read: The longest silence of the server within an answer, in seconds; None leaves it to `total`.
    """

    total: float = attrs.field(default=60.0, converter=in_seconds, validator=lasting(0, exclusive=True))
    connect: float = attrs.field(default=10.0, converter=in_seconds, validator=lasting(0, exclusive=True))
    read: float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(in_seconds),
        validator=optional(lasting(0, exclusive=True)),
    )


@attrs.frozen(kw_only=True)
class PollingPolicy:
    """When to ask again about a backup in flight.

    Where nothing is known of how long backups take, polling is exponential backoff with jitter: the n-th interval is
    ``min(maximum, initial * factor**n)``, of which a random part up to `jitter` is left out. What is learned refines
    that. The defaults were found by the exact simulation in ``benchmarks/schedules.py``.

    What `request_worth` buys, for backups of 131 s (median; sigma 0.4) of which 30 were seen before:

        request_worth, s | alone: requests, delay | 100 in flight: requests each, delay
                       1 |      6.9      6.8 s    |      0.70      2.0 s
                       2 |      4.9      9.6 s    |      0.50      2.8 s
                       5 |      3.2     15.5 s    |      0.33      4.5 s
                      10 |      2.4     21.2 s    |      0.23      6.2 s
                      20 |      1.9     29.5 s    |      0.17      8.7 s
                      60 |      1.4     46.5 s    |      0.12     14.4 s

    Attributes:
        initial: The first backoff interval, in seconds.
        factor: How much each interval is longer than the last.
        maximum: The longest backoff interval, in seconds. Where backups are known to take long, the schedule may wait
            longer, as far as that knowledge is trusted (at most ten times as long).
        jitter: Which part of each backoff interval is random: 1 is full jitter, 0 none. Full jitter is right where many
            clients come back after one fault; for polling it costs nearly twice the delay at equal requests.
        request_worth: How many seconds of delay of the news one request is worth: the one knob of the learned
            schedule. Four times as much halves the requests and doubles the delay.
        coalesce: Whether one list may stand for many gets.
        learn: Whether the schedule is refined by how long backups were seen to take; without, it is plain backoff.
    """

    initial: float = attrs.field(default=5.0, converter=in_seconds, validator=lasting(0, exclusive=True))
    factor: float = attrs.field(default=1.5, validator=at_least(1))
    maximum: float = attrs.field(default=60.0, converter=in_seconds, validator=lasting(0, exclusive=True))
    jitter: float = attrs.field(default=0.1, validator=between(0, 1))
    request_worth: float = attrs.field(default=5.0, converter=in_seconds, validator=lasting(0, exclusive=True))
    coalesce: bool = attrs.field(default=True, validator=_flag)
    learn: bool = attrs.field(default=True, validator=_flag)

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ConfigurationError(f"maximum ({self.maximum} s) must be at least initial ({self.initial} s)")

    def backoff(self, number: int, *, draw: float) -> float:
        """Return the delay before asking again after so many disappointments.

        Args:
            number: How many there were before this one.
            draw: A uniform number from [0, 1).

        Returns:
            Seconds: with full jitter uniform in (0, interval].
        """
        return _interval(self.initial, self.factor, self.maximum, number) * (1 - self.jitter * draw)

    def sped_up(self, speed: float) -> PollingPolicy:
        """Return the policy for a world that runs `speed` times faster: every duration divided by it.

        Raises:
            ConfigurationError: If `speed` is not a positive number.
        """
        if number(speed, "speed") <= 0:
            raise ConfigurationError(f"speed must be a positive number, not {shown(speed)}")
        return attrs.evolve(
            self,
            initial=self.initial / speed,
            maximum=self.maximum / speed,
            request_worth=self.request_worth / speed,
        )
