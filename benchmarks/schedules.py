"""Schedules compared: requests against delay of the news, ours and our peers', and the best that there is.

Run as ``python -m benchmarks.schedules``; writes Markdown and a plot to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import matplotlib as mpl
import numpy as np

from asyncbackups.policies import PollingPolicy
from benchmarks.virtual_time import (
    BACKOFF,
    GET_BYTES,
    GOOGLE,
    KEPT,
    LIST_BYTES,
    PEERS,
    QUANTILES,
    Outcome,
    World,
    at_requests,
    changed,
    measured,
    of_group,
    of_peer,
    of_us,
    optimal,
    outcome,
    scaled,
    undominated,
    worlds,
)

RESULTS = Path(__file__).parent / "results"
HISTORIES = (0, 3, 10, 30, 300)
GROUPS = (1, 10, 100, 1000)
CADENCES = tuple(np.geomspace(0.1, 4, 12))  # scales of a whole policy, for comparison at equal requests
WORTHS = (1, 2, 5, 10, 20, 60)
COMPARED = (2, 12)  # requests for each backup between which the distance from the optimum is stated
POLICY = PollingPolicy()


@attrs.frozen
class Study:
    """Everything measured about one world with one backup in flight."""

    world: World
    peers: dict[str, Outcome]
    ours: dict[int, list[Outcome]]  # by history, one for each cadence; none where the history lies
    default: dict[int, Outcome]  # by history, as the policy is
    backoffs: list[Outcome]  # 1 s x2 cap 60, the cadences that none beats
    best: list[Outcome]  # the optimum, one for each worth of a request

    def distance(self, seen: int) -> list[float]:
        """Return the delay over the optimal one at equal requests, for each cadence."""
        inside = [point for point in self.ours[seen] if COMPARED[0] <= point.requests <= COMPARED[1]]
        return [point.delay / at_requests(self.best, point.requests) for point in inside]

    def against(self, peer: str, seen: int) -> float:
        """Return our delay over a peer's at the peer's requests."""
        return at_requests(self.ours[seen], self.peers[peer].requests) / self.peers[peer].delay


def study(world: World, draws: int) -> Study:
    policies = [] if world.lies else [scaled(POLICY, float(cadence)) for cadence in CADENCES]
    # A history is drawn anew for each; of no history and of a long one few draws say enough.
    enough = {seen: draws if 0 < seen < 300 else max(4, draws // 4) for seen in HISTORIES}
    return Study(
        world,
        peers={name: of_peer(name, world, 4 * draws) for name in PEERS},
        ours={seen: [of_us(policy, world, seen, enough[seen]) for policy in policies] for seen in HISTORIES},
        default={seen: of_us(POLICY, world, seen, 4 * enough[seen]) for seen in HISTORIES},
        backoffs=undominated([of_peer(BACKOFF, world, 1, float(s)) for s in np.geomspace(0.05, 300, 300)]),
        best=[optimal(world, float(worth)) for worth in np.geomspace(0.05, 150, 16)],
    )


# --- Markdown ---


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


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


@attrs.frozen
class Lie:
    """What a wrong history costs: ours, and the least delay of backoff at as many requests."""

    world: str
    name: str
    ours: Outcome
    backoff: float

    @property
    def ratio(self) -> float:
        """Return our delay over backoff's."""
        return self.ours.delay / self.backoff


def lies(studies: Sequence[Study], draws: int) -> list[Lie]:
    found = []
    for study in studies:
        later = changed(POLICY, study.world, draws)
        for name, point in (("believed throughout", study.default[30]), ("learned from, first 30 backups", later)):
            found.append(Lie(study.world.name, name, point, at_requests(study.backoffs, point.requests)))
    return found


WRONG = """The history of 30 says 131 s, sigma 0.4; the truth is this much longer or shorter.

Learned from: over the first 30 backups of the changed world, each of which is learned from when it finishes, as in
use; of a change by ten times the third is believed. Believed throughout: as for the first of them, or for all that
start together.
"""
BOUND = """That a truth ten times shorter, believed throughout, costs more than backoff is inherent: who profits from
what is known asks next to nothing before the news is expected, and news that is sooner waits for the first poll. Of all
schedules within {allowed:.0%} of the optimum for the history's world, at the default cadence, none asks before an age
of {first:.0f} s: in this world that is {ratio:.2f} times the delay of backoff, whatever the rest of the schedule.
"""
ALLOWED = 0.15


def earliest(usual: Study) -> float:
    """Return the age by which a schedule may ask first that is still within `ALLOWED` of the optimum."""
    for first in range(20, 200):
        point = optimal(usual.world, POLICY.request_worth, first=float(first), nodes=700)
        if point.delay <= (1 + ALLOWED) * at_requests(usual.best, point.requests):
            return float(first)
    raise AssertionError


def bound(usual: Study, quick: Study) -> str:
    """Say what no schedule that profits from the history can avoid where the truth is ten times shorter."""
    first = earliest(usual)
    schedule = np.array([first, quick.world.end + first])
    point = outcome([schedule], quick.world.truth.ppf(QUANTILES))
    ratio = point.delay / at_requests(quick.backoffs, point.requests)
    return BOUND.format(allowed=ALLOWED, first=first, ratio=ratio)


def wrong_beliefs(found: Sequence[Lie]) -> str:
    rows = [(lie.world, lie.name, lie.ours.requests, lie.ours.delay, lie.backoff, lie.ratio) for lie in found]
    return table(("world", "history of 30", "requests", "delay, s", "backoff's delay at as many, s", "ratio"), rows)


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
    cost = measured(count).of_list(("s", None)) if lists else 1.0
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


def targets(usual: Study, hundred: Group, lied: Sequence[Lie]) -> str:
    product = best_product(usual)[0] / hundred.product
    distance = usual.distance(30)
    unlearned = usual.default[0]
    nothing = unlearned.delay / at_requests(usual.backoffs, unlearned.requests)
    rows = [
        ("requests x delay, 100 in flight, against the best peer", "1/50", f"1/{product:.1f}", product >= 50),
        ("delay at equal requests against 1 s x2 cap 60", 0.25, usual.against(BACKOFF, 30)),
        ("delay at equal requests against google-api-core", 1 / 3, usual.against(GOOGLE, 30)),
        ("distance from the optimum, mean", 1.15, float(np.mean(distance))),
        ("distance from the optimum, worst cadence", 1.15, max(distance)),
        ("no history against plain backoff (1 s x2 cap 60)", 1.1, nothing),
        *((f"{lie.world}, {lie.name}, against plain backoff", 1.1, lie.ratio) for lie in lied),
    ]
    judged = [(*row, row[2] <= row[1]) if len(row) == 3 else row for row in rows]
    return table(
        ("sigma 0.4, history of 30", "target", "measured", "met"),
        [(*r[:3], "yes" if r[3] else "**no**") for r in judged],
    )


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
    lied = lies(lying, draws)
    parts = [
        ("# Schedules", ABOUT),
        ("## Targets", targets(usual, next(g for g in found if g.count == 100), lied)),
        ("## Delay at equal requests, ours over the peer's, at the peer's own requests", equal_requests(truthful)),
        (f"## Distance from the optimum: {DISTANCE}", distances(truthful)),
        ("## Many in flight (sigma 0.4, history of 30, started together)", SETTING + "\n" + groups(found, usual)),
        ("## What a request is worth (sigma 0.4, history of 30)", worths(usual.world, draws)),
        ("## Wrong beliefs", "\n".join((WRONG, wrong_beliefs(lied), bound(usual, lying[-1])))),
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
    options.out.mkdir(parents=True, exist_ok=True)
    studies = [study(world, draws) for world in worlds()]
    usual = studies[1]
    found = [group(usual.world, count, draws) for count in GROUPS]
    text = report(studies, found, draws)
    (options.out / "schedules.md").write_text(text)
    plot(usual, options.out / "schedules.png")
    print(text.split("## Delay at equal")[0])
    print(f"{time.perf_counter() - started:.0f} s; the rest is in {options.out / 'schedules.md'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
