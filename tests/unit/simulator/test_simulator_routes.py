"""Request lines and their routes."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups.simulator.routes import OperationKind, Route, find_route

STAR_SYSTEM = "/api/v1/tenants/t/starsystems/s"
METHODS = ("GET", "DELETE")


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("POST", f"{STAR_SYSTEM}/planets/p/backups", Route(OperationKind.CREATE, "t", "s", "p")),
        ("GET", f"{STAR_SYSTEM}/planets/p/backups?a=b", Route(OperationKind.LIST_PLANET, "t", "s", "p", query="a=b")),
        ("GET", f"{STAR_SYSTEM}/backup", Route(OperationKind.LIST, "t", "s")),
        ("GET", f"{STAR_SYSTEM}/backups/12", Route(OperationKind.GET, "t", "s", backup_id=12)),
        ("DELETE", f"{STAR_SYSTEM}/backups/12", Route(OperationKind.DELETE, "t", "s", backup_id=12)),
        ("GET", f"{STAR_SYSTEM}/backups/-12", Route(OperationKind.GET, "t", "s", backup_id=-1)),
        ("GET", f"{STAR_SYSTEM}/backups/²", Route(OperationKind.GET, "t", "s", backup_id=-1)),
        ("PATCH", f"{STAR_SYSTEM}/backups/1", Route(OperationKind.OTHER, "t", "s", backup_id=1, allowed=METHODS)),
        ("GET", "/management/health", Route(OperationKind.HEALTH)),
        ("POST", "/oauth2/v1/token", Route(OperationKind.TOKEN)),
        ("GET", "/_simulator/counts", Route(OperationKind.ADMIN, admin_page="counts")),
        ("GET", f"{STAR_SYSTEM}/backups", Route(OperationKind.OTHER)),
        ("GET", f"{STAR_SYSTEM}//backups", Route(OperationKind.OTHER)),
        ("GET", f"{STAR_SYSTEM}/moons/p/backups", Route(OperationKind.OTHER)),
        ("GET", "/", Route(OperationKind.OTHER)),
        ("OPTIONS", "*", Route(OperationKind.OTHER)),
    ],
)
def test_route_of_request_line(method: str, target: str, route: Route) -> None:
    """Each documented method and path is one operation; anything else is none."""
    assert find_route(method, target) == route


@given(st.text(min_size=1).filter(lambda name: name.isprintable() or "/" in name))
def test_encoded_planet_is_one_segment(planet: str) -> None:
    """A percent-encoded planet name is decoded unchanged, whatever it contains."""
    route = find_route("POST", f"{STAR_SYSTEM}/planets/{quote(planet, safe='')}/backups")
    assert (route.kind, route.planet) == (OperationKind.CREATE, planet)
