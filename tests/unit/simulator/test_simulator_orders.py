"""Which bodies of a create follow the schema."""

from __future__ import annotations

import json

import pytest

from asyncbackups.simulator import ApiShape
from asyncbackups.simulator.orders import BadOrder, read_order

GOOD = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 10,
    "metadata": {"name": "sample backup", "description": "This is a sample backup."},
}


def test_the_documented_example() -> None:
    """The guide's own example is accepted and understood."""
    order = read_order(json.dumps(GOOD).encode(), ApiShape())
    assert (order.mechanism, order.planet_class, order.retention_days) == ("logical", "dev", 10)
    assert (order.type, order.metadata) == ("temporary", GOOD["metadata"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "missing: mechanism, planetClass, temporary"),
        (GOOD | {"mechanism": 5}, "mechanism must be a string"),
        (GOOD | {"mechanism": "magic"}, "mechanism must be one of logical, snapshot"),
        (GOOD | {"planetClass": " "}, "planetClass must be a string that is not blank"),
        (GOOD | {"temporary": 1}, "temporary must be true or false"),
        ({k: v for k, v in GOOD.items() if k != "retentionPeriodInDays"}, "needs retentionPeriodInDays"),
        (GOOD | {"retentionPeriodInDays": None}, "must be a positive integer"),
        (GOOD | {"metadata": None}, "metadata must be an object"),
        (GOOD | {"retentionPeriodInDays": True}, "must be a positive integer"),
        (GOOD | {"retentionPeriodInDays": 0}, "must be a positive integer"),
        (GOOD | {"retentionPeriodInDays": 15}, "must be at most 14"),
        (GOOD | {"metadata": []}, "metadata must be an object"),
        (GOOD | {"metadata": {"name": 1}}, "name and description must be strings"),
    ],
)
def test_bodies_that_do_not_follow_the_schema(body: object, message: str) -> None:
    """What is wrong with a body is said."""
    with pytest.raises(BadOrder, match=message):
        read_order((body if isinstance(body, str) else json.dumps(body)).encode(), ApiShape())


def test_what_a_tenant_may_set() -> None:
    """Longest retention, mechanisms and unknown members follow the settings."""
    shape = ApiShape(max_retention_days=None, mechanisms=None, reject_unknown_members=True)
    longer = GOOD | {"retentionPeriodInDays": 400, "mechanism": "magic"}
    assert read_order(json.dumps(longer).encode(), shape).retention_days == 400
    with pytest.raises(BadOrder, match="unknown: colour"):
        read_order(json.dumps(GOOD | {"colour": "red"}).encode(), shape)
    with pytest.raises(BadOrder, match="at most 36500"):
        read_order(json.dumps(GOOD | {"retentionPeriodInDays": 10**9}).encode(), shape)


def test_a_temporary_backup_without_retention() -> None:
    """Where the setting allows it, a temporary backup needs no retention."""
    body = b'{"mechanism": "logical", "planetClass": "dev", "temporary": true}'
    order = read_order(body, ApiShape(temporary_needs_retention=False))
    assert (order.type, order.retention_days) == ("temporary", None)


def test_a_permanent_backup_keeps_no_retention() -> None:
    """A permanent backup needs no metadata and has no expiry, whatever retention is sent."""
    body = {"mechanism": "snapshot", "planetClass": "prod", "temporary": False, "retentionPeriodInDays": 3}
    order = read_order(json.dumps(body).encode(), ApiShape())
    assert (order.type, order.retention_days, order.metadata) == ("permanent", None, None)
