"""Targets of a command: files, standard input and arguments."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from asyncbackups import BackupRef, ConfigurationError, PlanetRef
from asyncbackups.cli.targets import list_star_systems, load_distinct_backups, load_targets, parse_lines


def write_file(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_lines_comments_and_blanks() -> None:
    """Comments, blank lines, spaces and line ends of other systems are ignored; a # inside a name belongs to it."""
    text = "# all of them\nalpha/prod\r\n\n  beta/test  # the other one\n\t# done\ngamma/a#b"
    found = [str(planet) for planet, _ in parse_lines(text, "x", PlanetRef)]
    assert found == ["alpha/prod", "beta/test", "gamma/a#b"]


def test_file_then_arguments(tmp_path: Path) -> None:
    """The first argument may be a file (a byte order mark does not matter); planets may follow."""
    name = write_file(tmp_path / "targets", b"\xef\xbb\xbfalpha/prod\nalpha/\xc3\xa9\n")
    assert load_targets([name, "beta/x"], PlanetRef) == [
        PlanetRef("alpha", "prod"),
        PlanetRef("alpha", "é"),
        PlanetRef("beta", "x"),
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hyphen is standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"alpha/prod\n")))
    assert load_targets(["-"], PlanetRef) == [PlanetRef("alpha", "prod")]


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that names it."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigurationError, match="standard input is closed"):
        load_targets(["-"], PlanetRef)


def test_duplicate_backups_count_once(tmp_path: Path) -> None:
    """Duplicates in a file and among the arguments are dropped; the order is kept."""
    name = write_file(tmp_path / "backups", "b/2\na/1\nb/2\n")
    assert load_distinct_backups([name, "a/1", "a/3"]) == [BackupRef("b", 2), BackupRef("a", 1), BackupRef("a", 3)]


def test_backups_may_have_any_id(tmp_path: Path) -> None:
    """Equal ids count once, however they are written; similar ones are different backups."""
    name = write_file(tmp_path / "backups", "a/00362\na/3f2a-b\na/362\n")
    ids = [ref.backup_id for ref in load_distinct_backups([name, "a/-5", "a/362"])]
    assert ids == ["00362", "3f2a-b", 362, -5]


def test_only_arguments() -> None:
    """Planets alone are enough."""
    assert load_targets(["alpha/a", "alpha/b"], PlanetRef) == [PlanetRef("alpha", "a"), PlanetRef("alpha", "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("alpha/prod\n\nnonsense\n", r"targets, line 3: .*'nonsense'"),
        ("a/b/c\n", r"targets, line 1: .*'a/b/c'"),
        ("../../x\n", r"targets, line 1: .*'\.\./\.\./x'"),
        ("alpha/..\n", r"targets, line 1: planet must not be '\.\.'"),
        ("é\n", r"targets, line 1: .*'é'"),
        ("alpha/a\n# no\nalpha/b\nalpha/a\n", r"alpha/a is listed twice: .*targets, line 1, and .*targets, line 4"),
        ("", r"targets: no targets found \(expected one star_system/planet per line\)"),
        ("# nothing\n\n", r"targets: no targets found \(expected one star_system/planet per line\)"),
        (b"alpha/a\nalpha/\xff\n", r"targets, line 2: not UTF-8"),
    ],
)
def test_bad_files_name_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    """An error in a file names its line."""
    with pytest.raises(ConfigurationError, match=message):
        load_targets([write_file(tmp_path / "targets", content)], PlanetRef)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-file"], "File not found: no-such-file; as a target: a planet is written star_system/planet"),
        (["/no/such/file"], "File not found: /no/such/file; as a target: "),
        (["/"], "'/' is a directory, not a file of targets"),
        ([""], "File not found: ''"),
        (["alpha/a", "beta"], "'beta'"),
        (["alpha/a", "alpha/a"], "alpha/a is listed twice"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    """An argument that is neither a file nor a planet is quoted, and so is a duplicate."""
    with pytest.raises(ConfigurationError, match=message):
        load_targets(arguments, PlanetRef)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the reason that the system gives."""

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    name = write_file(tmp_path / "targets", "alpha/a")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match="targets: Permission denied"):
        load_targets([name], PlanetRef)


def test_mistyped_file_is_not_a_planet(tmp_path: Path) -> None:
    """A name that ends in .txt is a missing file, not a planet."""
    with pytest.raises(ConfigurationError, match=r"File not found: targets/list\.txt$"):
        load_targets(["targets/list.txt"], PlanetRef)


def test_star_systems_of_a_file(tmp_path: Path) -> None:
    """Completion gets each star system once; malformed lines and missing files have none."""
    name = write_file(tmp_path / "targets", "# all\nalpha/a\nbeta/b # two\nalpha/c\nnonsense\n")
    assert list_star_systems(name) == ["alpha", "beta"]
    assert list_star_systems(str(tmp_path)) == list_star_systems("no-such-file") == []
