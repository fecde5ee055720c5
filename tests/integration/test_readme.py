"""Every code block of README and every program of docs/library.md is run, and every test that README names exists."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from asyncbackups.simulator import Fixed, Simulator, Workload
from tests.cli_program import FAST_PROGRAM, ROOT, Ended, Program, begun, environment, hosted, settings_of

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = FENCED.findall(README)
LIBRARY = (ROOT / "docs" / "library.md").read_text("utf-8")
PROGRAMS = [content for kind, content in FENCED.findall(LIBRARY) if kind == "python"]
OF_TESTS = [program for program in PROGRAMS if "def test_" in program]
OF_APPLICATIONS = [program for program in PROGRAMS if program not in OF_TESTS]
FAST = """\
import asyncbackups
from tests.cli_program import FAST, SETTLED
asyncbackups.BackupClient.__init__.__kwdefaults__.update(polling=FAST, creating=SETTLED)
"""
INSTALL = re.compile(r"pip install (?:-e )?'\.\[([\w,]+)\]' && (.+)")


def blocks(language: str) -> list[str]:
    return [content for kind, content in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve a world in which backups end at once, and star systems have thirty old ones."""
    with hosted(lambda: Simulator(workload=Workload(duration=Fixed(0.0), history=30))) as (simulator, _):
        yield simulator


def test_no_block_is_of_another_kind() -> None:
    """What the tests below do not run is output, which says so."""
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "console", "text"}


def test_install_commands_name_extras_that_exist() -> None:
    """Both commands install extras of this project, and then run the demo, as below, and this test."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    installs = [match for block in blocks("sh") if (match := INSTALL.fullmatch(block.strip()))]
    assert len(installs) == len(blocks("sh")) == 2
    assert {extra for match in installs for extra in match[1].split(",")} <= extras.keys()
    assert [match[2] for match in installs] == ["asyncbackups demo", "python -m pytest"]


@pytest.fixture(scope="module", autouse=True)
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Ended]]:
    """Start the demo, which takes some seconds, before the first test, so that the others run meanwhile."""
    with begun(tmp_path_factory.mktemp("demo"), "demo") as end:
        yield end


def test_the_demo_ends_as_readme_shows(demo: Callable[[], Ended]) -> None:
    """The demo's people's output has the lines that README shows, up to numbers that depend on the machine."""
    ended = demo()
    assert (ended.status, ended.out) == (0, "")
    (sample,) = blocks("text")
    assert _shape(sample.splitlines()[-3:]) == _shape(ended.err.splitlines()[-3:])
    assert re.search(r"│ all +│ +50 │ +0 │ +50 │ +0 │", sample)


@pytest.mark.parametrize("program", blocks("python"), ids=["bulk", "single"])
def test_programs_run(simulator: Simulator, program: str, tmp_path: Path) -> None:
    """Each program runs as it stands, against a simulator that its environment leads to."""
    assert "succeeded" in _output(FAST + program, settings_of(simulator), tmp_path)


@pytest.mark.parametrize("program", OF_APPLICATIONS, ids=["client", "watch", "bulk", "journal", "create"])
def test_programs_of_the_library_guide_run(simulator: Simulator, program: str, tmp_path: Path) -> None:
    """So does each program of the library's guide; none meets an error."""
    output = _output(FAST + program, settings_of(simulator), tmp_path)
    assert output
    assert not re.search("fail|refused|exist|running:|WatchExpired|False", output)


@pytest.mark.parametrize("program", OF_TESTS, ids=["simulator"])
def test_tests_of_the_library_guide_pass(program: str, tmp_path: Path) -> None:
    """Tests that the guide shows pass in a project that has pytest and nothing else."""
    (tmp_path / "test_application.py").write_text(program, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]", "utf-8")  # the folder may lie below this project's own settings
    command = "import sys, pytest; sys.exit(pytest.main(['-q', '-W', 'error', '-p', 'no:cacheprovider']))"
    assert f"{program.count('def test_')} passed" in _output(command, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, tmp_path)


def _output(program: str, settings: Mapping[str, str], folder: Path) -> str:
    """Run a program in a folder; return what it printed. It ends well, and says at most that it adopted a backup."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(settings),
        text=True,
        encoding="utf-8",
        capture_output=True,
        check=False,
    )
    complaints = [line for line in ended.stderr.splitlines() if ": adopted backup " not in line]
    assert (ended.returncode, complaints) == (0, []), ended.stdout
    return ended.stdout


def test_the_session_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the session ends with 0 and prints what README shows; what needs a shell runs in one."""
    monkeypatch.chdir(tmp_path)
    with hosted(lambda: Simulator(workload=Workload(duration=Fixed(0.0), history=30))) as (simulator, _):
        for name, value in settings_of(simulator).items():
            monkeypatch.setenv(name, value)
        for command, output in _session():
            words = shlex.split(command)
            alone = words[0] == "asyncbackups" and "|" not in words
            ended = Program(capsys)(*words[1:]) if alone else _in_shell(command, tmp_path)
            assert ended.status == 0, ended.err
            assert _shape(ended.out.splitlines()) == _shape(output)


def _in_shell(command: str, folder: Path) -> Ended:
    """Run a command in a shell that knows `asyncbackups`."""
    program, script = folder / "asyncbackups", folder / "fast.py"
    script.write_text(FAST_PROGRAM)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, **environment(), "PATH": path}
    ended = subprocess.run(["/bin/sh", "-c", command], env=variables, text=True, capture_output=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def _session() -> Iterator[tuple[str, list[str]]]:
    """Iterate over commands and the output shown below each."""
    (block,) = blocks("console")
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield command, output


def _shape(lines: list[str]) -> list[str]:
    """Return lines without what differs from run to run: numbers, and the marker of a create."""
    return [re.sub(r"\d+(?:\.\d+)?", "N", re.sub(r"\[asyncbackups:\w+\]", "[marker]", line)) for line in lines]


def test_named_tests_exist() -> None:
    """Each guarantee names tests that there are."""
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", README)
    assert len(named) > 10
    missing = [f"{path}::{name}" for path, name in named if name not in _functions(ROOT / path)]
    assert missing == []


def test_links_lead_somewhere() -> None:
    """Each relative link of README and of the library's guide is a file or folder of the project."""
    if not (ROOT / "CONTRIBUTING.md").exists():
        pytest.skip("only the tests are here, not the whole project")
    links = [*_links(README, ROOT), *_links(LIBRARY, ROOT / "docs")]
    assert [link for link in links if not link.exists()] == []


def _links(text: str, folder: Path) -> list[Path]:
    return [folder / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
