"""Targets of a bulk run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from asyncbackups import BackupRef, ConfigurationError, PlanetRef
from asyncbackups.cli.targets import parse_lines, read_refs_once, read_targets


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_lines_comments_and_blanks() -> None:
    """Comments, blank lines, spaces and line ends of other systems are left out; a # inside a name is a part of it."""
    text = "# all of them\nalpha/prod\r\n\n  beta/test  # the other one\n\t# done\ngamma/a#b"
    found = [str(planet) for planet, _ in parse_lines(text, "x", PlanetRef)]
    assert found == ["alpha/prod", "beta/test", "gamma/a#b"]


def test_file_then_arguments(tmp_path: Path) -> None:
    """The first argument may be a file (a byte order mark does not matter); planets may follow."""
    name = written(tmp_path / "targets", b"\xef\xbb\xbfalpha/prod\nalpha/\xc3\xa9\n")
    assert read_targets([name, "beta/x"]) == [
        PlanetRef("alpha", "prod"),
        PlanetRef("alpha", "é"),
        PlanetRef("beta", "x"),
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hyphen stands for standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"alpha/prod\n")))
    assert read_targets(["-"]) == [PlanetRef("alpha", "prod")]


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error like any other that concerns a source."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigurationError, match="standard input: it is closed"):
        read_targets(["-"])


def test_what_may_be_there_twice_counts_once(tmp_path: Path) -> None:
    """Backups in a file and after it are read once each, in their order."""
    name = written(tmp_path / "backups", "b/2\na/1\nb/2\n")
    assert read_refs_once([name, "a/1", "a/3"]) == [BackupRef("b", 2), BackupRef("a", 1), BackupRef("a", 3)]


def test_only_arguments() -> None:
    """Planets alone are enough."""
    assert read_targets(["alpha/a", "alpha/b"]) == [PlanetRef("alpha", "a"), PlanetRef("alpha", "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("alpha/prod\n\nnonsense\n", r"targets, line 3: .*'nonsense'"),
        ("a/b/c\n", r"targets, line 1: .*'a/b/c'"),
        ("../../x\n", r"targets, line 1: .*'\.\./\.\./x'"),
        ("alpha/..\n", r"targets, line 1: planet must not be '\.\.'"),
        ("é\n", r"targets, line 1: .*'é'"),
        ("alpha/a\n# no\nalpha/b\nalpha/a\n", r"alpha/a is there twice: .*targets, line 1, and .*targets, line 4"),
        ("", r"targets: there is no target in it"),
        ("# nothing\n\n", r"targets: there is no target in it"),
        (b"alpha/a\nalpha/\xff\n", r"targets, line 2: it is not UTF-8"),
    ],
)
def test_bad_files_name_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    """What is wrong with a file is said with its line."""
    with pytest.raises(ConfigurationError, match=message):
        read_targets([written(tmp_path / "targets", content)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-file"], "no such file: 'no-such-file'"),
        (["/no/such/file"], "no such file: '/no/such/file'"),
        (["/"], "'/' is a directory, not a file; and a planet is written star_system/planet, not '/'"),
        ([""], "no such file: ''"),
        (["alpha/a", "beta"], "'beta'"),
        (["alpha/a", "alpha/a"], "alpha/a is there twice"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    """An argument that is neither file nor planet is quoted, and one that is there twice."""
    with pytest.raises(ConfigurationError, match=message):
        read_targets(arguments)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own words say why a file cannot be read."""

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    name = written(tmp_path / "targets", "alpha/a")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match="targets: Permission denied"):
        read_targets([name])


def test_a_mistyped_file_is_no_planet(tmp_path: Path) -> None:
    """A backup of a planet called list.txt is not what anybody meant."""
    with pytest.raises(ConfigurationError, match=r"no such file: 'targets/list\.txt'"):
        read_targets(["targets/list.txt"])
