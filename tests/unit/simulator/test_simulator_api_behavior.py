"""Create request bodies: which ones follow the schema, and what they mean."""

from __future__ import annotations

import json

import pytest

from asyncbackups.simulator import ApiBehavior
from asyncbackups.simulator.api_behavior import CreateBodyError, parse_create_body

DOCUMENTED = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 10,
    "metadata": {"name": "sample backup", "description": "This is a sample backup."},
}


def test_documented_example_is_accepted() -> None:
    """The documented example is parsed completely."""
    body = parse_create_body(json.dumps(DOCUMENTED).encode(), ApiBehavior())
    assert (body.mechanism, body.planet_class, body.retention_days) == ("logical", "dev", 10)
    assert (body.type, body.metadata) == ("temporary", DOCUMENTED["metadata"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "missing: mechanism, planetClass, temporary"),
        (DOCUMENTED | {"mechanism": 5}, "mechanism must be a string"),
        (DOCUMENTED | {"mechanism": "magic"}, "mechanism must be one of logical, snapshot"),
        (DOCUMENTED | {"planetClass": " "}, "planetClass must be a string that is not blank"),
        (DOCUMENTED | {"temporary": 1}, "temporary must be true or false"),
        ({k: v for k, v in DOCUMENTED.items() if k != "retentionPeriodInDays"}, "needs retentionPeriodInDays"),
        (DOCUMENTED | {"retentionPeriodInDays": None}, "must be a positive integer"),
        (DOCUMENTED | {"metadata": None}, "metadata must be an object"),
        (DOCUMENTED | {"retentionPeriodInDays": True}, "must be a positive integer"),
        (DOCUMENTED | {"retentionPeriodInDays": 0}, "must be a positive integer"),
        (DOCUMENTED | {"retentionPeriodInDays": 15}, "must be at most 14"),
        (DOCUMENTED | {"metadata": []}, "metadata must be an object"),
        (DOCUMENTED | {"metadata": {"name": 1}}, "name and description must be strings"),
    ],
)
def test_invalid_body_is_refused(body: object, message: str) -> None:
    """The error names the invalid member."""
    with pytest.raises(CreateBodyError, match=message):
        parse_create_body((body if isinstance(body, str) else json.dumps(body)).encode(), ApiBehavior())


def test_behavior_settings_decide_what_is_accepted() -> None:
    """Longest retention, mechanisms and unknown members follow the settings."""
    behavior = ApiBehavior(max_retention_days=None, mechanisms=None, reject_unknown_members=True)
    longer = DOCUMENTED | {"retentionPeriodInDays": 400, "mechanism": "magic"}
    assert parse_create_body(json.dumps(longer).encode(), behavior).retention_days == 400
    with pytest.raises(CreateBodyError, match="unknown: colour"):
        parse_create_body(json.dumps(DOCUMENTED | {"colour": "red"}).encode(), behavior)
    with pytest.raises(CreateBodyError, match="at most 36500"):
        parse_create_body(json.dumps(DOCUMENTED | {"retentionPeriodInDays": 10**9}).encode(), behavior)


def test_temporary_backup_without_retention() -> None:
    """If the setting allows it, a temporary backup needs no retention period."""
    body = b'{"mechanism": "logical", "planetClass": "dev", "temporary": true}'
    parsed = parse_create_body(body, ApiBehavior(temporary_needs_retention=False))
    assert (parsed.type, parsed.retention_days) == ("temporary", None)


def test_permanent_backup_ignores_retention() -> None:
    """A permanent backup needs no metadata and never expires, whatever retention period is sent."""
    body = {"mechanism": "snapshot", "planetClass": "prod", "temporary": False, "retentionPeriodInDays": 3}
    parsed = parse_create_body(json.dumps(body).encode(), ApiBehavior())
    assert (parsed.type, parsed.retention_days, parsed.metadata) == ("permanent", None, None)
