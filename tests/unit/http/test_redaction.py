"""Secrets are not shown, in whatever form they are echoed."""

from __future__ import annotations

import base64
import html
import json
import pickle
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._http.messages import Response
from asyncbackups._http.redaction import REDACTED, Redactor, Secret

SECRET = 'p&ss/w"ord+é '


def test_a_secret_shows_itself_to_nobody_by_accident() -> None:
    """Neither repr, str, format nor pickle gives it away."""
    secret = Secret("hunter2")
    assert {repr(secret), str(secret), f"{secret}"} == {"<secret>"}
    with pytest.raises(TypeError, match="not pickled"):
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
def test_every_form_of_an_echo_is_taken_out(echo: str) -> None:
    """A server may quote, escape or encode what it was sent."""
    redactor = Redactor([SECRET])
    assert redactor.redact_text(f"you sent {echo}!") == f"you sent {REDACTED}!"
    assert redactor.redact_body(f"you sent {echo}!".encode()) == f"you sent {REDACTED}!".encode()


def test_short_secrets_do_not_hole_every_text() -> None:
    """What is shorter than four characters hides nothing and would be found everywhere."""
    assert Redactor(["", "abc"]).redact_text("abcdef") == "abcdef"


@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    """Whatever stands around it, the secret is gone; unless it is a piece of the mark itself."""
    shown = Redactor([secret]).redact_text(before + secret + after)
    assert secret in REDACTED or secret not in shown.replace(REDACTED, "\0")


def test_a_redactor_does_not_show_what_it_looks_for() -> None:
    """Its repr counts, and no more."""
    assert "hunter2" not in repr(Redactor(["hunter2"]))


def response(status: int, body: bytes, headers: CIMultiDict[str] | None = None) -> Response:
    return Response(status=status, headers=headers or CIMultiDict(), body=body, method="GET", url="https://x.example/")


def test_an_answer_without_secrets_can_be_quoted() -> None:
    """Body and header values are redacted; headers that came several times are joined."""
    headers = CIMultiDict([("Link", "<a>"), ("X-Echo", "Bearer hunter2"), ("link", "<b>")])
    shown = Redactor(["hunter2"]).redact_response(response(200, b"[hunter2]", headers))
    assert shown.body == b"[[redacted]]"
    assert sorted(shown.headers.values()) == ["<a>, <b>", "Bearer [redacted]"]
    assert shown.headers["LINK"] == "<a>, <b>"


def test_of_an_error_only_the_beginning_is_kept() -> None:
    """An error's body is only ever quoted; an answer's has to stay whole."""
    body = b"x" * 100_000
    assert len(Redactor([]).redact_response(response(500, body)).body) == 65_536
    assert len(Redactor([]).redact_response(response(200, body)).body) == 100_000
