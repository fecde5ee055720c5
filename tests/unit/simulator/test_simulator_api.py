"""Routes of requests, bearer tokens and scopes."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups.simulator import Access, ManualClock, OperationKind
from asyncbackups.simulator.api import Route, TokenRequestError, TokenStore, find_route

STAR_SYSTEM = "/api/v1/tenants/t/starsystems/s"
METHODS = ("GET", "DELETE")
FORM = {
    "grant_type": "client_credentials",
    "client_id": "simulator-client",
    "client_secret": "simulator-secret",
    "scope": "tenant.t",
}


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


def test_revoke_all_invalidates_issued_tokens() -> None:
    """Every issued token is invalid at once; the fixed one stays valid."""
    store = TokenStore(Access(token_life=1.5), tenant="t", clock=ManualClock())
    response = store.issue_token(FORM)
    assert response["expires_in"] == 1.5
    assert store.find_grant(f"bearer {response['access_token']}") is not None
    store.revoke_all()
    assert store.find_grant(f"Bearer {response['access_token']}") is None
    assert store.find_grant("Bearer simulator-token") is not None
    assert store.issued == 1


def test_request_without_grant_type_is_refused() -> None:
    """An empty form gets the error code of RFC 6749."""
    store = TokenStore(Access(), tenant="t", clock=ManualClock())
    with pytest.raises(TokenRequestError) as caught:
        store.issue_token({})
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")


def test_any_token_may_do_everything_without_scope_checks() -> None:
    """With `check_scopes=False`, a token without scopes may create."""
    store = TokenStore(Access(check_scopes=False), tenant="t", clock=ManualClock())
    response = store.issue_token({name: value for name, value in FORM.items() if name != "scope"})
    grant = store.find_grant(f"Bearer {response['access_token']}")
    assert grant is not None
    assert grant.allows_operation(OperationKind.CREATE)


def test_repr_contains_no_secret() -> None:
    """The repr of the credentials shows neither token nor secret."""
    assert "simulator-token" not in repr(Access())
    assert "simulator-secret" not in repr(Access())
