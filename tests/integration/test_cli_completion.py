"""Shell completion, driven as the shells do it, and what help pages and completion import."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli_program import PROGRAM, Program, environment

BASH = shutil.which("bash")
DRIVER = """\
eval "$(asyncbackups completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$(({count} - 1))
spec=$(complete -p asyncbackups)
function=${{spec##*-F }}
compopt() {{ echo "option $1 $2"; }}
COMPREPLY=()
${{function%% *}} asyncbackups "${{COMP_WORDS[COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def shell_path(tmp_path: Path) -> str:
    """Return a PATH on which `asyncbackups` is this program."""
    program = tmp_path / "bin" / "asyncbackups"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def complete(shell_path: str, *words: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    assert BASH is not None
    typed = [shlex.quote(word) if word else "" for word in words]
    script = DRIVER.format(words=shlex.join(["asyncbackups", *typed]), count=len(words) + 1)
    variables = {**environment(), "PATH": shell_path}
    ended = subprocess.run([BASH, "-c", script], env=variables, text=True, capture_output=True, check=True)
    assert ended.stderr == ""
    return ended.stdout.split("\n")[:-1]


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["s"], ["simulate", "status"]),
        (["--v"], ["--version", "--verbose"]),
        (["health", "--t"], ["--tenant", "--token-file"]),
        (["health", "--region", "a"], ["AMER", "APAC"]),
        (["bulk", "--journal", "x"], ["option -o default", ""]),
        (["bulk", "tar"], ["option -o default", ""]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=" ".join,
)
def test_bash_completes(shell_path: str, words: list[str], offered: list[str]) -> None:
    """Commands, options, regions, files and shells are completed."""
    assert complete(shell_path, *words) == offered


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize("command", ["bulk", "wait", "delete"])
def test_bash_completes_star_systems_of_the_file(shell_path: str, tmp_path: Path, command: str) -> None:
    """After a file of targets, its star systems are offered, without a space behind them."""
    targets = tmp_path / "my targets"
    targets.write_text("alpha/one\nalpha/two\nbeta/one\nalgol/x\n")
    assert complete(shell_path, command, str(targets), "al") == ["option -o nospace", "alpha/", "algol/"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid(run_alone: Program, shell: str) -> None:
    """Each shell accepts its script."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell}")
    ended = run_alone("completion", shell)
    assert (ended.status, ended.err) == (0, "")
    checked = subprocess.run([found, "-n"], input=ended.out, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture
def run_alone(capsys: pytest.CaptureFixture[str]) -> Program:
    """Return what runs commands without a service."""
    return Program(capsys)


def test_unknown_shell(run_alone: Program) -> None:
    """Another shell is wrong usage."""
    ended = run_alone("completion", "tcsh")
    assert ended.status == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in ended.error


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--version"], {}),
        (["--help"], {}),
        (["completion", "bash"], {}),
        (["demo", "--help"], {}),
        ([], {"_ASYNCBACKUPS_COMPLETE": "bash_complete", "COMP_WORDS": "asyncbackups b", "COMP_CWORD": "1"}),
        ([], {"_ASYNCBACKUPS_COMPLETE": "bash_complete", "COMP_WORDS": "asyncbackups bulk --", "COMP_CWORD": "2"}),
        ([], {"_ASYNCBACKUPS_COMPLETE": "bash_complete", "COMP_WORDS": "asyncbackups demo --", "COMP_CWORD": "2"}),
    ],
    ids=["version", "help", "completion", "command help", "commands", "options of bulk", "options of demo"],
)
def test_nothing_heavy_is_imported(arguments: list[str], variables: dict[str, str]) -> None:
    """The version, help pages and completion need neither aiohttp nor the client nor the simulator."""
    code = (
        "import sys, atexit\n"
        "from asyncbackups.__main__ import main\n"
        "heavy = ('aiohttp', 'asyncbackups.client', 'asyncbackups.simulator')\n"
        "atexit.register(lambda: print(*[name for name in heavy if name in sys.modules], file=sys.stderr))\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, env={**environment(), **variables}, text=True, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "\n")
    assert ended.stdout
