"""The cost of scheduling: per request and per backup observed, from 1,000 to 1,000,000 backups in progress.

    python -m benchmarks.scheduling [--quick]

1. The real scheduler in virtual time, without I/O: the clock is set to the next wake-up, due polls are taken, and each
   response ("still in progress") is recorded. The CPU time of all of it is measured; responses are made beforehand. By
   GETs (`coalesce=False`) in 1,000 star systems and in a single one, and by lists of 1,000 backups each. The rounds of
   all sizes take turns, and each figure is their median. A line is fitted to the logarithms: its slope is 0 if the cost
   does not depend on the number of backups, and 1 if it is proportional to it.
2. The share of a core that a million backups take at a list for each of 1,000 star systems every 30 s: decoding the
   entries, recording them, and scheduling the next poll; without HTTP.
3. The longest time for which a list of 10,000 backups blocks the event loop, over real HTTP: see `benchmarks.stalls`.
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
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll
from asyncbackups.models import Progress
from benchmarks import stalls
from benchmarks.in_memory import raw
from benchmarks.report import RESULTS, Target, in_child, setting, table, targets, write
from benchmarks.virtual_run import response_info

SIZES = (1_000, 10_000, 100_000, 1_000_000)
EACH = 1_000
ROUNDS = 4
DECISIONS = 3_000
HISTORY = 30
AGES = 40.0
"""Seconds over which the backups start: none is polled before the last of them has started."""
GETS, ALONE, LISTS = "gets, 1,000 star systems", "gets, one star system", "lists of 1,000"
RUNNING = Observation(backup=Backup(id=1, status="in_progress", mechanism="logical"), progress=Progress.IN_PROGRESS)


class UnusedSubscriber:
    """A subscriber that never gets an event: no backup ends."""

    def deliver(self, event: object) -> None:
        """Fail: no event is expected."""
        raise AssertionError(f"unexpected event: {event}")


@attrs.define
class Course:
    """A scheduler, its virtual clock, and the responses to its requests.

    Attributes:
        scheduler: The real scheduler.
        now: The virtual time.
        entries: For each star system, the entries of its list.
        decided: Requests decided so far.
        observed: Backups shown by their responses.
    """

    scheduler: Scheduler
    now: float = 1000.0
    entries: dict[str, list[ListEntry]] = attrs.field(factory=dict)
    decided: int = 0
    observed: int = 0

    @classmethod
    def of(cls, mode: str, number: int) -> Course:
        """Track a number of backups of different ages, after finished ones were listed."""
        chance = random.Random(1)
        course = cls(Scheduler(PollingPolicy(coalesce=mode == LISTS), draw=chance.random))
        star_systems = {GETS: 1_000, ALONE: 1, LISTS: number // EACH}[mode]
        each, watcher = number // star_systems, UnusedSubscriber()
        for place in range(star_systems):
            name = f"star-system-{place}"
            course.entries[name] = [ListEntry(place * each + n, "in_progress") for n in range(each)]
            for entry in course.entries[name]:
                started_at = course.now - chance.uniform(0, AGES)
                ref = BackupRef(name, entry.id)
                course.scheduler.add(ref, watcher, now=started_at, deadline=1e9, planet="planet", started_at=started_at)
                if entry.id == 0:
                    course.record_history()
        return course

    def record_history(self) -> None:
        """Record a list of finished backups, which all estimates are based on."""
        poll = ListPoll(star_system="star-system-0", planet=None, sent=self.now)
        shown = {10**9 + n: 131 * float(np.exp(0.4 * np.random.default_rng(n).normal())) for n in range(HISTORY)}
        finished = {
            backup_id: Observation(
                backup=Backup(id=backup_id, status="succeeded"), progress=Progress.SUCCEEDED, duration=seconds
            )
            for backup_id, seconds in shown.items()
        }
        entries = [ListEntry(backup_id, "succeeded", "2026") for backup_id in shown]
        list(self.scheduler.record_list_in_parts(poll, entries, finished, response_info(10_000, 0.05), self.now))

    def advance(self) -> None:
        """Move to the next wake-up, unless there is a backlog."""
        if not self.scheduler.has_backlog:
            due = self.scheduler.next_wakeup()
            assert due is not None
            self.now = max(self.now, due)

    def decide(self, decisions: int) -> float:
        """Take polls and record their responses the given number of times; return the CPU time in seconds."""
        scheduler, until = self.scheduler, self.decided + decisions
        started = time.process_time()
        while self.decided < until:
            self.advance()
            scheduler.expire_waits(self.now)
            for poll in scheduler.take_due(self.now, capacity=32):
                self.decided += 1
                self.record(poll)
        return time.process_time() - started

    def record(self, poll: Poll) -> None:
        """Record the response to a request: all backups are still in progress."""
        if isinstance(poll, GetPoll):
            self.observed += 1
            self.scheduler.record_get(poll, RUNNING, response_info(500, 0.01), self.now)
            return
        entries = self.entries[poll.star_system]
        self.observed += len(entries)
        self.scheduler.select_entries(poll, entries)
        cost = response_info(400 * len(entries), 0.05)
        list(self.scheduler.record_list_in_parts(poll, entries, {}, cost, self.now))


def costs(mode: str, sizes: Sequence[int], rounds: int) -> dict[int, dict[str, float]]:
    """Return for each size the microseconds per decision, and per backup observed."""
    decisions = 200 if mode == LISTS else DECISIONS
    courses = {number: Course.of(mode, number) for number in sizes}
    gc.collect()
    gc.freeze()  # otherwise a collection would also traverse the objects of the other sizes
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in sizes}
    for number, course in courses.items():
        course.decide(decisions * 2 if mode != LISTS else max(decisions, 2 * number // EACH))  # caches, first plans
    for _ in range(rounds):
        for number, course in courses.items():
            decided, observed = course.decided, course.observed
            seconds = course.decide(decisions)
            found[number].append((seconds / (course.decided - decided), seconds / max(1, course.observed - observed)))
    return {
        number: {
            "decision": 1e6 * statistics.median(one[0] for one in of),
            "observed": 1e6 * statistics.median(one[1] for one in of),
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
    """Responds to every request with the same bytes."""

    body: bytes

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:  # noqa: ARG002
        """Respond to a request."""
        url = f"http://memory{request.path}"
        return Response(status=200, headers={}, body=self.body, method="GET", url=url, attempt=1, seconds=0.05)


async def list_cost(kept: int, rounds: int) -> float:
    """Return the CPU seconds per list of 1,000 backups in progress and a number of finished ones."""
    course = Course.of(LISTS, 100_000)
    bodies = {}
    for name, entries in course.entries.items():
        finished = [raw(name, 10**8 + n, "succeeded") for n in range(kept)]
        bodies[name] = msgspec.json.encode(finished + [raw(name, entry.id) for entry in entries])
    lists, done = rounds * 100, 0
    sender = OneList(b"")
    operations = Operations(sender, RequestBuilder("example"), utcnow=lambda: None)  # type: ignore[arg-type,return-value]
    seconds = 0.0
    while done < lists + 200:  # the first two of each star system are not counted: all their entries are new
        course.advance()
        started = time.process_time()
        for poll in course.scheduler.take_due(course.now, capacity=32):
            if isinstance(poll, GetPoll):
                course.record(poll)
                continue
            sender.body = bodies[poll.star_system]
            listing = await operations.poll_list(
                poll.star_system,
                None,
                etag=None,
                wanted=lambda entries, poll=poll: course.scheduler.select_entries(poll, entries),
            )
            observations = {backup.id: _to_observation(backup) for backup in listing.backups.values()}
            cost = listing.info
            entries = listing.entries or []
            list(course.scheduler.record_list_in_parts(poll, entries, observations, cost, course.now))
            done += 1
        seconds += time.process_time() - started if done > 200 else 0.0
    return seconds / (done - 200)


def _to_observation(backup: Backup) -> Observation:
    over = backup.completed_at is not None
    return Observation(
        backup=backup, progress=Progress.SUCCEEDED if over else Progress.IN_PROGRESS, duration=131.0 if over else None
    )


# --- what is printed ---


def scale_rows(found: dict[str, dict[int, dict[str, float]]]) -> list[tuple[object, ...]]:
    rows = []
    for mode, by_size in found.items():
        for what in ("decision", "observed") if mode == LISTS else ("decision",):
            each = {number: cost[what] for number, cost in by_size.items()}
            first, *_, last = each.values()
            name = f"{mode}: {'a backup observed' if what == 'observed' else 'a decision'}"
            rows.append((name, *each.values(), last / first, slope(each)))
    return rows


def plot(found: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only where it is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for mode, by_size in found.items():
        what = "observed" if mode == LISTS else "decision"
        each = {number: cost[what] for number, cost in by_size.items()}
        (line,) = axes.loglog(list(each), list(each.values()), "o")
        fitted = np.polyfit(np.log(list(each)), np.log(list(each.values())), 1)
        label = f"{mode}, per {'backup observed' if what == 'observed' else 'decision'}: slope {fitted[0]:.2f}"
        axes.loglog(
            list(each), np.exp(np.polyval(fitted, np.log(list(each)))), "-", color=line.get_color(), label=label
        )
    axes.set(xlabel="backups in progress", ylabel="CPU time, microseconds", ylim=(0.1, 1000))
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
        Target.at_most(f"longest block of the event loop, {what}", 50.0, of["cpu"], unit=" ms", digits=0)
        for what, of in stalled.items()
    ]
    head = ("CPU time, microseconds", *(f"{number:,}" for number in sizes), "last / first", "slope")
    list_rows = [(f"{EACH:,} in flight, {kept:,} finished", 1e3 * cost, shares[kept]) for kept, cost in lists.items()]
    stall_rows = [(what, of["cpu"], of["wall"]) for what, of in stalled.items()]
    return f"""# Cost of scheduling

Made by `python -m benchmarks.scheduling`: {setting("msgspec")}.

{targets(held)}
## A decision, from {sizes[0]:,} to {sizes[-1]:,} in flight

The real scheduler in virtual time; medians of rounds in which the sizes took turns.

{table(head, rows)}
## A list, decoded and recorded

{table(("the list holds", "CPU time, ms", "share of a core at 1,000 lists every 30 s"), list_rows)}
## How long a list of {stalls.BACKUPS:,} backups blocks the event loop

Over HTTP. The CPU time within one turn of the loop counts: the wall-clock time includes other processes.

{table(("what", "longest turn, ms of CPU time", "longest turn, ms of wall-clock time"), stall_rows)}"""


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
