"""Checks of what callers give: field, value and what is allowed are in each message."""

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

from asyncbackups._base import validation as checks
from asyncbackups.errors import ConfigurationError

HUGE = 10**5000
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.just(HUGE)
)


@attrs.frozen
class Given:
    wait: float = attrs.field(default=1.0, converter=checks.in_seconds, validator=checks.lasting(0))
    low: float = attrs.field(default=1, validator=checks.at_least(1))
    above: float = attrs.field(default=1, validator=checks.at_least(0, exclusive=True))
    part: float = attrs.field(default=1, validator=checks.between(0, 1))
    maybe: float | None = attrs.field(default=None, validator=checks.optional(checks.at_least(2)))


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (-1, -1.0)])
def test_seconds_takes_numbers_and_timedeltas(value: checks.Seconds, expected: float) -> None:
    """A duration is a number of seconds or a timedelta."""
    assert checks.seconds(value) == expected
    assert type(checks.seconds(value)) is float


@pytest.mark.parametrize("value", ["2", None, True, math.inf, math.nan, HUGE, -HUGE], ids=checks.shown)
def test_seconds_refuses_what_is_no_finite_number(value: Any) -> None:
    """Texts, infinities, bools and integers that no float can hold are refused by name."""
    with pytest.raises(ConfigurationError, match=r"^deadline must be a finite number of seconds or a timedelta, not "):
        checks.seconds(value, "deadline")


def test_a_field_in_seconds_takes_timedeltas_and_is_named_in_the_message() -> None:
    """A converter turns timedeltas into seconds; the validator after it names the field."""
    assert Given(wait=timedelta(seconds=3)).wait == 3.0  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"^wait must be a finite number of seconds or a timedelta, at least 0, not 'x'"
    ):
        Given(wait="x")  # type: ignore[arg-type]


def test_number_takes_finite_numbers_only() -> None:
    """A number is an int or a float, finite, no bool."""
    assert checks.number(3, "factor") == 3.0
    with pytest.raises(ConfigurationError, match=r"^factor must be a finite number, not nan"):
        checks.number(math.nan, "factor")


@pytest.mark.parametrize("value", ["p", "é", " x ", "../../x", "a/b", "日本"])
def test_not_blank_returns_names_unchanged(value: str) -> None:
    """Whatever holds a visible character is a name, and is not touched."""
    assert checks.not_blank(value, "planet") == value


@pytest.mark.parametrize("value", ["", "  ", "\t\n", "\u200b", "\x00", "\u00a0"])
def test_not_blank_refuses_names_without_a_visible_character(value: object) -> None:
    """Nothing, white space, zero-width and control characters are refused."""
    with pytest.raises(ConfigurationError, match=r"^planet must not be blank: give a non-empty text, not "):
        checks.not_blank(value, "planet")


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, "a text"), (5, "a text"), (b"p", "a text"), ("\ud800", "valid Unicode")]
)
def test_not_blank_calls_a_wrong_type_a_wrong_type(value: object, wanted: str) -> None:
    """What is no text, or none that can be sent, is not called blank."""
    with pytest.raises(ConfigurationError, match=rf"^planet must be {wanted}"):
        checks.not_blank(value, "planet")


def test_a_flag_is_a_bool() -> None:
    """Nothing else counts as yes or no, least of all a text that says no."""
    assert checks.flag(False, "missing_ok") is False
    for wrong in ("no", 1, 0, None):
        with pytest.raises(ConfigurationError, match=r"^missing_ok must be True or False, not "):
            checks.flag(wrong, "missing_ok")


def test_instance_takes_objects_of_the_class() -> None:
    """Also of its subclasses; the class itself and everything else are refused by name."""
    assert checks.instance(True, int, "count") is True
    with pytest.raises(ConfigurationError, match=r"^wait must be a timedelta, not <class 'datetime.timedelta'>"):
        checks.instance(timedelta, timedelta, "wait")


class Door(Protocol):
    def open(self) -> None: ...

    def close(self) -> None: ...


class Gate:
    def open(self) -> None: ...

    def close(self) -> None: ...


class Hole:
    def open(self) -> None: ...


def test_offering_takes_objects_with_all_methods() -> None:
    """The message names the methods; a class is no object."""
    gate = Gate()
    assert checks.offering(gate, Door, "way") is gate
    for wrong in (Hole(), Gate, 5, None):
        with pytest.raises(ConfigurationError, match=r"^way must be an object with open, close, not "):
            checks.offering(wrong, Door, "way")


@pytest.mark.parametrize("value", ["run.journal", "/var/x", Path("run.journal"), "\udcffx"])
def test_file_path_takes_texts_and_paths(value: Any) -> None:
    """Whatever may be the name of a file."""
    assert checks.file_path(value, "journal") == Path(value)


@pytest.mark.parametrize("value", ["", ".", "/", Path(), "a\0b", b"x", 5, None, ["x"]])
def test_file_path_refuses_what_names_no_file(value: object) -> None:
    """The message names the argument and what is allowed."""
    with pytest.raises(ConfigurationError, match=r"^journal must be the path of a file, not "):
        checks.file_path(value, "journal")


def test_text_may_be_empty_but_must_be_sendable() -> None:
    """Any text goes, but for what UTF-8 cannot carry."""
    assert checks.text("", "description") == ""
    with pytest.raises(ConfigurationError, match=r"^description must be a text, not 5"):
        checks.text(5, "description")
    with pytest.raises(ConfigurationError, match=r"^description must be valid Unicode, .* not 'a.ud800'"):
        checks.text("a\ud800", "description")


@pytest.mark.parametrize("value", [".", ".."])
def test_path_name_refuses_the_names_that_no_encoding_protects(value: str) -> None:
    """`.` and `..` would be another path, percent-encoded or not."""
    with pytest.raises(ConfigurationError, match=r"^planet must not be '[.]+': it would be another path"):
        checks.path_name(value, "planet")


@pytest.mark.parametrize("value", ["...", "..x", "../../x", "a/b"])
def test_path_name_takes_everything_else(value: str) -> None:
    """Other names with dots and slashes can be encoded."""
    assert checks.path_name(value, "planet") == value


def test_integer_has_two_bounds() -> None:
    """Whole numbers from `lowest` to what 64 bits hold."""
    assert checks.integer(2**63 - 1, "backup_id", lowest=0) == 2**63 - 1
    with pytest.raises(ConfigurationError, match=r"^backup_id must be a whole number of at most 9223372036854775807, "):
        checks.integer(2**63, "backup_id", lowest=0)


@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True, -HUGE], ids=checks.shown)
def test_integer_refuses_what_is_no_whole_number(value: object) -> None:
    """Floats, texts and bools are no whole numbers."""
    with pytest.raises(ConfigurationError, match=r"^backup_id must be a whole number of at least 0, not "):
        checks.integer(value, "backup_id", lowest=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0.5}, "low must be a number at least 1, not 0.5"),
        ({"low": math.inf}, "low must be a number at least 1, not inf"),
        ({"low": "2"}, "low must be a number at least 1, not '2'"),
        ({"low": HUGE}, "low must be a number at least 1, not a value of type int, too large to show"),
        ({"above": 0}, "above must be a number greater than 0, not 0"),
        ({"part": 1.1}, "part must be a number from 0 to 1, not 1.1"),
        ({"part": -0.1}, "part must be a number from 0 to 1, not -0.1"),
        ({"part": math.nan}, "part must be a number from 0 to 1, not nan"),
        ({"part": True}, "part must be a number from 0 to 1, not True"),
        ({"maybe": 1}, "maybe must be a number at least 2, not 1"),
    ],
    ids=checks.shown,
)
def test_validators_name_field_value_and_bound(values: dict[str, Any], message: str) -> None:
    """Each attrs validator says what would have been right."""
    with pytest.raises(ConfigurationError) as caught:
        Given(**values)
    assert str(caught.value) == message


def test_validators_include_their_bounds() -> None:
    """Bounds belong to what is allowed, but for the exclusive one; None only where it is optional."""
    assert Given(low=1, above=1e-9, part=0, maybe=2) == Given(1.0, 1, 1e-9, 0, 2)
    assert Given(maybe=None).maybe is None


def test_shown_is_bounded_and_never_fails() -> None:
    """Values are quoted in 200 characters, also those that Python will not write out."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert checks.shown("x") == "'x'"
    assert len(checks.shown("x" * 10**6)) == 200
    assert checks.shown(HUGE) == "a value of type int, too large to show"
    assert checks.shown(nested) == "a value of type list, too large to show"


@pytest.mark.parametrize(
    "check",
    [
        checks.seconds,
        lambda value: checks.number(value, "n"),
        lambda value: checks.not_blank(value, "n"),
        lambda value: checks.path_name(value, "n"),
        lambda value: checks.text(value, "n"),
        lambda value: checks.integer(value, "n", lowest=1),
        lambda value: checks.flag(value, "n"),
        lambda value: checks.instance(value, int, "n"),
        lambda value: checks.file_path(value, "n"),
        lambda value: Given(low=value),
        lambda value: Given(part=value),
    ],
)
@settings(max_examples=40)
@given(value=ANYTHING)
def test_checks_never_end_in_another_error(check: Callable[[Any], object], value: Any) -> None:
    """Whatever is given passes or is refused as a configuration, in a bounded message."""
    refused = ""
    try:
        check(value)
    except ConfigurationError as exc:
        refused = str(exc)
    assert len(refused) < 400
