"""Runs and checks many universes, and summarizes the results."""

import gc
import logging
from collections import Counter
from collections.abc import Iterable

import attrs

from .invariants import check_invariants
from .universe import run_universe

_EXAMPLES = 6


@attrs.define
class Trial:
    """The results of many seeds.

    Attributes:
        seeds: Number of seeds.
        failures: The seeds of each kind of violation, with the first text of each.
        counts: See `Verdict.counts`.
    """

    seeds: int = 0
    failures: dict[str, list[tuple[int, str]]] = attrs.field(factory=dict)
    counts: Counter[str] = attrs.field(factory=Counter)
    requests: int = 0

    def add(self, other: "Trial") -> None:
        """Add the results of other seeds."""
        self.seeds += other.seeds
        self.requests += other.requests
        self.counts.update(other.counts)
        for kind, failures in other.failures.items():
            self.failures.setdefault(kind, []).extend(failures)


def run_trials(seeds: Iterable[int], disabled: frozenset[str] = frozenset()) -> Trial:
    """Run seeds, and check each."""
    trial = Trial()
    # The client logs much about faults; nobody reads it here.
    logging.getLogger("asyncbackups").propagate = False
    gc.collect()
    gc.freeze()
    for seed in seeds:
        trial.seeds += 1
        try:
            universe = run_universe(seed, disabled=disabled)
            verdict = check_invariants(universe)
        except Exception as exc:  # the harness failed: that must not end a trial
            trial.failures.setdefault("harness", []).append((seed, repr(exc)))
            continue
        trial.requests += len(universe.exchanges)
        trial.counts.update(verdict.counts)
        seen: set[str] = set()
        for violation in verdict.violations:
            if violation.kind not in seen:
                seen.add(violation.kind)
                trial.failures.setdefault(violation.kind, []).append((seed, violation.text))
    return trial


def format_summary(trial: Trial, seconds: float) -> str:
    """Format the results."""
    lines = [
        f"{trial.seeds} seeds in {seconds:.0f} s ({trial.seeds / seconds * 60:.0f} a minute), {trial.requests} requests"
    ]
    lines += [f"  {count:8d} {name}" for name, count in sorted(trial.counts.items())]
    shown = trial.counts["lost, nothing shown"]
    if shown:
        lines.append(f"  share resolved, nothing shown: {trial.counts['lost, nothing shown: resolved'] / shown:.1%}")
    for kind, failures in sorted(trial.failures.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(failures):6d} {kind}: seeds {', '.join(str(seed) for seed, _ in failures[:_EXAMPLES])}")
        lines.append(f"       {failures[0][1][:300]}")
    lines.append("no violation" if not trial.failures else f"{len(trial.failures)} kinds of violation")
    return "\n".join(lines) + "\n"
