"""The targets of a bulk run: from a file, standard input or arguments; all are checked before anything is created."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from asyncbackups import ConfigurationError, PlanetRef

__all__ = ["parse_lines", "read_targets", "unique"]

# A "#" inside a word belongs to the word.
_COMMENT = re.compile(r"(?:^|\s)#.*")

Located = tuple[PlanetRef, str]
"""A planet, and where it was written."""


def read_targets(arguments: Sequence[str]) -> list[PlanetRef]:
    """Read all targets. The first argument may be a file, or ``-`` for standard input.

    Args:
        arguments: As given on the command line.

    Raises:
        ConfigurationError: If there is none, one is malformed (the message has its line), or one is there twice.
    """
    first, *rest = arguments
    found: list[Located] = []
    if first == "-" or _readable(first):
        found.extend(_read(first))
    else:
        found.append((_parse_first(first), f"argument {first!r}"))
    found.extend((PlanetRef.parse(argument), f"argument {argument!r}") for argument in rest)
    return unique(found)


def parse_lines(text: str, source: str) -> Iterator[Located]:
    """Read one planet from each line; blank lines and comments (``#``) are left out.

    Args:
        text: All lines.
        source: What they are called in messages.

    Raises:
        ConfigurationError: If a line is malformed.
    """
    for number, line in enumerate(text.split("\n"), 1):
        written = _COMMENT.sub("", line).strip()
        if not written:
            continue
        try:
            planet = PlanetRef.parse(written)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{source}, line {number}: {exc}") from exc
        yield planet, f"{source}, line {number}"


def unique(found: Iterable[Located]) -> list[PlanetRef]:
    """Return the planets, of which none may be there twice: it would get two backups, or a surprise.

    Raises:
        ConfigurationError: If one is; the message says where both are.
    """
    seen: dict[PlanetRef, str] = {}
    for planet, where in found:
        if planet in seen:
            raise ConfigurationError(f"{planet} is there twice: {seen[planet]}, and {where}")
        seen[planet] = where
    return list(seen)


def _readable(name: str) -> bool:
    """Whether there is something to read under a name: also a pipe, as the shell's ``<(...)`` makes one."""
    return Path(name).exists() and not Path(name).is_dir()


def _parse_first(argument: str) -> PlanetRef:
    try:
        return PlanetRef.parse(argument)
    except ConfigurationError as exc:
        raise ConfigurationError(f"no such file: {argument!r}; and {exc}") from exc


def _read(name: str) -> list[Located]:
    source = "standard input" if name == "-" else name
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{source}: {exc.strerror}") from exc
    found = list(parse_lines(_decode(raw, source), source))
    if not found:
        raise ConfigurationError(f"{source}: there is no target in it (one star_system/planet per line)")
    return found


def _decode(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{source}, line {line}: it is not UTF-8") from exc
