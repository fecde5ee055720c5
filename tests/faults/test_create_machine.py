"""A state machine over creates: any faults in any order; no create makes two backups, and none is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import settings
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
from asyncbackups.simulator.faults import Action
from tests.faults.fast_clock import FastClock
from tests.faults.harness import MeanJitter

STAR_SYSTEM = "solar"
PLANETS = st.sampled_from(["earth", "mars"])
KEYS = st.sampled_from(["monday", "tuesday", "wednesday"])
SETTLE = 30.0

# What a network and a gateway do to a request: fail before its effect, after it, or hide it.
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
BEHAVIORS = st.builds(
    ApiBehavior,
    echo_metadata=st.sampled_from(["both", "list", "get", "none"]),
    list_lag=st.sampled_from([0.0, SETTLE / 2]),
    envelope=st.sampled_from(["backups", None, "items"]),
    create_answer=st.sampled_from(["object", "wrapped", "location", "without_id", "empty"]),
)


@attrs.define(repr=False)
class CreateCall:
    """One create of a caller, identified by its key; without a key each call is a create of its own."""

    planet: str
    key: str | None
    result: Backup | BackupsError | None = None

    def __repr__(self) -> str:
        result = f"backup {self.result.id}" if isinstance(self.result, Backup) else repr(self.result)
        return f"<{self.planet}, {self.key}: {result}>"


class CreateMachine(RuleBasedStateMachine):
    """Compares the results of creates with the simulator's backups. Service and clients share a clock at 1000x."""

    @initialize(behavior=BEHAVIORS, by_time=st.booleans())
    def start(self, behavior: ApiBehavior, by_time: bool) -> None:
        self.runner = asyncio.Runner()
        self.clock = FastClock(1000.0)
        self.calls: list[CreateCall] = []
        self.history: list[object] = [behavior, by_time]
        self.by_time = by_time
        # Without metadata, backups of independent processes are indistinguishable. Adoption by time is meant for
        # services where only one process creates, so that process is not restarted then.
        self.may_restart = behavior.echo_metadata is not MetadataEcho.NONE or not by_time
        self.forgotten: set[tuple[str, str]] = set()
        self.sim = Simulator(clock=self.clock, behavior=behavior, workload=Workload(duration=Fixed(5000.0)))
        self.run(self.sim.start())
        self.client = self.open_client()

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(doing)

    def open_client(self) -> BackupClient:
        client = BackupClient(
            self.sim.base_url,
            self.sim.tenant,
            auth=self.sim.token,
            retry=RetryPolicy(attempts=3, initial=0.5),
            creating=CreatePolicy(settle=SETTLE, patience=3 * SETTLE, resends=1, adopt_by_time=self.by_time),
            polling=PollingPolicy(),
            timeouts=Timeouts(total=900.0),
            clock=self.clock,
            random=MeanJitter(),
        )
        self.run(client.__aenter__())
        return client

    @rule(planet=PLANETS, faults=FAULTS)
    def create(self, planet: str, faults: list[Fault]) -> None:
        """Create without a key."""
        self.run_creates([CreateCall(planet, None)], faults)

    @rule(planet=PLANETS, key=KEYS, faults=FAULTS)
    def create_with_a_key(self, planet: str, key: str, faults: list[Fault]) -> None:
        """Create with a key, which may have been used before."""
        self.run_creates([CreateCall(planet, key)], faults)

    @rule(planet=PLANETS, key=KEYS, other=KEYS, faults=FAULTS)
    def create_at_the_same_time(self, planet: str, key: str, other: str, faults: list[Fault]) -> None:
        """Four callers in one planet, some with one key."""
        self.run_creates(
            [CreateCall(planet, key), CreateCall(planet, other), CreateCall(planet, key), CreateCall(planet, None)],
            faults,
        )

    @precondition(lambda self: self.may_restart)
    @rule()
    def restart_client(self) -> None:
        """Replace the client by a new one without its memory: from then on keys may exist."""
        self.run(self.client.__aexit__(None, None, None))
        self.client = self.open_client()
        self.history.append("restarted")
        self.forgotten = {(call.planet, call.key) for call in self.calls if call.key is not None}

    @rule(planet=PLANETS)
    def another_process_creates(self, planet: str) -> None:
        """Create a backup of another kind without the client, which must never adopt it."""
        order = CreateBody(type="permanent", mechanism="snapshot", metadata={"name": "of another process"})
        self.sim.state.create(STAR_SYSTEM, planet, order)
        self.history.append("another process created")

    def run_creates(self, calls: list[CreateCall], faults: list[Fault]) -> None:
        """Run creates concurrently under the given faults."""
        self.sim.faults[:] = faults
        self.history.append(faults)
        self.run(self._all(calls))
        self.history.append(calls)
        self.sim.faults.clear()
        self.calls += calls

    async def _all(self, calls: list[CreateCall]) -> None:
        await asyncio.gather(*map(self._one, calls))

    async def _one(self, call: CreateCall) -> None:
        spec = BackupSpec(retention_period_in_days=1, metadata=BackupMetadata("nightly", "kept readable"))
        may_exist = call.key is not None and (call.planet, call.key) in self.forgotten
        try:
            create = self.client.create(STAR_SYSTEM, call.planet, spec, key=call.key, may_exist=may_exist)
            call.result = await asyncio.wait_for(create, timeout=20)
        except BackupsError as exc:
            call.result = exc

    @invariant()
    def no_backup_is_shared_or_lost(self) -> None:
        """Each identity has one backup, and each of our backups has an owner or an `AmbiguousCreateError`."""
        if not hasattr(self, "sim"):
            return
        violations = "\n".join(self.violations())
        if violations:
            # Show the whole history: a failure that depends on timing may not occur again when Hypothesis shrinks it.
            raise AssertionError(f"{violations}\n" + "\n".join(map(repr, self.history)))

    def violations(self) -> Iterator[str]:
        owned = {
            (call.planet, call.key or id(call), call.result.id)
            for call in self.calls
            if isinstance(call.result, Backup)
        }
        ids = Counter(backup_id for *_, backup_id in owned)
        yield from (f"backup {one} belongs to several creates: {owned}" for one, number in ids.items() if number > 1)
        identities = Counter((planet, key) for planet, key, _ in owned)
        yield from (f"{one} has {number} backups: {owned}" for one, number in identities.items() if number > 1)
        ours = {backup.id: backup.planet for backup in self.sim.state if backup.create_body.type == "temporary"}
        yield from (f"backup {one} is not ours" for one in ids if one not in ours)
        # An ambiguous create accounts for at most one backup: it is only sent again if it surely had no effect.
        ambiguous = Counter(call.planet for call in self.calls if isinstance(call.result, AmbiguousCreateError))
        lost = Counter(planet for backup_id, planet in ours.items() if backup_id not in ids)
        yield from (f"{number} lost in {one}: {owned}" for one, number in lost.items() if number > ambiguous[one])

    def teardown(self) -> None:
        if hasattr(self, "sim"):
            self.run(self.client.__aexit__(None, None, None))
            self.run(self.sim.stop())
            self.runner.close()


def test_few_sequences_of_creates_and_faults():
    """A few short sequences, for the default suite."""
    run_state_machine_as_test(CreateMachine, settings=_settings(examples=12, steps=6))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_many_sequences_of_creates_and_faults():
    """Many and longer sequences."""
    run_state_machine_as_test(CreateMachine, settings=_settings(examples=150, steps=12))


def _settings(*, examples: int, steps: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=steps)
