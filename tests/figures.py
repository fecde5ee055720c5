"""Print figures about the code base as a Markdown table: `python -m tests.figures [FOLDER]`.

Names are those of functions and methods except magic methods. The length of a function is that of its body without the
docstring. Empty `__init__.py` files do not count as modules.
"""

from __future__ import annotations

import ast
import collections
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
    "type names used more than once": "0",
}

# Verbs whose imperative is the same word (`read`, `put`) are left out: as function names they are imperatives.
_IRREGULAR_PARTICIPLES = frozenset(
    """
    begun bought broken brought built chosen done drawn driven eaten fallen felt forgotten found given gone got had
    heard held hidden kept known laid led left lent lost made meant met paid said seen sent shown sold spent spoken
    stood taken taught thought thrown told understood unsent untold woken won written
    """.split()  # noqa: SIM905 - a list of one word a line is longer than this module
)
_NOT_PARTICIPLES = frozenset({"bed", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def words_of(name: str) -> list[str]:
    """Return the words of a name in `snake_case` or `CamelCase`, in lower case."""
    parts: list[str] = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return [part.lower() for part in parts] or [name]


def is_past_participle(name: str) -> bool:
    """Return True if a name is or begins with a past participle (`told`, `judged`, `made_of`)."""
    first = words_of(name)[0]
    return first in _IRREGULAR_PARTICIPLES or (first.endswith("ed") and first not in _NOT_PARTICIPLES)


def functions_in(tree: ast.Module) -> Iterator[Function]:
    """Yield all functions and methods of a module except magic methods."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and not node.name.startswith("__"):
            yield node


def body_lines(function: Function) -> int:
    """Return the number of lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def modules_in_cycles(package: str) -> list[str]:
    """Return the modules on import cycles, including imports for type checking and imports inside functions."""
    graph = grimp.build_graph(package, cache_dir=None)
    imported = {module: graph.find_upstream_modules(module) for module in graph.modules}
    return sorted(module for module, others in imported.items() if any(module in imported[other] for other in others))


def duplicate_types(trees: list[ast.Module]) -> list[str]:
    """Return the names that more than one class has."""
    names = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return sorted(name for name, count in collections.Counter(names).items() if count > 1)


def measure_package(root: Path) -> dict[str, str]:
    """Return the figures of the package in the given folder."""
    texts = {path: path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    modules = {path: len(text.splitlines()) for path, text in texts.items() if trees[path].body}
    functions = [function for tree in trees.values() for function in functions_in(tree)]
    lengths = sorted(map(body_lines, functions))
    names = [function.name for function in functions]
    longest = max(functions, key=body_lines)
    largest = max(modules, key=lambda path: modules[path])
    participles = sum(map(is_past_participle, names)) / len(names)
    duplicates = duplicate_types(list(trees.values()))
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
        "type names used more than once": f"{len(duplicates)} {', '.join(duplicates)}".strip(),
    }


def main(arguments: list[str]) -> int:
    """Print the table for the given package folder; `asyncbackups` by default."""
    lines = ["| figure | now | target |", "|---|---|---|"]
    for name, value in measure_package(Path(arguments[0] if arguments else "asyncbackups")).items():
        lines.append(f"| {name} | {value} | {TARGETS.get(name, '')} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
