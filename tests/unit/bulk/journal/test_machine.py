"""A state machine over the journal: whatever happens and wherever it crashes, no delivered event is lost."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncbackups._api.reconcile import Baseline
from asyncbackups._bulk.journal.journal import Journal
from asyncbackups._bulk.journal.run_state import TargetState
from asyncbackups._bulk.journal.status import read_status
from asyncbackups._bulk.run_store import Intent, ResumePoint, Target
from asyncbackups.events import BackupCreated, BackupSucceeded, Event
from asyncbackups.models import PlanetRef
from tests.unit.bulk.journal.journals import created, journal, succeeded

PLANETS = [PlanetRef("s", f"p{number}") for number in range(4)]
NUMBERS = st.integers(0, len(PLANETS) - 1)


SHARED = Baseline.from_ids("star_system", [1, "a"])
BASELINES = (SHARED, None, SHARED, Baseline.from_ids("planet", []), SHARED)
"""What is known to exist before the create of each target."""


class JournalMachine(RuleBasedStateMachine):
    """The model holds the events that a consumer got; the journal must never have fewer.

    A crash is a copy of the files at that moment, without entries that wait to be written, as `kill -9` leaves them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.room = Path(tempfile.mkdtemp())
        self.generation = 0
        self.intents: dict[int, Intent] = {}
        self.created: set[int] = set()  # targets whose create has returned
        self.ended: set[int] = set()
        self.delivered: list[Event] = []
        self.acknowledged = 0

    @property
    def path(self) -> Path:
        return self.room / f"{self.generation}.journal"

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self) -> None:
        self.journal: Journal = journal(self.path)
        self.run(self.journal.open(PLANETS))

    def target(self, number: int) -> Target:
        return Target(number, PLANETS[number])

    @rule(number=NUMBERS)
    def intend(self, number: int) -> None:
        if number in self.created:
            return
        target = self.target(number)
        baseline = BASELINES[number] if self.journal.needs_baseline(target) else None
        intent = self.run(self.journal.record_intent(target, baseline))
        before = self.intents.setdefault(number, intent)
        assert intent.key == before.key, "a create keeps its key in every process"
        assert intent.since == before.since
        known = BASELINES[number]
        assert (intent.baseline is None) == (known is None)
        if intent.baseline is not None and known is not None:
            assert (intent.baseline.scope, intent.baseline.keys) == (known.scope, known.keys)

    @rule(number=NUMBERS, flushed=st.booleans())
    def create(self, number: int, flushed: bool) -> None:
        if number in self.intents and number not in self.created:
            self.created.add(number)
            self.record(created(self.target(number), number), flushed)

    @rule(number=NUMBERS, flushed=st.booleans())
    def end(self, number: int, flushed: bool) -> None:
        if number in self.created - self.ended:
            self.ended.add(number)
            self.record(succeeded(self.target(number), number), flushed)

    def record(self, event: Event, flushed: bool) -> None:
        assert event.planet is not None
        target = self.target(PLANETS.index(event.planet))

        async def record() -> None:
            self.journal.record_event(target, event, self.delivered.append)
            if flushed:
                await self.journal.flush()

        self.run(record())

    @rule(place=st.integers(0, 7))
    def acknowledge(self, place: int) -> None:
        # How much is delivered depends on a thread: drawing from it would make failures irreproducible.
        if not self.delivered:
            return
        self.acknowledged = max(self.acknowledged, self.delivered[place % len(self.delivered)].id or 0)

        async def acknowledge() -> None:
            self.journal.acknowledge_up_to(self.acknowledged)

        self.run(acknowledge())

    @rule()
    def turn(self) -> None:
        """Let the writer start a batch."""
        self.run(asyncio.sleep(0))

    @rule()
    def reopen(self) -> None:
        self.run(self.journal.close())
        mark = self.acknowledged
        self.resume()
        assert all((event.id or 0) > mark for event in self.earlier.undelivered), (
            "an acknowledged event is not delivered again"
        )

    @rule()
    def crash(self) -> None:
        old = self.path
        delivered = list(self.delivered)
        self.generation += 1
        for end in ("", "-wal"):
            if old.with_name(old.name + end).exists():
                shutil.copy(old.with_name(old.name + end), self.path.with_name(self.path.name + end))
        self.run(self.journal.close())
        self.delivered = delivered  # events that closing delivers after the crash were never delivered
        self.resume()
        # An acknowledgement is written with the next entry: a lost one means one more delivery.
        self.acknowledged = read_status(self.path).acknowledged

    def resume(self) -> None:
        self.journal = journal(self.path)
        self.earlier: ResumePoint = self.run(self.journal.open(PLANETS))
        earlier = self.earlier
        assert list(earlier.events)[: len(self.delivered)] == self.delivered, (
            "delivered events are there, with the same ids"
        )
        unacknowledged = [event for event in earlier.events if (event.id or 0) > self.acknowledged]
        assert unacknowledged == list(earlier.undelivered)[len(earlier.undelivered) - len(unacknowledged) :]
        self.delivered = list(earlier.events)
        numbers: dict[object, int] = {planet: number for number, planet in enumerate(PLANETS)}
        self.created = {numbers[event.planet] for event in earlier.events if isinstance(event, BackupCreated)}
        self.ended = {numbers[event.planet] for event in earlier.events if isinstance(event, BackupSucceeded)}
        assert {running.target.number for running in earlier.running} == self.created - self.ended
        left = [target.number for target in self.run(read_targets(earlier))]
        assert sorted(left) == sorted(set(range(len(PLANETS))) - self.created)
        intended = set(self.intents) - self.created
        assert set(left[: len(intended)]) == intended, "creates that may have been sent come first"

    @invariant()
    def readable(self) -> None:
        """The status, read meanwhile, is a state that the run has been in."""
        if hasattr(self, "journal"):
            states = read_status(self.path).states
            assert states[TargetState.RUNNING] + states[TargetState.SUCCEEDED] <= len(self.created)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.run(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.room)


async def read_targets(earlier: ResumePoint) -> list[Target]:
    return [target async for target in earlier.targets]


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestJournal = JournalMachine.TestCase
TestJournal.__doc__ = "Whatever happens, in any order, and wherever it crashes, delivered events are kept."
