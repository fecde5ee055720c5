"""Answers: which error a status is, what a get shows, what a create made, how long to be silent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._api.responses import CreateResponse, parse_backup, parse_created, parse_health
from asyncbackups._http.headers import parse_retry_after, parse_server_time
from asyncbackups._http.messages import Response
from asyncbackups._http.status import as_protocol_error, raise_for_status
from asyncbackups.errors import ApiError, NotFoundError, ProtocolError, RateLimitedError, RedirectRefusedError
from asyncbackups.models import Backup, Health

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)
URL = "https://host.example/api/v1/tenants/acme/starsystems/alpha/backups/362"
FULL = {"id": 362, "mechanism": "logical", "status": "running", "displayStatus": "creating"}
prop = settings(max_examples=150)


def response(body: Any = b"", status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, headers=named, body=raw, method="GET", url=URL, attempt=2)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 304])
def test_success_passes(status: int) -> None:
    """2xx and 304 are no errors."""
    raise_for_status(response(status=status), now=NOW)


def test_error_status_carries_what_helps() -> None:
    """The error has the answer's status, headers of use, excerpt, attempt and Retry-After, and no other header."""
    answer = response({"message": "busy"}, 429, Retry_After="7", X_Request_Id="r1", Set_Cookie="sid=secret")
    with pytest.raises(RateLimitedError) as caught:
        raise_for_status(answer, now=NOW)
    error = caught.value
    assert (error.status, error.attempt, error.retry_after) == (429, 2, 7.0)
    assert (error.method, error.url) == ("GET", URL)
    assert error.headers == {"Retry-After": "7", "X-Request-Id": "r1"}
    assert error.excerpt == '{"message": "busy"}'
    assert "secret" not in repr(error)


@pytest.mark.parametrize(("status", "cls"), [(404, NotFoundError), (418, ApiError), (599, ApiError)])
def test_each_error_status_has_its_class(status: int, cls: type[ApiError]) -> None:
    """4xx and 5xx without a class of their own are plain `ApiError`."""
    with pytest.raises(ApiError) as caught:
        raise_for_status(response(status=status), now=NOW)
    assert type(caught.value) is cls


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    """A redirect is an error that names where it would have led, bounded."""
    with pytest.raises(RedirectRefusedError, match=r"to https://evil\.example/x") as caught:
        raise_for_status(response(status=status, Location="https://evil.example/" + "x" * 10**5), now=NOW)
    assert len(str(caught.value)) < 1000
    with pytest.raises(RedirectRefusedError, match=r"to nowhere"):
        raise_for_status(response(status=status), now=NOW)


@pytest.mark.parametrize("status", [100, 103, 0, 600, 999])
def test_statuses_that_are_none_are_protocol_errors(status: int) -> None:
    """What HTTP does not know as a final status cannot be understood."""
    with pytest.raises(ProtocolError, match=rf"the status {status} is not one of HTTP's final ones"):
        raise_for_status(response(status=status), now=NOW)


def test_protocol_errors_quote_the_answer() -> None:
    """Reason, URL, status, attempt and a bounded excerpt."""
    error = as_protocol_error("odd", response(b"<html>" + b"x" * 10**6))
    assert (error.url, error.status, error.attempt) == (URL, 200, 2)
    assert len(error.excerpt) == 500


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
    """Seconds are taken as they are, a date against the server's own clock; rubbish is as good as no header."""
    assert parse_retry_after(response(**headers).headers, now=NOW) == expected


@prop
@given(
    text=st.text(max_size=40) | st.integers().map(str) | st.datetimes().map(lambda d: f"{d:%a, %d %b %Y %H:%M:%S} GMT")
)
def test_retry_after_of_any_text_is_finite_or_none(text: str) -> None:
    """No header ends in an exception, a negative or an infinite wait."""
    seconds = parse_retry_after({"Retry-After": text, "Date": text}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("digits", [400, 8000])
def test_retry_after_beyond_any_number_is_finite(digits: int) -> None:
    """Thousands of digits are a very long wait, for the policy to cut."""
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
    """The `Date` header in UTC, None where it is missing or makes no sense."""
    assert parse_server_time({"Date": text} if text else {}) == expected


def test_server_time_without_headers_is_none() -> None:
    """No `Date`, no time."""
    assert parse_server_time({}) is None


@pytest.mark.parametrize(
    "body",
    [
        FULL,
        {"backup": FULL},
        {"data": {"id": 362}},
        {"somethingNew": FULL, "planet": {"id": 9}, "requestId": "x"},
        [FULL],
        [{"backup": FULL}],
    ],
)
def test_get_finds_the_backup(body: Any) -> None:
    """The answer itself, wrapped, or alone in an array."""
    assert parse_backup(response(body), backup_id=362).id == 362


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b'{"id":' + b"9" * 5000 + b"}", "the answer is not JSON"),
        ({}, "the answer holds no backup"),
        ([], "the answer holds no backup"),
        ([FULL, FULL], "the answer holds no backup"),
        ({"a": FULL, "b": FULL}, "the answer holds no backup"),
        ({"environment": {"id": 362}}, "the answer holds no backup"),
        ("362", "the answer holds no backup"),
        ({"id": 2**70}, "the answer holds no backup"),
        ({"id": 363}, "backup 362 was asked for, backup 363 came"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_get_refuses_what_is_not_that_backup(body: Any, message: str) -> None:
    """Whatever else comes is quoted in a protocol error."""
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_backup(response(body), backup_id=362)
    assert caught.value.excerpt


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("body", [FULL, {"id": "362"}, {"backup": FULL}, {"result": {"id": 362}, "links": []}, [FULL]])
def test_create_answer_names_the_backup(body: Any, status: int) -> None:
    """An object with an id, wrapped or not, with any status of success."""
    created = parse_created(response(body, status))
    assert created.backup_id == 362
    assert isinstance(created.backup, Backup)


@pytest.mark.parametrize(
    "location",
    [
        URL,
        "/api/v1/tenants/acme/starsystems/alpha/backups/362",
        "/x/backup/362/",
        "backups/../backups/362?x=1#y",
    ],
)
def test_create_answer_may_be_a_location_only(location: str) -> None:
    """Without a body, or with one that says nothing, `Location` names the backup."""
    assert parse_created(response(b"", 201, Location=location)) == CreateResponse(362)
    assert parse_created(response({"status": "accepted"}, 202, Location=location)) == CreateResponse(362)


@pytest.mark.parametrize(
    ("body", "location"),
    [
        (b"", ""),
        (b"<html>", ""),
        ({}, ""),
        ([], ""),
        ({"status": "accepted"}, "/operations/17"),
        ({"status": "accepted"}, "/backups/362/status"),
        ({"id": None}, "/backups/" + "9" * 19),
        ({"id": "abc"}, "/backups/" + "9" * 5000),
        ({"planet": {"id": 7}}, ""),
        ({"task": {"id": 99, "status": "queued"}}, ""),
        ({"backup": FULL, "data": {"id": 1}}, ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_create_answer_without_an_id_is_ambiguous(body: Any, location: str) -> None:
    """Nothing that surely is the backup's id: the create is ambiguous, not lost, and never somebody else's."""
    assert parse_created(response(body, 201, Location=location)) == CreateResponse(None)


def test_create_answer_that_contradicts_itself_is_ambiguous() -> None:
    """A body and a `Location` that name two backups name none."""
    assert parse_created(response(FULL, 201, Location="/backups/362")).backup_id == 362
    assert parse_created(response({"id": 17}, 201, Location="/backups/362")) == CreateResponse(None)


def test_create_answer_of_a_task_names_the_backup_in_it() -> None:
    """What has an id and a backup beside it is what makes the backup; a backup that tells of another is itself."""
    assert parse_created(response({"id": 17, "backup": {"id": 362}})).backup_id == 362
    assert parse_created(response({**FULL, "backup": {"id": 17}})).backup_id == 362


@prop
@given(
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "backup", "data", "mechanism", "x"]), inner)
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    location=st.text(max_size=20) | st.integers(0).map(lambda number: f"/backups/{number}"),
)
def test_reading_a_create_answer_never_raises(body: bytes, location: str) -> None:
    """A backup was perhaps created: no answer may end in an exception on the way to its id."""
    created = parse_created(Response(status=201, headers={"Location": location}, body=body, method="POST", url=URL))
    assert created.backup is None or created.backup.id == created.backup_id


def test_health_is_read() -> None:
    """An object with a status, whatever else it holds."""
    assert parse_health(response({"status": "UP", "x": 1})) == Health(status="UP", extra={"x": 1})


@pytest.mark.parametrize(("body", "message"), [(b"OK", "the answer is not JSON"), ({}, "health must be an object")])
def test_health_refuses_anything_else(body: Any, message: str) -> None:
    """No object with a status, no health."""
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_health(response(body))
    assert caught.value.url == URL
