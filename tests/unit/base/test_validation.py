"""Validation: every message names the argument, the value and what is valid."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._base import validation
from asyncbackups._base.validation import (
    check_file_path,
    check_flag,
    check_instance,
    check_integer,
    check_not_blank,
    check_number,
    check_path_name,
    check_protocol,
    check_seconds,
    check_text,
    quote_value,
    to_seconds,
    validate_duration,
    validate_minimum,
    validate_range,
    validate_with,
)
from asyncbackups.errors import ConfigurationError

HUGE = 10**5000
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.just(HUGE)
)


@attrs.frozen
class Fields:
    wait: float = attrs.field(default=1.0, converter=to_seconds, validator=validate_duration(0))
    low: float = attrs.field(default=1, validator=validate_minimum(1))
    above: float = attrs.field(default=1, validator=validate_minimum(0, exclusive=True))
    part: float = attrs.field(default=1, validator=validate_range(0, 1))
    count: int = attrs.field(default=3, validator=validate_with(check_integer, minimum=3))


def refusal(check: Callable[..., object], *args: Any, **options: Any) -> tuple[str | None, str]:
    """Return the field and the message of the error that a check raises."""
    with pytest.raises(ConfigurationError) as caught:
        check(*args, **options)
    assert caught.value.field is not None
    assert str(caught.value) == f"{caught.value.field} {caught.value.reason}"
    return caught.value.field, caught.value.reason


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (-1, -1.0)])
def test_check_seconds_accepts_numbers_and_timedeltas(value: validation.Seconds, expected: float) -> None:
    """A duration is a number of seconds or a timedelta."""
    assert check_seconds(value) == expected
    assert type(check_seconds(value)) is float


@pytest.mark.parametrize("value", ["2", None, True, math.inf, math.nan, HUGE, -HUGE], ids=quote_value)
def test_check_seconds_rejects_everything_else(value: Any) -> None:
    """Strings, infinities, bools and integers too large for a float are invalid durations."""
    field, reason = refusal(check_seconds, value, "deadline")
    assert field == "deadline"
    assert reason.startswith("must be a finite number of seconds or a timedelta, not ")


def test_duration_field_accepts_timedeltas() -> None:
    """The converter turns timedeltas into seconds; the validator rejects anything that is not a duration."""
    assert Fields(wait=timedelta(seconds=3)).wait == 3.0  # type: ignore[arg-type]
    assert refusal(Fields, wait="x") == (
        "wait",
        "must be a finite number of seconds or a timedelta of at least 0, not 'x'",
    )


def test_check_number_accepts_finite_numbers_only() -> None:
    """A number is a finite int or float, and not a bool."""
    assert check_number(3, "factor") == 3.0
    assert refusal(check_number, math.nan, "factor") == ("factor", "must be a finite number, not nan")


@pytest.mark.parametrize("value", ["p", "é", " x ", "../../x", "a/b", "日本"])
def test_check_not_blank_returns_names_unchanged(value: str) -> None:
    """Any string with a visible character is a name."""
    assert check_not_blank(value, "planet") == value


@pytest.mark.parametrize("value", ["", "  ", "\t\n", "\u200b", "\x00", "\u00a0"])
def test_check_not_blank_rejects_strings_without_a_visible_character(value: str) -> None:
    """Empty strings, white space, zero-width and control characters are blank."""
    assert refusal(check_not_blank, value, "planet") == ("planet", f"must not be blank, but is {value!r}")


@pytest.mark.parametrize(
    ("value", "valid"), [(None, "a string"), (5, "a string"), (b"p", "a string"), ("\ud800", "valid Unicode")]
)
def test_check_not_blank_reports_a_wrong_type_as_such(value: object, valid: str) -> None:
    """A value that is not a string is not called blank."""
    assert refusal(check_not_blank, value, "planet")[1].startswith(f"must be {valid}")


def test_check_flag_accepts_bools_only() -> None:
    """A string such as "no" is true in Python, so only True and False are accepted."""
    assert check_flag(False, "temporary") is False
    for invalid in ("no", 1, 0, None):
        assert refusal(check_flag, invalid, "temporary") == ("temporary", f"must be True or False, not {invalid!r}")


def test_check_instance_names_the_class() -> None:
    """Instances of subclasses are accepted, the class itself is not; the message names the class."""
    assert check_instance(True, int, "count") is True
    assert refusal(check_instance, timedelta, timedelta, "wait") == (
        "wait",
        "must be a timedelta, not <class 'datetime.timedelta'>",
    )


class Door(Protocol):
    def open(self) -> None: ...

    def close(self) -> None: ...


class CompleteDoor:
    def open(self) -> None: ...

    def close(self) -> None: ...


class IncompleteDoor:
    def open(self) -> None: ...


def test_check_protocol_accepts_objects_with_all_methods() -> None:
    """The message lists the methods; a class is rejected."""
    door = CompleteDoor()
    assert check_protocol(door, Door, "way") is door
    for invalid in (IncompleteDoor(), CompleteDoor, 5, None):
        assert refusal(check_protocol, invalid, Door, "way")[1].startswith(
            "must be an object with the methods open, close, not "
        )


@pytest.mark.parametrize("value", ["run.journal", "/var/x", Path("run.journal"), "\udcffx"])
def test_check_file_path_accepts_strings_and_paths(value: Any) -> None:
    """Any possible name of a file is accepted."""
    assert check_file_path(value, "journal") == Path(value)


@pytest.mark.parametrize("value", ["", ".", "/", Path(), "a\0b", b"x", 5, None, ["x"]])
def test_check_file_path_rejects_everything_else(value: object) -> None:
    """A path without a file name is rejected."""
    field, reason = refusal(check_file_path, value, "journal")
    assert field == "journal"
    assert reason.startswith("must be the path of a file, not ")


def test_check_text_accepts_any_string_that_utf_8_can_encode() -> None:
    """The string may be empty, but must not contain a lone surrogate."""
    assert check_text("", "description") == ""
    assert refusal(check_text, 5, "description") == ("description", "must be a string, not 5")
    assert refusal(check_text, "a\ud800", "description") == (
        "description",
        "must be valid Unicode without lone surrogates, not 'a\\ud800'",
    )


@pytest.mark.parametrize("value", [".", ".."])
def test_check_path_name_rejects_dot_segments(value: str) -> None:
    """`.` and `..` change the path even when they are percent-encoded."""
    assert refusal(check_path_name, value, "planet") == (
        "planet",
        f"must not be {value!r}, which changes the path of the URL",
    )


@pytest.mark.parametrize("value", ["...", "..x", "../../x", "a/b"])
def test_check_path_name_accepts_other_names(value: str) -> None:
    """Other names with dots and slashes can be percent-encoded."""
    assert check_path_name(value, "planet") == value


def test_check_integer_has_two_bounds() -> None:
    """Integers from `minimum` to the maximum of 64 bits are accepted."""
    assert check_integer(2**63 - 1, "backup_id", minimum=0) == 2**63 - 1
    field, reason = refusal(check_integer, 2**63, "backup_id", minimum=0)
    assert field == "backup_id"
    assert reason.startswith("must be an integer of at most 9223372036854775807, not ")


@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True, -HUGE], ids=quote_value)
def test_check_integer_rejects_everything_else(value: object) -> None:
    """Floats, strings and bools are not integers."""
    reason = refusal(check_integer, value, "backup_id", minimum=0)[1]
    assert reason.startswith("must be an integer of at least 0, not ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0.5}, "low must be a number of at least 1, not 0.5"),
        ({"low": math.inf}, "low must be a number of at least 1, not inf"),
        ({"low": "2"}, "low must be a number of at least 1, not '2'"),
        ({"low": HUGE}, "low must be a number of at least 1, not a value of type int, too large to show"),
        ({"above": 0}, "above must be a number greater than 0, not 0"),
        ({"part": 1.1}, "part must be a number from 0 to 1, not 1.1"),
        ({"part": -0.1}, "part must be a number from 0 to 1, not -0.1"),
        ({"part": math.nan}, "part must be a number from 0 to 1, not nan"),
        ({"part": True}, "part must be a number from 0 to 1, not True"),
        ({"count": 2}, "count must be an integer of at least 3, not 2"),
    ],
    ids=quote_value,
)
def test_validators_name_field_value_and_bound(values: dict[str, Any], message: str) -> None:
    """Each attrs validator raises an error that says what is valid."""
    (name,) = values
    assert refusal(Fields, **values) == (name, message.removeprefix(f"{name} "))


def test_validators_include_their_bounds() -> None:
    """The bounds themselves are valid, except for the exclusive one."""
    assert Fields(low=1, above=1e-9, part=0, count=3) == Fields(1.0, 1, 1e-9, 0, 3)


def test_quote_value_is_bounded_and_never_fails() -> None:
    """At most 200 characters are quoted, and values that have no repr are described."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert quote_value("x") == "'x'"
    assert len(quote_value("x" * 10**6)) == 200
    assert quote_value(HUGE) == "a value of type int, too large to show"
    assert quote_value(nested) == "a value of type list, too large to show"


@pytest.mark.parametrize(
    "check",
    [
        check_seconds,
        lambda value: check_number(value, "n"),
        lambda value: check_not_blank(value, "n"),
        lambda value: check_path_name(value, "n"),
        lambda value: check_text(value, "n"),
        lambda value: check_integer(value, "n", minimum=1),
        lambda value: check_flag(value, "n"),
        lambda value: check_instance(value, int, "n"),
        lambda value: check_file_path(value, "n"),
        lambda value: Fields(low=value),
        lambda value: Fields(part=value),
    ],
)
@settings(max_examples=40)
@given(value=ANYTHING)
def test_checks_raise_no_other_error(check: Callable[[Any], object], value: Any) -> None:
    """Any value is either accepted or rejected with a `ConfigurationError` of bounded length."""
    message = ""
    try:
        check(value)
    except ConfigurationError as exc:
        message = str(exc)
    assert len(message) < 400
