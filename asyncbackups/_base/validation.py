"""What callers give, checked before anything is sent: each check names the field, the value and what is allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from asyncbackups._base.errors import ConfigurationError

Seconds = float | timedelta
"""A duration: a number of seconds, or a `datetime.timedelta`."""

Validator = Callable[[Any, Any, Any], None]

_T = TypeVar("_T")

_LARGEST = 2**63 - 1
"""What JSON parsers, databases and the service itself can hold as a whole number."""

_SHOWN_CHARACTERS = 200


def shown(value: object) -> str:
    """Return a value as a message quotes it: its repr, at most 200 characters."""
    try:
        quoted = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits; arrays in arrays in arrays
        return f"a value of type {type(value).__name__}, too large to show"
    return quoted if len(quoted) <= _SHOWN_CHARACTERS else f"{quoted[: _SHOWN_CHARACTERS - 1]}…"


def _finite(value: object) -> float | None:
    """Return a finite number; None for anything else (a bool, infinity, NaN, an int that no float can hold)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def seconds(value: Seconds, name: str = "a duration") -> float:
    """Return a duration as a number of seconds.

    Raises:
        ConfigurationError: If it is not a timedelta or a finite number.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    finite = _finite(value)
    if finite is None:
        raise ConfigurationError(f"{name} must be a finite number of seconds or a timedelta, not {shown(value)}")
    return finite


def number(value: object, name: str) -> float:
    """Return a finite number.

    Raises:
        ConfigurationError: If it is not one.
    """
    finite = _finite(value)
    if finite is None:
        raise ConfigurationError(f"{name} must be a finite number, not {shown(value)}")
    return finite


def in_seconds(value: Seconds) -> float:
    """Return a duration in seconds, and what is none as it is: an attrs converter, after which `lasting` judges."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    finite = _finite(value)
    return value if finite is None else finite


def text(value: object, name: str) -> str:
    """Return a text that can be sent.

    Raises:
        ConfigurationError: If it is no text, or holds a lone surrogate, which UTF-8 cannot carry.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise ConfigurationError(f"{name} must be valid Unicode, without lone surrogates, not {shown(value)}") from exc
    return value


def not_blank(value: object, name: str) -> str:
    """Return a name that must hold at least one visible character.

    Raises:
        ConfigurationError: If it is no text, or blank.
    """
    checked = text(value, name)
    if not _shows(checked):
        raise ConfigurationError(f"{name} must not be blank: give a non-empty text, not {shown(value)}")
    return checked


def _shows(value: str) -> bool:
    """Whether there is anything to be seen in a text."""
    if value.isprintable():  # as names are, for each backup that is spoken of
        return bool(value.strip(" "))
    for character in value:  # noqa: SIM110 - as a generator it costs six times as much, for each backup that is spoken of
        if character != " " and character.isprintable():
            return True
    return False


def path_name(value: object, name: str) -> str:
    """Return a name that can be one segment of a path, once it is percent-encoded.

    Raises:
        ConfigurationError: If it is no text, blank, or one of the two names that no encoding protects.
    """
    checked = not_blank(value, name)
    if checked in {".", ".."}:
        # Every URL parser takes "%2E%2E" for "..", too.
        raise ConfigurationError(f"{name} must not be {checked!r}: it would be another path")
    return checked


def integer(value: object, name: str, *, lowest: int) -> int:
    """Return a whole number that is at least `lowest` and fits into 64 bits.

    Raises:
        ConfigurationError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigurationError(f"{name} must be a whole number of at least {lowest}, not {shown(value)}")
    if value > _LARGEST:
        raise ConfigurationError(f"{name} must be a whole number of at most {_LARGEST}, not {shown(value)}")
    return value


def flag(value: object, name: str) -> bool:
    """Return a yes or no.

    Raises:
        ConfigurationError: If it is no bool: a text such as "no" counts as true in Python.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {shown(value)}")
    return value


def instance(value: object, cls: type[_T], name: str) -> _T:
    """Return an object of a class.

    Raises:
        ConfigurationError: If it is of another.
    """
    if not isinstance(value, cls):
        raise ConfigurationError(f"{name} must be a {cls.__name__}, not {shown(value)}")
    return value


def offering(value: _T, protocol: type, name: str) -> _T:
    """Return an object that has every method which a protocol asks for.

    Raises:
        ConfigurationError: If it lacks one, or is a class and no object.
    """
    wanted = [method for method in vars(protocol) if not method.startswith("_")]
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in wanted):
        raise ConfigurationError(f"{name} must be an object with {', '.join(wanted)}, not {shown(value)}")
    return value


def file_path(value: object, name: str) -> Path:
    """Return the path of a file; whether the file is there is another question.

    Raises:
        ConfigurationError: If it is no path, or none that a file can have.
    """
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not Path(given).name or "\0" in given:
        raise ConfigurationError(f"{name} must be the path of a file, not {shown(value)}")
    return Path(given)


def at_least(lowest: float, *, exclusive: bool = False, what: str = "a number") -> Validator:
    """Build an attrs validator: a finite number not below `lowest`, or above it with `exclusive`."""

    def check(_: object, attribute: Any, value: object) -> None:
        finite = _finite(value)
        if finite is None or finite < lowest or (exclusive and finite == lowest):
            bound = "greater than" if exclusive else "at least"
            raise ConfigurationError(f"{attribute.name} must be {what} {bound} {lowest}, not {shown(value)}")

    return check


def lasting(lowest: float, *, exclusive: bool = False) -> Validator:
    """Build an attrs validator for a duration that `in_seconds` has converted: as `at_least`, in its own words."""
    return at_least(lowest, exclusive=exclusive, what="a finite number of seconds or a timedelta,")


def between(lowest: float, highest: float) -> Validator:
    """Build an attrs validator: a number from `lowest` to `highest`, both included."""

    def check(_: object, attribute: Any, value: object) -> None:
        finite = _finite(value)
        if finite is None or not lowest <= finite <= highest:
            raise ConfigurationError(
                f"{attribute.name} must be a number from {lowest} to {highest}, not {shown(value)}"
            )

    return check


def optional(inner: Validator) -> Validator:
    """Build an attrs validator that also allows None."""

    def check(instance: object, attribute: object, value: object) -> None:
        if value is not None:
            inner(instance, attribute, value)

    return check
