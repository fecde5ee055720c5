"""JSON and text of a response, read so that it can be quoted and logged."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from asyncbackups.errors import ProtocolError

EXCERPT_CHARACTERS = 500

JSON_FAULTS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that it cannot decode: malformed, nested too deep, not UTF-8."""

_SECRETS = re.compile(
    r"""(bearer\s+(?=[\w.~+/-]{16}) | (?:access_token|refresh_token|id_token|client_secret)["']?\s*[:=]\s*["']?)"""
    r"""[^\s"'&,;<>}]+""",
    re.IGNORECASE | re.VERBOSE,
)
"""A second net: the transport redacts the tokens that it knows, this one what looks like one, wherever it came from."""


def excerpt_of(body: bytes) -> str:
    """Return the beginning of a body, as text on one line, at most 500 characters.

    What a terminal would obey (control characters) is replaced, and so is what looks like a secret.
    """
    beginning = body[: 4 * EXCERPT_CHARACTERS]
    text = _SECRETS.sub(r"\1***", " ".join(beginning.decode("utf-8", "replace").split()))
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    whole = len(beginning) == len(body) and len(text) <= EXCERPT_CHARACTERS
    return text if whole else f"{text[: EXCERPT_CHARACTERS - 1]}…"


def whole_text(text: str) -> str:
    """Return a text that can be written: aiohttp hands on bytes of a header that are no UTF-8 as half characters."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decode_json(body: bytes) -> Any:
    """Decode a body.

    Raises:
        ProtocolError: If it is no JSON, or nested deeper than the decoder goes.
    """
    try:
        return msgspec.json.decode(body)
    except JSON_FAULTS as exc:
        raise ProtocolError(f"the answer is not JSON ({exc})", excerpt=excerpt_of(body)) from exc
