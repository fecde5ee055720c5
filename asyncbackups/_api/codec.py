"""JSON <-> models, through cattrs over msgspec.

Decoding loses nothing: whatever a model's attributes do not reproduce exactly is kept in its `extra`, under the API's
own name, and encoding writes it back out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import msgspec

from asyncbackups._base.validation import quote_value
from asyncbackups._http.text import make_excerpt
from asyncbackups.errors import ConfigurationError, ProtocolError
from asyncbackups.models import Backup, BackupMetadata, BackupSpec, Environment, Health

if TYPE_CHECKING:
    from cattrs.preconf.msgspec import MsgspecJsonConverter


_Model = TypeVar("_Model", Backup, Environment, Health)
_Load = Callable[[Any], Any]


def id_of(value: object) -> int | None:
    """Return the id that a JSON value stands for: a whole number of 64 bits, 362.0 and "362" included; else None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**63 and value % 1 == 0 else None


def is_backup(raw: object) -> bool:
    """Whether a decoded JSON value is a backup: an object with an id."""
    return isinstance(raw, dict) and id_of(raw.get("id")) is not None


def backup_from(raw: Any) -> Backup:
    """Structure a decoded JSON value as a backup.

    Raises:
        ProtocolError: If it is no object with an integer `id`.
    """
    if not is_backup(raw):
        raise ProtocolError("a backup must be an object with an integer id", excerpt=_quote(raw))
    return backup_of(raw)


def backup_of(raw: Mapping[str, Any]) -> Backup:
    """Structure what `is_backup` has found to be a backup."""
    return _converter().structure(raw, Backup)


def health_from(raw: Any) -> Health:
    """Structure a decoded JSON value as the service's health.

    Raises:
        ProtocolError: If it is no object with a `status`.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("status"), str):
        raise ProtocolError("health must be an object with a status", excerpt=_quote(raw))
    return _converter().structure(raw, Health)


def encode_spec(spec: BackupSpec) -> bytes:
    """Encode what to create as the body of the request, as documented."""
    return msgspec.json.encode(plain(spec))


def plain(model: object) -> Any:
    """Return a model as plain JSON values, in the API's own field names."""
    return _converter().unstructure(model)


def spec_from(raw: Any) -> BackupSpec:
    """Structure what `plain` made of a spec: what a journal has kept.

    Raises:
        ConfigurationError: If it is no such object, or what it says is not allowed.
    """
    try:
        return _converter().structure(raw, BackupSpec)
    except (KeyError, TypeError) as exc:
        raise ConfigurationError(f"what to create is not described as it should be: {quote_value(raw)}") from exc


def _quote(raw: object) -> str:
    try:
        return make_excerpt(msgspec.json.encode(raw))
    except RecursionError:  # what could just be decoded is too deep to be written from further down the stack
        return f"a deeply nested {type(raw).__name__}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _instant(value: object) -> datetime | None:
    """Read an ISO 8601 instant. A date alone is none: it would be a guess by up to a day."""
    if not isinstance(value, str) or not any(separator in value for separator in "Tt "):
        return None
    try:
        return _utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def _utc(moment: datetime) -> datetime:
    """Take an instant without an offset for UTC, in which the guide's examples are written."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _written(moment: datetime) -> str:
    return f"{_utc(moment).replace(tzinfo=None).isoformat()}Z"


_ENVIRONMENT: dict[str, tuple[str, _Load]] = {name: (name, _text) for name in ("tenant", "project", "stage", "name")}

_HEALTH: dict[str, tuple[str, _Load]] = {"status": ("status", _text)}


def _environment(value: object) -> Environment | None:
    return _structured(value, Environment, _ENVIRONMENT) if isinstance(value, dict) else None


_BACKUP: dict[str, tuple[str, _Load]] = {
    "id": ("id", id_of),
    "mechanism": ("mechanism", _text),
    "type": ("type", _text),
    "environment": ("environment", _environment),
    "status": ("status", _text),
    "displayStatus": ("display_status", _text),
    "errorMessage": ("error_message", _text),
    "startedAt": ("started_at", _instant),
    "completedAt": ("completed_at", _instant),
    "expirationDate": ("expiration_date", _instant),
    "databaseToApplicationBuilds": ("database_to_application_builds", _object),
}


def _structured(raw: Mapping[str, Any], cls: type[_Model], fields: Mapping[str, tuple[str, _Load]]) -> _Model:
    """Sort members into attributes and `extra`: the latter gets all that an attribute would not write back the same."""
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
        if loaded is not value and not _reproduces(loaded, value):
            extra[key] = value
    return cls(**known, extra=extra)


def _reproduces(loaded: object, value: object) -> bool:
    if isinstance(loaded, datetime):
        return _written(loaded) == value
    if isinstance(loaded, Environment):
        return True  # whatever it could not hold is in its own `extra`
    return type(loaded) is type(value) and loaded == value


def _unstructured(model: Backup | Environment | Health, fields: Mapping[str, tuple[str, _Load]]) -> dict[str, Any]:
    written = {key: _plain_value(getattr(model, name)) for key, (name, _) in fields.items()}
    return {**written, **model.extra}


def _plain_value(value: object) -> object:
    if isinstance(value, datetime):
        return _written(value)
    return _unstructured(value, _ENVIRONMENT) if isinstance(value, Environment) else value


def _spec(spec: BackupSpec) -> dict[str, Any]:
    body: dict[str, Any] = {
        "mechanism": str(spec.mechanism),
        "planetClass": str(spec.planet_class),
        "temporary": spec.temporary,
    }
    if spec.retention_period_in_days is not None:
        body["retentionPeriodInDays"] = spec.retention_period_in_days
    body["metadata"] = attrs.asdict(spec.metadata)
    return body


def _read_spec(raw: Mapping[str, Any], _: type[BackupSpec]) -> BackupSpec:
    return BackupSpec(
        mechanism=raw["mechanism"],
        planet_class=raw["planetClass"],
        temporary=raw["temporary"],
        retention_period_in_days=raw.get("retentionPeriodInDays"),
        metadata=BackupMetadata(**raw["metadata"]),
    )


@functools.cache
def _converter() -> MsgspecJsonConverter:
    """Build the converter at first use: importing cattrs costs a tenth of what importing aiohttp does."""
    from cattrs.preconf.msgspec import make_converter  # noqa: PLC0415

    converter = make_converter()
    converter.register_structure_hook(Backup, lambda raw, cls: _structured(raw, cls, _BACKUP))
    converter.register_structure_hook(Environment, lambda raw, cls: _structured(raw, cls, _ENVIRONMENT))
    converter.register_structure_hook(Health, lambda raw, cls: _structured(raw, cls, _HEALTH))
    converter.register_structure_hook(BackupSpec, _read_spec)
    converter.register_unstructure_hook(Backup, lambda backup: _unstructured(backup, _BACKUP))
    converter.register_unstructure_hook(Environment, lambda environment: _unstructured(environment, _ENVIRONMENT))
    converter.register_unstructure_hook(Health, lambda health: _unstructured(health, _HEALTH))
    converter.register_unstructure_hook(BackupSpec, _spec)
    return converter
