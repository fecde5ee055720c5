"""Keep secrets out of reprs, redact them in texts, and make excerpts that are safe to quote and to log."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

_EXCERPT_CHARACTERS = 500
_MINIMUM_LENGTH = 4
"""Shorter secrets are not redacted: they occur by chance in every text."""
_SECRET_PATTERN = re.compile(
    r"""(bearer\s+(?=[\w.~+/-]{16}) | (?:access_token|refresh_token|id_token|client_secret)["']?\s*[:=]\s*["']?)"""
    r"""[^\s"'&,;<>}]+""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches anything that looks like a secret. The transport has already redacted the secrets that it knows."""
_AS_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""As `html.escape`, whose import takes longer than the rest of this module."""


def make_excerpt(body: bytes) -> str:
    """Return the first characters of a body as one line of text, at most 500.

    Control characters, which a terminal would interpret, are replaced, and so is anything that looks like a secret.
    """
    beginning = body[: 4 * _EXCERPT_CHARACTERS]
    text = _SECRET_PATTERN.sub(r"\1***", " ".join(beginning.decode("utf-8", "replace").split()))
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    whole = len(beginning) == len(body) and len(text) <= _EXCERPT_CHARACTERS
    return text if whole else f"{text[: _EXCERPT_CHARACTERS - 1]}…"


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which cannot be written: aiohttp decodes invalid UTF-8 in headers to them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Secret:
    """A string that no repr, format string or pickle reveals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled: read it again where it is needed")


class Redactor:
    """Replaces secrets in text, in every encoding in which a server or a gateway may echo them."""

    __slots__ = ("_forms",)

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _MINIMUM_LENGTH for form in _echo_forms(secret)}
        # The longest first: one form may be the prefix of another.
        self._forms = sorted(forms, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._forms)} forms>"

    def redact_text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text

    def redact_body(self, body: bytes) -> bytes:
        for form in self._forms:
            body = body.replace(form.encode("utf-8", "surrogatepass"), REDACTED.encode())
        return body


def _echo_forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    encoded = base64.b64encode(raw).decode()
    return {
        secret,
        quote(raw, safe=""),
        quote(raw, safe="/"),
        quote_plus(raw),
        secret.translate(_AS_HTML),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        encoded,
        encoded.rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }
