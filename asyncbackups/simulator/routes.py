"""Which operation a request line names: a method and a raw path in, a `Route` out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import unquote

from attrs import frozen

TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105 - a path
HEALTH_PATH = "/management/health"
ADMIN_PREFIX = "/_simulator/"


class OperationKind(StrEnum):
    """The operations that faults and counts distinguish."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    LIST_PLANET = "list_planet"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - the name of an operation
    OTHER = "other"
    ADMIN = "admin"


@frozen
class Route:
    """A request's operation and the parts of its path, percent-decoded.

    If the path exists but not with this method, `kind` is `OperationKind.OTHER` and `allowed` has the methods;
    if there is no such path, `allowed` is empty.
    """

    kind: OperationKind
    tenant: str = ""
    star_system: str = ""
    planet: str = ""
    backup_id: int | None = None
    query: str = ""
    allowed: tuple[str, ...] = ()
    admin_page: str = ""


_BACKUP = {"GET": OperationKind.GET, "DELETE": OperationKind.DELETE}
_PLANET = {"GET": OperationKind.LIST_PLANET, "POST": OperationKind.CREATE}
_STAR_SYSTEM = {"GET": OperationKind.LIST}
_HEALTH = {"GET": OperationKind.HEALTH}
_TOKEN = {"POST": OperationKind.TOKEN}
_NO_SUCH_PATH = Route(OperationKind.OTHER)


def find_route(method: str, target: str, *, list_segment: str = "backup") -> Route:
    """Return the route of a request.

    Args:
        method: The HTTP method.
        target: The request target as sent, percent-encoded, with its query.
        list_segment: Last path segment of a star system's list.
    """
    path, _, query = target.partition("?")
    parts = path.split("/")
    # Decoded only after the split: an encoded slash belongs to the name, not to the path.
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if len(parts) < 8 or parts[1:4] != ["api", "v1", "tenants"] or parts[5] != "starsystems" or "" in parts[1:]:
        return _find_service_route(method, path, query)
    return _find_backup_route(method, parts, query, list_segment)


def _find_service_route(method: str, path: str, query: str) -> Route:
    if path == HEALTH_PATH:
        return _select_method(method, _HEALTH, query)
    if path == TOKEN_PATH:
        return _select_method(method, _TOKEN, query)
    if path.startswith(ADMIN_PREFIX):
        return Route(OperationKind.ADMIN, query=query, admin_page=path.removeprefix(ADMIN_PREFIX))
    return _NO_SUCH_PATH


def _find_backup_route(method: str, parts: list[str], query: str, list_segment: str) -> Route:
    tenant, star_system, rest = parts[4], parts[6], parts[7:]
    if len(rest) == 2 and rest[0] == "backups":
        return _select_method(method, _BACKUP, query, tenant, star_system, backup_id=_parse_backup_id(rest[1]))
    if len(rest) == 3 and rest[0] == "planets" and rest[2] == "backups":
        return _select_method(method, _PLANET, query, tenant, star_system, rest[1])
    if rest == [list_segment]:
        return _select_method(method, _STAR_SYSTEM, query, tenant, star_system)
    return _NO_SUCH_PATH


def _select_method(
    method: str,
    methods: Mapping[str, OperationKind],
    query: str,
    tenant: str = "",
    star_system: str = "",
    planet: str = "",
    *,
    backup_id: int | None = None,
) -> Route:
    kind = methods.get(method, OperationKind.OTHER)
    allowed = () if method in methods else tuple(methods)
    return Route(kind, tenant, star_system, planet, backup_id, query, allowed)


def _parse_backup_id(text: str) -> int:
    """Return a backup's id, or -1, which no backup has, for anything but an integer."""
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else -1
