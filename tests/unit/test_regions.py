"""The regions by name, and the scopes of a tenant."""

from __future__ import annotations

import pytest

from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import REGIONS, region, region_of, scopes_for


@pytest.mark.parametrize("name", ["EMEA", "emea", " Emea "])
def test_a_region_is_found_in_any_case(name: str) -> None:
    """A region's name may be written in any case."""
    found = region(name)
    assert found.name == "EMEA"
    assert found.base_url == "https://databaseservice.api.omega2-cartwheel.guidewire.net/"
    assert found.token_url == "https://guidewire-hub-eu.okta.com/oauth2/ausc2q01c40dNZII0416/v1/token"


def test_the_regions_are_the_documented_ones() -> None:
    """There are five regions; CANADA shares AMER's token URL, JAPAN APAC's."""
    assert list(REGIONS) == ["AMER", "CANADA", "EMEA", "APAC", "JAPAN"]
    assert region("CANADA").token_url == region("AMER").token_url
    assert region("JAPAN").token_url == region("APAC").token_url
    assert len({known.base_url for known in REGIONS.values()}) == 5


@pytest.mark.parametrize("name", ["", "MARS", None, 3])
def test_an_unknown_region_is_refused(name: object) -> None:
    """The message names what was given and what there is."""
    with pytest.raises(ConfigurationError, match=r"AMER, CANADA, EMEA, APAC, JAPAN, not " + repr(name)):
        region(name)  # type: ignore[arg-type]


def test_a_base_url_tells_its_region() -> None:
    """A region is known by its base URL, with or without the slash; another URL belongs to none."""
    assert region_of("https://databaseservice.api.omega2-milkyway.guidewire.net") is REGIONS["JAPAN"]
    assert region_of("https://databaseservice.api.omega2-milkyway.guidewire.net/") is REGIONS["JAPAN"]
    assert region_of("https://databaseservice.example/") is None


def test_scopes_name_the_tenant() -> None:
    """A tenant's token may create, retrieve and delete."""
    assert scopes_for("acme") == "tenant.acme gcc.deployments.read gcc.deployments.write"
    with pytest.raises(ConfigurationError, match="tenant"):
        scopes_for(" ")
