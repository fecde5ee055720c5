"""Convert between JSON and models with cattrs over msgspec.

Decoding is lossless: members that an attribute cannot reproduce exactly are kept in `extra` and encoded from there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import msgspec

from asyncbackups._base.validation import quote_value
from asyncbackups._http.redaction import make_excerpt
from asyncbackups.errors import ConfigurationError, ProtocolError
from asyncbackups.models import Backup, BackupMetadata, BackupSpec, Environment, Health

if TYPE_CHECKING:  # cattrs is imported on first use, to keep the start-up light
    from cattrs.preconf.msgspec import MsgspecJsonConverter


_Model = TypeVar("_Model", Backup, Environment, Health)
_Load = Callable[[Any], Any]


def parse_id(value: object) -> int | None:
    """Return a JSON value as an id: a 64-bit whole number, also written 362.0 or "362"; None if it is not one."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**63 and value % 1 == 0 else None


def is_backup(raw: object) -> bool:
    """Return True if a decoded JSON value is an object with an id."""
    return isinstance(raw, dict) and parse_id(raw.get("id")) is not None


def backup_from_json(raw: Any) -> Backup:
    """Structure a decoded JSON value as a backup.

    Raises:
        ProtocolError: If it is not an object with an integer `id`.
    """
    if not is_backup(raw):
        raise ProtocolError("a backup must be an object with an integer id", excerpt=_quote_json(raw))
    return structure_backup(raw)


def structure_backup(raw: Mapping[str, Any]) -> Backup:
    """Structure an object that `is_backup` accepts."""
    return _json_converter().structure(raw, Backup)


def health_from_json(raw: Any) -> Health:
    """Structure a decoded JSON value as health.

    Raises:
        ProtocolError: If it is not an object with a `status`.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("status"), str):
        raise ProtocolError("health must be an object with a status", excerpt=_quote_json(raw))
    return _json_converter().structure(raw, Health)


def encode_spec(spec: BackupSpec) -> bytes:
    """Encode a spec as the documented body of a create."""
    return msgspec.json.encode(plain(spec))


def plain(model: object) -> Any:
    """Return a model as JSON values (dict, list, str, ...) with the API's field names."""
    return _json_converter().unstructure(model)


def spec_from_json(raw: Any) -> BackupSpec:
    """Structure a spec that `plain` has written, for instance in a journal.

    Raises:
        ConfigurationError: If a member is missing, unknown or invalid.
    """
    try:
        return _json_converter().structure(raw, BackupSpec)
    except (KeyError, TypeError) as exc:
        raise ConfigurationError(f"not a valid backup spec: {quote_value(raw)}") from exc


def _quote_json(raw: object) -> str:
    try:
        return make_excerpt(msgspec.json.encode(raw))
    except RecursionError:  # decoded at the limit of depth; encoding starts further down the stack
        return f"a deeply nested {type(raw).__name__}"


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object_or_none(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _parse_instant(value: object) -> datetime | None:
    """Parse an ISO 8601 instant; None for anything else, also a date without a time."""
    if not isinstance(value, str) or not any(separator in value for separator in "Tt "):
        return None
    try:
        return _as_utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def _as_utc(moment: datetime) -> datetime:
    """Convert an instant to UTC; one without an offset is UTC, as in the guide's examples."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _format_instant(moment: datetime) -> str:
    return f"{_as_utc(moment).replace(tzinfo=None).isoformat()}Z"


_ENVIRONMENT: dict[str, tuple[str, _Load]] = {
    name: (name, _text_or_none) for name in ("tenant", "project", "stage", "name")
}

_HEALTH: dict[str, tuple[str, _Load]] = {"status": ("status", _text_or_none)}


def _parse_environment(value: object) -> Environment | None:
    return _structure_model(value, Environment, _ENVIRONMENT) if isinstance(value, dict) else None


_BACKUP: dict[str, tuple[str, _Load]] = {
    "id": ("id", parse_id),
    "mechanism": ("mechanism", _text_or_none),
    "type": ("type", _text_or_none),
    "environment": ("environment", _parse_environment),
    "status": ("status", _text_or_none),
    "displayStatus": ("display_status", _text_or_none),
    "errorMessage": ("error_message", _text_or_none),
    "startedAt": ("started_at", _parse_instant),
    "completedAt": ("completed_at", _parse_instant),
    "expirationDate": ("expiration_date", _parse_instant),
    "databaseToApplicationBuilds": ("database_to_application_builds", _object_or_none),
}


def _structure_model(raw: Mapping[str, Any], cls: type[_Model], fields: Mapping[str, tuple[str, _Load]]) -> _Model:
    """Load members into attributes; `extra` gets those that an attribute would not encode back exactly."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        field = fields.get(key)
        if field is None:
            extra[key] = value
            continue
        name, load = field
        loaded = load(value)
        known[name] = loaded
        if loaded is not value and not _encodes_back(loaded, value):
            extra[key] = value
    return cls(**known, extra=extra)


def _encodes_back(loaded: object, value: object) -> bool:
    if isinstance(loaded, datetime):
        return _format_instant(loaded) == value
    if isinstance(loaded, Environment):
        return True  # it has an `extra` of its own
    return type(loaded) is type(value) and loaded == value


def _unstructure_model(model: Backup | Environment | Health, fields: Mapping[str, tuple[str, _Load]]) -> dict[str, Any]:
    written = {key: _unstructure_value(getattr(model, name)) for key, (name, _) in fields.items()}
    return {**written, **model.extra}


def _unstructure_value(value: object) -> object:
    if isinstance(value, datetime):
        return _format_instant(value)
    return _unstructure_model(value, _ENVIRONMENT) if isinstance(value, Environment) else value


def _unstructure_spec(spec: BackupSpec) -> dict[str, Any]:
    body: dict[str, Any] = {
        "mechanism": str(spec.mechanism),
        "planetClass": str(spec.planet_class),
        "temporary": spec.temporary,
    }
    if spec.retention_period_in_days is not None:
        body["retentionPeriodInDays"] = spec.retention_period_in_days
    body["metadata"] = attrs.asdict(spec.metadata)
    return body


def _structure_spec(raw: Mapping[str, Any], _: type[BackupSpec]) -> BackupSpec:
    return BackupSpec(
        mechanism=raw["mechanism"],
        planet_class=raw["planetClass"],
        temporary=raw["temporary"],
        retention_period_in_days=raw.get("retentionPeriodInDays"),
        metadata=BackupMetadata(**raw["metadata"]),
    )


@functools.cache
def _json_converter() -> MsgspecJsonConverter:
    """Build the converter at first use: importing cattrs takes a tenth of the time of importing aiohttp."""
    from cattrs.preconf.msgspec import make_converter  # noqa: PLC0415

    converter = make_converter()
    converter.register_structure_hook(Backup, lambda raw, cls: _structure_model(raw, cls, _BACKUP))
    converter.register_structure_hook(Environment, lambda raw, cls: _structure_model(raw, cls, _ENVIRONMENT))
    converter.register_structure_hook(Health, lambda raw, cls: _structure_model(raw, cls, _HEALTH))
    converter.register_structure_hook(BackupSpec, _structure_spec)
    converter.register_unstructure_hook(Backup, lambda backup: _unstructure_model(backup, _BACKUP))
    converter.register_unstructure_hook(Environment, lambda environment: _unstructure_model(environment, _ENVIRONMENT))
    converter.register_unstructure_hook(Health, lambda health: _unstructure_model(health, _HEALTH))
    converter.register_unstructure_hook(BackupSpec, _unstructure_spec)
    return converter
