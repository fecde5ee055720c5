"""The marker: a text in a backup's metadata by which a create with a lost response is recognized."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from asyncbackups.models import PlanetRef

_MAX_DEPTH = 6


def build_marker(planet: PlanetRef, key: str) -> str:
    """Return the marker of a create: the same planet and key always give the same one."""
    text = f"{planet.star_system}\0{planet.planet}\0{key}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:10]
    return f"[asyncbackups:{base64.b32encode(digest).decode().lower()}]"


def has_marker(members: Mapping[str, Any], marker: str) -> bool:
    """Return True if any text in a JSON object contains the marker."""
    return any(marker in text for text in _iterate_texts(members))


def _iterate_texts(value: Any, depth: int = _MAX_DEPTH) -> Iterator[str]:
    """Yield every text in a JSON value, down to a bounded depth."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _iterate_texts(member, depth - 1)
