"""Validators of the simulator's settings: each error names the class, the setting, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import Attribute

__all__ = [
    "callable_model",
    "finite",
    "flag",
    "instance_of",
    "is_text",
    "is_texts",
    "mapping",
    "natural",
    "not_negative",
    "one_of",
    "optional",
    "positive",
    "share",
    "some_texts",
    "text",
    "texts",
    "whole",
]

Validator: TypeAlias = Callable[[Any, "Attribute[Any]", Any], None]

_SHOWN_CHARACTERS = 200


def _refuse(instance: Any, attribute: Attribute[Any], value: Any, wanted: str) -> None:
    shown = repr(value)[:_SHOWN_CHARACTERS]
    raise ValueError(f"{type(instance).__name__}.{attribute.name} must be {wanted}, not {shown}")


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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept any whole number."""
    if not _is_whole(value):
        _refuse(instance, attribute, value, "a whole number")


def natural(least: int, most: int | None = None) -> Validator:
    """Accept a whole number in a range.

    Args:
        least: The smallest accepted.
        most: The greatest accepted; `None` for no limit.
    """

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not (_is_whole(value) and least <= value <= (value if most is None else most)):
            limit = f"of {least} or more" if most is None else f"from {least} to {most}"
            _refuse(instance, attribute, value, f"a whole number {limit}")

    return check


def text(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a string that is not empty."""
    if not is_text(value):
        _refuse(instance, attribute, value, "a string that is not empty")


def is_text(value: Any) -> bool:
    """Whether something is a string that is not empty."""
    return isinstance(value, str) and bool(value)


def texts(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept several strings."""
    if not is_texts(value):
        _refuse(instance, attribute, value, "a list of strings that are not empty")


def some_texts(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept a sequence of strings, at least one; they may be empty."""
    several = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    if not (several and all(isinstance(one, str) for one in value)):
        _refuse(instance, attribute, value, "a list of at least one string")


def is_texts(value: Any) -> bool:
    """Whether something holds strings that are not empty; one string is not several, although it can be iterated."""
    return isinstance(value, Collection) and not isinstance(value, str) and all(map(is_text, value))


def flag(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    """Accept yes or no."""
    if not isinstance(value, bool):
        _refuse(instance, attribute, value, "True or False")


def instance_of(cls: Any) -> Validator:
    """Accept objects of a class.

    Args:
        cls: The class, or several with `|` between them.
    """
    names = " or ".join(one.__name__ for one in getattr(cls, "__args__", (cls,)))

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if isinstance(value, type) or not isinstance(value, cls):  # a class has the methods of a protocol, too
            _refuse(instance, attribute, value, f"an instance of {names}")

    return check


def mapping(fits: Callable[[Any], bool], wanted: str) -> Validator:
    """Accept a mapping from strings.

    Args:
        fits: Whether something may be one of its values.
        wanted: What may be, in words.
    """

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        given = value.items() if isinstance(value, Mapping) else [(None, None)]
        if not all(is_text(key) and fits(one) for key, one in given):
            _refuse(instance, attribute, value, f"a mapping of strings to {wanted}")

    return check


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
