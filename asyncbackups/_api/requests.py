"""Which request stands for which operation: the paths of the Database API.

Source: the guide "Manage database backups"; the star system's list is at the singular `backup`, as the guide prints it.
"""

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
def _encoded(name: str) -> str:
    """Percent-encode a name that was checked; the same star systems are asked about over and over."""
    return quote(name, safe="")


def segment(text: str, name: str = "a part of a path") -> str:
    """Percent-encode a name so that it stays one segment of a path, whatever is in it.

    Args:
        text: The name.
        name: What it is the name of, for the message.

    Raises:
        ConfigurationError: If it is blank, "." or "..", or cannot be encoded (a lone surrogate).
    """
    return _encoded(check_path_name(text, name))


def _list_segment(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in ("backup", "backups"):
        raise ConfigurationError(f"must be 'backup' or 'backups', not {quote_value(value)}", field=attribute.name)


@attrs.frozen
class Requests:
    """Builds the requests of one tenant.

    Attributes:
        tenant: The tenant's id.
        star_system_list: The last segment of a star system's list: "backup" as documented, or "backups".
    """

    tenant: str
    star_system_list: str = attrs.field(default="backup", validator=_list_segment)
    _root: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        root = f"/api/v1/tenants/{segment(self.tenant, 'tenant')}/starsystems/"
        object.__setattr__(self, "_root", root)  # the way that attrs documents for frozen classes

    def create(self, planet: PlanetRef, spec: BackupSpec) -> Request:
        """Create a backup of a planet."""
        return Request(kind=RequestKind.CREATE, method="POST", path=self._planet(planet), body=encode_spec(spec))

    def get(self, ref: BackupRef, *, etag: str | None = None) -> Request:
        """Retrieve one backup."""
        return Request(kind=RequestKind.GET, method="GET", path=self._backup(ref), etag=etag)

    def list(self, star_system: str, planet: str | None = None, *, etag: str | None = None) -> Request:
        """List the backups of a star system, or of one of its planets."""
        if planet is None:
            path = f"{self._root}{segment(star_system, 'star_system')}/{self.star_system_list}"
        else:
            path = self._planet(PlanetRef(star_system, planet))
        return Request(kind=RequestKind.LIST, method="GET", path=path, etag=etag)

    def delete(self, ref: BackupRef) -> Request:
        """Delete one backup."""
        return Request(kind=RequestKind.DELETE, method="DELETE", path=self._backup(ref))

    @staticmethod
    def health() -> Request:
        """Ask how the service is."""
        return Request(kind=RequestKind.HEALTH, method="GET", path="/management/health")

    def _backup(self, ref: BackupRef) -> str:
        return f"{self._root}{_encoded(ref.star_system)}/backups/{ref.backup_id}"

    def _planet(self, planet: PlanetRef) -> str:
        return f"{self._root}{_encoded(planet.star_system)}/planets/{_encoded(planet.planet)}/backups"
