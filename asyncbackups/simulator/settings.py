"""Validators of the simulator's settings: each error names the class, the setting, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import Attribute

__all__ = ["callable_model", "finite", "natural", "not_negative", "one_of", "optional", "positive", "share", "text"]

Validator: TypeAlias = Callable[[Any, "Attribute[Any]", Any], None]


def _refuse(instance: Any, attribute: Attribute[Any], value: Any, wanted: str) -> None:
    raise ValueError(f"{type(instance).__name__}.{attribute.name} must be {wanted}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def positive(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a finite number greater than 0."""
    if not (_is_number(value) and value > 0):
        _refuse(instance, attribute, value, "a number greater than 0")


def not_negative(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a finite number of 0 or more."""
    if not (_is_number(value) and value >= 0):
        _refuse(instance, attribute, value, "a number of 0 or more")


def finite(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept any finite number."""
    if not _is_number(value):
        _refuse(instance, attribute, value, "a finite number")


def share(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a number from 0 to 1."""
    if not (_is_number(value) and 0 <= value <= 1):
        _refuse(instance, attribute, value, "a number from 0 to 1")


def natural(least: int, most: int | None = None) -> Validator:
    """Accept a whole number in a range.

    Args:
        least: The smallest accepted.
        most: The greatest accepted; `None` for no limit.
    """

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and least <= value <= (value if most is None else most)):
            limit = f"of {least} or more" if most is None else f"from {least} to {most}"
            _refuse(instance, attribute, value, f"a whole number {limit}")

    return check


def text(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a string that is not empty."""
    if not (isinstance(value, str) and value):
        _refuse(instance, attribute, value, "a string that is not empty")


def one_of(*accepted: Any) -> Validator:
    """Accept certain values only.

    Args:
        *accepted: Those values.
    """

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value not in accepted:
            _refuse(instance, attribute, value, f"one of {', '.join(map(repr, accepted))}")

    return check


def callable_model(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a model of durations: anything that can be called."""
    if not callable(value):
        _refuse(instance, attribute, value, "a callable that takes a random.Random and returns seconds")


def optional(check: Validator) -> Validator:
    """Accept `None`, too.

    Args:
        check: What other values must pass.
    """

    def check_unless_none(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None:
            check(instance, attribute, value)

    return check_unless_none
