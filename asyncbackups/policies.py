"""Policies: when to retry, when to poll, how fast to send, with the formulas that they parametrize.

All durations are seconds or `datetime.timedelta`.
"""

from __future__ import annotations

import attrs
from attrs.validators import optional

from asyncbackups._base.validation import (
    check_flag,
    check_integer,
    check_number,
    quote_value,
    to_seconds,
    validate_duration,
    validate_minimum,
    validate_range,
    validate_with,
)
from asyncbackups.errors import ConfigurationError

__all__ = ["CreatePolicy", "Limits", "PollingPolicy", "RetryPolicy", "Timeouts"]

_validate_flag = validate_with(check_flag)
_validate_positive_integer = validate_with(check_integer, minimum=1)


def _backoff_interval(initial: float, factor: float, maximum: float, number: int) -> float:
    """Return the n-th interval of an exponential backoff, counted from 0."""
    try:
        return min(maximum, initial * factor**number)
    except OverflowError:
        return maximum


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When to retry an idempotent request. A create is never retried by this policy.

    Delays grow exponentially with full jitter: the n-th is uniform up to ``min(maximum, initial * factor**n)``.
    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Attributes:
        attempts: Maximum number of attempts per call, including the first.
        initial: The first backoff interval, in seconds.
        factor: The ratio of each interval to the one before.
        maximum: The longest interval, in seconds.
        retry_after_maximum: The longest `Retry-After` that is respected, in seconds; a longer one is cut to it.
        quota: Maximum number of retries that the client saves up. Each retry takes one, each success returns a tenth:
            retries do not multiply the load during an outage (as with botocore's retry quota).
    """

    attempts: int = attrs.field(default=4, validator=_validate_positive_integer)
    initial: float = attrs.field(default=0.5, converter=to_seconds, validator=validate_duration(0))
    factor: float = attrs.field(default=2.0, validator=validate_minimum(1))
    maximum: float = attrs.field(default=30.0, converter=to_seconds, validator=validate_duration(0))
    retry_after_maximum: float = attrs.field(default=300.0, converter=to_seconds, validator=validate_duration(0))
    quota: int = attrs.field(default=100, validator=_validate_positive_integer)

    def delay(self, attempt: int, *, draw: float, retry_after: float | None = None) -> float:
        """Return the delay before the next attempt.

        Args:
            attempt: The number of the failed attempt, counted from 1.
            draw: A uniform number from [0, 1).
            retry_after: The server's `Retry-After` in seconds, or None. It is a lower bound: jitter up to one backoff
                interval is added, so that clients do not all return at the same instant.

        Returns:
            Seconds.
        """
        interval = _backoff_interval(self.initial, self.factor, self.maximum, attempt - 1)
        return min(retry_after or 0.0, self.retry_after_maximum) + draw * interval


def _validate_unresolved(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in {"raise", "duplicate"}:
        raise ConfigurationError(f"must be 'raise' or 'duplicate', not {quote_value(value)}", field=attribute.name)


@attrs.frozen(kw_only=True)
class CreatePolicy:
    """How to handle a create with a lost response: it is reconciled, and never blindly sent again.

    Attributes:
        marker: Whether to append a short marker to the description, which identifies the backup if the service shows
            metadata: " [asyncbackups:" + 16 letters and digits + "]".
        adopt_by_time: Whether a backup may be adopted by its kind and start time alone if the service shows no
            metadata: the only new one of its kind once `settle` has passed. Never if the time of the create is unknown
            (`may_exist` in another process).
        settle: How long the service may take to show a new backup, in seconds; a create is sent again only after that.
        resends: Maximum number of times that a create that was not found is sent again.
        patience: How long to keep trying to list the backups while that fails, in seconds.
        unresolved: What to do if the lists settle nothing: "raise" an `AmbiguousCreateError`, or accept a possible
            "duplicate": send it again and report that (`BackupCreated.possible_duplicate`).
    """

    marker: bool = attrs.field(default=True, validator=_validate_flag)
    adopt_by_time: bool = attrs.field(default=True, validator=_validate_flag)
    settle: float = attrs.field(default=60.0, converter=to_seconds, validator=validate_duration(0))
    resends: int = attrs.field(default=2, validator=validate_with(check_integer, minimum=0))
    patience: float = attrs.field(default=900.0, converter=to_seconds, validator=validate_duration(0))
    unresolved: str = attrs.field(default="raise", validator=_validate_unresolved)


@attrs.frozen(kw_only=True)
class Limits:
    """The rate limits of a client, for all its requests together.

    Attributes:
        concurrency: Maximum number of requests in flight.
        requests_per_second: Maximum number of requests started per second, or None for no limit on the client's side.
    """

    concurrency: int = attrs.field(default=32, validator=_validate_positive_integer)
    requests_per_second: float | None = attrs.field(
        default=None, validator=optional(validate_minimum(0, exclusive=True))
    )


@attrs.frozen(kw_only=True)
class Timeouts:
    """Time limits of one attempt to send a request; the deadline of a wait for a backup is an argument of the wait.

    Attributes:
        total: From the start of the request to the last byte of the response, in seconds.
        connect: To obtain a connection, including TLS, in seconds.
        read: Between two reads of the response, in seconds; None for no limit but `total`.
    """

    total: float = attrs.field(default=60.0, converter=to_seconds, validator=validate_duration(0, exclusive=True))
    connect: float = attrs.field(default=10.0, converter=to_seconds, validator=validate_duration(0, exclusive=True))
    read: float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(to_seconds),
        validator=optional(validate_duration(0, exclusive=True)),
    )


@attrs.frozen(kw_only=True)
class PollingPolicy:
    """When to poll a backup in progress.

    As long as it is unknown how long backups take, polling is exponential backoff with jitter: the n-th interval is
    ``min(maximum, initial * factor**n)``, less a random part of up to `jitter`. Observed durations refine that.
    The defaults come from the exact simulation in ``benchmarks/schedules.py``.

    The effect of `request_worth`, for backups of 131 s (median; sigma 0.4) after 30 observations:

        request_worth, s | alone: requests, latency | 100 in flight: requests each, latency
                       1 |      6.9      6.8 s    |      0.70      2.0 s
                       2 |      4.9      9.6 s    |      0.50      2.8 s
                       5 |      3.2     15.5 s    |      0.33      4.5 s
                      10 |      2.4     21.2 s    |      0.23      6.2 s
                      20 |      1.9     29.5 s    |      0.17      8.7 s
                      60 |      1.4     46.5 s    |      0.12     14.4 s

    Attributes:
        initial: The first backoff interval, in seconds.
        factor: The ratio of each interval to the one before.
        maximum: The longest backoff interval, in seconds. Intervals may be longer if backups are known to take long,
            as far as that estimate is reliable (at most ten times).
        jitter: The random part of each backoff interval: 1 is full jitter, 0 none. Full jitter is right if many clients
            return after one fault; for polling it nearly doubles the latency for the same number of requests.
        request_worth: How many seconds of detection latency one request is worth: the one tuning parameter of learned
            polling. Four times as much halves the requests and doubles the latency.
        coalesce: Whether one LIST may replace many GETs.
        learn: Whether observed durations refine the intervals; without, polling is plain backoff.
    """

    initial: float = attrs.field(default=5.0, converter=to_seconds, validator=validate_duration(0, exclusive=True))
    factor: float = attrs.field(default=1.5, validator=validate_minimum(1))
    maximum: float = attrs.field(default=60.0, converter=to_seconds, validator=validate_duration(0, exclusive=True))
    jitter: float = attrs.field(default=0.1, validator=validate_range(0, 1))
    request_worth: float = attrs.field(
        default=5.0, converter=to_seconds, validator=validate_duration(0, exclusive=True)
    )
    coalesce: bool = attrs.field(default=True, validator=_validate_flag)
    learn: bool = attrs.field(default=True, validator=_validate_flag)

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            reason = f"({self.maximum} s) must be at least initial ({self.initial} s)"
            raise ConfigurationError(reason, field="maximum")

    def backoff(self, number: int, *, draw: float) -> float:
        """Return the delay before the next poll after one without a result.

        Args:
            number: The number of such polls in a row before this one.
            draw: A uniform number from [0, 1).

        Returns:
            Seconds: with full jitter uniform in (0, interval].
        """
        return _backoff_interval(self.initial, self.factor, self.maximum, number) * (1 - self.jitter * draw)

    def sped_up(self, speed: float) -> PollingPolicy:
        """Return the policy for a simulation at `speed` times real time: every duration is divided by it.

        Raises:
            ConfigurationError: If `speed` is not a positive number.
        """
        if check_number(speed, "speed") <= 0:
            raise ConfigurationError(f"must be a positive number, not {quote_value(speed)}", field="speed")
        return attrs.evolve(
            self, initial=self.initial / speed, maximum=self.maximum / speed, request_worth=self.request_worth / speed
        )
