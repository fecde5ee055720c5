"""Which addresses the client may talk to: checked before a token goes anywhere."""

from __future__ import annotations

import functools
import ipaddress
import urllib.request

import attrs
from yarl import URL

from asyncbackups._base.validation import not_blank
from asyncbackups.errors import ConfigurationError, ProtocolError

_EXCERPT_CHARACTERS = 500
_REMEMBERED = 2048
"""How many addresses are kept with what yarl and aiohttp find out about each, for the next time that it is asked."""


def checked_url(text: object, name: str, *, insecure_http: bool = False) -> URL:
    """Return an address that the client may send a secret to.

    Args:
        text: The address as given.
        name: What the address is called in messages.
        insecure_http: Whether plain http is allowed to other machines.

    Raises:
        ConfigurationError: If it is no http(s) URL, carries credentials, a query or a fragment, or would show the
            token to the network. The message never shows credentials.
    """
    url = _parsed(text, name)
    if url.raw_user is not None or url.raw_password is not None:
        raise ConfigurationError(f"{name} must not carry credentials: give them as `auth`")
    if "?" in str(text) or "#" in str(text):
        raise ConfigurationError(f"{name} must have no query and no fragment, as {str(url.origin())!r} has none")
    if url.scheme == "http" and not (insecure_http or is_loopback(url)):
        raise ConfigurationError(
            f"{name} must begin with https:// (not {str(url)!r}): over plain http the token can be read on the way. "
            "Only loopback addresses are exempt, unless insecure_http is set"
        )
    return url


def checked_proxy(text: object) -> URL:
    """Return a proxy's address, which may carry credentials.

    Raises:
        ConfigurationError: If it is no http(s) URL.
    """
    return _parsed(text, "proxy")


def is_loopback(url: URL) -> bool:
    """Whether an address stays on this machine: 127.0.0.0/8, ::1 or localhost."""
    host = (url.host or "").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_origin(one: URL, other: URL) -> bool:
    """Whether two addresses have the same scheme, host and port, and the first carries no credentials."""
    return (
        (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
        and one.raw_user is None
        and one.raw_password is None
    )


def environment_proxy(url: URL) -> URL | None:
    """Return the proxy that the environment names for an address (`HTTPS_PROXY`, `NO_PROXY`, ...), or None.

    Raises:
        ConfigurationError: If it is no http(s) URL.
    """
    if is_loopback(url) or urllib.request.proxy_bypass(url.host or ""):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return None if proxy is None else checked_proxy(proxy)


@attrs.frozen
class Address:
    """Where a request goes.

    Attributes:
        url: As aiohttp takes it.
        text: As errors and answers show it.
    """

    url: URL
    text: str = attrs.field(init=False)

    @text.default
    def _written(self) -> str:
        return str(self.url)


class BaseAddress:
    """Where the service is; everything that is asked lies below it, or at least at the same origin.

    Args:
        url: As `checked_url` returned it.

    Attributes:
        url: Without a slash at the end.
    """

    def __init__(self, url: URL) -> None:
        self._prefix = url.raw_path.rstrip("/")
        self.url: URL = url.with_path(self._prefix, encoded=True)
        self._known = functools.lru_cache(_REMEMBERED)(self._below)

    def at(self, path: str) -> Address:
        """Return the address of a percent-encoded path below the base, or that of a link: a whole URL.

        Raises:
            ProtocolError: If a link leads to another origin, carries credentials or is no URL.
        """
        if path.startswith("/"):
            return self._known(path) if "?" not in path else Address(URL(f"{self.url}{path}", encoded=True))
        try:
            url = URL(path)
            followed = same_origin(url, self.url)
        except ValueError:
            followed = False
        if not followed:
            reason = f"a link that leads away from {self.url.origin()} is not followed: the token would go along"
            raise ProtocolError(reason, excerpt=" ".join(path.split())[:_EXCERPT_CHARACTERS])
        return Address(url.with_fragment(None))

    def _below(self, path: str) -> Address:
        return Address(self.url.with_path(self._prefix + path, encoded=True))


def _parsed(text: object, name: str) -> URL:
    given = not_blank(str(text) if isinstance(text, URL) else text, name)
    # The text itself is not shown: it may hold a password that could not be told from the rest.
    refused = ConfigurationError(f"{name} must be a URL such as https://host.example/ (http or https, with a host)")
    if not given.isprintable() or given != given.strip():
        raise refused
    try:
        url = URL(given)
        usable = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port)
    except ValueError:
        raise refused from None
    if not usable:
        raise refused
    return url
