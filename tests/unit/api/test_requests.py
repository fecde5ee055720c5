"""Requests: the documented paths, in which each name is one segment."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from asyncbackups._api.requests import RequestBuilder, encode_segment
from asyncbackups._http.messages import RequestKind
from asyncbackups.errors import ConfigurationError
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

REQUESTS = RequestBuilder("acme")
ROOT = "/api/v1/tenants/acme/starsystems/"
NAMES = st.text(min_size=1).filter(
    lambda name: name not in {".", ".."} and any(c.isprintable() and c != " " for c in name)
)
ODD = ["../../x", "a/b", "é", "...", "%2e%2e", "a b", "a?b#c", "a;b", "a\\b", "日本", "x\n", "+&="]


def test_create_is_a_post_below_the_planet() -> None:
    """A create has the documented path, and the spec as its body."""
    request = REQUESTS.create(PlanetRef("alpha", "p1"), BackupSpec())
    assert (request.kind, request.method, request.path) == (
        RequestKind.CREATE,
        "POST",
        f"{ROOT}alpha/planets/p1/backups",
    )
    assert json.loads(request.body or b"")["planetClass"] == "dev"
    assert not request.is_idempotent


def test_get_and_delete_are_below_the_star_system() -> None:
    """Get and delete have the documented path, without a planet."""
    ref = BackupRef("alpha", 362)
    get, delete = REQUESTS.get(ref, etag='"x"'), REQUESTS.delete(ref)
    assert (get.kind, get.method, get.path, get.etag) == (RequestKind.GET, "GET", f"{ROOT}alpha/backups/362", '"x"')
    assert (delete.kind, delete.method, delete.path) == (RequestKind.DELETE, "DELETE", f"{ROOT}alpha/backups/362")


def test_lists_of_planets_and_star_systems() -> None:
    """A planet's list is plural; a star system's is singular, as documented."""
    assert REQUESTS.list("alpha", "p1").path == f"{ROOT}alpha/planets/p1/backups"
    one = REQUESTS.list("alpha", etag='"x"')
    assert (one.kind, one.method, one.path, one.etag) == (RequestKind.LIST, "GET", f"{ROOT}alpha/backup", '"x"')


def test_star_system_list_may_be_plural() -> None:
    """A setting chooses the path, in case the documented singular is an error."""
    assert RequestBuilder("acme", "backups").list("alpha").path == f"{ROOT}alpha/backups"


@pytest.mark.parametrize("value", ["Backup", "", "../x", None])
def test_star_system_list_is_one_of_two(value: Any) -> None:
    """Another path is refused; the message names both."""
    with pytest.raises(ConfigurationError, match=r"^star_system_list must be 'backup' or 'backups', not "):
        RequestBuilder("acme", value)


def test_health_needs_no_tenant() -> None:
    """The health endpoint is outside the tenant's path."""
    assert (RequestBuilder.health().kind, RequestBuilder.health().path) == (RequestKind.HEALTH, "/management/health")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_stay_one_segment(name: str) -> None:
    """A name with slashes, dots, queries or non-ASCII characters is one segment, also in yarl."""
    path = REQUESTS.create(PlanetRef("alpha", name), BackupSpec()).path
    assert path.count("/") == f"{ROOT}alpha/planets/p1/backups".count("/")
    assert unquote(path.split("/")[8]) == name
    url = URL("https://host.example" + path, encoded=True)
    assert url.raw_path == path
    assert not url.query_string
    assert not url.fragment


@settings(max_examples=100)
@given(tenant=NAMES, star_system=NAMES, planet=NAMES)
def test_any_names_make_a_path_of_the_same_shape(tenant: str, star_system: str, planet: str) -> None:
    """Whatever the names, the path has nine ASCII segments that decode to the names."""
    path = RequestBuilder(tenant).list(star_system, planet).path
    parts = path.split("/")
    assert [unquote(part) for part in parts] == [
        *("", "api", "v1", "tenants", tenant, "starsystems", star_system, "planets", planet, "backups")
    ]
    assert path.isascii()
    assert not {".", ".."} & set(parts)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "\ud800x", None, 7])
def test_invalid_names_are_refused(name: Any) -> None:
    """Blank names, dots and unencodable strings are refused by every operation."""
    with pytest.raises(ConfigurationError, match=r"^tenant must "):
        RequestBuilder(name)
    with pytest.raises(ConfigurationError, match=r"^star_system must "):
        REQUESTS.list(name)
    with pytest.raises(ConfigurationError, match=r"^star_system must "):
        REQUESTS.list(name, "p1")
    with pytest.raises(ConfigurationError, match=r"^a path segment must "):
        encode_segment(name)


def test_empty_planet_does_not_list_the_star_system() -> None:
    """Only None lists the star system."""
    with pytest.raises(ConfigurationError, match=r"^planet must not be blank"):
        REQUESTS.list("alpha", "")
