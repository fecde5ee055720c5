"""Settings from environment variables."""

from __future__ import annotations

import pytest

from asyncbackups._env import load_environment
from asyncbackups._http.oauth import ClientCredentials
from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import region

BASE = {"ASYNCBACKUPS_BASE_URL": "https://db.example/", "ASYNCBACKUPS_TENANT": "acme"}
CREDENTIALS = {"ASYNCBACKUPS_CLIENT_ID": "app", "ASYNCBACKUPS_CLIENT_SECRET": "s3cret-value"}


def credentials(variables: dict[str, str]) -> ClientCredentials:
    auth = load_environment(variables).auth
    assert isinstance(auth, ClientCredentials)
    return auth


def test_base_url_tenant_and_token_suffice() -> None:
    """Nothing else is required; a newline at the end is not part of the token."""
    found = load_environment({**BASE, "ASYNCBACKUPS_TOKEN": "abc.def\n"})
    assert (found.base_url, found.tenant, found.auth) == ("https://db.example/", "acme", "abc.def")
    assert "abc.def" not in repr(found)


def test_region_provides_both_urls() -> None:
    """A region implies base URL and token URL; the scopes are those of the tenant."""
    variables = {"ASYNCBACKUPS_REGION": "apac", "ASYNCBACKUPS_TENANT": "acme", **CREDENTIALS}
    assert load_environment(variables).base_url == region("APAC").base_url
    auth = credentials(variables)
    assert auth.token_url == region("APAC").token_url
    assert auth.scopes == ("tenant.acme", "gcc.deployments.read", "gcc.deployments.write")


def test_specific_variables_have_precedence() -> None:
    """A base URL overrides the region's, token URL and scopes override the defaults, a token overrides all of them."""
    variables = {
        **BASE,
        **CREDENTIALS,
        "ASYNCBACKUPS_REGION": "AMER",
        "ASYNCBACKUPS_TOKEN_URL": "https://hub.example/token",
        "ASYNCBACKUPS_SCOPES": "one two",
    }
    assert load_environment(variables).base_url == "https://db.example/"
    auth = credentials(variables)
    assert (auth.token_url, auth.scopes) == ("https://hub.example/token", ("one", "two"))
    assert load_environment({**variables, "ASYNCBACKUPS_TOKEN": "abcd"}).auth == "abcd"


def test_token_url_is_of_the_callers_base_url() -> None:
    """If the caller passes a region's base URL, the token URL is that region's and not the environment's."""
    variables = {"ASYNCBACKUPS_REGION": "AMER", "ASYNCBACKUPS_TENANT": "acme", **CREDENTIALS}
    auth = load_environment(variables, base_url=region("EMEA").base_url).auth
    assert isinstance(auth, ClientCredentials)
    assert auth.token_url == region("EMEA").token_url


def test_known_base_url_provides_the_token_url() -> None:
    """The token URL is derived from a base URL that belongs to a region."""
    variables = {**BASE, **CREDENTIALS, "ASYNCBACKUPS_BASE_URL": region("EMEA").base_url}
    assert credentials(variables).token_url == region("EMEA").token_url
    assert credentials({**variables, "ASYNCBACKUPS_REGION": "AMER"}).token_url == region("EMEA").token_url


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, "BASE_URL (or REGION), TENANT, TOKEN (or CLIENT_ID and CLIENT_SECRET)"),
        ({"ASYNCBACKUPS_TENANT": " "}, "BASE_URL (or REGION), TENANT, TOKEN (or CLIENT_ID and CLIENT_SECRET)"),
        (BASE, "TOKEN (or CLIENT_ID and CLIENT_SECRET)"),
        ({**BASE, "ASYNCBACKUPS_CLIENT_ID": "app"}, "CLIENT_SECRET, TOKEN_URL (or REGION)"),
        ({**BASE, "ASYNCBACKUPS_CLIENT_SECRET": "s"}, "CLIENT_ID, TOKEN_URL (or REGION)"),
        ({**BASE, **CREDENTIALS}, "TOKEN_URL (or REGION)"),
        (CREDENTIALS, "BASE_URL (or REGION), TENANT, TOKEN_URL (or REGION)"),
    ],
)
def test_all_missing_variables_are_named(variables: dict[str, str], names: str) -> None:
    """One message names every missing variable and its alternatives."""
    with pytest.raises(ConfigurationError) as caught:
        load_environment(variables)
    assert str(caught.value).replace("ASYNCBACKUPS_", "") == f"missing environment variables: {names}"


def test_callers_values_replace_variables() -> None:
    """If the caller passes all values, no variable is required."""
    found = load_environment({}, base_url="https://own.example", tenant="own", auth="token")
    assert (found.base_url, found.tenant, found.auth) == ("https://own.example", "own", "token")


@pytest.mark.parametrize("own", [{"tenant": ""}, {"tenant": " "}, {"base_url": ""}, {"base_url": "\n"}])
@pytest.mark.parametrize("credentials", [{"ASYNCBACKUPS_TOKEN": "abc"}, CREDENTIALS])
def test_callers_blank_value_is_rejected(own: dict[str, str], credentials: dict[str, str]) -> None:
    """A script's unset variable must not silently fall back to the environment."""
    (name,) = own
    with pytest.raises(ConfigurationError, match=f"{name} must not be blank"):
        load_environment({**BASE, **credentials}, **own)  # type: ignore[arg-type]


def test_invalid_value_names_its_variable() -> None:
    """The error for an unknown region names the variable."""
    with pytest.raises(ConfigurationError, match=r"^ASYNCBACKUPS_REGION must be one of") as caught:
        load_environment({"ASYNCBACKUPS_REGION": "MARS"})
    assert caught.value.field == "ASYNCBACKUPS_REGION"


def test_plain_http_token_url_needs_insecure_http() -> None:
    """A token URL over plain http is rejected unless `insecure_http` is set."""
    variables = {**BASE, **CREDENTIALS, "ASYNCBACKUPS_TOKEN_URL": "http://hub.example/token"}
    with pytest.raises(ConfigurationError, match="token_url must start with https"):
        load_environment(variables)
    assert isinstance(load_environment(variables, insecure_http=True).auth, ClientCredentials)
