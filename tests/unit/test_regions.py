"""The regions by name, and the scopes of a tenant."""

from __future__ import annotations

import pytest

from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import REGIONS, region, region_of, scopes_for


@pytest.mark.parametrize("name", ["EMEA", "emea", " Emea "])
def test_region_names_ignore_case(name: str) -> None:
    """Upper and lower case and surrounding spaces do not matter."""
    found = region(name)
    assert found.name == "EMEA"
    assert found.base_url == "https://databaseservice.api.omega2-cartwheel.guidewire.net/"
    assert found.token_url == "https://guidewire-hub-eu.okta.com/oauth2/ausc2q01c40dNZII0416/v1/token"


def test_regions_are_the_documented_ones() -> None:
    """There are five regions; CANADA has AMER's token URL and JAPAN has APAC's."""
    assert list(REGIONS) == ["AMER", "CANADA", "EMEA", "APAC", "JAPAN"]
    assert region("CANADA").token_url == region("AMER").token_url
    assert region("JAPAN").token_url == region("APAC").token_url
    assert len({known.base_url for known in REGIONS.values()}) == 5


@pytest.mark.parametrize("name", ["", "MARS", None, 3])
def test_unknown_region_is_rejected(name: object) -> None:
    """The message contains the value and the valid names."""
    with pytest.raises(
        ConfigurationError, match=r"^region must be one of AMER, CANADA, EMEA, APAC, JAPAN, not " + repr(name)
    ):
        region(name)  # type: ignore[arg-type]


def test_region_of_base_url() -> None:
    """A trailing slash does not matter; an unknown base URL has no region."""
    assert region_of("https://databaseservice.api.omega2-milkyway.guidewire.net") is REGIONS["JAPAN"]
    assert region_of("https://databaseservice.api.omega2-milkyway.guidewire.net/") is REGIONS["JAPAN"]
    assert region_of("https://databaseservice.example/") is None


def test_scopes_contain_the_tenant() -> None:
    """The scopes allow to create, retrieve and delete backups of the tenant."""
    assert scopes_for("acme") == "tenant.acme gcc.deployments.read gcc.deployments.write"
    with pytest.raises(ConfigurationError, match="tenant"):
        scopes_for(" ")
