"""Many planets or backups from a file, standard input or arguments; all are checked before anything is sent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from asyncbackups import BackupRef, ConfigurationError, PlanetRef

# A "#" inside a word belongs to the word.
_COMMENT = re.compile(r"(?:^|\s)#.*")
# A first argument with one of these is taken for a file: a mistyped path must not become a planet.
_FILE_SUFFIXES = frozenset({".csv", ".list", ".lst", ".targets", ".tsv", ".txt"})
_Target = TypeVar("_Target", PlanetRef, BackupRef)


def load_targets(arguments: Sequence[str], kind: type[_Target]) -> list[_Target]:
    """Read planets or backups. The first argument may be a file, or ``-`` for standard input.

    Raises:
        ConfigurationError: If there is none, one is malformed (the message names its line), or one is listed twice:
            a planet would get two backups.
    """
    seen: dict[_Target, str] = {}
    for target, position in _parse_arguments(arguments, kind):
        if target in seen:
            raise ConfigurationError(f"{target} is listed twice: {seen[target]}, and {position}")
        seen[target] = position
    return list(seen)


def load_distinct_backups(arguments: Sequence[str]) -> list[BackupRef]:
    """Read backups in the same way; one that is listed twice counts once."""
    return list(dict.fromkeys(ref for ref, _ in _parse_arguments(arguments, BackupRef)))


def list_star_systems(name: str) -> list[str]:
    """Return the star systems in a file of targets; malformed lines and a file that cannot be read have none."""
    try:
        lines = Path(name).read_text("utf-8-sig").splitlines()
    except (OSError, ValueError):
        return []
    found = [_COMMENT.sub("", line).strip().partition("/") for line in lines]
    return list(dict.fromkeys(star_system for star_system, slash, _ in found if star_system and slash))


def is_file_argument(argument: str) -> bool:
    """Return True if a first argument is standard input or a path that can be read, such as a pipe of ``<(...)``."""
    return argument == "-" or (Path(argument).exists() and not Path(argument).is_dir())


def parse_lines(text: str, source: str, kind: type[_Target]) -> Iterator[tuple[_Target, str]]:
    """Yield the target of each line and its position; blank lines and comments (``#``) are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if written := _COMMENT.sub("", line).strip():
            position = f"{source}, line {number}"
            yield _parse_target(written, position, kind), position


def _parse_arguments(arguments: Sequence[str], kind: type[_Target]) -> Iterator[tuple[_Target, str]]:
    first, *rest = arguments
    if is_file_argument(first):
        yield from _load_file(first, kind)
    else:
        yield _parse_first(first, kind), f"argument {first!r}"
    for argument in rest:
        yield kind.parse(argument), f"argument {argument!r}"


def _parse_target(text: str, position: str, kind: type[_Target]) -> _Target:
    try:
        return kind.parse(text)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{position}: {exc}") from exc


def _parse_first(argument: str, kind: type[_Target]) -> _Target:
    if argument and Path(argument).is_dir():  # for the system, "" is the current directory
        raise ConfigurationError(f"{argument!r} is a directory, not a file of targets")
    if not argument.strip() or Path(argument).suffix in _FILE_SUFFIXES:
        raise ConfigurationError(f"File not found: {argument or repr(argument)}")
    return _parse_target(argument, f"File not found: {argument}; as a target", kind)


def _load_file(name: str, kind: type[_Target]) -> list[tuple[_Target, str]]:
    source = "standard input" if name == "-" else name
    if name == "-" and sys.stdin is None:
        raise ConfigurationError(f"{source} is closed")
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{source}: {exc.strerror}") from exc
    found = list(parse_lines(_decode_text(raw, source), source, kind))
    if not found:
        form = "star_system/planet" if kind is PlanetRef else "star_system/backup_id"
        raise ConfigurationError(f"{source}: no targets found (expected one {form} per line)")
    return found


def _decode_text(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{source}, line {line}: not UTF-8") from exc
