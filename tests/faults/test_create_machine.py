"""A state machine over creates: any faults, in any order, with any echo and lag; never two for one, none forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asyncbackups import (
    AmbiguousCreateError,
    Backup,
    BackupClient,
    BackupMetadata,
    BackupsError,
    BackupSpec,
    CreatePolicy,
    PollingPolicy,
    RetryPolicy,
)
from asyncbackups.policies import Timeouts
from asyncbackups.simulator import (
    ApiBehavior,
    CreateBody,
    Drop,
    Fault,
    Fixed,
    Html,
    Malformed,
    MetadataEcho,
    Respond,
    Simulator,
    Truncate,
    When,
    Workload,
)
from asyncbackups.simulator.fault_rules import Action
from tests.faults.hurried_clock import HurriedClock
from tests.faults.stage import Even

STAR_SYSTEM = "solar"
PLANETS = st.sampled_from(["earth", "mars"])
KEYS = st.sampled_from(["monday", "tuesday", "wednesday"])
SETTLE = 30.0

# Before the effect, after it, or hiding it: what a network and a gateway do to a request.
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.builds(Drop, st.sampled_from(When)),
    st.builds(Respond, st.sampled_from([408, 500, 502, 503, 504, 524]), when=st.sampled_from(When)),
    st.builds(Respond, st.sampled_from([401, 403, 409, 422, 424, 429])),
    st.builds(Html, st.sampled_from([200, 502]), st.sampled_from(When)),
    st.sampled_from([Truncate(), Truncate(0.0), Malformed()]),
)
FAULTS = st.lists(
    st.builds(
        lambda action, kind, skip: Fault(action, kind=kind, skip=skip, count=1),
        ACTIONS,
        st.sampled_from(["create", "create", "list_planet", "get"]),
        st.integers(0, 2),
    ),
    max_size=4,
)
SHAPES = st.builds(
    ApiBehavior,
    echo_metadata=st.sampled_from(["both", "list", "get", "none"]),
    list_lag=st.sampled_from([0.0, SETTLE / 2]),
    envelope=st.sampled_from(["backups", None, "items"]),
    create_answer=st.sampled_from(["object", "wrapped", "location", "without_id", "empty"]),
)


@attrs.define(repr=False)
class Call:
    """One create of the caller's: by its key, or its own where that is None."""

    planet: str
    key: str | None
    answer: Backup | BackupsError | None = None

    @property
    def made(self) -> bool:
        return isinstance(self.answer, Backup)

    def __repr__(self) -> str:
        told = f"backup {self.answer.id}" if isinstance(self.answer, Backup) else repr(self.answer)
        return f"<{self.planet}, {self.key}: {told}>"


class Creates(RuleBasedStateMachine):
    """The model: what each caller was told, against what the simulator knows.

    The service and the clients go by a clock that is a thousand times faster than the real one.
    """

    @initialize(shape=SHAPES, by_time=st.booleans())
    def begin(self, shape: ApiBehavior, by_time: bool) -> None:
        self.runner = asyncio.Runner()
        self.clock = HurriedClock(1000.0)
        self.calls: list[Call] = []
        self.story: list[object] = [shape, by_time]
        self.by_time = by_time
        # Without metadata nobody can tell backups of one kind apart that processes made which knew nothing of each
        # other. Adoption by time is for services where only one process creates: it is not restarted here.
        self.may_leave = shape.echo_metadata is not MetadataEcho.NONE or not by_time
        self.forgotten: set[tuple[str, str]] = set()
        self.sim = Simulator(clock=self.clock, behavior=shape, workload=Workload(duration=Fixed(5000.0)))
        self.run(self.sim.start())
        self.client = self.opened()

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(doing)

    def opened(self) -> BackupClient:
        client = BackupClient(
            self.sim.base_url,
            self.sim.tenant,
            auth=self.sim.token,
            retry=RetryPolicy(attempts=3, initial=0.5),
            creating=CreatePolicy(settle=SETTLE, patience=3 * SETTLE, resends=1, adopt_by_time=self.by_time),
            polling=PollingPolicy(),
            timeouts=Timeouts(total=900.0),
            clock=self.clock,
            random=Even(),
        )
        self.run(client.__aenter__())
        return client

    @rule(planet=PLANETS, faults=FAULTS)
    def create(self, planet: str, faults: list[Fault]) -> None:
        """Create without a key."""
        self.calling([Call(planet, None)], faults)

    @rule(planet=PLANETS, key=KEYS, faults=FAULTS)
    def create_with_a_key(self, planet: str, key: str, faults: list[Fault]) -> None:
        """Create with a key, which may have been used before."""
        self.calling([Call(planet, key)], faults)

    @rule(planet=PLANETS, key=KEYS, other=KEYS, faults=FAULTS)
    def create_at_the_same_time(self, planet: str, key: str, other: str, faults: list[Fault]) -> None:
        """Four callers in one planet, some with one key."""
        self.calling([Call(planet, key), Call(planet, other), Call(planet, key), Call(planet, None)], faults)

    @precondition(lambda self: self.may_leave)
    @rule()
    def leave_and_come_back(self) -> None:
        """End the process and start another one, which knows nothing: from now on keys may exist."""
        self.run(self.client.__aexit__(None, None, None))
        self.client = self.opened()
        self.story.append("left and came back")
        self.forgotten = {(call.planet, call.key) for call in self.calls if call.key is not None}

    @rule(planet=PLANETS)
    def somebody_else_creates(self, planet: str) -> None:
        """Create a backup of another kind behind the client's back: it is never mistaken for ours."""
        order = CreateBody(type="permanent", mechanism="snapshot", metadata={"name": "somebody else's"})
        self.sim.state.create(STAR_SYSTEM, planet, order)
        self.story.append("a stranger's")

    def calling(self, calls: list[Call], faults: list[Fault]) -> None:
        """Let callers create at the same time, while faults strike."""
        self.sim.faults[:] = faults
        self.story.append(faults)
        self.run(self._all(calls))
        self.story.append(calls)
        self.sim.faults.clear()
        self.calls += calls

    async def _all(self, calls: list[Call]) -> None:
        await asyncio.gather(*map(self._one, calls))

    async def _one(self, call: Call) -> None:
        spec = BackupSpec(retention_period_in_days=1, metadata=BackupMetadata("nightly", "kept readable"))
        may_exist = call.key is not None and (call.planet, call.key) in self.forgotten
        try:
            doing = self.client.create(STAR_SYSTEM, call.planet, spec, key=call.key, may_exist=may_exist)
            call.answer = await asyncio.wait_for(doing, timeout=20)
        except BackupsError as exc:
            call.answer = exc

    @invariant()
    def no_two_calls_share_a_backup_and_no_backup_is_forgotten(self) -> None:
        """Each identity has one backup; each backup of ours is some caller's, or some caller was told of the doubt."""
        if not hasattr(self, "sim"):
            return
        flaws = "\n".join(self.flaws())
        if flaws:
            # The whole story: what is timing's doing does not happen again when hypothesis tries to make it shorter.
            raise AssertionError(f"{flaws}\n" + "\n".join(map(repr, self.story)))

    def flaws(self) -> Iterator[str]:
        owned = {(call.planet, call.key or id(call), call.answer.id) for call in self.calls if call.made}
        ids = Counter(backup_id for *_, backup_id in owned)
        yield from (f"backup {one} belongs to several creates: {owned}" for one, number in ids.items() if number > 1)
        identities = Counter((planet, key) for planet, key, _ in owned)
        yield from (f"{one} has {number} backups: {owned}" for one, number in identities.items() if number > 1)
        ours = {backup.id: backup.planet for backup in self.sim.state if backup.create_body.type == "temporary"}
        yield from (f"backup {one} is not ours" for one in ids if one not in ours)
        # A doubt stands for one backup at the most: it was sent again only where it was surely not there.
        doubts = Counter(call.planet for call in self.calls if isinstance(call.answer, AmbiguousCreateError))
        lost = Counter(planet for backup_id, planet in ours.items() if backup_id not in ids)
        yield from (f"{number} lost in {one}: {owned}" for one, number in lost.items() if number > doubts[one])

    def teardown(self) -> None:
        if hasattr(self, "sim"):
            self.run(self.client.__aexit__(None, None, None))
            self.run(self.sim.stop())
            self.runner.close()


def test_any_faults_in_any_order_quickly():
    """Some sequences, in the default suite."""
    run_state_machine_as_test(Creates, settings=_settings(examples=12, steps=6))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_any_faults_in_any_order():
    """Many sequences, and longer ones."""
    run_state_machine_as_test(Creates, settings=_settings(examples=150, steps=12))


def _settings(*, examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
