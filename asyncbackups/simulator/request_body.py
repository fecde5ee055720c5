"""Parses and checks the body of a create request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from asyncbackups.simulator.api_behavior import ApiBehavior
from asyncbackups.simulator.state import CreateBody

_RETENTION_LIMIT = 36_500
"""Days; `datetime` could not represent the expiration date of a much longer retention."""
_DOCUMENTED_MEMBERS = ("mechanism", "planetClass", "temporary", "retentionPeriodInDays", "metadata")


class CreateBodyError(Exception):
    """The body does not follow the schema."""


def parse_create_body(body: bytes, behavior: ApiBehavior) -> CreateBody:
    """Parse the body of a create request.

    Raises:
        CreateBodyError: The body does not follow the schema.
    """
    members = _decode_object(body)
    _check_member_names(members, behavior)
    mechanism = _parse_text(members, "mechanism", "logical", behavior.mechanisms)
    planet_class = _parse_text(members, "planetClass", "dev", behavior.planet_classes)
    temporary = members.get("temporary", False)
    if not isinstance(temporary, bool):
        raise CreateBodyError("temporary must be true or false")
    return CreateBody(
        mechanism=mechanism,
        planet_class=planet_class,
        temporary=temporary,
        retention_days=_parse_retention(members, temporary, behavior),
        metadata=_parse_metadata(members),
        type="temporary" if temporary else "permanent",
    )


def _decode_object(body: bytes) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise CreateBodyError(f"the body is not JSON: {exc}") from exc
    if not isinstance(members, dict):
        raise CreateBodyError("the body must be a JSON object")
    return members


def _check_member_names(members: Mapping[str, Any], behavior: ApiBehavior) -> None:
    missing = [name for name in behavior.required_members if name not in members]
    if missing:
        raise CreateBodyError(f"missing: {', '.join(missing)}")
    unknown = [name for name in members if name not in _DOCUMENTED_MEMBERS]
    if unknown and behavior.reject_unknown_members:
        raise CreateBodyError(f"unknown: {', '.join(unknown)}")


def _parse_text(members: Mapping[str, Any], name: str, default: str, accepted: Collection[str] | None) -> str:
    value = members.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise CreateBodyError(f"{name} must be a string that is not blank")
    if accepted is not None and value not in accepted:
        raise CreateBodyError(f"{name} must be one of {', '.join(accepted)}")
    return value


def _parse_retention(members: Mapping[str, Any], temporary: bool, behavior: ApiBehavior) -> int | None:
    if "retentionPeriodInDays" not in members:
        if temporary and behavior.temporary_needs_retention:
            raise CreateBodyError("a temporary backup needs retentionPeriodInDays")
        return None
    days = members["retentionPeriodInDays"]
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise CreateBodyError("retentionPeriodInDays must be a positive integer")
    maximum = _RETENTION_LIMIT if behavior.max_retention_days is None else behavior.max_retention_days
    if days > maximum:
        raise CreateBodyError(f"retentionPeriodInDays must be at most {maximum}")
    return days if temporary else None


def _parse_metadata(members: Mapping[str, Any]) -> dict[str, Any] | None:
    if "metadata" not in members:
        return None
    metadata = members["metadata"]
    if not isinstance(metadata, dict):
        raise CreateBodyError("metadata must be an object")
    if any(not isinstance(metadata.get(name, ""), str) for name in ("name", "description")):
        raise CreateBodyError("metadata's name and description must be strings")
    return metadata
