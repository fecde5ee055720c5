"""JSON and models: conversion is lossless, and no input of a server causes another error than `ProtocolError`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._api.codec import (
    backup_from_json,
    encode_spec,
    health_from_json,
    is_backup,
    parse_id,
    plain,
    spec_from_json,
)
from asyncbackups._http.messages import decode_json
from asyncbackups.errors import ConfigurationError, ProtocolError
from asyncbackups.models import Backup, BackupMetadata, BackupSpec, Environment, Health, Mechanism

DOCUMENTED = {
    "id": 362,
    "mechanism": "logical",
    "type": "temporary",
    "environment": {"tenant": "example", "project": "test", "stage": "dev", "name": "testbackup"},
    "status": "succeeded",
    "displayStatus": "ready",
    "errorMessage": None,
    "startedAt": "2024-01-29T09:53:09Z",
    "completedAt": "2024-01-29T09:55:20Z",
    "expirationDate": "2024-01-30T09:00:00Z",
    "databaseToApplicationBuilds": {"pc": ["10.2"]},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
INSTANTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), None])).map(
    lambda moment: moment.isoformat()
)
KNOWN = [name for name in DOCUMENTED if name != "id"]
IDS = st.integers(-(2**63), 2**64 - 1)
MEMBERS = st.dictionaries(
    st.sampled_from([*KNOWN, "extra", "display_status", "started_at"]) | st.text(max_size=8),
    JSON | INSTANTS | st.sampled_from(list(DOCUMENTED.values())),
    max_size=12,
)
prop = settings(max_examples=150, deadline=None, derandomize=True)


def text_of(value: Any) -> str:
    """Write JSON so that only the same value is written the same: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def test_documented_backup_is_decoded() -> None:
    """The guide's example fills every attribute and leaves `extra` empty."""
    assert backup_from_json(DOCUMENTED) == Backup(
        id=362,
        mechanism="logical",
        type="temporary",
        environment=Environment(tenant="example", project="test", stage="dev", name="testbackup"),
        status="succeeded",
        display_status="ready",
        started_at=datetime(2024, 1, 29, 9, 53, 9, tzinfo=UTC),
        completed_at=datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC),
        expiration_date=datetime(2024, 1, 30, 9, tzinfo=UTC),
        database_to_application_builds={"pc": ["10.2"]},
    )
    assert plain(backup_from_json(DOCUMENTED)) == DOCUMENTED


@prop
@given(members=MEMBERS, backup_id=IDS | IDS.map(str) | st.uuids().map(str))
def test_backup_round_trip_is_lossless(members: dict[str, Any], backup_id: int | str) -> None:
    """Every member is encoded as it was, whatever its type; an absent one is at most null."""
    sent = {**members, "id": backup_id}
    body = msgspec.json.encode(sent)
    backup = backup_from_json(decode_json(body))
    written = decode_json(msgspec.json.encode(plain(backup)))
    for name, value in decode_json(body).items():
        if name == "environment" and isinstance(value, dict):
            assert text_of({key: written[name][key] for key in value}) == text_of(value)
        else:
            assert text_of(written[name]) == text_of(value)
    assert all(written[name] is None for name in written.keys() - sent.keys())
    assert backup_from_json(written) == backup
    assert (backup.id, type(backup.id)) == (backup_id, type(backup_id))


@prop
@given(environment=st.dictionaries(st.sampled_from(["tenant", "project", "stage", "name", "extra", "id"]), JSON))
def test_environment_round_trip_is_lossless(environment: dict[str, Any]) -> None:
    """Members without an attribute are in the environment's own `extra`."""
    backup = backup_from_json({"id": 1, "environment": environment})
    written = plain(backup)["environment"]
    assert text_of({key: written[key] for key in environment}) == text_of(environment)
    assert plain(backup.environment) == written
    assert "environment" not in backup.extra


def test_unknown_members_are_kept() -> None:
    """Undocumented members are kept under their own names and encoded again."""
    backup = backup_from_json({**DOCUMENTED, "metadata": {"name": "x"}, "sizeInBytes": 2**70})
    assert backup.extra == {"metadata": {"name": "x"}, "sizeInBytes": 2**70}
    assert plain(backup) == {**DOCUMENTED, "metadata": {"name": "x"}, "sizeInBytes": 2**70}


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("status", "status", {"code": 3}),
        ("mechanism", "mechanism", 5),
        ("environment", "environment", "dev"),
        ("databaseToApplicationBuilds", "database_to_application_builds", ["x"]),
        ("startedAt", "started_at", 1706522120),
        ("startedAt", "started_at", "2024-01-29"),
        ("startedAt", "started_at", "yesterday Today"),
        ("startedAt", "started_at", "2024-13-29T00:00:00Z"),
        ("startedAt", "started_at", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_members_of_another_type_are_kept_in_extra(name: str, attribute: str, value: Any) -> None:
    """The attribute is None, and `extra` has the value."""
    backup = backup_from_json({"id": 1, name: value})
    assert getattr(backup, attribute) is None
    assert backup.extra == {name: value}


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2024-01-29T09:53:09Z", 0),
        ("2024-01-29T09:53:09", 0),
        ("2024-01-29 09:53:09+00:00", 0),
        ("2024-01-29T10:53:09+01:00", 0),
        ("2024-01-29T09:53:09.5Z", 500000),
        ("2024-01-29T09:53:09.123456789Z", 123456),
    ],
)
def test_instants_are_converted_to_utc(text: str, microsecond: int) -> None:
    """Offsets are converted, a missing one is UTC, fractions are kept; the original text is encoded."""
    backup = backup_from_json({"id": 1, "startedAt": text})
    assert backup.started_at == datetime(2024, 1, 29, 9, 53, 9, microsecond, tzinfo=UTC)
    assert backup.started_at.tzinfo is UTC
    assert plain(backup)["startedAt"] == text


@pytest.mark.parametrize("zone", [UTC, None, timezone(timedelta(hours=2))])
def test_instants_are_encoded_in_utc(zone: timezone | None) -> None:
    """A caller's own backup may have another time zone: the same instant is encoded."""
    moment = datetime(2024, 1, 29, 9, tzinfo=UTC).astimezone(zone) if zone else datetime(2024, 1, 29, 9)  # noqa: DTZ001
    assert plain(Backup(id=1, started_at=moment))["startedAt"] == "2024-01-29T09:00:00Z"


@pytest.mark.parametrize(
    "value",
    [0, 362, -5, 2**63, 2**64 - 1, -(2**63), "362", "00362", "362.0", "3f2a-b", "x y", "a/b", "9" * 200, "\u0663", "é"],
    ids=lambda value: repr(value)[:20],
)
def test_ids_are_64_bit_integers_or_strings(value: Any) -> None:
    """An id is an opaque value, kept as it came, also through JSON."""
    assert parse_id(value) is value
    assert is_backup({"id": value})
    backup = backup_from_json(msgspec.json.decode(msgspec.json.encode({"id": value})))
    assert (backup.id, type(backup.id), backup.extra) == (value, type(value), {})
    assert plain(backup)["id"] == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (362.0, "be a 64-bit integer or a string, not 362.0"),
        (2**64, "be a 64-bit integer or a string, not 18446744073709551616"),
        (-(2**63) - 1, "be a 64-bit integer or a string, not -9223372036854775809"),
        (True, "be a 64-bit integer or a string, not True"),
        (None, "be a 64-bit integer or a string, not None"),
        ([1], "be a 64-bit integer or a string, not [1]"),
        ({"id": 1}, "be a 64-bit integer or a string, not {'id': 1}"),
        ("", "not be blank, but is ''"),
        (" ", "not be blank, but is ' '"),
        ("..", "not be '..', which changes the path of the URL"),
        ("a\nb", "be at most 200 printable characters, not"),
        ("x" * 201, "be at most 200 printable characters, not 'xxx"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_other_values_are_refused_as_ids(value: Any, why: str) -> None:
    """The error says why, and quotes the object."""
    assert parse_id(value) is None
    assert not is_backup({"id": value})
    with pytest.raises(ProtocolError, match=f"a backup must have an id: id must {re.escape(why)}.*; it starts with: "):
        backup_from_json({"id": value})


@pytest.mark.parametrize("raw", [None, [], "x", 5, {}, [{"id": 1}]])
def test_backup_must_be_an_object_with_an_id(raw: Any) -> None:
    """Other values are refused."""
    assert not is_backup(raw)
    with pytest.raises(ProtocolError):
        backup_from_json(raw)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_value_too_deep_to_quote_is_a_protocol_error() -> None:
    """A value decoded at the limit of depth may be too deep to encode for the message."""
    with pytest.raises(ProtocolError, match=r"starts with: a deeply nested list"):
        backup_from_json(nested(100_000))


def test_large_integers_are_lossless() -> None:
    """An integer beyond 64 bits keeps its value."""
    body = b'{"id":1,"size":123456789012345678901234567890}'
    assert plain(backup_from_json(decode_json(body)))["size"] == 123456789012345678901234567890


def test_spec_is_encoded_as_documented() -> None:
    """The body of a create equals the guide's example."""
    spec = BackupSpec(metadata=BackupMetadata("sample backup", "This is a sample backup."))
    assert json.loads(encode_spec(spec)) == {
        "mechanism": "logical",
        "planetClass": "dev",
        "temporary": True,
        "retentionPeriodInDays": 10,
        "metadata": {"name": "sample backup", "description": "This is a sample backup."},
    }


def test_permanent_spec_has_no_retention() -> None:
    """The retention period is absent, not null."""
    body = json.loads(encode_spec(BackupSpec(temporary=False)))
    assert body["temporary"] is False
    assert "retentionPeriodInDays" not in body


@prop
@given(
    mechanism=st.sampled_from([*Mechanism, "quantum"]),
    temporary=st.booleans(),
    days=st.integers(1, 2**63 - 1),
    name=st.text(),
    description=st.text(),
)
def test_spec_round_trip_is_lossless(mechanism: str, temporary: bool, days: int, name: str, description: str) -> None:
    """`spec_from_json` reads what `plain` writes, also through JSON."""
    spec = BackupSpec(
        mechanism=mechanism,
        temporary=temporary,
        retention_period_in_days=days if temporary else None,
        metadata=BackupMetadata(f"n{name}", description),
    )
    assert spec_from_json(plain(spec)) == spec
    assert spec_from_json(decode_json(encode_spec(spec))) == spec


GOOD_SPEC = plain(BackupSpec())


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        "x",
        {**GOOD_SPEC, "metadata": None},
        {**GOOD_SPEC, "metadata": {"name": "x", "owner": "y"}},
        {**GOOD_SPEC, "retentionPeriodInDays": -1},
        {name: value for name, value in GOOD_SPEC.items() if name != "temporary"},
    ],
    ids=lambda raw: repr(raw)[:30],
)
def test_invalid_specs_are_refused(raw: Any) -> None:
    """A missing, unknown or invalid member is a configuration error."""
    with pytest.raises(ConfigurationError):
        spec_from_json(raw)


def test_health_round_trip_is_lossless() -> None:
    """The status is an attribute; other members are in `extra`."""
    health = health_from_json({"status": "UP", "db": {"status": "UP"}})
    assert health == Health(status="UP", extra={"db": {"status": "UP"}})
    assert plain(health) == {"status": "UP", "db": {"status": "UP"}}


@pytest.mark.parametrize("raw", [None, [], {}, {"status": 5}, {"status": None}, "UP"])
def test_health_needs_a_status(raw: Any) -> None:
    """Anything but an object with a string as status is refused."""
    with pytest.raises(ProtocolError, match=r"health must be an object with a status"):
        health_from_json(raw)


def test_extra_takes_precedence_over_attributes() -> None:
    """It has the value that the service sent."""
    backup = backup_from_json({"id": 1, "startedAt": "2024-01-29T09:53:09.5Z"})
    assert plain(attrs.evolve(backup, status="failed"))["startedAt"] == "2024-01-29T09:53:09.5Z"
