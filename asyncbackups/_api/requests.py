"""Build the request of each operation. Paths and body: the guide "Manage database backups"."""

from __future__ import annotations

import functools
from urllib.parse import quote

import attrs

from asyncbackups._api.codec import encode_spec
from asyncbackups._base.validation import check_path_name, quote_value
from asyncbackups._http.messages import Request, RequestKind
from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef


@functools.lru_cache(maxsize=1024)
def _percent_encode(name: str) -> str:
    """Percent-encode a valid name; cached, because the same names recur in every poll."""
    return quote(name, safe="")


def encode_segment(text: str, name: str = "a path segment") -> str:
    """Percent-encode a text so that it stays one segment of a path.

    Args:
        text: The text.
        name: The argument's name, for the error message.

    Raises:
        ConfigurationError: If it is blank, "." or "..", or not encodable (a lone surrogate).
    """
    return _percent_encode(check_path_name(text, name))


def _check_list_segment(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in ("backup", "backups"):
        raise ConfigurationError(f"must be 'backup' or 'backups', not {quote_value(value)}", field=attribute.name)


def _build_root_path(builder: RequestBuilder) -> str:
    return f"/api/v1/tenants/{encode_segment(builder.tenant, 'tenant')}/starsystems/"


@attrs.frozen
class RequestBuilder:
    """Builds the requests of one tenant.

    Attributes:
        tenant: The tenant's id.
        star_system_list: The last segment of a star system's list: "backup" as documented (singular), or "backups".
    """

    tenant: str
    star_system_list: str = attrs.field(default="backup", validator=_check_list_segment)
    _root_path: str = attrs.field(init=False, repr=False, default=attrs.Factory(_build_root_path, takes_self=True))

    def create(self, planet: PlanetRef, spec: BackupSpec) -> Request:
        """Build the request that creates a backup."""
        return Request(kind=RequestKind.CREATE, method="POST", path=self._planet_path(planet), body=encode_spec(spec))

    def get(self, ref: BackupRef, *, etag: str | None = None) -> Request:
        """Build the request that retrieves a backup."""
        return Request(kind=RequestKind.GET, method="GET", path=self._backup_path(ref), etag=etag)

    def list(self, star_system: str, planet: str | None = None, *, etag: str | None = None) -> Request:
        """Build the request that lists the backups of a star system, or of one planet."""
        if planet is None:
            path = f"{self._root_path}{encode_segment(star_system, 'star_system')}/{self.star_system_list}"
        else:
            path = self._planet_path(PlanetRef(star_system, planet))
        return Request(kind=RequestKind.LIST, method="GET", path=path, etag=etag)

    def delete(self, ref: BackupRef) -> Request:
        """Build the request that deletes a backup."""
        return Request(kind=RequestKind.DELETE, method="DELETE", path=self._backup_path(ref))

    @staticmethod
    def health() -> Request:
        """Build the request that checks the service's health."""
        return Request(kind=RequestKind.HEALTH, method="GET", path="/management/health")

    def _backup_path(self, ref: BackupRef) -> str:
        # Not `_percent_encode`: ids would evict the names from its cache.
        backup_id = ref.backup_id if isinstance(ref.backup_id, int) else quote(ref.backup_id, safe="")
        return f"{self._root_path}{_percent_encode(ref.star_system)}/backups/{backup_id}"

    def _planet_path(self, planet: PlanetRef) -> str:
        return (
            f"{self._root_path}{_percent_encode(planet.star_system)}/planets/{_percent_encode(planet.planet)}/backups"
        )
