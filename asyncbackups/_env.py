"""Read a client's settings from environment variables, which are passed in."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from asyncbackups._base.validation import check_not_blank
from asyncbackups._http.oauth import ClientCredentials, TokenSource
from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import Region, region, region_of, scopes_for

PREFIX = "ASYNCBACKUPS_"


@attrs.frozen(kw_only=True)
class EnvironmentSettings:
    """The settings that a client requires, from the environment or from the caller."""

    base_url: str
    tenant: str
    auth: str | TokenSource = attrs.field(repr=False)


def load_environment(
    variables: Mapping[str, str],
    *,
    base_url: str | None = None,
    tenant: str | None = None,
    auth: str | TokenSource | None = None,
    insecure_http: bool = False,
) -> EnvironmentSettings:
    """Read `ASYNCBACKUPS_BASE_URL` or `_REGION`, `_TENANT`, and `_TOKEN` or `_CLIENT_ID` with `_CLIENT_SECRET`.

    With client credentials, `_TOKEN_URL` defaults to the region's and `_SCOPES` to those that the tenant needs.
    A base URL has precedence over a region, and a token over client credentials. A blank variable counts as missing.

    Only variables for arguments that are None are read.

    Raises:
        ConfigurationError: If variables are missing (the message names all of them), or a value is blank or invalid.
    """
    for name, own in (("base_url", base_url), ("tenant", tenant)):
        if own is not None:
            # A script passes "" for an unset variable of its own; the environment may name another tenant.
            check_not_blank(own, name)
    reader = _VariableReader(variables)
    named = reader.find_region()
    if base_url is None:
        base_url = reader.get_value("BASE_URL") or (named.base_url if named else "")
    # The region of the base URL has precedence over the named one: each region accepts only its own tokens.
    where = region_of(base_url) or named
    if not base_url:
        reader.missing.append(f"{PREFIX}BASE_URL (or {PREFIX}REGION)")
    if tenant is None:
        tenant = reader.require_value("TENANT")
    if auth is None:
        auth = reader.get_value("TOKEN") or reader.build_credentials(where, tenant, insecure_http=insecure_http)
    if reader.missing or auth is None:
        raise ConfigurationError(f"missing environment variables: {', '.join(reader.missing)}")
    return EnvironmentSettings(base_url=base_url, tenant=tenant, auth=auth)


class _VariableReader:
    """Reads variables and collects the names of missing ones."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.missing: list[str] = []

    def get_value(self, name: str) -> str:
        # Surrounding white space is never intended: a newline at the end comes from a file.
        return self._variables.get(PREFIX + name, "").strip()

    def require_value(self, name: str) -> str:
        value = self.get_value(name)
        if not value:
            self.missing.append(PREFIX + name)
        return value

    def find_region(self) -> Region | None:
        name = self.get_value("REGION")
        if not name:
            return None
        try:
            return region(name)
        except ConfigurationError as exc:
            raise ConfigurationError(exc.reason, field=f"{PREFIX}REGION") from None

    def build_credentials(self, where: Region | None, tenant: str, *, insecure_http: bool) -> ClientCredentials | None:
        if not (self.get_value("CLIENT_ID") or self.get_value("CLIENT_SECRET")):
            self.missing.append(f"{PREFIX}TOKEN (or {PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET)")
            return None
        client_id, client_secret = self.require_value("CLIENT_ID"), self.require_value("CLIENT_SECRET")
        token_url = self.get_value("TOKEN_URL") or (where.token_url if where else "")
        if not token_url:
            self.missing.append(f"{PREFIX}TOKEN_URL (or {PREFIX}REGION)")
        if self.missing:
            return None
        scopes = self.get_value("SCOPES") or scopes_for(tenant)
        return ClientCredentials(token_url, client_id, client_secret, scopes=scopes, insecure_http=insecure_http)
