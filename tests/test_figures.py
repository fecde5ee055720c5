"""The figures about the code base count what they say."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.figures import body_lines, duplicate_types, functions_in, is_past_participle, modules_in_cycles, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get", ["get"]),
        ("next_due_time", ["next", "due", "time"]),
        ("_parse_retry_after", ["parse", "retry", "after"]),
        ("list_", ["list"]),
        ("sha256_digest", ["sha256", "digest"]),
        ("PollingPolicy", ["polling", "policy"]),
        ("HTTPServer", ["http", "server"]),
        ("_", ["_"]),
    ],
)
def test_words_of(name: str, words: list[str]) -> None:
    """Underscores and capitals separate words; leading and trailing underscores do not count."""
    assert words_of(name) == words


@pytest.mark.parametrize("name", ["told", "_judged", "made_of", "sped_up", "ended_at"])
def test_past_participles(name: str) -> None:
    """A name is counted if its first word is a past participle."""
    assert is_past_participle(name)


@pytest.mark.parametrize("name", ["record", "read_status", "put", "seed", "needs", "send", "exceed", "is_asked"])
def test_imperatives_and_nouns_are_no_past_participles(name: str) -> None:
    """A verb whose imperative looks like its participle is an imperative."""
    assert not is_past_participle(name)


def test_body_lines_leave_the_docstring_out() -> None:
    """A function is as long as its statements; magic methods are not counted."""
    tree = ast.parse(
        'def f():\n    """Doc."""\n    x = (\n        1)\n    return x\nclass A:\n    def __len__(self): ...\n'
    )
    assert [(function.name, body_lines(function)) for function in functions_in(tree)] == [("f", 3)]


def test_duplicate_types() -> None:
    """Classes in functions and classes count as well."""
    trees = [ast.parse("class A:\n    class B: ..."), ast.parse("def f():\n    class B: ...")]
    assert duplicate_types(trees) == ["B"]


def test_modules_in_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that only import a cycle are not in it; an import inside a function counts."""
    package = tmp_path / "cyclic_package"
    package.mkdir()
    sources = {
        "__init__": "",
        "a": "from cyclic_package import b",
        "b": "def f():\n    from cyclic_package import a",
        "above": "from cyclic_package import a",
        "below": "",
    }
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert modules_in_cycles("cyclic_package") == ["cyclic_package.a", "cyclic_package.b"]
    assert "cyclic_package" not in sys.modules
