"""URLs to which a token may be sent."""

from __future__ import annotations

import pytest
from yarl import URL

from asyncbackups._http.urls import BaseAddress, check_proxy_url, check_url, is_loopback, same_origin
from asyncbackups.errors import ConfigurationError, ProtocolError


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://db.example", "https://db.example"),
        ("https://db.example/", "https://db.example/"),
        ("https://db.example:8443/a%2Fb/", "https://db.example:8443/a%2Fb/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9/", "http://127.9.9.9/"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("http://localhost:1", "http://localhost:1"),
        ("HTTPS://DB.example", "https://db.example"),
    ],
)
def test_https_and_loopback_are_accepted(given: str, taken: str) -> None:
    """Https is accepted anywhere, plain http on this machine; the URL may have a path."""
    assert str(check_url(given, "base_url")) == taken


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("http://db.example", "must start with https://"),
        ("http://127.0.0.1.example", "must start with https://"),
        ("http://10.0.0.1", "must start with https://"),
        ("https://user:hunter2@db.example", "must not contain credentials"),
        ("https://hunter2@db.example", "must not contain credentials"),
        ("https://db.example/?key=hunter2", "must not have a query or a fragment; 'https://db.example' has none"),
        ("https://db.example/?", "must not have a query or a fragment"),
        ("https://db.example/#hunter2", "must not have a query or a fragment"),
        ("db.example", "must be a URL such as"),
        ("ftp://db.example", "must be a URL such as"),
        ("https://", "must be a URL such as"),
        ("https://db.example:99999", "must be a URL such as"),
        ("https://db.example:0/", "must be a URL such as"),
        ("https://db.example/\r\nX: y", "must be a URL such as"),
        (" https://db.example/", "must be a URL such as"),
        ("", "must not be blank"),
        (None, "must be a string"),
        (7, "must be a string"),
    ],
)
def test_other_urls_are_rejected(given: object, why: str) -> None:
    """The message says what is valid and shows no credentials."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        check_url(given, "base_url")
    assert "hunter2" not in str(caught.value)
    assert caught.value.field == "base_url"
    assert str(caught.value).startswith("base_url ")


def test_plain_http_with_insecure_http() -> None:
    """With `insecure_http` plain http is accepted anywhere."""
    assert check_url("http://db.example", "base_url", insecure_http=True) == URL("http://db.example/")


def test_url_object_is_accepted() -> None:
    """A yarl URL may be passed instead of a string."""
    assert check_url(URL("https://db.example/a"), "base_url") == URL("https://db.example/a")


def test_proxy_may_contain_credentials() -> None:
    """As in aiohttp; an invalid one is not shown."""
    assert check_proxy_url("http://user:hunter2@proxy.example:3128").password == "hunter2"
    with pytest.raises(ConfigurationError) as caught:
        check_proxy_url("socks5://user:hunter2@proxy.example")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("https://db.example/x?page=2", True),
        ("https://db.example:443/x", True),
        ("http://db.example/x", False),
        ("https://db.example:444/x", False),
        ("https://db.example.evil/x", False),
        ("https://user@db.example/x", False),
        ("https://:pw@db.example/x", False),
    ],
)
def test_same_origin(one: str, same: bool) -> None:
    """Scheme, host and port must be equal, and the first URL must not contain credentials."""
    assert same_origin(URL(one), URL("https://db.example/base")) is same


def test_is_loopback() -> None:
    """127.0.0.0/8, ::1 and localhost, but no similar name."""
    assert is_loopback(URL("http://LOCALHOST/"))
    assert not is_loopback(URL("http://localhost.example/"))
    assert not is_loopback(URL("/relative"))


def test_only_paths_are_cached() -> None:
    """Links and queries from the service are not cached, since there may be any number of them."""
    base = BaseAddress(URL("https://db.example/before/"))
    assert base.resolve_path("/x").text == "https://db.example/before/x"
    assert base.resolve_path("/x") is base.resolve_path("/x")
    for link in ("/x?page=2", "https://db.example/before/x?page=2"):
        assert base.resolve_path(link).text == "https://db.example/before/x?page=2"
        assert base.resolve_path(link) is not base.resolve_path(link)


def test_excerpt_of_a_refused_link_is_safe() -> None:
    """It is quoted as a body is: bounded, without control characters and secrets."""
    link = "https://evil.example/\x1b[31m?access_token=hunter2&x=" + "x" * 10**5
    with pytest.raises(ProtocolError, match="link to another origin") as caught:
        BaseAddress(URL("https://db.example/")).resolve_path(link)
    assert caught.value.excerpt.startswith("https://evil.example/\ufffd[31m?access_token=***&x=xx")
    assert len(caught.value.excerpt) == 500
