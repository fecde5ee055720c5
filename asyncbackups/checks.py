"""What callers give, checked before anything is sent: each check names the field, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from asyncbackups.errors import ConfigurationError

__all__ = ["Seconds", "at_least", "between", "integer", "not_blank", "optional", "seconds"]

Seconds = float | timedelta
"""A duration: a number of seconds, or a `datetime.timedelta`."""

Validator = Callable[[Any, Any, Any], None]


def seconds(value: Seconds) -> float:
    """Return a duration as a number of seconds.

    Raises:
        ConfigurationError: If it is not a number or a timedelta, or is not a finite number.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"a duration must be a finite number of seconds or a timedelta, not {value!r}")
    return float(value)


def not_blank(value: object, name: str) -> str:
    """Return a name that must hold at least one visible character.

    Raises:
        ConfigurationError: If it is no text, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must not be blank: give a non-empty text, not {value!r}")
    return value


def integer(value: object, name: str, *, lowest: int) -> int:
    """Return a whole number that is at least `lowest`.

    Raises:
        ConfigurationError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigurationError(f"{name} must be a whole number of at least {lowest}, not {value!r}")
    return value


def at_least(lowest: float, *, exclusive: bool = False) -> Validator:
    """Build an attrs validator: a finite number not below `lowest`, or above it with `exclusive`."""

    def check(_: object, attribute: Any, value: object) -> None:
        number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
        if not number or value < lowest or (exclusive and value == lowest):  # type: ignore[operator]
            bound = "greater than" if exclusive else "at least"
            raise ConfigurationError(f"{attribute.name} must be a number {bound} {lowest}, not {value!r}")

    return check


def between(lowest: float, highest: float) -> Validator:
    """Build an attrs validator: a number from `lowest` to `highest`, both included."""

    def check(_: object, attribute: Any, value: object) -> None:
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not lowest <= value <= highest:  # type: ignore[operator]
            raise ConfigurationError(f"{attribute.name} must be a number from {lowest} to {highest}, not {value!r}")

    return check


def optional(inner: Validator) -> Validator:
    """Build an attrs validator that also allows None."""

    def check(instance: object, attribute: object, value: object) -> None:
        if value is not None:
            inner(instance, attribute, value)

    return check
