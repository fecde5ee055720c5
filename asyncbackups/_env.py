"""A client's settings, read from environment variables: pure, the variables are passed in."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from asyncbackups._base.validation import not_blank
from asyncbackups._http.oauth import ClientCredentials, TokenSource
from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import Region, region, region_of, scopes_for

PREFIX = "ASYNCBACKUPS_"


@attrs.frozen(kw_only=True)
class EnvironmentSettings:
    """What a client needs to know, from the environment or from the caller.

    Attributes:
        base_url: Of the Database API.
        tenant: The tenant's id.
        auth: A token, or a source of tokens.
    """

    base_url: str
    tenant: str
    auth: str | TokenSource = attrs.field(repr=False)


def read_environment(
    variables: Mapping[str, str],
    *,
    base_url: str | None = None,
    tenant: str | None = None,
    auth: str | TokenSource | None = None,
    insecure_http: bool = False,
) -> EnvironmentSettings:
    """Read `ASYNCBACKUPS_BASE_URL` or `_REGION`, `_TENANT`, and `_TOKEN` or `_CLIENT_ID` with `_CLIENT_SECRET`.

    With client credentials, `_TOKEN_URL` defaults to the region's and `_SCOPES` to those that the tenant needs.
    A base URL goes before a region's, and a token before client credentials. A blank variable counts as missing.

    Args:
        variables: The environment, as `os.environ`.
        base_url: The caller's own, instead of the variable; None to read it.
        tenant: The caller's own; None to read it.
        auth: The caller's own; None to read it.
        insecure_http: Whether the token URL may be plain http to another machine.

    Raises:
        ConfigurationError: If something is missing: all that is missing is named at once. Also if a value is wrong,
            or one of the caller's own is blank.
    """
    for name, own in (("base_url", base_url), ("tenant", tenant)):
        if own is not None:
            # That is what a script makes of a variable that is not set; the environment's may be another tenant's.
            not_blank(own, name)
    reader = _Reader(variables)
    named = reader.region()
    if base_url is None:
        base_url = reader.value("BASE_URL") or (named.base_url if named else "")
    # The region that the base URL belongs to goes before the one that is named: tokens of one fit no other.
    where = region_of(base_url) or named
    if not base_url:
        reader.missing.append(f"{PREFIX}BASE_URL (or {PREFIX}REGION)")
    if tenant is None:
        tenant = reader.required("TENANT")
    if auth is None:
        auth = reader.value("TOKEN") or reader.client_credentials(where, tenant, insecure_http=insecure_http)
    if reader.missing or auth is None:
        raise ConfigurationError(f"missing in the environment: {', '.join(reader.missing)}")
    return EnvironmentSettings(base_url=base_url, tenant=tenant, auth=auth)


class _Reader:
    """Reads variables and collects the names of those that are missing."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.missing: list[str] = []

    def value(self, name: str) -> str:
        # Blanks around it are never meant: a newline at the end comes from a file.
        return self._variables.get(PREFIX + name, "").strip()

    def required(self, name: str) -> str:
        value = self.value(name)
        if not value:
            self.missing.append(PREFIX + name)
        return value

    def region(self) -> Region | None:
        name = self.value("REGION")
        if not name:
            return None
        try:
            return region(name)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{PREFIX}REGION: {exc}") from None

    def client_credentials(self, where: Region | None, tenant: str, *, insecure_http: bool) -> ClientCredentials | None:
        if not (self.value("CLIENT_ID") or self.value("CLIENT_SECRET")):
            self.missing.append(f"{PREFIX}TOKEN (or {PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET)")
            return None
        client_id, client_secret = self.required("CLIENT_ID"), self.required("CLIENT_SECRET")
        token_url = self.value("TOKEN_URL") or (where.token_url if where else "")
        if not token_url:
            self.missing.append(f"{PREFIX}TOKEN_URL (or {PREFIX}REGION)")
        if self.missing:
            return None
        scopes = self.value("SCOPES") or scopes_for(tenant)
        return ClientCredentials(token_url, client_id, client_secret, scopes=scopes, insecure_http=insecure_http)
