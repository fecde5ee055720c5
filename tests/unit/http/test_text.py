"""JSON and text of a response: any bytes can be decoded or refused, and quoted safely."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._http.text import decode_json, make_excerpt
from asyncbackups.errors import ProtocolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
prop = settings(max_examples=150, deadline=None, derandomize=True)


def text_of(value: Any) -> str:
    """Write JSON so that only the same value is written the same: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"{",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"9" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"{} {}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_invalid_json_is_a_protocol_error(body: bytes) -> None:
    """Truncated, malformed, not UTF-8, too deep or too large a number: one typed error with a bounded message."""
    with pytest.raises(ProtocolError, match=r"^the response is not JSON") as caught:
        decode_json(body)
    assert len(str(caught.value)) < 1000


@prop
@given(body=st.binary(max_size=40) | JSON.map(msgspec.json.encode))
def test_any_body_is_a_value_or_a_protocol_error(body: bytes) -> None:
    """No bytes cause another exception, and a value is encoded as the same value."""
    try:
        value = decode_json(body)
    except ProtocolError:
        return
    assert text_of(decode_json(msgspec.json.encode(value))) == text_of(value)


def test_excerpt_is_one_bounded_line() -> None:
    """White space is folded, and at most 500 characters are kept; an ellipsis marks truncation."""
    assert make_excerpt(b" a\r\n\t b ") == "a b"
    assert make_excerpt(b"") == ""
    assert make_excerpt(b"x" * 500) == "x" * 500
    assert make_excerpt(b"x" * 501) == "x" * 499 + "…"
    assert make_excerpt(b" " * 3000 + b"x") == "…"


@prop
@given(body=st.binary(max_size=3000))
def test_excerpt_of_any_bytes_is_printable(body: bytes) -> None:
    """No control character is kept, and the limit holds."""
    excerpt = make_excerpt(body * 2)
    assert len(excerpt) <= 500
    assert excerpt.isprintable()


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b'{"access_token": "eyJhbGci.abc-d", "expires_in": 1}', '{"access_token": "***", "expires_in": 1}'),
        (b"client_id=me&client_secret=s3cr%2Bt&x=1", "client_id=me&client_secret=***&x=1"),
        (b"you sent Bearer eyJhbGciOiJSUzI1NiJ9.e30.x-_", "you sent Bearer ***"),
        (b"Bearer token is invalid", "Bearer token is invalid"),
    ],
)
def test_excerpt_hides_secrets(body: bytes, excerpt: str) -> None:
    """A token response, a form or an echoed header is quoted without its secret."""
    assert make_excerpt(body) == excerpt


def test_control_characters_are_replaced() -> None:
    """A server cannot control the terminal through an error message."""
    assert make_excerpt(b"\x1b[31mred\x00") == "\ufffd[31mred\ufffd"
