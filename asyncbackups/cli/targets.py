"""Many planets or backups: from a file, standard input or arguments; all are checked before anything is sent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from asyncbackups import BackupRef, ConfigurationError, PlanetRef

__all__ = ["are_in_file", "parse_lines", "read_refs", "read_refs_once", "read_targets", "unique"]

# A "#" inside a word belongs to the word.
_COMMENT = re.compile(r"(?:^|\s)#.*")
_LISTS = frozenset({".csv", ".list", ".lst", ".targets", ".tsv", ".txt"})
"""What files of targets are called: a first argument like that is meant as one."""

_Named = TypeVar("_Named", PlanetRef, BackupRef)


def read_targets(arguments: Sequence[str]) -> list[PlanetRef]:
    """Read planets. The first argument may be a file, or ``-`` for standard input.

    Args:
        arguments: As given on the command line.

    Raises:
        ConfigurationError: If there is none, one is malformed (the message has its line), or one is there twice.
    """
    return unique(_located(arguments, PlanetRef))


def read_refs(arguments: Sequence[str]) -> list[BackupRef]:
    """Read backups, in the same ways.

    Args:
        arguments: As given on the command line.

    Raises:
        ConfigurationError: If there is none, one is malformed (the message has its line), or one is there twice.
    """
    return unique(_located(arguments, BackupRef))


def read_refs_once(arguments: Sequence[str]) -> list[BackupRef]:
    """Read backups, in the same ways, where one that is there twice does no harm: it counts once.

    Args:
        arguments: As given on the command line.

    Raises:
        ConfigurationError: If there is none, or one is malformed (the message has its line).
    """
    return list(dict.fromkeys(ref for ref, _ in _located(arguments, BackupRef)))


def are_in_file(argument: str) -> bool:
    """Return whether a first argument stands for standard input, or for what can be read under its name.

    That may be a pipe, too, as the shell's ``<(...)`` makes one.
    """
    return argument == "-" or (Path(argument).exists() and not Path(argument).is_dir())


def parse_lines(text: str, source: str, kind: type[_Named]) -> Iterator[tuple[_Named, str]]:
    """Read one planet or backup from each line, with where it is; blank lines and comments (``#``) are left out.

    Args:
        text: All lines.
        source: What they are called in messages.
        kind: What they name.

    Raises:
        ConfigurationError: If a line is malformed.
    """
    for number, line in enumerate(text.split("\n"), 1):
        written = _COMMENT.sub("", line).strip()
        if not written:
            continue
        try:
            named = kind.parse(written)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{source}, line {number}: {exc}") from exc
        yield named, f"{source}, line {number}"


def unique(found: Iterable[tuple[_Named, str]]) -> list[_Named]:
    """Return what was found, of which nothing may be there twice: a planet would get two backups, or a surprise.

    Raises:
        ConfigurationError: If something is; the message says where both are.
    """
    seen: dict[_Named, str] = {}
    for named, where in found:
        if named in seen:
            raise ConfigurationError(f"{named} is there twice: {seen[named]}, and {where}")
        seen[named] = where
    return list(seen)


def _located(arguments: Sequence[str], kind: type[_Named]) -> Iterator[tuple[_Named, str]]:
    first, *rest = arguments
    if are_in_file(first):
        yield from _read(first, kind)
    else:
        yield _parse_first(first, kind), f"argument {first!r}"
    for argument in rest:
        yield kind.parse(argument), f"argument {argument!r}"


def _parse_first(argument: str, kind: type[_Named]) -> _Named:
    if Path(argument).suffix in _LISTS:
        # A mistyped path must not become a planet of which a backup is made.
        raise ConfigurationError(f"{_no_file(argument)}; what is really called that can be given in a file")
    try:
        return kind.parse(argument)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{_no_file(argument)}; and {exc}") from exc


def _no_file(argument: str) -> str:
    if argument and Path(argument).is_dir():  # to the system, "" is the folder in which we are
        return f"{argument!r} is a directory, not a file"
    return f"no such file: {argument!r}"


def _read(name: str, kind: type[_Named]) -> list[tuple[_Named, str]]:
    source = "standard input" if name == "-" else name
    if name == "-" and sys.stdin is None:
        raise ConfigurationError(f"{source}: it is closed")
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{source}: {exc.strerror}") from exc
    found = list(parse_lines(_decode(raw, source), source, kind))
    if not found:
        form = "star_system/planet" if kind is PlanetRef else "star_system/backup_id"
        raise ConfigurationError(f"{source}: there is no target in it (one {form} per line)")
    return found


def _decode(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{source}, line {line}: it is not UTF-8") from exc
