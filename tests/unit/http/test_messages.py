"""Requests and responses as plain data, and the error of a response, by its status or its body."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from rich.pretty import pretty_repr

from asyncbackups._http.messages import (
    Request,
    RequestKind,
    Response,
    as_protocol_error,
    decode_json,
    raise_for_status,
    redact_response,
)
from asyncbackups._http.redaction import Redactor
from asyncbackups.errors import ApiError, NotFoundError, ProtocolError, RateLimitedError, RedirectRefusedError

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)
URL = "https://host.example/api/v1/tenants/acme/starsystems/alpha/backups/362"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def response(body: Any = b"", status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, headers=named, body=raw, method="GET", url=URL, attempt=2)


@pytest.mark.parametrize(("method", "idempotent"), [("GET", True), ("DELETE", True), ("PUT", True), ("POST", False)])
def test_only_post_is_not_idempotent(method: str, idempotent: bool) -> None:
    """A POST sent twice creates two backups; all other methods may be sent again."""
    assert Request(kind=RequestKind.GET, method=method, path="/x").is_idempotent is idempotent


def test_repr_hides_the_body() -> None:
    """A form with the client secret and a response with a token appear in no repr, nor in that of rich."""
    request = Request(kind=RequestKind.TOKEN, method="POST", path="/token", body=b"client_secret=s3cret")
    response = Response(status=200, headers={}, body=b'{"access_token": "s3cret"}', method="POST", url="https://h/")
    assert repr(request).startswith(
        "Request(kind=<RequestKind.TOKEN: 'token'>, method='POST', path='/token', etag=None, "
    )
    for shown in (repr(request), repr(response), pretty_repr(request), pretty_repr(response)):
        assert "s3cret" not in shown


def test_request_defaults() -> None:
    """The token is sent by default; there is no body and no entity tag."""
    request = Request(kind=RequestKind.GET, method="GET", path="/x")
    assert (request.authorized, request.body, request.etag) == (True, None, None)


def test_secrets_in_a_response_are_redacted() -> None:
    """Body and headers are redacted; repeated headers are joined."""
    headers = CIMultiDict([("Link", "<a>"), ("X-Echo", "Bearer hunter2"), ("link", "<b>")])
    shown = redact_response(msgspec.structs.replace(response(b"[hunter2]"), headers=headers), Redactor(["hunter2"]))
    assert shown.body == b"[[redacted]]"
    assert sorted(shown.headers.values()) == ["<a>, <b>", "Bearer [redacted]"]
    assert shown.headers["LINK"] == "<a>, <b>"


def test_body_of_an_error_is_truncated() -> None:
    """The body of an error is only quoted; that of a successful response stays complete."""
    body = b"x" * 100_000
    assert len(redact_response(response(body, 500), Redactor([])).body) == 65_536
    assert len(redact_response(response(body, 200), Redactor([])).body) == 100_000


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 304])
def test_success_status_passes(status: int) -> None:
    """2xx and 304 are no errors."""
    raise_for_status(response(status=status), now=NOW)


def test_error_has_the_response_details() -> None:
    """The error has status, useful headers, excerpt, attempt and Retry-After, and no other header."""
    received = response({"message": "busy"}, 429, Retry_After="7", X_Request_Id="r1", Set_Cookie="sid=secret")
    with pytest.raises(RateLimitedError) as caught:
        raise_for_status(received, now=NOW)
    error = caught.value
    assert (error.status, error.attempt, error.retry_after) == (429, 2, 7.0)
    assert (error.method, error.url) == ("GET", URL)
    assert error.headers == {"Retry-After": "7", "X-Request-Id": "r1"}
    assert error.excerpt == '{"message": "busy"}'
    assert "secret" not in repr(error)


@pytest.mark.parametrize(("status", "cls"), [(404, NotFoundError), (418, ApiError), (599, ApiError)])
def test_other_error_statuses_are_plain_api_errors(status: int, cls: type[ApiError]) -> None:
    """4xx and 5xx without a class of their own are `ApiError`."""
    with pytest.raises(ApiError) as caught:
        raise_for_status(response(status=status), now=NOW)
    assert type(caught.value) is cls


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    """A redirect is an error that names its target, truncated."""
    with pytest.raises(RedirectRefusedError, match=r"to https://evil\.example/x") as caught:
        raise_for_status(response(status=status, Location="https://evil.example/" + "x" * 10**5), now=NOW)
    assert len(str(caught.value)) < 1000
    with pytest.raises(RedirectRefusedError, match=r"to nowhere"):
        raise_for_status(response(status=status), now=NOW)


@pytest.mark.parametrize("status", [100, 103, 0, 600, 999])
def test_invalid_statuses_are_protocol_errors(status: int) -> None:
    """A status that is not a final status of HTTP cannot be understood."""
    with pytest.raises(ProtocolError, match=rf"{status} is not a final HTTP status"):
        raise_for_status(response(status=status), now=NOW)


def test_protocol_error_quotes_the_response() -> None:
    """Reason, URL, status, attempt and a bounded excerpt."""
    error = as_protocol_error("odd", response(b"<html>" + b"x" * 10**6))
    assert (error.url, error.status, error.attempt) == (URL, 200, 2)
    assert len(error.excerpt) == 500


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


@settings(max_examples=150, deadline=None, derandomize=True)
@given(body=st.binary(max_size=40) | JSON.map(msgspec.json.encode))
def test_any_body_is_a_value_or_a_protocol_error(body: bytes) -> None:
    """No bytes cause another exception, and a value is encoded as the same value."""
    try:
        value = decode_json(body)
    except ProtocolError:
        return
    assert text_of(decode_json(msgspec.json.encode(value))) == text_of(value)
