"""Responses to a get, a create and a health check."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._api.responses import CreateResponse, parse_backup, parse_create_response, parse_health
from asyncbackups._http.messages import Response
from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup, Health

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)
URL = "https://host.example/api/v1/tenants/acme/starsystems/alpha/backups/362"
FULL = {"id": 362, "mechanism": "logical", "status": "running", "displayStatus": "creating"}
prop = settings(max_examples=150, deadline=None, derandomize=True)


def response(body: Any = b"", status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, headers=named, body=raw, method="GET", url=URL, attempt=2)


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
    """The body itself, wrapped, or alone in an array."""
    assert parse_backup(response(body), backup_id=362).id == 362


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "the response is not JSON"),
        (b"[" * 100_000, "the response is not JSON"),
        (b'{"id":' + b"9" * 5000 + b"}", "the response is not JSON"),
        ({}, "the response has no backup"),
        ([], "the response has no backup"),
        ([FULL, FULL], "the response has no backup"),
        ({"a": FULL, "b": FULL}, "the response has no backup"),
        ({"environment": {"id": 362}}, "the response has no backup"),
        ("362", "the response has no backup"),
        ({"id": 2**70}, "the response has no backup"),
        ({"id": 363}, "requested backup 362, received backup 363"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_get_refuses_other_responses(body: Any, message: str) -> None:
    """Anything but the requested backup is quoted in a protocol error."""
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_backup(response(body), backup_id=362)
    assert caught.value.excerpt


def names_nothing(parsed: CreateResponse) -> bool:
    return (parsed.backup_id, parsed.backup, parsed.is_certain) == (None, None, False)


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("body", [FULL, {"backup": FULL}, {"result": {"id": 362}, "links": []}, [FULL]])
def test_create_response_has_the_backup(body: Any, status: int) -> None:
    """An object with an id, wrapped or not, with any 2xx status."""
    created = parse_create_response(response(body, status))
    assert created.backup_id == 362
    assert isinstance(created.backup, Backup)


@pytest.mark.parametrize(
    ("requested", "received"),
    [(362, "362"), ("362", 362), ("3f2a", "3f2a"), (2**64 - 1, str(2**64 - 1)), ("-5", -5), ("00362", "00362")],
)
def test_get_compares_ids_by_their_path(requested: int | str, received: int | str) -> None:
    """The backup keeps its id as it came."""
    found = parse_backup(response({"id": received}), backup_id=requested).id
    assert (found, type(found)) == (received, type(received))


@pytest.mark.parametrize(("requested", "received"), [(362, "00362"), ("00362", 362), ("3f2a", "3F2A"), (1, "1.0")])
def test_get_refuses_another_id(requested: int | str, received: int | str) -> None:
    """Similar ids have different paths."""
    with pytest.raises(ProtocolError, match=f"requested backup {requested}, received backup {received}"):
        parse_backup(response({"id": received}), backup_id=requested)


@pytest.mark.parametrize(
    ("location", "backup_id"),
    [
        ("/backups/3f2a-b", "3f2a-b"),
        ("/starsystems/alpha/backups/00362", "00362"),
        ("/backup/a%2Fb%20c?x=/backups/9", "a/b c"),
        ("/backups/%33%36%32", 362),
        ("/backups/-5/", -5),
        (f"/backups/{2**64 - 1}", 2**64 - 1),
        (f"/backups/{2**64}", str(2**64)),
        ("/backups/", None),
        ("/backups", None),
        ("/backups/%2E%2E", None),
        ("/backups/%0A", None),
        ("/backups/" + "x" * 201, None),
        ("/backups/status/3f2a", None),
    ],
)
def test_location_has_an_id_of_any_type(location: str, backup_id: int | str | None) -> None:
    """The last segment of the path, decoded; an integer if it is one in canonical form."""
    parsed = parse_create_response(response(b"", 201, Location=location))
    assert (parsed.backup_id, type(parsed.backup_id)) == (backup_id, type(backup_id))
    assert (parsed.backup, parsed.is_certain) == (None, False)


def test_ids_of_body_and_location_are_compared_by_their_path() -> None:
    """A `Location` is text: it agrees with the number and with the string in the body."""
    for backup_id in (362, "362"):
        created = parse_create_response(response({"id": backup_id}, 201, Location="/backups/362"))
        assert (created.backup_id, type(created.backup_id)) == (backup_id, type(backup_id))
    assert names_nothing(parse_create_response(response({"id": "a"}, 201, Location="/backups/b")))


@pytest.mark.parametrize(
    "location",
    [
        URL,
        "/api/v1/tenants/acme/starsystems/alpha/backups/362",
        "/x/backup/362/",
        "backups/../backups/362?x=1#y",
    ],
)
def test_create_response_may_have_only_a_location(location: str) -> None:
    """If the body has no id, `Location` has it."""
    for body in (b"", {"status": "accepted"}):
        parsed = parse_create_response(response(body, 202, Location=location))
        assert (parsed.backup_id, parsed.backup, parsed.is_certain) == (362, None, False)


@pytest.mark.parametrize(
    ("body", "location"),
    [
        (b"", ""),
        (b"<html>", ""),
        ({}, ""),
        ([], ""),
        ({"status": "accepted"}, "/operations/17"),
        ({"status": "accepted"}, "/backups/362/status"),
        ({"id": None}, "/backups/" + "9" * 5000),
        ({"id": 362.0}, ""),
        ({"id": ""}, "/operations/17"),
        ({"planet": {"id": 7}}, ""),
        ({"task": {"id": 99, "status": "queued"}}, ""),
        ({"backup": FULL, "data": {"id": 1}}, ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_create_response_without_a_certain_id_is_ambiguous(body: Any, location: str) -> None:
    """An id that may belong to another object is not used."""
    assert names_nothing(parse_create_response(response(body, 201, Location=location)))


@pytest.mark.parametrize(
    ("body", "certain"),
    [
        ({"id": 362, "mechanism": "logical"}, True),
        ({"id": 362, "displayStatus": "x"}, True),
        ({"id": 362, "expirationDate": None}, True),
        ({"id": 362, "databaseToApplicationBuilds": {}}, True),
        ({"id": 362}, False),
        ({"backup": {"id": 362}}, False),
        ({"id": 900362, "status": "accepted", "operation": "CREATE"}, False),
        ({"id": 362, "environment": {"name": "x"}, "metadata": {}}, False),
    ],
)
def test_case_6_id_is_certain_only_in_an_object_that_is_a_backup(body: Any, certain: bool) -> None:
    """A job has an id and a status, too; only members that no other object has make it the id of a backup."""
    assert parse_create_response(response(body, 202)).is_certain is certain


def test_error_of_a_create_response_has_its_details() -> None:
    """The error says why, and quotes the response: status, URL and the beginning of the body."""
    error = parse_create_response(response({"id": 7, "x": 1}, 202)).as_error("it names backup 7, which existed before")
    assert isinstance(error, ProtocolError)
    assert (error.status, error.url) == (202, URL)
    assert "it names backup 7, which existed before" in str(error)
    assert error.excerpt.startswith('{"id": 7')


def test_create_response_with_two_ids_is_ambiguous() -> None:
    """A body and a `Location` with different ids count as no id."""
    assert parse_create_response(response(FULL, 201, Location="/backups/362")).backup_id == 362
    assert names_nothing(parse_create_response(response({"id": 17}, 201, Location="/backups/362")))


def test_create_response_of_a_task_has_the_backup_inside() -> None:
    """An object with an id and a backup inside is a task, unless it has members of a backup itself."""
    assert parse_create_response(response({"id": 17, "backup": {"id": 362}})).backup_id == 362
    assert parse_create_response(response({**FULL, "backup": {"id": 17}})).backup_id == 362


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
def test_parsing_a_create_response_never_raises(body: bytes, location: str) -> None:
    """A backup may exist: no response may cause an exception that loses its id."""
    created = parse_create_response(
        Response(status=201, headers={"Location": location}, body=body, method="POST", url=URL)
    )
    assert created.backup is None or created.backup.id == created.backup_id


def test_health_is_parsed() -> None:
    """An object with a status, and any other members."""
    assert parse_health(response({"status": "UP", "x": 1})) == Health(status="UP", extra={"x": 1})


@pytest.mark.parametrize(("body", "message"), [(b"OK", "the response is not JSON"), ({}, "health must be an object")])
def test_invalid_health_is_refused(body: Any, message: str) -> None:
    """Anything but an object with a status is a protocol error."""
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_health(response(body))
    assert caught.value.url == URL
