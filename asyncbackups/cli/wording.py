"""The library's errors about what it was given, in the words of who types commands. Pure."""

from __future__ import annotations

import re

from asyncbackups import ConfigurationError

__all__ = ["in_our_words"]

_ALIKE = ("name", "description", "mechanism", "planet_class", "speed", "median", "sigma", "failure_share", "history")
_SETTINGS = {
    **{name: f"--{name.replace('_', '-')}" for name in _ALIKE},
    "retention_period_in_days": "--retention-days",
    "base_url": "--base-url (or ASYNCBACKUPS_BASE_URL)",
    "tenant": "--tenant (or ASYNCBACKUPS_TENANT)",
    "auth": "the token in ASYNCBACKUPS_TOKEN",
    "token_url": "ASYNCBACKUPS_TOKEN_URL",
    "client_id": "ASYNCBACKUPS_CLIENT_ID",
    "proxy": "the environment's proxy (HTTPS_PROXY, ...)",
}
"""How those who run a command set what the library calls by these names."""
# Messages begin with the name; after that they may quote what was given. Those of the simulator name the class, too.
_BEGINNING = re.compile(rf"^(?:[A-Z]\w*\.)?({'|'.join(_SETTINGS)})\b")


def in_our_words(error: Exception) -> str:
    """Return an error's message, with options and environment variables instead of the library's arguments."""
    if not isinstance(error, ConfigurationError):
        return str(error)
    if error.field is not None:  # the hint is about arguments in a program
        return f"{_SETTINGS.get(error.field, error.field)} {error.reason}"
    return _BEGINNING.sub(lambda found: _SETTINGS[found[1]], str(error))
