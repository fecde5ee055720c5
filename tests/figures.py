"""Figures about the code base, as one table: `python -m tests.figures [FOLDER]`.

Modules are files with code in them. Names are those of functions and methods, without magic methods; their words are
counted as `snake_case` and `CamelCase` separate them. The length of a function is that of its body, without the docstring.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

TARGETS = {
    "modules": "at most 90",
    "lines": "at most 17,000",
    "top-level modules": "at most 10",
    "top-level folders": "at most 7",
    "modules in import cycles": "0",
    "longest function, lines": "at most 40",
    "words per function name": "at least 1.6",
    "function names that are past participles": "at most 4%",
}

_IRREGULAR = frozenset(
    "asked begun bought broken brought built chosen come done drawn driven eaten fallen felt forgotten found given gone "
    "got had heard held hidden hurt kept known laid led left lent lost made meant met paid put read said seen sent shown "
    "shut sold spent spoken stood taken taught thought thrown told understood unsent untold woken won written".split()
)
_NOT_PARTICIPLES = frozenset("bed embed exceed feed need proceed seed shed speed succeed".split())


def words_of(name: str) -> list[str]:
    """Return the words of an identifier, in lower case."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return [part.lower() for part in parts] or [name]


def is_past_participle(name: str) -> bool:
    """Return True if a function's name is or begins with a past participle (`told`, `judged`, `made_of`)."""
    first = words_of(name)[0]
    return first in _IRREGULAR or (first.endswith("ed") and first not in _NOT_PARTICIPLES)


def functions_in(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a module, without magic methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def modules_in_cycles(package: str) -> list[str]:
    """Return the modules that lie on an import cycle, imports for type checking and within functions included."""
    graph = grimp.build_graph(package)
    left = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def figures_of(root: Path) -> dict[str, str]:
    """Measure a package.

    Args:
        root: Its folder.
    """
    texts = {path: path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    modules = {path: len(text.splitlines()) for path, text in texts.items() if trees[path].body}
    functions = [function for tree in trees.values() for function in functions_in(tree)]
    lengths = sorted(map(body_lines, functions))
    names = [function.name for function in functions]
    longest = max(functions, key=body_lines)
    largest = max(modules, key=lambda path: modules[path])
    participles = sum(map(is_past_participle, names)) / len(names)
    return {
        "modules": f"{len(modules)} (and {len(texts) - len(modules)} empty __init__.py)",
        "lines": f"{sum(modules.values()):,}",
        "top-level modules": str(sum(path.parent == root for path in texts)),
        "top-level folders": str(sum((folder / "__init__.py").exists() for folder in root.iterdir())),
        "modules in import cycles": str(len(modules_in_cycles(root.name))),
        "median module, lines": f"{statistics.median(modules.values()):.0f}",
        "longest module, lines": f"{modules[largest]} ({largest.relative_to(root)})",
        "function bodies, lines: median / p90": f"{statistics.median(lengths):.0f} / {lengths[len(lengths) * 9 // 10]}",
        "longest function, lines": f"{body_lines(longest)} ({longest.name})",
        "functions": f"{len(names):,}",
        "words per function name": f"{statistics.mean(len(words_of(name)) for name in names):.2f}",
        "function names that are past participles": f"{participles:.1%}",
    }


def main(arguments: list[str]) -> int:
    """Print the table for a package's folder, `asyncbackups` unless another one is given."""
    figures = figures_of(Path(arguments[0] if arguments else "asyncbackups"))
    print("| figure | now | target |\n|---|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value} | {TARGETS.get(name, '')} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
