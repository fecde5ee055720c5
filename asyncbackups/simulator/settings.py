"""Validators of the simulator's settings, and attributes that keep their old name for one release."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from attrs import Attribute, validators

Validator: TypeAlias = Callable[[Any, "Attribute[Any]", Any], None]


def must_be(description: str, accepts: Callable[[Any], bool]) -> Validator:
    """Return a validator for attrs; its `ValueError` names class, setting, accepted values and value."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not accepts(value):
            shown = repr(value)[:200]  # a value may have thousands of planets
            raise ValueError(f"{type(instance).__name__}.{attribute.name} must be {description}, not {shown}")

    return validate


def is_number(value: Any) -> bool:
    """Return True for a finite number that fits into a float; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> bool:
    """Return True for an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Return True for a string that is not empty."""
    return isinstance(value, str) and bool(value)


def are_texts(value: Any) -> bool:
    """Return True for a collection of strings that are not empty; a single string is no such collection."""
    return isinstance(value, Collection) and not isinstance(value, str) and all(map(is_text, value))


positive: Validator = must_be("a number greater than 0", lambda value: is_number(value) and value > 0)
not_negative: Validator = must_be("a number of 0 or more", lambda value: is_number(value) and value >= 0)
finite: Validator = must_be("a finite number", is_number)
share: Validator = must_be("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
whole: Validator = must_be("a whole number", is_whole)
text: Validator = must_be("a string that is not empty", is_text)
texts: Validator = must_be("a list of strings that are not empty", are_texts)
flag: Validator = must_be("True or False", lambda value: isinstance(value, bool))
optional: Callable[[Validator], Validator] = validators.optional


def whole_from(minimum: int, maximum: int | None = None) -> Validator:
    """Accept a whole number in a range; a `maximum` of None sets no limit."""
    limit = f"of {minimum} or more" if maximum is None else f"from {minimum} to {maximum}"
    highest = math.inf if maximum is None else maximum
    return must_be(f"a whole number {limit}", lambda value: is_whole(value) and minimum <= value <= highest)


def instance_of(cls: Any) -> Validator:
    """Accept instances of a class, or of any class of a union."""
    names = " or ".join(one.__name__ for one in getattr(cls, "__args__", (cls,)))
    # isinstance() alone would accept a class where a protocol is wanted: it has the same methods.
    return must_be(f"an instance of {names}", lambda value: not isinstance(value, type) and isinstance(value, cls))


def mapping_to(description: str, accepts: Callable[[Any], bool]) -> Validator:
    """Accept a mapping from non-empty strings to accepted values; the arguments are those of `must_be`."""

    def accepts_mapping(value: Any) -> bool:
        return isinstance(value, Mapping) and all(is_text(key) and accepts(item) for key, item in value.items())

    return must_be(f"a mapping of strings to {description}", accepts_mapping)


def renamed_attribute(old_name: str, new_name: str) -> Any:
    """Return a property for the old name (`"Class.name"`) of an attribute or method; it warns and reads the new one."""

    def read(instance: Any) -> Any:
        warn_renamed(old_name, new_name)
        return getattr(instance, new_name)

    return property(read)


def warn_renamed(old_name: str, new_name: str, *, stacklevel: int = 3) -> None:
    """Warn that a public name was renamed; by default the caller's caller is warned."""
    message = f"{old_name} was renamed to {new_name}; the old name will be removed in the next release"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
