"""Shared code of the benchmarks: Markdown tables, targets, child processes, and memory figures."""

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
    """A figure and its target.

    Attributes:
        what: The name of the figure.
        target: The target value.
        measured: The measured value.
        met: Whether the target is met.
    """

    what: str
    target: str
    measured: str
    met: bool

    @classmethod
    def at_least(cls, what: str, target: float, measured: float) -> Target:
        """Compare a ratio with a lower bound."""
        return cls(what, f"at least {target:.2f}", f"{measured:.2f}", measured >= target)

    @classmethod
    def at_most(cls, what: str, target: float, measured: float, *, unit: str = "", digits: int = 2) -> Target:
        """Compare a figure with an upper bound."""
        return cls(what, f"at most {target:,.{digits}f}{unit}", f"{measured:,.{digits}f}{unit}", measured <= target)


def targets(results: Iterable[Target]) -> str:
    """Format targets as a table."""
    rows = [(one.what, one.target, one.measured, "yes" if one.met else "**no**") for one in results]
    return table(("what", "target", "measured", "met"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table with the first column left-aligned and the others right-aligned."""
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
    """Write the tables of a benchmark to a file, and print them."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    print(text)


def setting(*packages: str) -> str:
    """Describe the environment: cores, Python, and the versions of packages."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} cores", f"{platform.python_implementation()} {platform.python_version()}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def median_of(rounds: Iterable[Mapping[str, float]], key: Callable[[Mapping[str, float]], float]) -> float:
    """Return the median over rounds, which is robust against rounds slowed down by other processes."""
    return statistics.median(key(one) for one in rounds)


def in_child(module: str, *arguments: object) -> Any:
    """Run a module in a process of its own, and parse the last line of its output as JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    completed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(completed.stdout.splitlines()[-1])


def memory() -> int:
    """Return the resident memory of this process in bytes; without /proc, the peak."""
    return _from_proc("VmRSS:")


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes.

    `ru_maxrss` is only used without /proc, because on Linux it starts with the size of the parent process.
    """
    return _from_proc("VmHWM:")


def _from_proc(name: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
