"""Polling schedules compared: requests against detection latency; ours, those of our peers, and the optimum.

Run as ``python -m benchmarks.schedules``; writes Markdown and a plot to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import matplotlib as mpl
import numpy as np

from benchmarks.report import RESULTS, Target, table, targets, write
from benchmarks.studies import COMPARED, HISTORIES, POLICY, Study
from benchmarks.virtual_time import (
    BACKOFF,
    GET_BYTES,
    GOOGLE,
    KEPT,
    LIST_BYTES,
    PEERS,
    Outcome,
    Workload,
    delay_at,
    group_outcome,
    list_cost,
    optimal_outcome,
    our_outcome,
    workloads,
)
from benchmarks.wrong_estimates import (
    UncertainCase,
    explain_bound,
    short_histories,
    uncertain_table,
    wrong_clocks,
    wrong_histories,
)

GROUPS = (1, 10, 100, 1000)
WORTHS = (1, 2, 5, 10, 20, 60)


# --- Markdown ---


def single_table(study: Study) -> str:
    rows = [(name, *_figures(study, point)) for name, point in study.peers.items()]
    rows += [(f"ours, history of {seen}", *_figures(study, point)) for seen, point in study.default.items()]
    head = ("policy", "requests", "mean delay, s", "p99 delay, s", "optimal delay at as many requests, s", "ratio")
    return f"### {study.workload.name}\n\n" + table(head, rows)


def _figures(study: Study, point: Outcome) -> tuple[float, ...]:
    best = delay_at(study.best, point.requests)
    return point.requests, point.delay, point.p99, best, point.delay / best


def equal_requests_table(studies: Sequence[Study]) -> str:
    rows = [
        (study.workload.name, seen, *(study.against(peer, seen) for peer in PEERS))
        for study in studies
        for seen in (0, 3, 30)
    ]
    return table(("workload", "history", *PEERS), rows)


def distance_table(studies: Sequence[Study]) -> str:
    rows = []
    for study in studies:
        each = [study.distance(seen) for seen in HISTORIES]
        rows.append((study.workload.name, *(f"{np.mean(d):.2f} (at most {max(d):.2f})" for d in each)))
    return table(("workload", *(f"history of {seen}" for seen in HISTORIES)), rows)


def worth_table(workload: Workload, draws: int) -> str:
    rows = []
    for worth in WORTHS:
        policy = attrs.evolve(POLICY, request_worth=float(worth))
        alone, (group, _) = (
            our_outcome(policy, workload, 30, draws),
            group_outcome(policy, workload, 100, max(2, draws // 4)),
        )
        rows.append((worth, alone.requests, alone.delay, group.requests, group.delay))
    head = ("`request_worth`, s", "requests, alone", "delay, s", "requests each, 100 in flight", "delay, s")
    return table(head, rows)


@attrs.frozen
class Group:
    """A number of backups of one star system in progress: our outcome, and the optimum to compare it with."""

    count: int
    ours: Outcome
    lists: float
    best: Outcome

    @property
    def product(self) -> float:
        """Return requests times delay, which does not depend on the cadence."""
        return self.ours.requests * self.ours.delay


def measure_group(workload: Workload, count: int, draws: int) -> Group:
    ours, lists = group_outcome(POLICY, workload, count, max(3, 10 * draws // count + draws // 2))
    cost = list_cost(count) if lists else 1.0
    return Group(count, ours, lists, optimal_outcome(workload, POLICY.request_worth * cost, count, nodes=1000))


def best_product(study: Study) -> tuple[float, str]:
    return min((point.requests * point.delay, name) for name, point in study.peers.items())


def group_table(found: Sequence[Group], study: Study) -> str:
    peer, name = best_product(study)
    head = ("in flight", "requests each", "mean delay, s", "p99 delay, s", "lists", "requests x delay")
    head += (f"best peer ({name}) is worse by", "product of the best fixed list schedule")
    rows = []
    for g in found:
        ours = (g.count, g.ours.requests, g.ours.delay, g.ours.p99, f"{g.lists:.0%}", g.product)
        rows.append((*ours, peer / g.product, g.best.requests * g.best.delay))
    return table(head, rows)


def check_targets(usual: Study, truthful: Sequence[Study], hundred: Group, uncertain: Sequence[UncertainCase]) -> str:
    times = best_product(usual)[0] / hundred.product
    met = [
        Target("requests x delay, 100 in flight, against the best peer", "at most 1/50", f"1/{times:.1f}", times >= 50),
        Target.at_most("delay at equal requests against 1 s x2 cap 60", 0.25, usual.against(BACKOFF, 30)),
        Target.at_most("delay at equal requests against google-api-core", 1 / 3, usual.against(GOOGLE, 30)),
    ]
    for one in truthful:
        distance = one.distance(30)
        met.append(
            Target.at_most(f"{one.workload.name}: distance from the optimum, mean", 1.15, float(np.mean(distance)))
        )
        met.append(Target.at_most(f"{one.workload.name}: the same, worst cadence", 1.15, max(distance)))
    backoff = [Target.at_most(f"{one.workload}, {one.how}: against plain backoff", 1.1, one.ratio) for one in uncertain]
    return targets([*met, *backoff])


ABOUT = f"""Made by `python -m benchmarks.schedules`; virtual time, no network. Durations have the median 131 s.
The peers' schedules use no lists: one GET per backup and poll. Only azure-core is charged for its GET at the start.
Ours: `{POLICY}`.
"""
SETTING = (
    f"A list is assumed to hold {KEPT} backups of {LIST_BYTES} bytes for each in flight, a GET {GET_BYTES} bytes.\n"
)
DISTANCE = f"delay over the optimal delay, at {COMPARED[0]} to {COMPARED[1]} requests, mean over cadences"


def report(studies: Sequence[Study], found: Sequence[Group], draws: int) -> str:
    usual = studies[1]
    misleading = [study for study in studies if study.workload.is_misleading]
    truthful = [study for study in studies if study not in misleading]
    uncertain = [*short_histories(truthful), *wrong_histories(misleading, draws), *wrong_clocks(usual, draws)]
    parts = [
        ("# Schedules", ABOUT),
        (
            "## Targets (history of 30 and sigma 0.4, unless stated otherwise)",
            "\n".join(
                (
                    check_targets(usual, truthful, next(g for g in found if g.count == 100), uncertain),
                    explain_bound(usual, misleading[-1]),
                )
            ),
        ),
        (
            "## Delay at equal requests, ours over the peer's, at the peer's own requests",
            equal_requests_table(truthful),
        ),
        (f"## Distance from the optimum: {DISTANCE}", distance_table(truthful)),
        ("## Many in flight (sigma 0.4, history of 30, started together)", SETTING + "\n" + group_table(found, usual)),
        ("## What a request is worth (sigma 0.4, history of 30)", worth_table(usual.workload, draws)),
        ("## No, short or wrong history", uncertain_table(uncertain)),
        ("## One in flight, each policy with its defaults", "\n".join(single_table(study) for study in studies)),
    ]
    return "\n".join(f"{title}\n\n{text}" for title, text in parts)


def plot(study: Study, path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(8, 6))
    lines = {"optimal": study.best, "1 s x2 cap 60, any cadence": study.backoffs}
    lines |= {f"ours, history of {seen}": points for seen, points in study.ours.items()}
    for name, points in lines.items():
        style = {"optimal": "k--", "1 s x2 cap 60, any cadence": "k:"}.get(name, "-")
        axes.loglog([p.requests for p in points], [p.delay for p in points], style, label=name)
    for name, point in study.peers.items():
        axes.loglog(point.requests, point.delay, "o", label=name)
    axes.set(xlabel="requests per backup", ylabel="mean detection latency, s", xlim=(1, 40), ylim=(1, 100))
    axes.set_title(f"One backup in flight, median 131 s, {study.workload.name}")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.schedules", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer draws: seconds instead of a minute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables and the plot go")
    options = parser.parse_args(argv)
    started, draws = time.perf_counter(), 4 if options.quick else 40
    studies = [Study.measure(workload, draws) for workload in workloads()]
    usual = studies[1]
    found = [measure_group(usual.workload, count, draws) for count in GROUPS]
    text = report(studies, found, draws)
    write(options.out, "schedules", text)
    plot(usual, options.out / "schedules.png")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
