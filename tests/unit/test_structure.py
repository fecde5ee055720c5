"""The structure of the package: the contracts of import-linter, and what import-linter cannot express."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asyncbackups

ROOT = Path(asyncbackups.__file__).parent
PROJECT = Path(__file__).parents[2]
IMPURE = {"aiohttp", "aiosqlite", "anyio", "asyncio", "random", "sqlite3", "time", "asyncbackups._base.clock"}
PURE = {
    *("errors", "events", "models", "policies"),
    *("_api.codec", "_api.marker", "_api.pagination", "_api.reconcile", "_api.requests", "_api.responses"),
    "_api.status_rule",
    *("_bulk.journal.entries", "_bulk.journal.run_state"),
}
"""Modules that only decide. So does `_polling`, except for its engine and its watches."""


@pytest.fixture(scope="module")
def graph() -> Any:
    """Return the imports of the package, also those inside functions and for type checking."""
    return pytest.importorskip("grimp").build_graph("asyncbackups", include_external_packages=True, cache_dir=None)


def test_contracts_of_import_linter_hold() -> None:
    """`lint-imports` passes: layers, no backups in `_http`, one module for aiohttp, only public names in `cli`."""
    pytest.importorskip("importlinter")
    # In a process of its own, because it configures logging, which would disable the loggers of other tests.
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    checked = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_decisions_import_no_io_clock_or_randomness(graph: Any) -> None:
    """Time and random numbers are arguments, so that tests of decisions need neither a network nor a clock."""
    polling = graph.find_descendants("asyncbackups._polling")
    pure = {f"asyncbackups.{name}" for name in PURE}
    pure |= polling - {"asyncbackups._polling.engine", "asyncbackups._polling.watch"}
    imported = {name: graph.find_modules_directly_imported_by(name) & IMPURE for name in pure}
    assert {name: modules for name, modules in imported.items() if modules} == {}


def test_only_the_command_line_imports_the_package_root(graph: Any) -> None:
    """An import through the root would load the whole package, and be a cycle."""
    importers = graph.find_modules_that_directly_import("asyncbackups")
    assert {name for name in importers if name.split(".")[1] not in {"cli", "__main__"}} == set()


def documented_errors(docstring: str) -> list[str]:
    """Return the names under `Raises:` in a docstring."""
    section = re.search(r"^Raises:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    return re.findall(r"^    (\S+?):", section[1], re.MULTILINE) if section else []


def test_documented_errors_exist() -> None:
    """Each name under `Raises:` is a builtin or a class of this package."""
    nodes = [node for path in ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    known = {node.name for node in nodes if isinstance(node, ast.ClassDef)} | set(dir(builtins))
    functions = [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    raised = {name for node in functions for name in documented_errors(ast.get_docstring(node) or "")}
    assert len(raised) > 10
    assert raised - known == set()


def exported() -> Iterator[tuple[str, Any]]:
    for name in asyncbackups.__all__:
        value = getattr(asyncbackups, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value
        for attribute, member in vars(value).items() if inspect.isclass(value) else ():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                yield f"{name}.{attribute}", member


def test_exported_names_have_docstrings() -> None:
    """So have the public methods and properties of exported classes."""
    assert [name for name, value in exported() if not value.__doc__] == []
