"""JSON <-> models: nothing is lost, and nothing that a server may send ends in another error than `ProtocolError`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._api.codec import backup_from, encode_spec, health_from, id_of, is_backup, plain, spec_from
from asyncbackups._http.text import decode_json, make_excerpt
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
IDS = st.integers(0, 2**63 - 1)
MEMBERS = st.dictionaries(
    st.sampled_from([*KNOWN, "extra", "display_status", "started_at"]) | st.text(max_size=8),
    JSON | INSTANTS | st.sampled_from(list(DOCUMENTED.values())),
    max_size=12,
)
prop = settings(max_examples=150)


def text_of(value: Any) -> str:
    """Write JSON so that only the same value is written the same: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def test_documented_backup_is_read() -> None:
    """The guide's example fills every attribute, and leaves nothing over."""
    assert backup_from(DOCUMENTED) == Backup(
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
    assert plain(backup_from(DOCUMENTED)) == DOCUMENTED


@prop
@given(members=MEMBERS, backup_id=IDS | IDS.map(str))
def test_decoding_and_encoding_a_backup_loses_nothing(members: dict[str, Any], backup_id: int | str) -> None:
    """Every member comes back as it was, whatever its type; what was absent comes back as null at most."""
    sent = {**members, "id": backup_id}
    body = msgspec.json.encode(sent)
    backup = backup_from(decode_json(body))
    written = decode_json(msgspec.json.encode(plain(backup)))
    for name, value in decode_json(body).items():
        if name == "environment" and isinstance(value, dict):
            assert text_of({key: written[name][key] for key in value}) == text_of(value)
        else:
            assert text_of(written[name]) == text_of(value)
    assert all(written[name] is None for name in written.keys() - sent.keys())
    assert backup_from(written) == backup
    assert backup.id == int(backup_id)


@prop
@given(environment=st.dictionaries(st.sampled_from(["tenant", "project", "stage", "name", "extra", "id"]), JSON))
def test_environments_lose_nothing(environment: dict[str, Any]) -> None:
    """What an environment cannot hold is in its own `extra`."""
    backup = backup_from({"id": 1, "environment": environment})
    written = plain(backup)["environment"]
    assert text_of({key: written[key] for key in environment}) == text_of(environment)
    assert plain(backup.environment) == written
    assert "environment" not in backup.extra


def test_unknown_fields_survive() -> None:
    """What the guide does not show is kept under its own name and written back out."""
    backup = backup_from({**DOCUMENTED, "metadata": {"name": "x"}, "sizeInBytes": 2**70})
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
def test_wrong_types_in_known_fields_are_kept_aside(name: str, attribute: str, value: Any) -> None:
    """A member that the attribute cannot hold is None there, and whole in `extra`."""
    backup = backup_from({"id": 1, name: value})
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
def test_instants_are_read_as_utc(text: str, microsecond: int) -> None:
    """Offsets are converted, a missing one is UTC, fractions are read; the text itself is written back."""
    backup = backup_from({"id": 1, "startedAt": text})
    assert backup.started_at == datetime(2024, 1, 29, 9, 53, 9, microsecond, tzinfo=UTC)
    assert backup.started_at.tzinfo is UTC
    assert plain(backup)["startedAt"] == text


@pytest.mark.parametrize("zone", [UTC, None, timezone(timedelta(hours=2))])
def test_instants_made_by_hand_are_written_in_utc(zone: timezone | None) -> None:
    """A program's own backup may carry another zone: what is written is the same instant."""
    moment = datetime(2024, 1, 29, 9, tzinfo=UTC).astimezone(zone) if zone else datetime(2024, 1, 29, 9)  # noqa: DTZ001
    assert plain(Backup(id=1, started_at=moment))["startedAt"] == "2024-01-29T09:00:00Z"


@pytest.mark.parametrize("value", [0, 362, "362", "007", 362.0, 2**63 - 1, str(2**63 - 1)])
def test_ids_are_whole_numbers_also_as_text(value: Any) -> None:
    """An id may be written as text or with a point; it is a number all the same."""
    assert id_of(value) == int(value)
    assert is_backup({"id": value})
    assert backup_from({"id": value}).id == int(value)


@pytest.mark.parametrize(
    "value",
    [-1, "-1", 2**63, str(2**63), "9" * 5000, 1.5, 2.0**63, True, None, "", " 1", "1_0", "٣", "x", [1], {"id": 1}],
    ids=lambda value: repr(value)[:20],
)
def test_anything_else_is_no_id(value: Any) -> None:
    """Signs, fractions, bools, other digits and numbers beyond 64 bits are no ids, and end in `ProtocolError`."""
    assert id_of(value) is None
    with pytest.raises(ProtocolError, match=r"a backup must be an object with an integer id; it began with: "):
        backup_from({"id": value})


@pytest.mark.parametrize("raw", [None, [], "x", 5, {}, [{"id": 1}]])
def test_a_backup_is_an_object_with_an_id(raw: Any) -> None:
    """Other values are no backups."""
    assert not is_backup(raw)
    with pytest.raises(ProtocolError):
        backup_from(raw)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_too_deep_to_quote_is_still_a_protocol_error() -> None:
    """A value that could just be decoded may be too deep to be encoded for the message."""
    with pytest.raises(ProtocolError, match=r"began with: a deeply nested list"):
        backup_from(nested(100_000))


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
def test_bodies_that_are_no_json_are_protocol_errors(body: bytes) -> None:
    """Truncated, malformed, not UTF-8, too deep or too large to be a number: one typed error, in a bounded message."""
    with pytest.raises(ProtocolError, match=r"^the answer is not JSON") as caught:
        decode_json(body)
    assert len(str(caught.value)) < 1000


@prop
@given(body=st.binary(max_size=40) | JSON.map(msgspec.json.encode))
def test_decoding_yields_a_value_or_a_protocol_error(body: bytes) -> None:
    """No bytes end in another exception, and a value is encoded as the same value."""
    try:
        value = decode_json(body)
    except ProtocolError:
        return
    assert text_of(decode_json(msgspec.json.encode(value))) == text_of(value)


def test_huge_numbers_are_lossless() -> None:
    """An integer beyond 64 bits stays exactly that."""
    body = b'{"id":1,"size":123456789012345678901234567890}'
    assert plain(backup_from(decode_json(body)))["size"] == 123456789012345678901234567890


def test_excerpt_is_one_bounded_line() -> None:
    """White space is folded, and at most 500 characters are left; what was cut says so."""
    assert make_excerpt(b" a\r\n\t b ") == "a b"
    assert make_excerpt(b"") == ""
    assert make_excerpt(b"x" * 500) == "x" * 500
    assert make_excerpt(b"x" * 501) == "x" * 499 + "…"
    assert make_excerpt(b" " * 3000 + b"x") == "…"


@prop
@given(body=st.binary(max_size=3000))
def test_excerpt_of_any_bytes_is_printable(body: bytes) -> None:
    """Nothing that a terminal would obey comes through, and the bound holds."""
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
def test_excerpt_hides_what_looks_like_a_secret(body: bytes, excerpt: str) -> None:
    """A token endpoint's answer, a form or an echoed header can be quoted without giving the secret away."""
    assert make_excerpt(body) == excerpt


def test_control_characters_are_replaced() -> None:
    """A server cannot write to a person's terminal through an error message."""
    assert make_excerpt(b"\x1b[31mred\x00") == "\ufffd[31mred\ufffd"


def test_spec_is_encoded_as_documented() -> None:
    """The body of a create is the guide's example, member for member."""
    spec = BackupSpec(metadata=BackupMetadata("sample backup", "This is a sample backup."))
    assert json.loads(encode_spec(spec)) == {
        "mechanism": "logical",
        "planetClass": "dev",
        "temporary": True,
        "retentionPeriodInDays": 10,
        "metadata": {"name": "sample backup", "description": "This is a sample backup."},
    }


def test_permanent_spec_has_no_retention() -> None:
    """A permanent backup is sent without a retention period, not with null."""
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
def test_specs_lose_nothing(mechanism: str, temporary: bool, days: int, name: str, description: str) -> None:
    """What `plain` makes of a spec, `spec_from` reads again, also through JSON."""
    spec = BackupSpec(
        mechanism=mechanism,
        temporary=temporary,
        retention_period_in_days=days if temporary else None,
        metadata=BackupMetadata(f"n{name}", description),
    )
    assert spec_from(plain(spec)) == spec
    assert spec_from(decode_json(encode_spec(spec))) == spec


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
def test_broken_specs_are_refused(raw: Any) -> None:
    """What no `plain` has written is a configuration error."""
    with pytest.raises(ConfigurationError):
        spec_from(raw)


def test_health_is_read_and_written() -> None:
    """Status as text; the rest is kept."""
    health = health_from({"status": "UP", "db": {"status": "UP"}})
    assert health == Health(status="UP", extra={"db": {"status": "UP"}})
    assert plain(health) == {"status": "UP", "db": {"status": "UP"}}


@pytest.mark.parametrize("raw", [None, [], {}, {"status": 5}, {"status": None}, "UP"])
def test_health_needs_a_status(raw: Any) -> None:
    """Anything but an object with a status that is a text is refused."""
    with pytest.raises(ProtocolError, match=r"health must be an object with a status"):
        health_from(raw)


def test_evolved_backups_write_what_extra_holds() -> None:
    """`extra` wins over an attribute: it is what the service itself said."""
    backup = backup_from({"id": 1, "startedAt": "2024-01-29T09:53:09.5Z"})
    assert plain(attrs.evolve(backup, status="failed"))["startedAt"] == "2024-01-29T09:53:09.5Z"
