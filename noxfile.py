"""Development tasks; `nox -l` lists them. The default sessions are the steps of `.ci/run` and two slower ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "layers", "tests", "lowest", "wheel"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]
TEST_REQUIREMENT = ".[cli,test]"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite on each installed Python."""
    session.install("-e", TEST_REQUIREMENT)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def universe(session: nox.Session) -> None:
    """Run 100,000 simulated universes, or those of the arguments (`--seeds 0-999`)."""
    session.install("-e", TEST_REQUIREMENT)
    arguments = session.posargs or ["--seeds", "0-99999", "--keep-going"]
    session.run("python", "-m", "tests.universe", "--processes", "2", *arguments)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage of the package; at least 95%."""
    session.install("-e", TEST_REQUIREMENT)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=95")


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff's linter, and check the format."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy, and check with pyright that every public name has a type."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "asyncbackups", "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    """Check the import contracts of pyproject.toml."""
    session.install("-e", ".", "import-linter>=2.1")
    session.run("lint-imports", "--no-cache")


@nox.session
def figures(session: nox.Session) -> None:
    """Print figures about the code base: modules, lines, cycles, names."""
    session.install("-e", ".", "import-linter>=2.1")
    session.run("python", "-m", "tests.figures", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the test suite with the lowest allowed versions of the dependencies."""
    session.install("uv")
    constraints = Path(session.create_tmp()) / "lowest.txt"
    with constraints.open("w") as out:
        session.run(
            *("uv", "pip", "compile", "--resolution", "lowest-direct", "--python-version", "3.11"),
            *("--extra", "cli", "pyproject.toml", "--quiet"),
            stdout=out,
        )
    session.install("-r", str(constraints))
    session.install("-e", TEST_REQUIREMENT, "-c", str(constraints))
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Run the test suite against the built wheel instead of the checkout."""
    session.install("build")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    built = next(dist.glob("*.whl"))
    session.install(f"{built}[cli,test]")
    copy = Path(session.create_tmp()) / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for folder in ("tests", "benchmarks", "docs"):
        shutil.copytree(folder, copy / folder)
    for document in Path().glob("*.md"):
        shutil.copy(document, copy)
    shutil.copy("pyproject.toml", copy)
    session.chdir(copy)
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """Test the simulator against docs/openapi.yaml (schemathesis), and the client against Prism serving that file."""
    session.install("-e", ".[cli,test,contract]")
    session.run("python", "-m", "pytest", "tests/contract/contract_simulator.py", *session.posargs)
    folder = session.create_tmp()
    session.run("npm", "install", "--prefix", folder, "--silent", "@stoplight/prism-cli@5", external=True)
    prism = str(Path(folder).resolve() / "node_modules" / ".bin" / "prism")
    session.run("python", "-m", "pytest", "tests/contract/contract_prism.py", *session.posargs, env={"PRISM": prism})


@nox.session
def faults(session: nox.Session) -> None:
    """Run all fault tests: matrix, gateways, 200 kills (under 15 minutes; requires nginx and haproxy)."""
    session.install("-e", TEST_REQUIREMENT)
    # The 200 kills take minutes, so the usual time limit does not apply.
    session.run(
        "python", "-m", "pytest", "tests/faults", "-m", "faults or not faults", "--timeout=900", *session.posargs
    )
    session.run("python", "-m", "tests.faults.matrix")


@nox.session
def soak(session: nox.Session) -> None:
    """Watch backups for simulated days: memory and open files must not grow (20 minutes)."""
    session.install("-e", TEST_REQUIREMENT)
    session.run("python", "-m", "tests.faults.soak", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Check the dependencies for known vulnerabilities (pip-audit)."""
    session.install("-e", ".[cli]", "pip-audit>=2.7")
    session.run("pip-audit", "--skip-editable", "--progress-spinner=off")


@nox.session
def bench(session: nox.Session) -> None:
    """Run all benchmarks, and write tables and plots to benchmarks/results/ (under 10 minutes)."""
    session.install("-e", ".[cli,uvloop,bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)
