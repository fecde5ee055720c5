"""The regions of Guidewire Cloud Platform, by name.

Source: the tables "Base URL" and "Token URL" of the Database API's guide, "Get started".
"""

from __future__ import annotations

import attrs

from asyncbackups._base.validation import not_blank
from asyncbackups.errors import ConfigurationError

__all__ = ["REGIONS", "Region", "region", "region_of", "scopes_for"]

_HUB = "https://guidewire-hub.okta.com/oauth2/aus11vix3uKEpIfSI357/v1/token"
_HUB_EU = "https://guidewire-hub-eu.okta.com/oauth2/ausc2q01c40dNZII0416/v1/token"
_HUB_APAC = "https://guidewire-hub-apac.okta.com/oauth2/ausbg05gfcTZQ7bpH3l6/v1/token"


@attrs.frozen
class Region:
    """Where a region's Database API and its token endpoint are.

    Attributes:
        name: In capitals.
        base_url: Of the Database API.
        token_url: Of the Hub, for `ClientCredentials`.
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
    """Return a region by its name, in any case.

    Raises:
        ConfigurationError: If there is none of that name; the message lists those there are.
    """
    found = REGIONS.get(name.strip().upper()) if isinstance(name, str) else None
    if found is None:
        raise ConfigurationError(f"region must be one of {', '.join(REGIONS)}, not {name!r}")
    return found


def region_of(base_url: str) -> Region | None:
    """Return the region whose Database API is at a base URL, or None."""
    for known in REGIONS.values():
        if base_url.rstrip("/").lower() == known.base_url.rstrip("/"):
            return known
    return None


def scopes_for(tenant: str) -> str:
    """Return the scopes that a tenant's token needs to create, retrieve and delete backups, separated by spaces.

    Raises:
        ConfigurationError: If the tenant is blank.
    """
    return f"tenant.{not_blank(tenant, 'tenant')} gcc.deployments.read gcc.deployments.write"
