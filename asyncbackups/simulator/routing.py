"""What a request line asks for. Pure: a method and a raw path in, a `Route` out."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import unquote

from attrs import frozen

__all__ = ["Kind", "Route", "find_route"]


class Kind(StrEnum):
    """The kinds of requests that are told apart in faults and counts."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    LIST_PLANET = "list_planet"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - a kind of request
    OTHER = "other"
    ADMIN = "admin"


@frozen
class Route:
    """A request understood: the kind, and the parts of its path, percent-decoded.

    `allowed` are the methods of the path when the one used is not among them; `()` with `Kind.OTHER` means that
    there is no such path.
    """

    kind: Kind
    tenant: str = ""
    star_system: str = ""
    planet: str = ""
    backup_id: int | None = None
    query: str = ""
    allowed: tuple[str, ...] = ()
    tail: str = ""


_GET_DELETE = {"GET": Kind.GET, "DELETE": Kind.DELETE}
_PLANET = {"GET": Kind.LIST_PLANET, "POST": Kind.CREATE}
_STAR_SYSTEM = {"GET": Kind.LIST}
_HEALTH = {"GET": Kind.HEALTH}
_TOKEN = {"POST": Kind.TOKEN}
_NOWHERE = Route(Kind.OTHER)
TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105 - a path
HEALTH_PATH = "/management/health"
ADMIN_PREFIX = "/_simulator/"


def find_route(method: str, target: str, *, list_segment: str = "backup") -> Route:
    """Say what a request asks for.

    Args:
        method: The HTTP method.
        target: The request target as sent, still percent-encoded, with its query.
        list_segment: Last path segment of a star system's list.
    """
    path, _, query = target.partition("?")
    parts = path.split("/")
    # Decoded only after the split: an encoded slash belongs to the name, not to the path.
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if len(parts) < 8 or parts[1:4] != ["api", "v1", "tenants"] or parts[5] != "starsystems" or "" in parts[1:]:
        return _elsewhere(method, path, query)
    return _in_star_system(method, parts, query, list_segment)


def _elsewhere(method: str, path: str, query: str) -> Route:
    if path == HEALTH_PATH:
        return _choose(method, _HEALTH, query=query)
    if path == TOKEN_PATH:
        return _choose(method, _TOKEN, query=query)
    if path.startswith(ADMIN_PREFIX):
        return Route(Kind.ADMIN, query=query, tail=path.removeprefix(ADMIN_PREFIX))
    return _NOWHERE


def _in_star_system(method: str, parts: list[str], query: str, list_segment: str) -> Route:
    tenant, star_system, rest = parts[4], parts[6], parts[7:]
    if len(rest) == 2 and rest[0] == "backups":
        return _choose(method, _GET_DELETE, tenant, star_system, "", _backup_id(rest[1]), query)
    if len(rest) == 3 and rest[0] == "planets" and rest[2] == "backups":
        return _choose(method, _PLANET, tenant, star_system, rest[1], None, query)
    if rest == [list_segment]:
        return _choose(method, _STAR_SYSTEM, tenant, star_system, "", None, query)
    return _NOWHERE


def _choose(
    method: str,
    methods: dict[str, Kind],
    tenant: str = "",
    star_system: str = "",
    planet: str = "",
    backup_id: int | None = None,
    query: str = "",
) -> Route:
    kind = methods.get(method)
    if kind is None:
        return Route(Kind.OTHER, tenant, star_system, planet, backup_id, query, tuple(methods))
    return Route(kind, tenant, star_system, planet, backup_id, query)


def _backup_id(text: str) -> int:
    """Read a backup's id; what is not an integer names no backup, which -1 stands for."""
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else -1
