"""Check URLs before a token is sent to them."""

from __future__ import annotations

import functools
import ipaddress
import urllib.request

import attrs
from yarl import URL

from asyncbackups._base.validation import check_not_blank
from asyncbackups._http.redaction import make_excerpt
from asyncbackups.errors import ConfigurationError, ProtocolError

_CACHED_ADDRESSES = 2048
"""How many addresses are cached, together with what yarl and aiohttp cache for each URL object."""


def check_url(text: object, name: str, *, insecure_http: bool = False) -> URL:
    """Return a URL to which the client may send a secret.

    Raises:
        ConfigurationError: If it is not an http(s) URL, contains credentials, a query or a fragment, or would reveal
            the token to the network (unless `insecure_http`). The message never shows credentials.
    """
    url = _parse_url(text, name)
    if url.raw_user is not None or url.raw_password is not None:
        raise ConfigurationError("must not contain credentials", field=name, hint="Pass them as `auth`.")
    if "?" in str(text) or "#" in str(text):
        raise ConfigurationError(f"must not have a query or a fragment; {str(url.origin())!r} has none", field=name)
    if url.scheme == "http" and not (insecure_http or is_loopback(url)):
        reason = f"must start with https:// (not {str(url)!r}), because plain http reveals the token to the network"
        hint = "Pass `insecure_http=True` to allow it; loopback addresses are always allowed."
        raise ConfigurationError(reason, field=name, hint=hint)
    return url


def check_proxy_url(text: object) -> URL:
    """Return a proxy's URL, which may contain credentials."""
    return _parse_url(text, "proxy")


def is_loopback(url: URL) -> bool:
    """Return True if a URL leads to this machine: 127.0.0.0/8, ::1 or localhost."""
    host = (url.host or "").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_origin(one: URL, other: URL) -> bool:
    """Return True if two URLs have the same scheme, host and port, and the first contains no credentials."""
    has_login = one.raw_user is not None or one.raw_password is not None
    return not has_login and (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def environment_proxy(url: URL) -> URL | None:
    """Return the environment's proxy for a URL (`HTTPS_PROXY`, `NO_PROXY`, ...), or None."""
    if is_loopback(url) or urllib.request.proxy_bypass(url.host or ""):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return None if proxy is None else check_proxy_url(proxy)


@attrs.frozen
class Address:
    """The URL of a request: for aiohttp, and as text for errors and responses."""

    url: URL
    text: str = attrs.field(init=False, default=attrs.Factory(lambda self: str(self.url), takes_self=True))


class BaseAddress:
    """The base URL (without a trailing slash); requests go to URLs below it, or at least to the same origin."""

    def __init__(self, url: URL) -> None:
        self._prefix = url.raw_path.rstrip("/")
        self.url: URL = url.with_path(self._prefix, encoded=True)
        self._cached_path = functools.lru_cache(_CACHED_ADDRESSES)(self._join_path)

    def resolve_path(self, path: str) -> Address:
        """Return the address of a percent-encoded path below the base URL, or of a link (a complete URL).

        Raises:
            ProtocolError: If a link leads to another origin, contains credentials or is not a URL.
        """
        if path.startswith("/"):
            return self._cached_path(path) if "?" not in path else Address(URL(f"{self.url}{path}", encoded=True))
        try:
            url = URL(path)
        except ValueError:
            url = URL()
        if not same_origin(url, self.url):
            reason = f"link to another origin than {self.url.origin()} not followed: the token would be sent along"
            raise ProtocolError(reason, excerpt=make_excerpt(path.encode("utf-8", "replace")))
        return Address(url.with_fragment(None))

    def _join_path(self, path: str) -> Address:
        return Address(self.url.with_path(self._prefix + path, encoded=True))


def _parse_url(text: object, name: str) -> URL:
    given = check_not_blank(str(text) if isinstance(text, URL) else text, name)
    # The text itself is not shown: it may contain a password.
    invalid = ConfigurationError("must be a URL such as https://host.example/ (http or https, with a host)", field=name)
    if not given.isprintable() or given != given.strip():
        raise invalid
    try:
        url = URL(given)
        usable = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port)
    except ValueError:
        raise invalid from None
    if not usable:
        raise invalid
    return url
