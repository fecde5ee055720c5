"""Secrets are redacted in every encoding, and any bytes can be quoted safely."""

from __future__ import annotations

import base64
import html
import json
import pickle
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._http.redaction import REDACTED, Redactor, Secret, make_excerpt

SECRET = 'p&ss/w"ord+é '


def test_secret_is_hidden() -> None:
    """Neither repr, str, format nor pickle reveals it."""
    secret = Secret("hunter2")
    assert {repr(secret), str(secret), f"{secret}"} == {"<secret>"}
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET)[1:-1],
        repr(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_every_encoding_of_a_secret_is_redacted(echo: str) -> None:
    """A server may quote, escape or encode a secret that it received."""
    redactor = Redactor([SECRET])
    assert redactor.redact_text(f"you sent {echo}!") == f"you sent {REDACTED}!"
    assert redactor.redact_body(f"you sent {echo}!".encode()) == f"you sent {REDACTED}!".encode()


def test_short_secrets_are_not_redacted() -> None:
    """Fewer than four characters occur by chance in every text."""
    assert Redactor(["", "abc"]).redact_text("abcdef") == "abcdef"


@given(st.text(min_size=4), st.text(), st.text())
def test_secret_is_redacted_in_any_context(secret: str, before: str, after: str) -> None:
    """The surrounding text does not matter."""
    shown = Redactor([secret]).redact_text(before + secret + after)
    assert secret in REDACTED or secret not in shown.replace(REDACTED, "\0")


def test_repr_of_a_redactor_hides_the_secrets() -> None:
    """It only shows their number."""
    assert "hunter2" not in repr(Redactor(["hunter2"]))


def test_excerpt_is_one_bounded_line() -> None:
    """White space is folded, and at most 500 characters are kept; an ellipsis marks truncation."""
    assert make_excerpt(b" a\r\n\t b ") == "a b"
    assert make_excerpt(b"") == ""
    assert make_excerpt(b"x" * 500) == "x" * 500
    assert make_excerpt(b"x" * 501) == "x" * 499 + "…"
    assert make_excerpt(b" " * 3000 + b"x") == "…"


@settings(max_examples=150, deadline=None, derandomize=True)
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
