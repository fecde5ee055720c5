"""Headers: `Retry-After` and `Date`, whatever a server sends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._http.headers import parse_retry_after, parse_server_time

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)
prop = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry_After": ""}, None),
        ({"Retry_After": "0"}, 0.0),
        ({"Retry_After": " 120 "}, 120.0),
        ({"Retry_After": "1.5"}, 1.5),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "."}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "٣"}, None),
        ({"Retry_After": "Mon, 29 Jan 2024 09:56:20 GMT"}, 60.0),
        ({"Retry_After": "Mon, 29 Jan 2024 09:56:20 GMT", "Date": "Mon, 29 Jan 2024 09:56:00 GMT"}, 20.0),
        ({"Retry_After": "Mon, 29 Jan 2024 09:56:20 GMT", "Date": "rubbish"}, 60.0),
        ({"Retry_After": "Mon, 29 Jan 2024 09:00:00 GMT"}, 0.0),
        ({"Retry_After": "Mon, 29 Jan 2024 10:56:20 +0100"}, 60.0),
        ({"Retry_After": "Mon, 29 Jan 2024 09:56:20 -0000"}, 60.0),
        ({"Retry_After": "Fri, 31 Dec 9999 23:59:59 -0100"}, None),
        ({"Retry_After": "Mon, 29 Jan 2024 09:56:20 +99999999999999"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    """Seconds are used as they are, a date relative to the server's clock; an invalid value counts as none."""
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    assert parse_retry_after(named, now=NOW) == expected


@prop
@given(
    text=st.text(max_size=40) | st.integers().map(str) | st.datetimes().map(lambda d: f"{d:%a, %d %b %Y %H:%M:%S} GMT")
)
def test_retry_after_of_any_text_is_finite_or_none(text: str) -> None:
    """No header causes an exception, a negative or an infinite delay."""
    seconds = parse_retry_after({"Retry-After": text, "Date": text}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("digits", [400, 8000])
def test_retry_after_of_thousands_of_digits_is_finite(digits: int) -> None:
    """It is a very long delay, which the policy limits."""
    seconds = parse_retry_after({"Retry-After": "9" * digits}, now=NOW)
    assert seconds is not None
    assert 1e300 < seconds < float("inf")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 29 Jan 2024 09:55:20 GMT", NOW),
        ("Mon, 29 Jan 2024 10:55:20 +0100", NOW),
        ("", None),
        ("x", None),
        ("Mon, 32 Jan 2024 09:55:20 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
    ],
)
def test_server_time_is_the_date_header(text: str, expected: datetime | None) -> None:
    """The `Date` header in UTC; None if missing or invalid."""
    assert parse_server_time({"Date": text} if text else {}) == expected


def test_server_time_without_headers_is_none() -> None:
    """Without `Date` the time is unknown."""
    assert parse_server_time({}) is None
