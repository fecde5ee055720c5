"""The marker that identifies a create wherever the service shows the metadata that was sent."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import attrs

from asyncbackups.models import Backup, BackupMetadata, BackupSpec, PlanetRef

_DEPTH = 6
"""Levels of nested JSON that are searched: deeper than metadata reasonably is."""
_TOKEN = re.compile(r"asyncbackups[\W_]*([a-z2-7]{16})(?![a-z0-9])")
"""A complete marker in an unescaped text in lower case, whatever brackets or separators are left of it."""


@attrs.frozen
class Marker:
    """Identifies one create.

    Attributes:
        digest: 16 lower-case letters and digits (80 bits of a SHA-256 digest, in base32).
    """

    digest: str

    @property
    def text(self) -> str:
        """The marker as it is sent."""
        return f"[asyncbackups:{self.digest}]"

    def add_to(self, spec: BackupSpec) -> BackupSpec:
        """Return a spec with the marker at the end of its description."""
        description = f"{spec.metadata.description} {self.text}".lstrip()
        return attrs.evolve(spec, metadata=BackupMetadata(spec.metadata.name, description))

    def is_shown_by(self, backup: Backup) -> bool:
        """Return True if a backup shows the digest anywhere, ignoring case, punctuation and white space."""
        return any(self.digest in normalize_text(text) for text in iterate_texts(backup))

    def is_contradicted_by(self, backup: Backup, *, sent: str = "") -> bool:
        """Return True if a backup shows the complete marker of another create, and not this one.

        A marker that was cut or otherwise damaged proves nothing.

        Args:
            backup: The backup.
            sent: The caller's own name and description, in which the word "asyncbackups" may occur, too.
        """
        return not self.is_shown_by(backup) and has_marker(backup, ignoring=sent)


def marker_for(planet: PlanetRef, key: str) -> Marker:
    """Return the marker of a create: always the same one for the same planet and key."""
    text = f"{planet.star_system}\0{planet.planet}\0{key}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:10]
    return Marker(base64.b32encode(digest).decode().lower())


def has_marker(backup: Backup, *, ignoring: str = "") -> bool:
    """Return True if a backup shows a complete marker, of whatever create.

    Args:
        backup: The backup.
        ignoring: Text of the caller's in which the same words mean nothing.
    """
    own = normalize_text(ignoring)
    tokens = (token for text in iterate_texts(backup) for token in _TOKEN.findall(unescape_text(text)))
    return any(token not in own for token in tokens)


def iterate_texts(backup: Backup) -> Iterator[str]:
    """Yield every text of a backup, the members that this version does not know included."""
    yield from _iterate_json_texts(backup.extra, _DEPTH)
    yield from _iterate_json_texts(backup.database_to_application_builds, _DEPTH)
    yield from filter(None, (backup.display_status, backup.error_message))
    if backup.environment is not None:
        yield from _iterate_json_texts(backup.environment.extra, _DEPTH)
        yield from filter(None, (backup.environment.name, backup.environment.stage))


def unescape_text(text: str) -> str:
    """Return a text in lower case without HTML entities, percent-encoding and compatibility characters."""
    return unicodedata.normalize("NFKC", unquote(html.unescape(text))).casefold()


def normalize_text(text: str) -> str:
    """Return the letters and digits of a text in lower case: what survives common alterations of a text."""
    return "".join(filter(str.isalnum, unescape_text(text)))


def _iterate_json_texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _iterate_json_texts(member, depth - 1)
    elif depth and isinstance(value, list):
        for member in value:
            yield from _iterate_json_texts(member, depth - 1)
