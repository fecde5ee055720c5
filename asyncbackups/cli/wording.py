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
    "a token": "the token in ASYNCBACKUPS_TOKEN",
    "token_url": "ASYNCBACKUPS_TOKEN_URL",
    "client_id": "ASYNCBACKUPS_CLIENT_ID",
    "proxy": "the environment's proxy (HTTPS_PROXY, ...)",
}
"""How those who run a command set what the library calls by these names."""
# Messages begin with the name; after that they may quote what was given. Those of the simulator name the class, too.
_BEGINNING = re.compile(rf"^(?:[A-Z]\w*\.)?({'|'.join(_SETTINGS)})\b")
_PHRASES = {
    "give them as `auth`": "give a token, in ASYNCBACKUPS_TOKEN or with --token-file",
    # There is no such option: a token that can be read on the way is no command's business.
    ", unless insecure_http is set": "",
    "must be None for a permanent backup (temporary=False)": "is not for a backup that is --permanent",
}


def in_our_words(error: Exception) -> str:
    """Return an error's message, with options and environment variables instead of the library's arguments."""
    message = str(error)
    if not isinstance(error, ConfigurationError):
        return message
    message = _BEGINNING.sub(lambda found: _SETTINGS[found[1]], message)
    for theirs, ours in _PHRASES.items():
        message = message.replace(theirs, ours)
    return message
