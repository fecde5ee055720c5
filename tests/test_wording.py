"""The wording of code, documents and help texts: words to avoid and their replacements, from one list."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.cli_program import ROOT, Program

REPLACEMENTS = {
    # Terms: the field has a word for it.
    r"answer(s|ed|ing)?": "response; to respond, to return",
    r"ask(s|ed|ing)?": "to poll, to request, to call; requested",
    r"(tell|tells|telling|told)": "to report, to notify, to return, to deliver, to log",
    r"untold": "not delivered",
    r"news": "the result, the completion; detection latency",
    r"look(s|ed|ing)? (for|at|after|into|upon)": "to search, to reconcile, to read, to poll",
    r"(last|first|next|second) look": "last poll, first poll",
    r"(who|whoever|somebody who|everybody who) (waits?|asks?|polls?|watches|reads|comes)": "the subscriber, the caller",
    r"(go|goes|going|went|gone) on": "to resume, to continue",
    r"begun": "started; not started",
    r"belie(f|fs|ve|ves|ved|ving)": "estimate; to trust",
    r"knowledge": "state; duration estimate",
    r"(?<!in\s)(?<!in-)(?<!single-)flights?": "a tracked backup",
    r"lessons?": "an observation",
    r"(sighting|glance)s?": "an observation; a list entry",
    r"(ledger|intake|agenda)s?": "run store; worker pool; request queue",
    r"born": "created, started",
    r"newborns?": "new backup",
    r"worlds?": "the workload; simulated at 60x; real time",
    r"(speed of|fast as|as|real) life": "real time",
    r"(heed|obey)(s|ed|ing)?": "to respect, to honor",
    r"bears? (to be|being)": "to be idempotent",
    r"(break|breaks|broke|broken|breaking) off": "to stop early",
    r"means? (no )?harm": "a malicious server",
    r"malice": "a malicious server",
    r"misbehaviou?rs?": "behavior of the API, a fault",
    r"fates?": "outcome, outcome model",
    r"orders(?! of magnitude)": "request body",
    r"judg(e|es|ed|ing)": "to evaluate, to decide",
    r"twice in it": "listed twice, duplicate",
    r"the (\w+('s)? )?face": "the public API",
    r"(the pace|pace of|paced|paces)": "rate limit",
    r"room (for|in|to)": "capacity, space",
    r"(no|has|have|had|is|without) room": "capacity, space",
    r"passing (fault|error|trouble)s?": "transient error",
    r"the (server|service)'?s wish(es)?": "Retry-After",
    r"unwell": "unhealthy",
    r"its (own )?word": "its status",
    # Phrases: shorter in plain English.
    r"(somebody|everybody|nobody|whoever)( else)?": "another client, a subscriber, all callers, no caller",
    r"(what|whatever|all that) (came|comes|has come|became|becomes|has become) of": "the outcome, the result",
    r"(is|are|was|were) to (be|look|wake|wait|go)": "must be, is",
    r"(see|sees|seeing|saw) to( it)?": "to ensure, to schedule",
    r"an own": "its own",
    r"(to be|be|been|is|was|are|were|can be|could be) had": "available, to be obtained",
    r"(take|takes|taking|took|taken) note": "to record",
    r"(say|says|saying|said) (whether|when|who|which|where)": "to return, to show; Return True if",
    r"(speak|speaks|spoke|spoken) of": "to report, to mention, to mean",
    r"let \w+( \w+)? be due": "to schedule",
    r"at the (most|least)": "at most, at least",
    r"the most (requests|creates|deletes|polls|attempts|retries|seconds|backups|events|starts)": "maximum",
    r"so many": "n, the given number of",
    r"in hand": "available, pending, in progress",
    r"(stand|stands|stood|standing) for": "to represent, to replace, to cover, to mean",
    r"of late": "recently",
    r"mostly": "usually",
    r"(let|lets|letting) go( of)?": "to release, to stop tracking",
    r"anew": "again",
    r"for ever": "forever, without a limit",
    r"in silence": "silently",
    r"(give|gives|gave|giving) way": "to yield",
    r"dear(er|est)?": "expensive",
    r"(riddle|hiccup|disappointment|rubbish)s?": "an unknown outcome; an error; malformed data",
    r"dressed up": "translated",
    r"(?<!there\s)(is|are|was|were) no (backup|journal|list|number|id|text|planet|duration|file)s?": "is not a ...",
}
HEADLESS = re.compile(r"(What|Who|Whoever|Whose|Those (that|who|which)|Nobody|Everybody|Somebody) ")
"""A docstring that begins so has a clause for a subject: begin with a verb or a noun."""
MOST_PARTICIPLES = 0.04

DOCUMENTS = [
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("docs/library.md", "docs/command-line.md", "docs/guarantees.md", "docs/openapi.yaml", "pyproject.toml"),
]
SOURCES = [
    "noxfile.py",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "asyncbackups").glob("*.py")),
    *sorted(path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "asyncbackups").glob("*/__init__.py")),
]
"""Files and folders whose docstrings, comments and strings are checked."""

COMMANDS = "bulk completion create delete demo get health list resume simulate status wait"

_WORDS = {
    re.compile(r"\b(?:" + pattern.replace(" ", r"\s+") + r")\b", re.IGNORECASE): replacement
    for pattern, replacement in REPLACEMENTS.items()
}
_CODE = re.compile(r"``.+?``|`[^`\n]+`|https?://\S+")


@attrs.frozen
class Text:
    """A piece of prose.

    Attributes:
        file: Its file, or the command that prints it.
        line: The number of its first line.
        content: The text itself.
    """

    file: str
    line: int
    content: str

    def hits(self) -> Iterator[str]:
        """Yield a line for each word to avoid: where it is, the word, the replacement."""
        prose = _CODE.sub(lambda code: re.sub(r"\S", "`", code[0]), self.content)
        for pattern, replacement in _WORDS.items():
            for match in pattern.finditer(prose):
                line = self.line + prose.count("\n", 0, match.start())
                yield f"{self.file}:{line}: {' '.join(match[0].split())!r}: write {replacement}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_in_plain_english(name: str) -> None:
    """No document uses a word of the list."""
    path = ROOT / name
    if not path.exists():
        pytest.skip("only the tests are here, not the whole project")
    _assert_plain(Text(name, 1, path.read_text("utf-8")))


@pytest.mark.parametrize("root", SOURCES)
def test_sources_are_in_plain_english(root: str) -> None:
    """No docstring, comment or string of a source uses a word of the list; no docstring starts with a clause."""
    files = _python_files(root)
    _assert_plain(*(text for path in files for text in _prose(path)), more=list(_headless_docstrings(files)))


def test_tests_are_in_plain_english() -> None:
    """No name or docstring of a test uses a word of the list; no docstring starts with a clause."""
    files = _python_files("tests")
    texts = (text for path in files for text in [*_docstrings(path), *_test_names(path)])
    _assert_plain(*texts, more=list(_headless_docstrings(files)))


@pytest.mark.parametrize("command", ["", *COMMANDS.split()])
def test_help_texts_are_in_plain_english(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command's `--help` uses a word of the list."""
    monkeypatch.setenv("COLUMNS", "200")
    ended = Program(capsys)(*filter(None, [command, "--help"]))
    assert ended.status == 0, ended.err
    _assert_plain(Text(f"asyncbackups {command} --help", 1, ended.out))


def test_functions_are_not_named_by_past_participles() -> None:
    """At most 4% of the package's functions have a name that begins with a past participle."""
    pytest.importorskip("grimp", reason="the figures need import-linter")
    from tests.figures import functions_in, is_past_participle  # noqa: PLC0415 - only with import-linter

    files = _python_files("asyncbackups")
    functions = [(path, function) for path in files for function in functions_in(ast.parse(path.read_text("utf-8")))]
    named = [(path, function) for path, function in functions if is_past_participle(function.name)]
    shown = "\n".join(f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}" for path, function in named)
    assert len(named) <= MOST_PARTICIPLES * len(functions), f"name functions by verbs:\n{shown}"


def test_the_list_finds_words_and_leaves_others_alone() -> None:
    """Inflected and wrapped words are found with their line; code, identifiers and normal English are not."""
    found = list(Text("a.py", 3, "It was looked\nfor. Three backups in flight:\na Flight is judged.").hits())
    assert sorted(hit.split(": write")[0] for hit in found) == [
        "a.py:3: 'looked for'",
        "a.py:5: 'Flight'",
        "a.py:5: 'judged'",
    ]
    assert list(Text("a.py", 1, "`told`, max_answer_bytes, https://a/ask, in flight, most requests").hits()) == []


def _assert_plain(*texts: Text, more: list[str] | None = None) -> None:
    found = [*(hit for text in texts for hit in text.hits()), *(more or [])]
    assert found == [], f"{len(found)} words to avoid:\n" + "\n".join(found)


def _python_files(root: str) -> list[Path]:
    path = ROOT / root
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" and path.exists() else []


def _prose(path: Path) -> Iterator[Text]:
    """Yield the comments of a file, and its strings but those of one word, which are names."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield Text(_relative(path), token.start[0], token.string)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\S\s+\S", node.value):
            yield Text(_relative(path), node.lineno, node.value)


def _docstrings(path: Path) -> Iterator[Text]:
    """Yield the docstrings of a file, as they are in it."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield Text(_relative(path), first.lineno, first.value.value)


def _headless_docstrings(files: list[Path]) -> Iterator[str]:
    for text in (text for path in files for text in _docstrings(path)):
        if match := HEADLESS.match(text.content):
            yield f"{text.file}:{text.line}: {match[0]!r} begins a docstring: begin with a verb or a noun"


def _test_names(path: Path) -> Iterator[Text]:
    """Yield the names of a file's tests, as sentences."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield Text(_relative(path), node.lineno, node.name.replace("_", " "))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
