"""The state of the simulated service, on a clock that is moved by hand."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups import simulator
from asyncbackups.simulator import (
    CreateBody,
    Fixed,
    Lognormal,
    ManualClock,
    Phase,
    PlanetProfile,
    SimulatorState,
    Workload,
)


def make_state(
    workload: Workload | None = None, clock: ManualClock | None = None, **settings: object
) -> SimulatorState:
    workload = workload or Workload(duration=Fixed(60))
    return SimulatorState(workload, clock=clock or ManualClock(), rng=random.Random(), **settings)


def durations_by_planet(state: SimulatorState) -> dict[tuple[str, str], list[float]]:
    durations: dict[tuple[str, str], list[float]] = {}
    for backup in state:
        durations.setdefault((backup.star_system, backup.planet), []).append(backup.outcome.duration)
    return durations


PLANETS = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("abc")), min_size=1, max_size=20)


@given(planets=PLANETS, shuffle=st.randoms(use_true_random=False), seed=st.integers())
def test_outcomes_do_not_depend_on_request_order(
    planets: list[tuple[str, str]], shuffle: random.Random, seed: int
) -> None:
    """Each planet's durations are the same, whatever the order in which planets are backed up."""
    workload = Workload(failure_share=0.3, planet_sigma=0.5)
    shuffled = planets.copy()
    shuffle.shuffle(shuffled)
    found = []
    for sequence in (planets, shuffled):
        state = make_state(workload, seed=seed)
        for star_system, planet in sequence:
            state.create(star_system, planet, CreateBody())
        found.append(durations_by_planet(state))
    assert found[0] == found[1]


def test_outcomes_differ_by_seed_planet_and_ordinal() -> None:
    """Another seed, another planet and another backup of the same planet have other durations."""
    durations = set()
    for seed in (1, 2):
        state = make_state(Workload(), seed=seed)
        for planet in ("a", "a", "b"):
            durations.add(state.create("x", planet, CreateBody()).outcome.duration)
    assert len(durations) == 6


@given(
    duration=st.floats(0, 1e4), queue=st.floats(0, 1e3), speed=st.floats(0.1, 100), steps=st.lists(st.floats(0, 500))
)
def test_phases_come_in_order(duration: float, queue: float, speed: float, steps: list[float]) -> None:
    """A backup never returns to an earlier phase, and succeeds exactly at its completion."""
    clock = ManualClock()
    state = make_state(Workload(duration=Fixed(duration), queue_time=queue), clock, speed=speed)
    backup = state.create("x", "a", CreateBody())
    order = [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]
    seen = [state.phase(backup.id)]
    for step in steps:
        clock.advance(step)
        seen.append(state.phase(backup.id))
    assert seen == sorted(seen, key=order.index)
    assert (seen[-1] is Phase.SUCCEEDED) == (clock.monotonic() >= state.completed_at(backup.id))


def test_durations_are_divided_by_speed() -> None:
    """At speed 60 a backup of one minute takes one second of the server's time."""
    clock = ManualClock(monotonic=5)
    state = make_state(clock=clock, speed=60)
    backup = state.create("x", "a", CreateBody())
    assert state.completed_at(backup.id) == pytest.approx(6)
    assert (backup.completed - backup.started).total_seconds() == pytest.approx(1)


def test_failure_shares_and_medians_follow_workload() -> None:
    """Over many backups, failure share and median are as set, per planet if it has a profile."""
    workload = Workload(
        duration=Lognormal(100, 0.4),
        failure_share=0.1,
        planets={"x/slow": PlanetProfile(duration=Lognormal(1000, 0.1)), "bad": PlanetProfile(failure_share=0.5)},
    )
    state = make_state(workload, seed=3)
    for planet in ("any", "slow", "bad"):
        for _ in range(1000):
            state.create("x", planet, CreateBody())
    median = {planet: sorted(drawn)[500] for (_, planet), drawn in durations_by_planet(state).items()}
    failed = {p: sum(not b.outcome.succeeds for b in state if b.planet == p) for p in median}
    assert median["any"] == pytest.approx(100, rel=0.1)
    assert median["slow"] == pytest.approx(1000, rel=0.05)
    assert failed["any"] == pytest.approx(100, abs=35)
    assert failed["bad"] == pytest.approx(500, abs=60)


def test_deleted_backup_is_in_no_list() -> None:
    """A deleted backup is not listed, cannot be deleted again, and is never found in another star system."""
    state = make_state()
    backup = state.create("x", "a", CreateBody())
    assert state.find("y", backup.id) is None
    assert state.find("x", backup.id) is state[backup.id]
    assert len(state) == 1
    assert state.delete("x", backup.id)
    assert not state.delete("x", backup.id)
    assert not state.backup_list("x").backups
    assert not state.backup_list("x", "a").backups
    assert not state.backup_list("x", "nowhere").backups
    with pytest.raises(KeyError):
        state.completed_at(backup.id)


def test_expiration_skips_deleted_backups() -> None:
    """A temporary backup may be deleted before its retention period ends."""
    clock = ManualClock()
    state = make_state(Workload(duration=Fixed(1), expire=True), clock)
    backup = state.create("x", "a", CreateBody(temporary=True, retention_days=1))
    state.delete("x", backup.id)
    clock.advance(86400)
    assert not state.backup_list("x").backups


def test_history_does_not_count_as_created() -> None:
    """The initial backups are finished, spread over the planets, and not counted as creates."""
    clock = ManualClock()
    state = make_state(Workload(history=20, history_planets=3), clock)
    assert len(state.backup_list("x").backups) == 20
    assert all(backup.phase(clock.monotonic()).final for backup in state)
    assert {backup.planet for backup in state} == {"planet-1", "planet-2", "planet-3"}
    assert not state.creates


def test_clock_offset_may_change_later() -> None:
    """The server's time of day follows `clock_offset`, and its monotonic time does not."""
    clock = ManualClock()
    state = make_state(clock=clock, clock_offset=60)
    before = state.now(), (state.utcnow() - clock.utcnow()).total_seconds()
    state.clock_offset -= 90
    after = state.now(), (state.utcnow() - clock.utcnow()).total_seconds()
    assert (before, after) == ((1000, 60), (1000, -30))


def test_invalid_duration_is_an_error() -> None:
    """A duration model that returns a negative number raises an error, and nothing is created."""
    state = make_state(Workload(duration=lambda rng: -1.0))
    with pytest.raises(ValueError, match="not a duration"):
        state.create("x", "a", CreateBody())
    assert not state.creates


PURE = ["api", "api_behavior", "outcome_model", "settings", "state"]


@pytest.mark.parametrize("module", PURE)
def test_decisions_do_no_io(module: str) -> None:
    """The modules that decide on responses import no web server, event loop, clock or randomness."""
    source = (Path(simulator.__file__).parent / f"{module}.py").read_text()
    imported = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"aiohttp", "anyio", "asyncio", "random", "time", "socket"}


def test_simulator_shares_no_code_with_client() -> None:
    """The simulator imports nothing from the rest of the package."""
    for path in Path(simulator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncbackups"):
                assert node.module.startswith("asyncbackups.simulator"), path.name
