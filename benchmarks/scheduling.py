"""What it costs to decide: for each request and each backup told of, from 1,000 to 1,000,000 in flight.

    python -m benchmarks.scheduling [--quick]

1. The real scheduler in virtual time, without I/O: the clock is set to the next deadline, `due` is asked, and each
   answer ("still in progress") is recorded. Counted is the processor's time for all of it; answers are made beforehand.
   As gets (`coalesce=False`) in 1,000 star systems and in a single one, and as lists of 1,000 backups each. The rounds
   of all sizes take turns, each figure is the median of them. A line is fitted to the logarithms: its slope is 0 where
   the cost does not depend on how many are in flight, and 1 where it is in proportion.
2. The share of a core that a million backups take at a list for each of 1,000 star systems every 30 s: from bytes to
   glances, what the scheduler makes of them, and the decision when to ask next; without HTTP.
3. The longest time for which a list of 10,000 backups holds the event loop, over real HTTP: see `benchmarks.stalls`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec
import numpy as np

from asyncbackups import Backup, BackupRef, PollingPolicy
from asyncbackups._api.operations import Operations
from asyncbackups._api.pagination import ListEntry
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._http.messages import Request, Response
from asyncbackups._polling.scheduler import Scheduler
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, ResponseCost
from asyncbackups.models import Progress
from benchmarks import stalls
from benchmarks.in_memory import raw
from benchmarks.report import RESULTS, Target, in_child, setting, table, targets, write

SIZES = (1_000, 10_000, 100_000, 1_000_000)
EACH = 1_000
ROUNDS = 4
DECISIONS = 3_000
HISTORY = 30
AGES = 40.0
"""Seconds over which they begin: none is to be asked about before the last of them has."""
GETS, ALONE, LISTS = "gets, 1,000 star systems", "gets, one star system", "lists of 1,000"
RUNNING = Observation(backup=Backup(id=1, status="in_progress", mechanism="logical"), progress=Progress.IN_PROGRESS)


class Silent:
    """Somebody who waits and is never told: all backups run for ever."""

    def deliver(self, event: object) -> None:
        """Take an event."""
        raise AssertionError(f"nothing ends here: {event}")


@attrs.define
class Course:
    """A scheduler, its virtual clock, and the answers to its requests.

    Attributes:
        scheduler: The real one.
        now: The virtual time.
        glances: Of each star system, what a list shows.
        decided: Requests decided on so far.
        told: Backups that their answers told of.
    """

    scheduler: Scheduler
    now: float = 1000.0
    glances: dict[str, list[ListEntry]] = attrs.field(factory=dict)
    decided: int = 0
    told: int = 0

    @classmethod
    def of(cls, mode: str, number: int) -> Course:
        """Put so many backups in flight; their ages differ, and finished ones were seen."""
        chance = random.Random(1)
        course = cls(Scheduler(PollingPolicy(coalesce=mode == LISTS), draw=chance.random))
        star_systems = {GETS: 1_000, ALONE: 1, LISTS: number // EACH}[mode]
        each, watcher = number // star_systems, Silent()
        for place in range(star_systems):
            name = f"star-system-{place}"
            course.glances[name] = [ListEntry(place * each + n, "in_progress") for n in range(each)]
            for glance in course.glances[name]:
                born = course.now - chance.uniform(0, AGES)
                ref = BackupRef(name, glance.id)
                course.scheduler.add(ref, watcher, now=born, deadline=1e9, planet="planet", born=born)
                if glance.id == 0:
                    course.learn()
        return course

    def learn(self) -> None:
        """Let a list of finished backups be seen, from which everything is believed."""
        poll = ListPoll(star_system="star-system-0", planet=None, sent=self.now)
        shown = {10**9 + n: 131 * float(np.exp(0.4 * np.random.default_rng(n).normal())) for n in range(HISTORY)}
        finished = {
            backup_id: Observation(
                backup=Backup(id=backup_id, status="succeeded"), progress=Progress.SUCCEEDED, duration=seconds
            )
            for backup_id, seconds in shown.items()
        }
        entries = [ListEntry(backup_id, "succeeded", "2026") for backup_id in shown]
        self.scheduler.listed(poll, entries, finished, ResponseCost(size=10_000, seconds=0.05), self.now)

    def advance(self) -> None:
        """Go on to when something is due, unless more was due than had room."""
        if not self.scheduler.held_back:
            due = self.scheduler.next_deadline()
            assert due is not None
            self.now = max(self.now, due)

    def go_on(self, decisions: int) -> float:
        """Decide and record so many times; return the processor's seconds."""
        scheduler, until = self.scheduler, self.decided + decisions
        began = time.process_time()
        while self.decided < until:
            self.advance()
            scheduler.expire(self.now)
            for poll in scheduler.due(self.now, room=32):
                self.decided += 1
                self.record(poll)
        return time.process_time() - began

    def record(self, poll: Poll) -> None:
        """Give the scheduler the answer to a request: all are still in progress."""
        if isinstance(poll, GetPoll):
            self.told += 1
            self.scheduler.got(poll, RUNNING, ResponseCost(size=500, seconds=0.01), self.now)
            return
        glances = self.glances[poll.star_system]
        self.told += len(glances)
        self.scheduler.wanted(poll, glances)
        cost = ResponseCost(size=400 * len(glances), seconds=0.05)
        self.scheduler.listed(poll, glances, {}, cost, self.now)


def costs(mode: str, sizes: Sequence[int], rounds: int) -> dict[int, dict[str, float]]:
    """Return for each size the microseconds for a decision, and for a backup told of."""
    decisions = 200 if mode == LISTS else DECISIONS
    courses = {number: Course.of(mode, number) for number in sizes}
    gc.collect()
    gc.freeze()  # what the other sizes hold is not this one's cost: a collection would walk through all of them
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in sizes}
    for number, course in courses.items():
        course.go_on(decisions * 2 if mode != LISTS else max(decisions, 2 * number // EACH))  # caches, first plans
    for _ in range(rounds):
        for number, course in courses.items():
            decided, told = course.decided, course.told
            seconds = course.go_on(decisions)
            found[number].append((seconds / (course.decided - decided), seconds / max(1, course.told - told)))
    return {
        number: {
            "decision": 1e6 * statistics.median(one[0] for one in of),
            "told": 1e6 * statistics.median(one[1] for one in of),
        }
        for number, of in found.items()
    }


def slope(found: dict[int, float]) -> float:
    """Fit a line to the logarithms."""
    numbers = np.log([float(number) for number in found])
    return float(np.polyfit(numbers, np.log(list(found.values())), 1)[0])


# --- a million, at a list for each star system every 30 s ---


@attrs.define
class OneList:
    """Answers every request with the same bytes."""

    body: bytes

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:  # noqa: ARG002
        """Answer a request."""
        url = f"http://memory{request.path}"
        return Response(status=200, headers={}, body=self.body, method="GET", url=url, attempt=1, seconds=0.05)


async def list_cost(kept: int, rounds: int) -> float:
    """Return the processor's seconds for one list of 1,000 in flight and so many finished, among a thousand such."""
    course = Course.of(LISTS, 100_000)
    bodies = {}
    for name, glances in course.glances.items():
        finished = [raw(name, 10**8 + n, "succeeded") for n in range(kept)]
        bodies[name] = msgspec.json.encode(finished + [raw(name, glance.id) for glance in glances])
    lists, done = rounds * 100, 0
    sender = OneList(b"")
    operations = Operations(sender, RequestBuilder("example"), utcnow=lambda: None)  # type: ignore[arg-type,return-value]
    seconds = 0.0
    while done < lists + 200:  # the first two of each star system are not counted: in them everything is news
        course.advance()
        began = time.process_time()
        for poll in course.scheduler.due(course.now, room=32):
            if isinstance(poll, GetPoll):
                course.record(poll)
                continue
            sender.body = bodies[poll.star_system]
            listing = await operations.poll_list(
                poll.star_system,
                None,
                etag=None,
                wanted=lambda entries, poll=poll: course.scheduler.wanted(poll, entries),
            )
            sightings = {backup.id: _sighting(backup) for backup in listing.backups.values()}
            cost = ResponseCost(size=listing.info.size, seconds=listing.info.seconds)
            course.scheduler.listed(poll, listing.entries or [], sightings, cost, course.now)
            done += 1
        seconds += time.process_time() - began if done > 200 else 0.0
    return seconds / (done - 200)


def _sighting(backup: Backup) -> Observation:
    over = backup.completed_at is not None
    return Observation(
        backup=backup, progress=Progress.SUCCEEDED if over else Progress.IN_PROGRESS, duration=131.0 if over else None
    )


# --- what is printed ---


def scale_rows(found: dict[str, dict[int, dict[str, float]]]) -> list[tuple[object, ...]]:
    rows = []
    for mode, by_size in found.items():
        for what in ("decision", "told") if mode == LISTS else ("decision",):
            each = {number: cost[what] for number, cost in by_size.items()}
            first, *_, last = each.values()
            name = f"{mode}: {'a backup told of' if what == 'told' else 'a decision'}"
            rows.append((name, *each.values(), last / first, slope(each)))
    return rows


def plot(found: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only where it is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for mode, by_size in found.items():
        what = "told" if mode == LISTS else "decision"
        each = {number: cost[what] for number, cost in by_size.items()}
        (line,) = axes.loglog(list(each), list(each.values()), "o")
        fitted = np.polyfit(np.log(list(each)), np.log(list(each.values())), 1)
        label = f"{mode}, for each {'backup told of' if what == 'told' else 'decision'}: slope {fitted[0]:.2f}"
        axes.loglog(
            list(each), np.exp(np.polyval(fitted, np.log(list(each)))), "-", color=line.get_color(), label=label
        )
    axes.set(xlabel="backups in flight", ylabel="microseconds of the processor", ylim=(0.1, 1000))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(
    found: dict[str, dict[int, dict[str, float]]], lists: dict[int, float], stalled: dict[str, dict[str, float]]
) -> str:
    rows = scale_rows(found)
    sizes = list(next(iter(found.values())))
    span = f"{sizes[-1]:,} against {sizes[0]:,} in flight"
    held = [Target.at_most(f"{row[0]}, {span}", 2.0, float(row[-2])) for row in rows]
    shares = {kept: seconds * 1000 / 30 for kept, seconds in lists.items()}
    held += [
        Target.at_most(f"share of a core, 1,000,000 in 1,000 lists of {EACH + kept:,} every 30 s", 0.5, share)
        for kept, share in shares.items()
    ]
    held += [
        Target.at_most(f"longest hold of the event loop, {what}", 50.0, of["cpu"], unit=" ms", digits=0)
        for what, of in stalled.items()
    ]
    head = ("microseconds of the processor", *(f"{number:,}" for number in sizes), "last / first", "slope")
    list_rows = [(f"{EACH:,} in flight, {kept:,} finished", 1e3 * cost, shares[kept]) for kept, cost in lists.items()]
    stall_rows = [(what, of["cpu"], of["wall"]) for what, of in stalled.items()]
    return f"""# Cost of scheduling

Made by `python -m benchmarks.scheduling`: {setting("msgspec")}.

{targets(held)}
## A decision, from {sizes[0]:,} to {sizes[-1]:,} in flight

The real scheduler in virtual time; medians of rounds in which the sizes took turns.

{table(head, rows)}
## A list, decoded and taken note of

{table(("the list holds", "milliseconds of the processor", "share of a core at 1,000 lists every 30 s"), list_rows)}
## How long a list of {stalls.BACKUPS:,} backups holds the event loop

Over HTTP. The processor's time within one turn of the loop counts: that of the clock has other processes' turns in it.

{table(("what", "longest turn, ms of the processor", "longest turn, ms of the clock"), stall_rows)}"""


def side(name: str, sizes: Sequence[int], rounds: int) -> object:
    """Measure in this process."""
    if name.isdecimal():
        return asyncio.run(list_cost(int(name), rounds))
    return costs(name, sizes, rounds)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.scheduling", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="up to 10,000 in flight, two rounds, short lists")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the tables and the plot go")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    sizes, rounds = (SIZES[:2], 2) if options.quick else (SIZES, ROUNDS)
    if options.side:
        print(json.dumps(side(options.side, sizes, rounds)))
        return 0
    quick = ["--quick"] if options.quick else []
    run = functools.partial(in_child, "benchmarks.scheduling", *quick, "--side")
    found = {mode: {int(number): of for number, of in run(mode).items()} for mode in (GETS, ALONE, LISTS)}
    lists = {kept: float(run(kept)) for kept in (0, 2_000)}
    stalled = in_child("benchmarks.stalls", *quick)
    write(options.out, "scheduling", report(found, lists, stalled))
    plot(found, options.out / "scheduling.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
