"""Decode JSON and text of a response, and make excerpts that are safe to quote and to log."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from asyncbackups.errors import ProtocolError

EXCERPT_CHARACTERS = 500

JSON_FAULTS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""Exceptions that msgspec raises for bytes that it cannot decode: malformed, nested too deeply, not UTF-8."""

_SECRET_PATTERN = re.compile(
    r"""(bearer\s+(?=[\w.~+/-]{16}) | (?:access_token|refresh_token|id_token|client_secret)["']?\s*[:=]\s*["']?)"""
    r"""[^\s"'&,;<>}]+""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches anything that looks like a secret. The transport has already redacted the secrets that it knows."""


def make_excerpt(body: bytes) -> str:
    """Return the first characters of a body as one line of text, at most 500.

    Control characters, which a terminal would interpret, are replaced, and so is anything that looks like a secret.
    """
    beginning = body[: 4 * EXCERPT_CHARACTERS]
    text = _SECRET_PATTERN.sub(r"\1***", " ".join(beginning.decode("utf-8", "replace").split()))
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    whole = len(beginning) == len(body) and len(text) <= EXCERPT_CHARACTERS
    return text if whole else f"{text[: EXCERPT_CHARACTERS - 1]}…"


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which cannot be written: aiohttp decodes invalid UTF-8 in headers to them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decode_json(body: bytes) -> Any:
    """Decode a JSON body.

    Raises:
        ProtocolError: If it is not JSON, or nested deeper than the decoder supports.
    """
    try:
        return msgspec.json.decode(body)
    except JSON_FAULTS as exc:
        raise ProtocolError(f"the response is not JSON ({exc})", excerpt=make_excerpt(body)) from exc
