"""What a create's body must look like. Pure: bytes in, an `Order` out, or a `BadOrder` that says what is wrong."""

from __future__ import annotations

from typing import Any

import msgspec

from asyncbackups.simulator.shape import ApiShape
from asyncbackups.simulator.world import Order

__all__ = ["BadOrder", "read_order"]

_CENTURY = 36_500  # days; beyond it the calendar of `datetime` ends sooner or later
_MEMBERS = ("mechanism", "planetClass", "temporary", "retentionPeriodInDays", "metadata")


class BadOrder(Exception):  # noqa: N818 - named after what happened; it never leaves the simulator
    """The body does not follow the schema."""


def read_order(body: bytes, shape: ApiShape) -> Order:
    """Read a create's body.

    Args:
        body: The body as it came.
        shape: The settings that say what is required and accepted.

    Raises:
        BadOrder: The body does not follow the schema.
    """
    members = _object(body)
    _check_names(members, shape)
    mechanism = _text(members, "mechanism", "logical", shape.mechanisms)
    planet_class = _text(members, "planetClass", "dev", shape.planet_classes)
    temporary = members.get("temporary", False)
    if not isinstance(temporary, bool):
        raise BadOrder("temporary must be true or false")
    return Order(
        mechanism=mechanism,
        planet_class=planet_class,
        temporary=temporary,
        retention_days=_retention(members, temporary, shape),
        metadata=_metadata(members),
        type="temporary" if temporary else "permanent",
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise BadOrder(f"the body is not JSON: {exc}") from exc
    if not isinstance(members, dict):
        raise BadOrder("the body must be a JSON object")
    return members


def _check_names(members: dict[str, Any], shape: ApiShape) -> None:
    missing = [name for name in shape.required_members if name not in members]
    if missing:
        raise BadOrder(f"missing: {', '.join(missing)}")
    unknown = [name for name in members if name not in _MEMBERS]
    if unknown and shape.reject_unknown_members:
        raise BadOrder(f"unknown: {', '.join(unknown)}")


def _text(members: dict[str, Any], name: str, default: str, accepted: Any) -> str:
    value = members.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise BadOrder(f"{name} must be a string that is not blank")
    if accepted is not None and value not in accepted:
        raise BadOrder(f"{name} must be one of {', '.join(accepted)}")
    return value


def _retention(members: dict[str, Any], temporary: bool, shape: ApiShape) -> int | None:
    if "retentionPeriodInDays" not in members:
        if temporary and shape.temporary_needs_retention:
            raise BadOrder("a temporary backup needs retentionPeriodInDays")
        return None
    days = members["retentionPeriodInDays"]
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise BadOrder("retentionPeriodInDays must be a positive integer")
    longest = _CENTURY if shape.max_retention_days is None else shape.max_retention_days
    if days > longest:
        raise BadOrder(f"retentionPeriodInDays must be at most {longest}")
    return days if temporary else None


def _metadata(members: dict[str, Any]) -> dict[str, Any] | None:
    if "metadata" not in members:
        return None
    metadata = members["metadata"]
    if not isinstance(metadata, dict):
        raise BadOrder("metadata must be an object")
    if any(not isinstance(metadata.get(name, ""), str) for name in ("name", "description")):
        raise BadOrder("metadata's name and description must be strings")
    return metadata
