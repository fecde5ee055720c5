"""Check the caller's arguments: `check_*` return the value or raise, `validate_*` make attrs validators of it.

Every error is a `ConfigurationError`, which names the argument, the value and what is valid. attrs' own validators
raise other errors, which do not carry the argument's name as data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from asyncbackups._base.errors import ConfigurationError

Seconds = float | timedelta
"""A duration: a number of seconds or a `datetime.timedelta`."""

Validator = Callable[[Any, Any, Any], None]
"""An attrs validator: called with the instance, the attribute and the value."""

_T = TypeVar("_T")

_MAXIMUM_INTEGER = 2**63 - 1
"""The largest integer that JSON parsers, databases and the service itself support."""

_MINIMUM_ID, _MAXIMUM_ID = -(2**63), 2**64 - 1
"""The bounds of 64-bit integers, signed and unsigned."""
_ID_CHARACTERS = 200

_QUOTED_CHARACTERS = 200
_DURATION = "a finite number of seconds or a timedelta"


def quote_value(value: object) -> str:
    """Return a value's repr for a message, at most 200 characters."""
    try:
        quoted = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits; deeply nested lists
        return f"a value of type {type(value).__name__}, too large to show"
    return quoted if len(quoted) <= _QUOTED_CHARACTERS else f"{quoted[: _QUOTED_CHARACTERS - 1]}…"


def _argument_error(name: str, valid: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"must be {valid}, not {quote_value(value)}", field=name)


def _finite_number(value: object) -> float | None:
    """Return a finite number, or None for anything else (a bool, infinity, NaN, an integer too large for a float)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def to_seconds(value: Seconds) -> float:
    """Convert a duration to seconds (an attrs converter); `validate_duration` then rejects anything else."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    finite = _finite_number(value)
    return value if finite is None else finite


def check_seconds(value: Seconds, name: str = "duration") -> float:
    """Return a duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else check_number(value, name, _DURATION)


def check_number(value: object, name: str, valid: str = "a finite number") -> float:
    """Return a finite number."""
    finite = _finite_number(value)
    if finite is None:
        raise _argument_error(name, valid, value)
    return finite


def check_text(value: object, name: str) -> str:
    """Return a string that can be sent: without lone surrogates, which UTF-8 cannot encode."""
    if not isinstance(value, str):
        raise _argument_error(name, "a string", value)
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise _argument_error(name, "valid Unicode without lone surrogates", value) from exc
    return value


def check_not_blank(value: object, name: str) -> str:
    """Return a string that contains at least one visible character."""
    checked = check_text(value, name)
    if not _has_visible_character(checked):
        raise ConfigurationError(f"must not be blank, but is {quote_value(value)}", field=name)
    return checked


def _has_visible_character(value: str) -> bool:
    if value.isprintable():  # the fast path: nearly every name is printable
        return bool(value.strip(" "))
    for character in value:  # noqa: SIM110 - a generator takes six times as long, for every backup
        if character != " " and character.isprintable():
            return True
    return False


def check_path_name(value: object, name: str) -> str:
    """Return a name that can be one segment of a path once it is percent-encoded: not blank, "." or ".."."""
    checked = check_not_blank(value, name)
    if checked in {".", ".."}:
        # Every URL parser reads "%2E%2E" as "..", too.
        raise ConfigurationError(f"must not be {checked!r}, which changes the path of the URL", field=name)
    return checked


def check_backup_id(value: object, name: str) -> int | str:
    """Return a backup's id as it is: a 64-bit integer, or a printable string that can be one segment of a path.

    Raises:
        ConfigurationError: If it is anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and _MINIMUM_ID <= value <= _MAXIMUM_ID:
        return value
    if not isinstance(value, str):
        raise _argument_error(name, "a 64-bit integer or a string", value)
    if len(value) > _ID_CHARACTERS or not check_path_name(value, name).isprintable():
        raise _argument_error(name, f"at most {_ID_CHARACTERS} printable characters", value)
    return value


def check_integer(value: object, name: str, *, minimum: int) -> int:
    """Return an integer of at least `minimum` that fits into 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise _argument_error(name, f"an integer of at least {minimum}", value)
    if value > _MAXIMUM_INTEGER:
        raise _argument_error(name, f"an integer of at most {_MAXIMUM_INTEGER}", value)
    return value


def check_flag(value: object, name: str) -> bool:
    """Return a bool. Nothing else is accepted: a string such as "no" is true in Python."""
    if not isinstance(value, bool):
        raise _argument_error(name, "True or False", value)
    return value


def check_instance(value: object, cls: type[_T], name: str) -> _T:
    """Return an instance of a class."""
    if not isinstance(value, cls):
        raise _argument_error(name, f"a {cls.__name__}", value)
    return value


def check_protocol(value: _T, protocol: type, name: str) -> _T:
    """Return an object, not a class, that has every method of a protocol."""
    methods = [method for method in vars(protocol) if not method.startswith("_")]
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise _argument_error(name, f"an object with the methods {', '.join(methods)}", value)
    return value


def check_file_path(value: object, name: str) -> Path:
    """Return the path of a file, which need not exist."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not Path(given).name or "\0" in given:
        raise _argument_error(name, "the path of a file", value)
    return Path(given)


def validate_with(check: Callable[..., object], **options: object) -> Validator:
    """Return an attrs validator that calls one of the checks above, with these options."""

    def validate_value(_: object, attribute: Any, value: object) -> None:
        check(value, attribute.name, **options)

    return validate_value


def validate_minimum(minimum: float, *, exclusive: bool = False, what: str = "a number") -> Validator:
    """Return an attrs validator for a finite number of at least `minimum`, or greater than it if `exclusive`."""
    valid = f"{what} {'greater than' if exclusive else 'of at least'} {minimum}"
    return _validate_number(valid, lambda number: number > minimum or (number == minimum and not exclusive))


def validate_duration(minimum: float, *, exclusive: bool = False) -> Validator:
    """Return an attrs validator as `validate_minimum` does, for a duration that `to_seconds` has converted."""
    return validate_minimum(minimum, exclusive=exclusive, what=_DURATION)


def validate_range(minimum: float, maximum: float) -> Validator:
    """Return an attrs validator for a number from `minimum` to `maximum`, both included."""
    return _validate_number(f"a number from {minimum} to {maximum}", lambda number: minimum <= number <= maximum)


def _validate_number(valid: str, is_valid: Callable[[float], bool]) -> Validator:
    def validate_value(_: object, attribute: Any, value: object) -> None:
        number = _finite_number(value)
        if number is None or not is_valid(number):
            raise _argument_error(attribute.name, valid, value)

    return validate_value
