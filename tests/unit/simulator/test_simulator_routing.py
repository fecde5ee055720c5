"""What a request line asks for."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups.simulator.routing import Kind, Route, find_route

SPACE = "/api/v1/tenants/t/starsystems/s"


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("POST", f"{SPACE}/planets/p/backups", Route(Kind.CREATE, "t", "s", "p")),
        ("GET", f"{SPACE}/planets/p/backups?a=b", Route(Kind.LIST_PLANET, "t", "s", "p", query="a=b")),
        ("GET", f"{SPACE}/backup", Route(Kind.LIST, "t", "s")),
        ("GET", f"{SPACE}/backups/12", Route(Kind.GET, "t", "s", backup_id=12)),
        ("DELETE", f"{SPACE}/backups/12", Route(Kind.DELETE, "t", "s", backup_id=12)),
        ("GET", f"{SPACE}/backups/-12", Route(Kind.GET, "t", "s", backup_id=-1)),
        ("GET", f"{SPACE}/backups/²", Route(Kind.GET, "t", "s", backup_id=-1)),
        ("PATCH", f"{SPACE}/backups/1", Route(Kind.OTHER, "t", "s", backup_id=1, allowed=("GET", "DELETE"))),
        ("GET", "/management/health", Route(Kind.HEALTH)),
        ("POST", "/oauth2/v1/token", Route(Kind.TOKEN)),
        ("GET", "/_simulator/counts", Route(Kind.ADMIN, tail="counts")),
        ("GET", f"{SPACE}/backups", Route(Kind.OTHER)),
        ("GET", f"{SPACE}//backups", Route(Kind.OTHER)),
        ("GET", f"{SPACE}/moons/p/backups", Route(Kind.OTHER)),
        ("GET", "/", Route(Kind.OTHER)),
        ("OPTIONS", "*", Route(Kind.OTHER)),
    ],
)
def test_routes(method: str, target: str, route: Route) -> None:
    """Each documented method and path is one kind of request; anything else is none."""
    assert find_route(method, target) == route


@given(st.text(min_size=1).filter(lambda name: name.isprintable() or "/" in name))
def test_an_encoded_planet_is_one_segment(planet: str) -> None:
    """Whatever a planet is called, percent-encoded it comes through whole."""
    route = find_route("POST", f"{SPACE}/planets/{quote(planet, safe='')}/backups")
    assert (route.kind, route.planet) == (Kind.CREATE, planet)
