"""What CI runs, and what takes longer: `nox -l` lists it."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "lowest", "wheel"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]
EVERYTHING = ".[cli,test]"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite, on every Python that is present."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage: at least 95% of the package."""
    session.install("-e", EVERYTHING)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=95")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and form."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over the package and a program that uses it; pyright says that every public name is typed."""
    session.install("-e", EVERYTHING, "mypy>=1.15", "pyright>=1.1.390")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "asyncbackups", "--ignoreexternal")


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions of the dependencies that are allowed."""
    session.install("uv")
    wanted = Path(session.create_tmp()) / "lowest.txt"
    with wanted.open("w") as out:
        session.run(
            *("uv", "pip", "compile", "--resolution", "lowest-direct", "--python-version", "3.11"),
            *("--extra", "cli", "pyproject.toml", "--quiet"),
            stdout=out,
        )
    session.install("-r", str(wanted))
    session.install("-e", EVERYTHING, "-c", str(wanted))
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The tests against the built wheel instead of the checkout."""
    session.install("build")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    built = next(dist.glob("*.whl"))
    session.install(f"{built}[cli,test]")
    room = Path(session.create_tmp()) / "room"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    for name in ("tests", "benchmarks", "docs"):
        shutil.copytree(name, room / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(name, room)
    session.chdir(room)
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """The simulator against docs/openapi.yaml (schemathesis), and the client against Prism serving that file."""
    session.install("-e", ".[cli,test,contract]")
    session.run("python", "-m", "pytest", "tests/contract/contract_simulator.py", *session.posargs)
    room = session.create_tmp()
    session.run("npm", "install", "--prefix", room, "--silent", "@stoplight/prism-cli@5", external=True)
    prism = str(Path(room).resolve() / "node_modules" / ".bin" / "prism")
    session.run("python", "-m", "pytest", "tests/contract/contract_prism.py", *session.posargs, env={"PRISM": prism})


@nox.session
def faults(session: nox.Session) -> None:
    """The whole fault harness: matrix, gateways, 200 kills (under fifteen minutes; needs nginx and haproxy)."""
    session.install("-e", EVERYTHING)
    # Long parts of their own have limits of their own: 200 kills take minutes.
    session.run(
        "python", "-m", "pytest", "tests/faults", "-m", "faults or not faults", "--timeout=900", *session.posargs
    )
    session.run("python", "-m", "tests.faults.matrix")


@nox.session
def soak(session: nox.Session) -> None:
    """Virtual days through one watch, tokens expiring, the service restarting: memory and files flat (20 minutes)."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "tests.faults.soak", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities in the dependencies (pip-audit)."""
    session.install("-e", ".[cli]", "pip-audit>=2.7")
    session.run("pip-audit", "--skip-editable", "--progress-spinner=off")


@nox.session
def bench(session: nox.Session) -> None:
    """All benchmarks, against the peers: tables and plots into benchmarks/results/ (under ten minutes)."""
    session.install("-e", ".[cli,uvloop,bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)
