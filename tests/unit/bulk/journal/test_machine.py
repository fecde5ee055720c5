"""A state machine over the journal: whatever is done, wherever it crashes, nothing told is lost and no key changes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncbackups._bulk.journal import TargetState, read_status
from asyncbackups._bulk.journal.journal import Journal
from asyncbackups._bulk.run_store import Intent, ResumePoint, Target
from asyncbackups.events import Event
from asyncbackups.models import PlanetRef
from tests.unit.bulk.journal.journals import created, journal, succeeded

PLANETS = [PlanetRef("s", f"p{number}") for number in range(4)]
NUMBERS = st.integers(0, len(PLANETS) - 1)


class JournalMachine(RuleBasedStateMachine):
    """Its own memory holds what a caller has been told; the journal must never know less.

    A crash is a copy of the files at that moment, without what waits to be written: as `kill -9` leaves them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.room = Path(tempfile.mkdtemp())
        self.generation = 0
        self.intents: dict[int, Intent] = {}
        self.begun: set[int] = set()  # whose create the caller knows to be done
        self.ended: set[int] = set()
        self.told: list[Event] = []
        self.acknowledged = 0

    @property
    def path(self) -> Path:
        return self.room / f"{self.generation}.journal"

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.journal: Journal = journal(self.path)
        self.run(self.journal.open(PLANETS))

    def target(self, number: int) -> Target:
        return Target(number, PLANETS[number])

    @rule(number=NUMBERS)
    def intend(self, number: int) -> None:
        if number in self.begun:
            return
        intent = self.run(self.journal.intend(self.target(number)))
        before = self.intents.setdefault(number, intent)
        assert intent.key == before.key, "a create keeps its key, whoever sends it"
        assert intent.since == before.since

    @rule(number=NUMBERS, flushed=st.booleans())
    def create(self, number: int, flushed: bool) -> None:
        if number in self.intents and number not in self.begun:
            self.begun.add(number)
            self.record(created(self.target(number), number), flushed)

    @rule(number=NUMBERS, flushed=st.booleans())
    def end(self, number: int, flushed: bool) -> None:
        if number in self.begun - self.ended:
            self.ended.add(number)
            self.record(succeeded(self.target(number), number), flushed)

    def record(self, event: Event, flushed: bool) -> None:
        assert event.planet is not None
        target = self.target(PLANETS.index(event.planet))

        async def record() -> None:
            self.journal.record(target, event, self.told.append)
            if flushed:
                await self.journal.flush()

        self.run(record())

    @rule(place=st.integers(0, 7))
    def acknowledge(self, place: int) -> None:
        # What is told already depends on a thread: nothing may be drawn from it, or a failure cannot be found again.
        if not self.told:
            return
        self.acknowledged = max(self.acknowledged, self.told[place % len(self.told)].id or 0)

        async def acknowledge() -> None:
            self.journal.acknowledge(self.acknowledged)

        self.run(acknowledge())

    @rule()
    def turn(self) -> None:
        """Let a batch be under way."""
        self.run(asyncio.sleep(0))

    @rule()
    def reopen(self) -> None:
        self.run(self.journal.close())
        mark = self.acknowledged
        self.go_on()
        assert all((event.id or 0) > mark for event in self.earlier.undelivered), "what was acknowledged stays so"

    @rule()
    def crash(self) -> None:
        old = self.path
        told = list(self.told)
        self.generation += 1
        for end in ("", "-wal"):
            if old.with_name(old.name + end).exists():
                shutil.copy(old.with_name(old.name + end), self.path.with_name(self.path.name + end))
        self.run(self.journal.close())
        self.told = told  # what closing told in the process that has crashed was never told
        self.go_on()
        # An acknowledgement is written with what comes next: one that was lost means one more delivery.
        self.acknowledged = self.journal._state.acknowledged

    def go_on(self) -> None:
        self.journal = journal(self.path)
        self.earlier: ResumePoint = self.run(self.journal.open(PLANETS))
        earlier = self.earlier
        assert list(earlier.told)[: len(self.told)] == self.told, "what was told is there, under the same ids"
        unacknowledged = [event for event in earlier.told if (event.id or 0) > self.acknowledged]
        assert unacknowledged == list(earlier.undelivered)[len(earlier.undelivered) - len(unacknowledged) :]
        self.told = list(earlier.told)
        places = self.journal._state.places
        self.begun = {number for number, place in enumerate(places) if place.ref is not None}
        self.ended = {number for number, place in enumerate(places) if place.state.final}
        assert {running.target.number for running in earlier.running} == self.begun - self.ended
        left = [target.number for target in self.run(listed(earlier))]
        assert sorted(left) == sorted(set(range(len(PLANETS))) - self.begun)
        intended = set(self.intents) - self.begun
        assert set(left[: len(intended)]) == intended, "creates that may have been sent come first"

    @invariant()
    def readable(self) -> None:
        """Whoever reads along sees a state that the run has been in."""
        if hasattr(self, "journal"):
            states = read_status(self.path).states
            assert states[TargetState.RUNNING] + states[TargetState.SUCCEEDED] <= len(self.begun)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.run(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.room)


async def listed(earlier: ResumePoint) -> list[Target]:
    return [target async for target in earlier.targets]


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestJournal = JournalMachine.TestCase
TestJournal.__doc__ = "Whatever is done, in whatever order, and wherever it crashes, what was told is kept."
