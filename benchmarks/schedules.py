"""Schedules compared: requests against delay of the news, ours and our peers', and the best that there is.

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
    World,
    at_requests,
    in_gets,
    of_group,
    of_us,
    optimal,
    worlds,
)
from benchmarks.wrong_beliefs import Doubtful, bound, clocks, doubtful, lies, little

GROUPS = (1, 10, 100, 1000)
WORTHS = (1, 2, 5, 10, 20, 60)


# --- Markdown ---


def one_in_flight(study: Study) -> str:
    rows = [(name, *_figures(study, point)) for name, point in study.peers.items()]
    rows += [(f"ours, history of {seen}", *_figures(study, point)) for seen, point in study.default.items()]
    head = ("policy", "requests", "mean delay, s", "p99 delay, s", "optimal delay at as many requests, s", "ratio")
    return f"### {study.world.name}\n\n" + table(head, rows)


def _figures(study: Study, point: Outcome) -> tuple[float, ...]:
    best = at_requests(study.best, point.requests)
    return point.requests, point.delay, point.p99, best, point.delay / best


def equal_requests(studies: Sequence[Study]) -> str:
    rows = [
        (study.world.name, seen, *(study.against(peer, seen) for peer in PEERS))
        for study in studies
        for seen in (0, 3, 30)
    ]
    return table(("world", "history", *PEERS), rows)


def distances(studies: Sequence[Study]) -> str:
    rows = []
    for study in studies:
        each = [study.distance(seen) for seen in HISTORIES]
        rows.append((study.world.name, *(f"{np.mean(d):.2f} (at most {max(d):.2f})" for d in each)))
    return table(("world", *(f"history of {seen}" for seen in HISTORIES)), rows)


def worths(world: World, draws: int) -> str:
    rows = []
    for worth in WORTHS:
        policy = attrs.evolve(POLICY, request_worth=float(worth))
        alone, (group, _) = of_us(policy, world, 30, draws), of_group(policy, world, 100, max(2, draws // 4))
        rows.append((worth, alone.requests, alone.delay, group.requests, group.delay))
    head = ("`request_worth`, s", "requests, alone", "delay, s", "requests each, 100 in flight", "delay, s")
    return table(head, rows)


@attrs.frozen
class Group:
    """So many backups of one star system in flight: ours, and the products to compare it with."""

    count: int
    ours: Outcome
    lists: float
    best: Outcome

    @property
    def product(self) -> float:
        """Return requests times delay, which does not depend on the cadence."""
        return self.ours.requests * self.ours.delay


def group(world: World, count: int, draws: int) -> Group:
    ours, lists = of_group(POLICY, world, count, max(3, 10 * draws // count + draws // 2))
    cost = in_gets(count) if lists else 1.0
    return Group(count, ours, lists, optimal(world, POLICY.request_worth * cost, count, nodes=1000))


def best_product(study: Study) -> tuple[float, str]:
    return min((point.requests * point.delay, name) for name, point in study.peers.items())


def groups(found: Sequence[Group], study: Study) -> str:
    peer, name = best_product(study)
    head = ("in flight", "requests each", "mean delay, s", "p99 delay, s", "lists", "requests x delay")
    head += (f"best peer ({name}) is worse by", "product of the best fixed list schedule")
    rows = []
    for g in found:
        ours = (g.count, g.ours.requests, g.ours.delay, g.ours.p99, f"{g.lists:.0%}", g.product)
        rows.append((*ours, peer / g.product, g.best.requests * g.best.delay))
    return table(head, rows)


def held(usual: Study, truthful: Sequence[Study], hundred: Group, doubts: Sequence[Doubtful]) -> str:
    times = best_product(usual)[0] / hundred.product
    met = [
        Target("requests x delay, 100 in flight, against the best peer", "at most 1/50", f"1/{times:.1f}", times >= 50),
        Target.at_most("delay at equal requests against 1 s x2 cap 60", 0.25, usual.against(BACKOFF, 30)),
        Target.at_most("delay at equal requests against google-api-core", 1 / 3, usual.against(GOOGLE, 30)),
    ]
    for one in truthful:
        distance = one.distance(30)
        met.append(Target.at_most(f"{one.world.name}: distance from the optimum, mean", 1.15, float(np.mean(distance))))
        met.append(Target.at_most(f"{one.world.name}: the same, worst cadence", 1.15, max(distance)))
    backoff = [Target.at_most(f"{one.world}, {one.how}: against plain backoff", 1.1, one.ratio) for one in doubts]
    return targets([*met, *backoff])


ABOUT = f"""Made by `python -m benchmarks.schedules`; virtual time, no network. Durations have the median 131 s.
The peers' schedules have no list: one get for each backup and poll. Only azure-core is charged for its get at once.
Ours: `{POLICY}`.
"""
SETTING = f"A list is taken to hold {KEPT} backups of {LIST_BYTES} bytes for each in flight, a get {GET_BYTES} bytes.\n"
DISTANCE = f"delay over the optimal one, at {COMPARED[0]} to {COMPARED[1]} requests, mean over cadences"


def report(studies: Sequence[Study], found: Sequence[Group], draws: int) -> str:
    usual = studies[1]
    lying = [study for study in studies if study.world.lies]
    truthful = [study for study in studies if study not in lying]
    doubts = [*little(truthful), *lies(lying, draws), *clocks(usual, draws)]
    parts = [
        ("# Schedules", ABOUT),
        (
            "## Targets (history of 30 and sigma 0.4, where nothing else is said)",
            "\n".join(
                (held(usual, truthful, next(g for g in found if g.count == 100), doubts), bound(usual, lying[-1]))
            ),
        ),
        ("## Delay at equal requests, ours over the peer's, at the peer's own requests", equal_requests(truthful)),
        (f"## Distance from the optimum: {DISTANCE}", distances(truthful)),
        ("## Many in flight (sigma 0.4, history of 30, started together)", SETTING + "\n" + groups(found, usual)),
        ("## What a request is worth (sigma 0.4, history of 30)", worths(usual.world, draws)),
        ("## Little known, or something wrong", doubtful(doubts)),
        ("## One in flight, each policy as it comes", "\n".join(one_in_flight(study) for study in studies)),
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
    axes.set(xlabel="requests for each backup", ylabel="mean delay of the news, s", xlim=(1, 40), ylim=(1, 100))
    axes.set_title(f"One backup in flight, median 131 s, {study.world.name}")
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
    studies = [Study.of(world, draws) for world in worlds()]
    usual = studies[1]
    found = [group(usual.world, count, draws) for count in GROUPS]
    text = report(studies, found, draws)
    write(options.out, "schedules", text)
    plot(usual, options.out / "schedules.png")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
