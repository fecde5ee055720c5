"""What all benchmarks share: Markdown tables, targets, sides in processes of their own, and their memory."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

RESULTS = Path(__file__).parent / "results"


@attrs.frozen
class Target:
    """A figure and what it is held to.

    Attributes:
        what: What was measured.
        target: What it should come to.
        measured: What it came to.
        met: Whether that is good enough.
    """

    what: str
    target: str
    measured: str
    met: bool

    @classmethod
    def at_least(cls, what: str, target: float, measured: float) -> Target:
        """Hold a ratio to a lower bound."""
        return cls(what, f"at least {target:.2f}", f"{measured:.2f}", measured >= target)

    @classmethod
    def at_most(cls, what: str, target: float, measured: float, *, unit: str = "", digits: int = 2) -> Target:
        """Hold a figure to an upper bound."""
        return cls(what, f"at most {target:,.{digits}f}{unit}", f"{measured:,.{digits}f}{unit}", measured <= target)


def targets(held: Iterable[Target]) -> str:
    """Write targets as a table."""
    rows = [(one.what, one.target, one.measured, "yes" if one.met else "**no**") for one in held]
    return table(("what", "target", "measured", "met"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table: the first column to the left, the others to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"


def write(out: Path, name: str, text: str) -> None:
    """Write a benchmark's tables, and print them."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    print(text)


def setting(*packages: str) -> str:
    """Say on what was measured: cores, Python, and the versions of packages."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} cores", f"{platform.python_implementation()} {platform.python_version()}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def median_of(rounds: Iterable[Mapping[str, float]], key: Callable[[Mapping[str, float]], float]) -> float:
    """Return the median over rounds: a machine that others use too is slow now and then, seldom in most rounds."""
    return statistics.median(key(one) for one in rounds)


def in_child(module: str, *arguments: object) -> Any:
    """Run a module as a process of its own and return what it prints, which is JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory() -> int:
    """Return the bytes that this process has in memory now, where /proc tells; else the most it ever had."""
    return _from_proc("VmRSS:")


def peak_memory() -> int:
    """Return the most bytes that this process ever had in memory.

    Not `ru_maxrss` where it can be helped: on Linux that begins with the parent's size.
    """
    return _from_proc("VmHWM:")


def _from_proc(name: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
