"""The documents are true: their code runs, and the tests, modules, loggers and files that they name exist."""

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

import asyncbackups
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
PACKAGE = Path(asyncbackups.__file__).parent
_CODE = re.compile(r"`([\w/]+)`")
_NAMED_TEST = re.compile(r"`(tests/[\w/.]+)::(\w+)`")


def blocks(language: str) -> list[str]:
    return [content for kind, content in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve a workload in which backups end at once and each star system has thirty earlier ones."""
    with hosted(lambda: Simulator(workload=Workload(duration=Fixed(0.0), history=30))) as (simulator, _):
        yield simulator


def test_every_code_block_is_run_or_output() -> None:
    """The tests below run all kinds of code blocks but `text`, which is output."""
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "console", "text"}


def test_install_commands_name_extras_that_exist() -> None:
    """Both commands install extras of this project, then run the demo and the tests."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    installs = [match for block in blocks("sh") if (match := INSTALL.fullmatch(block.strip()))]
    assert len(installs) == len(blocks("sh")) == 2
    assert {extra for match in installs for extra in match[1].split(",")} <= extras.keys()
    assert [match[2] for match in installs] == ["asyncbackups demo", "python -m pytest"]


@pytest.fixture(scope="module", autouse=True)
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Ended]]:
    """Start the demo, which takes some seconds, before the first test, so that both run at the same time."""
    with begun(tmp_path_factory.mktemp("demo"), "demo") as end:
        yield end


def test_the_demo_ends_as_readme_shows(demo: Callable[[], Ended]) -> None:
    """The demo ends with the lines that README shows, except for numbers that depend on the machine."""
    ended = demo()
    assert (ended.status, ended.out) == (0, "")
    (sample,) = blocks("text")
    assert _shape(sample.splitlines()) == _shape(ended.err.splitlines()[-3:])
    assert "50 backups created, 50 succeeded" in sample


@pytest.mark.parametrize("program", blocks("python"), ids=["bulk"])
def test_programs_run(simulator: Simulator, program: str, tmp_path: Path) -> None:
    """Each program runs as it is, against the simulator in its environment."""
    assert "succeeded" in _output(FAST + program, settings_of(simulator), tmp_path)


@pytest.mark.parametrize("program", OF_APPLICATIONS, ids=["client", "operations", "watch", "bulk", "journal", "create"])
def test_programs_of_the_library_guide_run(simulator: Simulator, program: str, tmp_path: Path) -> None:
    """Each program of the library guide runs as it is, without an error."""
    output = _output(FAST + program, settings_of(simulator), tmp_path)
    assert output
    assert not re.search("fail|refused|exist|running:|WatchExpired|False", output)


@pytest.mark.parametrize("program", OF_TESTS, ids=["simulator"])
def test_tests_of_the_library_guide_pass(program: str, tmp_path: Path) -> None:
    """The tests in the library guide pass in a project that has only pytest."""
    (tmp_path / "test_application.py").write_text(program, "utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]", "utf-8"
    )  # the folder may be inside this project, whose settings would apply
    command = "import sys, pytest; sys.exit(pytest.main(['-q', '-W', 'error', '-p', 'no:cacheprovider']))"
    assert f"{program.count('def test_')} passed" in _output(command, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, tmp_path)


def _output(program: str, settings: Mapping[str, str], folder: Path) -> str:
    """Run a program in a folder and return its output. It may log an adoption, and nothing else."""
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
    """Each command of the session exits with 0 and prints what README shows; pipelines run in a shell."""
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
    """Run a command in a shell with `asyncbackups` on its path."""
    program, script = folder / "asyncbackups", folder / "fast.py"
    script.write_text(FAST_PROGRAM)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, **environment(), "PATH": path}
    ended = subprocess.run(["/bin/sh", "-c", command], env=variables, text=True, capture_output=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def _session() -> Iterator[tuple[str, list[str]]]:
    """Yield each command with the output shown below it."""
    (block,) = blocks("console")
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield command, output


def _shape(lines: list[str]) -> list[str]:
    """Replace the parts that differ from run to run: numbers and the marker of a create."""
    return [re.sub(r"\d+(?:\.\d+)?", "N", re.sub(r"\[asyncbackups:\w+\]", "[marker]", line)) for line in lines]


@pytest.mark.parametrize("name", ["docs/guarantees.md", "SECURITY.md"])
def test_guarantees_name_existing_tests(name: str) -> None:
    """Each guarantee names the tests that prove it, as `path::function`."""
    guarantees = re.split(r"^- ", _document(name), flags=re.MULTILINE)[1:]
    assert len(guarantees) > 10
    assert [guarantee for guarantee in guarantees if not _NAMED_TEST.search(guarantee)] == []
    named = [match for guarantee in guarantees for match in _NAMED_TEST.findall(guarantee)]
    missing = [f"{path}::{function}" for path, function in named if function not in _functions(ROOT / path)]
    assert missing == [], f"{name} names tests that do not exist:\n" + "\n".join(missing)


def test_the_architecture_names_existing_modules() -> None:
    """Each module in the table of the layers exists."""
    rows = re.findall(r"^\| (`.+?`) \| [^|]+ \|(.*)\|$", _document("ARCHITECTURE.md"), re.MULTILINE)
    parts = [part for layer, _ in rows for part in _CODE.findall(layer)]
    modules = [f"{folder.strip('`')}/{module}" for folder, modules in rows for module in _CODE.findall(modules)]
    assert len(parts) > 10
    assert len(modules) > 30
    missing = [name for name in [*parts, *modules] if not _is_module(name)]
    assert missing == [], "ARCHITECTURE.md names modules that do not exist:\n" + "\n".join(missing)


def test_the_library_guide_names_existing_loggers() -> None:
    """Each logger in the guide's table is the logger of a module."""
    loggers = re.findall(r"^\| `(_[\w.]+)` \| ", LIBRARY, re.MULTILINE)
    assert len(loggers) > 5
    paths = {name: PACKAGE / f"{name.replace('.', '/')}.py" for name in loggers}
    missing = [name for name, path in paths.items() if not path.exists() or "getLogger" not in path.read_text("utf-8")]
    assert missing == []


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/library.md", "docs/guarantees.md"]
)
def test_links_lead_to_files_and_headings(name: str) -> None:
    """Each relative link is a file or folder of the project, and its fragment a heading there."""
    if not (ROOT / "CONTRIBUTING.md").exists():
        pytest.skip("only the tests are here, not the whole project")
    assert [link for link in re.findall(r"\]\((?!https?:)([^)]+)\)", _document(name)) if not _leads(name, link)] == []


def _leads(document: str, link: str) -> bool:
    path, _, fragment = link.partition("#")
    target = (ROOT / document).parent / path if path else ROOT / document
    if not target.exists():
        return False
    return not fragment or fragment in _anchors(target.read_text("utf-8"))


def _anchors(text: str) -> set[str]:
    """Return the fragments of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _document(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip("only the tests are here, not the whole project")
    return path.read_text("utf-8")


def _is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name / "__init__.py").exists()


def _functions(path: Path) -> set[str]:
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
