"""Settings from the environment."""

from __future__ import annotations

import pytest

from asyncbackups._env import read_environment
from asyncbackups._http.oauth import ClientCredentials
from asyncbackups.errors import ConfigurationError
from asyncbackups.regions import region

BASE = {"ASYNCBACKUPS_BASE_URL": "https://db.example/", "ASYNCBACKUPS_TENANT": "acme"}
CREDENTIALS = {"ASYNCBACKUPS_CLIENT_ID": "app", "ASYNCBACKUPS_CLIENT_SECRET": "s3cret-value"}


def credentials(variables: dict[str, str]) -> ClientCredentials:
    auth = read_environment(variables).auth
    assert isinstance(auth, ClientCredentials)
    return auth


def test_a_token_and_a_base_url_are_enough() -> None:
    """With base URL, tenant and token nothing else is needed; a newline at the end is not part of a token."""
    found = read_environment({**BASE, "ASYNCBACKUPS_TOKEN": "abc.def\n"})
    assert (found.base_url, found.tenant, found.auth) == ("https://db.example/", "acme", "abc.def")
    assert "abc.def" not in repr(found)


def test_a_region_stands_for_both_urls() -> None:
    """A region gives base URL and token URL; the scopes are the tenant's."""
    variables = {"ASYNCBACKUPS_REGION": "apac", "ASYNCBACKUPS_TENANT": "acme", **CREDENTIALS}
    assert read_environment(variables).base_url == region("APAC").base_url
    auth = credentials(variables)
    assert auth.token_url == region("APAC").token_url
    assert auth.scopes == ("tenant.acme", "gcc.deployments.read", "gcc.deployments.write")


def test_the_particular_goes_before_the_general() -> None:
    """A base URL goes before the region's, own token URL and scopes before the defaults, a token before all."""
    variables = {
        **BASE,
        **CREDENTIALS,
        "ASYNCBACKUPS_REGION": "AMER",
        "ASYNCBACKUPS_TOKEN_URL": "https://hub.example/token",
        "ASYNCBACKUPS_SCOPES": "one two",
    }
    assert read_environment(variables).base_url == "https://db.example/"
    auth = credentials(variables)
    assert (auth.token_url, auth.scopes) == ("https://hub.example/token", ("one", "two"))
    assert read_environment({**variables, "ASYNCBACKUPS_TOKEN": "abcd"}).auth == "abcd"


def test_the_region_of_a_given_base_url_gives_the_token_url() -> None:
    """The token comes from the region whose base URL the caller gave, and not from the environment's."""
    variables = {"ASYNCBACKUPS_REGION": "AMER", "ASYNCBACKUPS_TENANT": "acme", **CREDENTIALS}
    auth = read_environment(variables, base_url=region("EMEA").base_url).auth
    assert isinstance(auth, ClientCredentials)
    assert auth.token_url == region("EMEA").token_url


def test_a_known_base_url_gives_the_token_url() -> None:
    """The token URL is known where the base URL is a region's."""
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
def test_all_that_is_missing_is_named_at_once(variables: dict[str, str], names: str) -> None:
    """One message names every missing variable, and what could be set instead."""
    with pytest.raises(ConfigurationError) as caught:
        read_environment(variables)
    assert str(caught.value).replace("ASYNCBACKUPS_", "") == f"missing in the environment: {names}"


def test_what_the_caller_gives_is_not_missed() -> None:
    """The caller's own values go before the variables and need none."""
    found = read_environment({}, base_url="https://own.example", tenant="own", auth="token")
    assert (found.base_url, found.tenant, found.auth) == ("https://own.example", "own", "token")


@pytest.mark.parametrize("own", [{"tenant": ""}, {"tenant": " "}, {"base_url": ""}, {"base_url": "\n"}])
@pytest.mark.parametrize("credentials", [{"ASYNCBACKUPS_TOKEN": "abc"}, CREDENTIALS])
def test_what_the_caller_gives_blank_is_refused(own: dict[str, str], credentials: dict[str, str]) -> None:
    """A script's variable that is not set must not become what the environment says."""
    (name,) = own
    with pytest.raises(ConfigurationError, match=f"{name} must not be blank"):
        read_environment({**BASE, **credentials}, **own)  # type: ignore[arg-type]


def test_a_wrong_value_names_its_variable() -> None:
    """An unknown region is refused by the variable's name."""
    with pytest.raises(ConfigurationError, match="ASYNCBACKUPS_REGION: region must be one of"):
        read_environment({"ASYNCBACKUPS_REGION": "MARS"})


def test_a_plain_token_url_must_be_asked_for() -> None:
    """A token URL over plain http is refused unless it is asked for."""
    variables = {**BASE, **CREDENTIALS, "ASYNCBACKUPS_TOKEN_URL": "http://hub.example/token"}
    with pytest.raises(ConfigurationError, match="token_url must begin with https"):
        read_environment(variables)
    assert isinstance(read_environment(variables, insecure_http=True).auth, ClientCredentials)
