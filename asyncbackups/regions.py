"""The regions of Guidewire Cloud Platform, by name.

Source: the tables "Base URL" and "Token URL" in "Get started" of the Database API's guide.
"""

from __future__ import annotations

import attrs

from asyncbackups._base.validation import check_not_blank, quote_value
from asyncbackups.errors import ConfigurationError

__all__ = ["REGIONS", "Region", "region", "region_of", "scopes_for"]

_HUB = "https://guidewire-hub.okta.com/oauth2/aus11vix3uKEpIfSI357/v1/token"
_HUB_EU = "https://guidewire-hub-eu.okta.com/oauth2/ausc2q01c40dNZII0416/v1/token"
_HUB_APAC = "https://guidewire-hub-apac.okta.com/oauth2/ausbg05gfcTZQ7bpH3l6/v1/token"


@attrs.frozen
class Region:
    """The URLs of a region.

    Attributes:
        name: The region's name, in capitals.
        base_url: URL of the Database API.
        token_url: URL of the Hub's token endpoint, for `ClientCredentials`.
    """

    name: str
    base_url: str
    token_url: str


REGIONS = {
    name: Region(name, f"https://databaseservice.api.omega2-{cluster}.guidewire.net/", token_url)
    for name, cluster, token_url in (
        ("AMER", "andromeda", _HUB),
        ("CANADA", "butterfly", _HUB),
        ("EMEA", "cartwheel", _HUB_EU),
        ("APAC", "circinus", _HUB_APAC),
        ("JAPAN", "milkyway", _HUB_APAC),
    )
}


def region(name: str) -> Region:
    """Return a region by its name, ignoring case.

    Raises:
        ConfigurationError: If there is no such region; the message lists the names.
    """
    found = REGIONS.get(name.strip().upper()) if isinstance(name, str) else None
    if found is None:
        raise ConfigurationError(f"must be one of {', '.join(REGIONS)}, not {quote_value(name)}", field="region")
    return found


def region_of(base_url: str) -> Region | None:
    """Return the region with this base URL, or None."""
    for known in REGIONS.values():
        if base_url.rstrip("/").lower() == known.base_url.rstrip("/"):
            return known
    return None


def scopes_for(tenant: str) -> str:
    """Return the scopes that a token needs to create, retrieve and delete backups of a tenant, separated by spaces.

    Raises:
        ConfigurationError: If the tenant is blank.
    """
    return f"tenant.{check_not_blank(tenant, 'tenant')} gcc.deployments.read gcc.deployments.write"
