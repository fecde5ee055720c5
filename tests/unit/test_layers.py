"""The lines between the modules: who may import whom, what the pure layers may not know, what is public.

Read from the sources, so that imports inside functions and under TYPE_CHECKING count, too. Each rule is a function over
modules; it is run on the package, and on a small wrong example that it must find.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

import asyncbackups

ROOT = "asyncbackups"
SIMULATOR = "simulator"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"checks", "clock", "errors", "events", "models", "stream"}),
    frozenset({"wire"}),
    frozenset({"policies"}),
    frozenset({"polling"}),
    frozenset(
        {
            "addresses",
            "auth",
            "cancellation",
            "client_clock",
            "credentials",
            "environment",
            "pace",
            "redaction",
            "regions",
            "retries",
            "time_limit",
            "transport",
        }
    ),
    frozenset({"operations"}),
    frozenset({"creating", "engine", "reconcile"}),
    frozenset({"bulk", "deleting", "intake", "journal", "ledger", "report", "targets", "watch"}),
    frozenset({"client"}),
    frozenset({"__main__", "cli"}),
)
"""Each part of the client side imports only parts of its own layer and of those before it."""

LEAVES = {
    "clock": frozenset[str](),
    "stream": frozenset[str](),
    "errors": frozenset({"models"}),  # for its annotations only: see the rule about cycles
    "checks": frozenset({"errors"}),
    "addresses": frozenset({"checks", "errors"}),
    "regions": frozenset({"checks", "errors"}),
    "environment": frozenset({"auth", "checks", "errors", "regions"}),
}
"""Parts that may know less than their layer allows."""

PURE = frozenset({"checks", "errors", "events", "models", "policies", "polling", "reconcile", "wire"})
IMPURE = frozenset({"aiohttp", "anyio", "asyncio", "random", "sqlite3", "time"})
PUBLIC_SUBMODULES = frozenset({"cli", SIMULATOR})
"""What the command line may use, beside the names of the package itself."""


@attrs.frozen
class Import:
    module: str
    names: tuple[str, ...] = ()
    typing_only: bool = False


@attrs.frozen
class Module:
    name: str  # dotted, below the package; "" is the package itself
    tree: ast.Module
    package: bool = False

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]

    @property
    def client_side(self) -> bool:
        return self.part != SIMULATOR

    def imports(self) -> Iterator[Import]:
        typing_only = {
            id(inner)
            for block in ast.walk(self.tree)
            if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
            for statement in block.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, (), id(node) in typing_only) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names = tuple(alias.name for alias in node.names)
                yield Import(self._absolute(node), names, id(node) in typing_only)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = [ROOT, *self.name.split(".")] if self.name else [ROOT]
        base = here[: len(here) - node.level + self.package]
        return ".".join([*base, *([node.module] if node.module else [])])

    def inner(self, *, runtime: bool = False) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Iterate over what is imported from the package: the module below it, and the names."""
        for imported in self.imports():
            top, _, rest = imported.module.partition(".")
            if top == ROOT and not (runtime and imported.typing_only):
                yield rest, imported.names


def module(name: str, source: str, *, package: bool = False) -> Module:
    return Module(name, ast.parse(source), package)


def package_modules() -> list[Module]:
    root = Path(asyncbackups.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found.append(module(".".join(parts[:-1] if is_package else parts), path.read_text("utf-8"), package=is_package))
    return found


def layer_of(part: str) -> int | None:
    return next((number for number, layer in enumerate(LAYERS) if part in layer), None)


def targets(one: Module, *, runtime: bool = False) -> set[str]:
    """Return the parts that a module imports, its own aside."""
    return {rest.partition(".")[0] for rest, _ in one.inner(runtime=runtime) if rest} - {one.part}


# -- the rules: each yields what breaks it -----------------------------------------------------------------------------


def without_place(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        if one.client_side and one.name and layer_of(one.part) is None:
            yield f"{one.name} has no place in LAYERS"


def upward(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        own = layer_of(one.part)
        if not one.client_side or own is None or one.part in {"cli", "__main__"}:
            continue
        allowed = frozenset().union(*LAYERS[: own + 1])
        for target in sorted(targets(one) - LEAVES.get(one.part, allowed)):
            yield f"{one.name} imports {target}"


def foreign_simulator(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        if one.client_side and one.part not in {"cli", "__main__"} and SIMULATOR in targets(one):
            yield f"{one.name} imports the simulator"
        if not one.client_side:
            yield from (f"{one.name} imports {target}" for target in sorted(targets(one)))


def private_in_cli(modules: list[Module]) -> Iterator[str]:
    public = frozenset(asyncbackups.__all__) | PUBLIC_SUBMODULES | {"__version__"}
    for one in modules:
        for rest, names in one.inner() if one.part in {"cli", "__main__"} else ():
            if rest and rest != SIMULATOR and rest.partition(".")[0] != "cli":
                yield f"{one.name} imports {rest}"
            if not rest:
                yield from (f"{one.name} imports {name}" for name in names if name not in public)


def impure(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        if one.part not in PURE:
            continue
        tops = {imported.module.partition(".")[0] for imported in one.imports()}
        yield from (f"{one.name} imports {top}" for top in sorted(tops & IMPURE))
        if "clock" in targets(one):
            yield f"{one.name} imports the clock"


def second_door(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        # The client's `session` argument has to be annotated: that opens no connection.
        doors = any(i.module.partition(".")[0] == "aiohttp" and not i.typing_only for i in one.imports())
        if one.client_side and doors and one.name != "transport":
            yield f"{one.name} imports aiohttp"


def through_root(modules: list[Module]) -> Iterator[str]:
    submodules = {one.part for one in modules}
    for one in modules:
        if one.part in {"cli", "__main__"}:
            continue
        for rest, names in one.inner():
            if not rest and not (names and set(names) <= submodules):
                yield f"{one.name} imports through the package root"


def cycles(modules: list[Module]) -> Iterator[str]:
    known = {one.name for one in modules if one.name}
    edges: dict[str, set[str]] = {}
    for one in modules:
        found = {f"{rest}.{name}".strip(".") for rest, names in one.inner(runtime=True) for name in names}
        found |= {rest for rest, _ in one.inner(runtime=True)}
        edges[one.name] = (found & known) - {one.name}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " -> ".join([*path[path.index(name) :], name])
        elif name not in done:
            for target in sorted(edges[name]):
                yield from visit(target, (*path, name))
            done.add(name)

    for name in sorted(known):
        yield from visit(name, ())


def unknown_raises(modules: list[Module]) -> Iterator[str]:
    from asyncbackups import errors  # noqa: PLC0415

    local = {
        node.name
        for one in modules
        if not one.client_side
        for node in ast.walk(one.tree)
        if isinstance(node, ast.ClassDef)
    }
    for one in modules:
        exists = {*errors.__all__, *dir(builtins), *(() if one.client_side else local)}
        for node in ast.walk(one.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = raised_in(ast.get_docstring(node) or "")
                yield from (f"{one.name}: {name}" for name in names if name not in exists)


def raised_in(docstring: str) -> list[str]:
    """Return the names under `Raises:` in a docstring of Google style."""
    section = re.search(r"^Raises:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    lines = section[1].splitlines() if section else []
    return [line.strip().partition(":")[0] for line in lines if re.match(r"    \S", line)]


def untrue_all(modules: list[Module]) -> Iterator[str]:
    for one in modules:
        exported = exported_by(one.tree)
        if exported is None:
            continue
        bound = names_bound_in(one.tree.body)
        if exported != sorted(exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
            yield f"{one.name}: __all__ is not sorted"
        yield from (f"{one.name}: {name} does not exist" for name in exported if name not in bound)
        yield from (f"{one.name}: {name} is listed twice" for name in set(exported) if exported.count(name) > 1)
        yield from (f"{one.name}: {name} is public, but not listed" for name in sorted(unlisted(one, exported)))


def unlisted(one: Module, exported: list[str]) -> set[str]:
    definitions = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    defined = {node.name for node in one.tree.body if isinstance(node, definitions) and not node.name.startswith("_")}
    return defined - set(exported) if one.client_side else set()


def exported_by(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        assigned = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in assigned):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return None


def names_bound_in(body: list[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.If | ast.Try):
            found |= names_bound_in([*node.body, *node.orelse])
        else:
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


Rule = Callable[[list[Module]], Iterator[str]]

WRONG: list[tuple[Rule, dict[str, str], list[str]]] = [
    (without_place, {"surprise": ""}, ["surprise has no place in LAYERS"]),
    (upward, {"wire.codec": "def f():\n    from asyncbackups.engine import Engine"}, ["wire.codec imports engine"]),
    (upward, {"models": "import asyncbackups.wire.http"}, ["models imports wire"]),
    (upward, {"clock": "from asyncbackups.errors import BackupsError"}, ["clock imports errors"]),
    (upward, {"polling.x": "from ..transport import Transport"}, ["polling.x imports transport"]),
    (upward, {"errors": "if TYPE_CHECKING:\n    from asyncbackups.client import C"}, ["errors imports client"]),
    (foreign_simulator, {"client": "import asyncbackups.simulator"}, ["client imports the simulator"]),
    (foreign_simulator, {"simulator.x": "from asyncbackups.models import Backup"}, ["simulator.x imports models"]),
    (private_in_cli, {"cli.x": "from asyncbackups.engine import Engine"}, ["cli.x imports engine"]),
    (private_in_cli, {"cli.x": "from asyncbackups import _x"}, ["cli.x imports _x"]),
    (private_in_cli, {"cli.x": "from asyncbackups.simulator.world import World"}, ["cli.x imports simulator.world"]),
    (impure, {"polling.x": "import random, asyncio.tasks"}, ["polling.x imports asyncio", "polling.x imports random"]),
    (impure, {"policies": "from asyncbackups.clock import Clock"}, ["policies imports the clock"]),
    (second_door, {"auth": "import aiohttp"}, ["auth imports aiohttp"]),
    (through_root, {"engine": "from asyncbackups import Backup"}, ["engine imports through the package root"]),
    (through_root, {"engine": "import asyncbackups"}, ["engine imports through the package root"]),
    (
        cycles,
        {"bulk": "from asyncbackups.watch import W", "watch": "from asyncbackups import bulk"},
        ["bulk -> watch -> bulk"],
    ),
    (
        unknown_raises,
        {"auth": 'def f():\n    """F.\n\n    Raises:\n        OopsError: If.\n    """'},
        ["auth: OopsError"],
    ),
    (untrue_all, {"auth": "__all__ = ['b', 'a']\na = b = 1"}, ["auth: __all__ is not sorted"]),
    (untrue_all, {"auth": "__all__ = ['a', 'b']\nfrom x import b"}, ["auth: a does not exist"]),
    (untrue_all, {"auth": "__all__ = []\ndef f(): ..."}, ["auth: f is public, but not listed"]),
]

RIGHT = {
    "engine": "from asyncbackups.operations import O\nfrom asyncbackups import wire\nimport anyio, asyncbackups.clock",
    "operations": "from asyncbackups.wire import http",
    "wire": "",
    "clock": "import asyncio",
    "wire.http": "import attrs",
    "wire.codec": "from .http import Request\nif TYPE_CHECKING:\n    from asyncbackups.wire.lists import Page",
    "wire.lists": "from asyncbackups.wire.codec import f",
    "client": "if TYPE_CHECKING:\n    import aiohttp",
    "transport": "import aiohttp",
    "simulator.x": "import aiohttp.web\nfrom .world import W",
    "cli": "from asyncbackups import BackupClient\nfrom asyncbackups.simulator import Simulator",
    "auth": "__all__ = ['B', 'f']\nclass B: ...\ndef f():\n    'F.\\n\\nRaises:\\n    OSError: If\\n        so.'",
}

RULES: list[Rule] = [
    without_place,
    upward,
    foreign_simulator,
    private_in_cli,
    impure,
    second_door,
    through_root,
    cycles,
    unknown_raises,
    untrue_all,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Rule) -> None:
    """Nothing in the package breaks the rule."""
    assert list(rule(package_modules())) == []


@pytest.mark.parametrize(("rule", "sources", "found"), WRONG)
def test_rule_finds_what_breaks_it(rule: Rule, sources: dict[str, str], found: list[str]) -> None:
    """Each rule names what breaks it."""
    assert list(rule([module(name, source) for name, source in sources.items()])) == found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_leaves_alone_what_is_right(rule: Rule) -> None:
    """No rule takes offence at what is as it should be."""
    assert list(rule([module(name, source) for name, source in RIGHT.items()])) == []


def test_names_under_raises_are_found() -> None:
    """Only the names themselves, wherever the section stands, and not what is said about them."""
    docstring = ast.get_docstring(
        ast.parse('''def f():
        """Do it.

        Raises:
            OSError: If it
                goes wrong: badly.
            ValueError: If not.

        Returns:
            Nothing: really.
        """''').body[0]
    )  # type: ignore[arg-type]
    assert raised_in(docstring or "") == ["OSError", "ValueError"]


def test_every_part_is_in_one_layer() -> None:
    """The table has each part once, and keeps pure parts and leaves among them."""
    parts = [part for layer in LAYERS for part in layer]
    assert len(parts) == len(set(parts))
    assert set(parts) >= PURE | LEAVES.keys()


def test_public_names_can_be_had() -> None:
    """Each name that the package exports is there when it is asked for, also where it is imported late."""
    package = importlib.import_module(ROOT)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
