"""The simulated world, moved by hand."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups import simulator
from asyncbackups.simulator import Fixed, Lognormal, ManualClock, Order, Phase, PlanetProfile, Workload, World


def make(workload: Workload | None = None, clock: ManualClock | None = None, **settings: object) -> World:
    return World(
        workload or Workload(duration=Fixed(60)), clock=clock or ManualClock(), rng=random.Random(), **settings
    )


def durations(world: World) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for backup in world:
        found.setdefault((backup.star_system, backup.planet), []).append(backup.fate.duration)
    return found


PLANETS = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("abc")), min_size=1, max_size=20)


@given(orders=PLANETS, shuffle=st.randoms(use_true_random=False), seed=st.integers())
def test_fates_do_not_depend_on_the_order_of_requests(
    orders: list[tuple[str, str]], shuffle: random.Random, seed: int
) -> None:
    """Whatever the order in which planets are backed up, each one's durations are the same."""
    workload = Workload(failure_share=0.3, planet_sigma=0.5)
    shuffled = orders.copy()
    shuffle.shuffle(shuffled)
    worlds = []
    for sequence in (orders, shuffled):
        world = make(workload, seed=seed)
        for star_system, planet in sequence:
            world.create(star_system, planet, Order())
        worlds.append(durations(world))
    assert worlds[0] == worlds[1]


def test_seeds_and_planets_differ() -> None:
    """Another seed, another planet and another backup of one planet have other durations."""
    seen = set()
    for seed in (1, 2):
        world = make(Workload(), seed=seed)
        for planet in ("a", "a", "b"):
            seen.add(world.create("x", planet, Order()).fate.duration)
    assert len(seen) == 6


@given(
    duration=st.floats(0, 1e4), queue=st.floats(0, 1e3), speed=st.floats(0.1, 100), steps=st.lists(st.floats(0, 500))
)
def test_a_backup_never_goes_back(duration: float, queue: float, speed: float, steps: list[float]) -> None:
    """Phases come in order, and a final one stays."""
    clock = ManualClock()
    world = make(Workload(duration=Fixed(duration), queue_time=queue), clock, speed=speed)
    backup = world.create("x", "a", Order())
    order = [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]
    seen = [world.phase(backup.id)]
    for step in steps:
        clock.advance(step)
        seen.append(world.phase(backup.id))
    assert seen == sorted(seen, key=order.index)
    assert (seen[-1] is Phase.SUCCEEDED) == (clock.monotonic() >= world.completed_at(backup.id))


def test_durations_are_divided_by_speed() -> None:
    """At speed 60 a backup of one minute takes a second of the server's time."""
    clock = ManualClock(monotonic=5)
    world = make(clock=clock, speed=60)
    backup = world.create("x", "a", Order())
    assert world.completed_at(backup.id) == pytest.approx(6)
    assert (backup.completed - backup.started).total_seconds() == pytest.approx(1)


def test_shares_and_medians_are_as_asked_for() -> None:
    """Over many backups the failure share and the median come out as set, per planet where it has a profile."""
    workload = Workload(
        duration=Lognormal(100, 0.4),
        failure_share=0.1,
        planets={"x/slow": PlanetProfile(duration=Lognormal(1000, 0.1)), "bad": PlanetProfile(failure_share=0.5)},
    )
    world = make(workload, seed=3)
    for planet in ("any", "slow", "bad"):
        for _ in range(1000):
            world.create("x", planet, Order())
    median = {where[1]: sorted(drawn)[500] for where, drawn in durations(world).items()}
    failed = {p: sum(not b.fate.succeeds for b in world if b.planet == p) for p in median}
    assert median["any"] == pytest.approx(100, rel=0.1)
    assert median["slow"] == pytest.approx(1000, rel=0.05)
    assert failed["any"] == pytest.approx(100, abs=35)
    assert failed["bad"] == pytest.approx(500, abs=60)


def test_shelves_and_removal() -> None:
    """A removed backup is on no shelf, another star system's id is not found, and nothing is removed twice."""
    world = make()
    backup = world.create("x", "a", Order())
    assert world.find("y", backup.id) is None
    assert world.find("x", backup.id) is world[backup.id]
    assert len(world) == 1
    assert world.delete("x", backup.id)
    assert not world.delete("x", backup.id)
    assert not world.shelf("x").backups
    assert not world.shelf("x", "a").backups
    assert not world.shelf("x", "nowhere").backups
    with pytest.raises(KeyError):
        world.completed_at(backup.id)


def test_expiry_skips_what_is_deleted_already() -> None:
    """A temporary backup that was deleted before its retention ends is not missed when it does."""
    clock = ManualClock()
    world = make(Workload(duration=Fixed(1), expire=True), clock)
    backup = world.create("x", "a", Order(temporary=True, retention_days=1))
    world.delete("x", backup.id)
    clock.advance(86400)
    assert not world.shelf("x").backups


def test_history_does_not_count_as_created() -> None:
    """What was there before is finished and was created by nobody."""
    clock = ManualClock()
    world = make(Workload(history=20, history_planets=3), clock)
    shelf = world.shelf("x")
    assert len(shelf.backups) == 20
    assert all(backup.phase(clock.monotonic()).final for backup in world)
    assert {backup.planet for backup in world} == {"planet-1", "planet-2", "planet-3"}
    assert not world.creates


def test_a_model_that_gives_no_duration_is_an_error() -> None:
    """A model of durations that gives a negative number is named, and creates nothing."""
    world = make(Workload(duration=lambda rng: -1.0))
    with pytest.raises(ValueError, match="not a duration"):
        world.create("x", "a", Order())
    assert not world.creates


PURE = (
    "access answers api counts fate orders paging rendering routing settings shape workload world".split()  # noqa: SIM905
)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io(module: str) -> None:
    """Everything that decides what the API says imports no web server, no event loop, no clock and no randomness."""
    source = (Path(simulator.__file__).parent / f"{module}.py").read_text()
    imported = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"aiohttp", "anyio", "asyncio", "random", "time", "socket"}


def test_the_simulator_shares_no_code_with_the_client() -> None:
    """It is an oracle of its own: nothing in it comes from the rest of the package."""
    for path in Path(simulator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncbackups"):
                assert node.module.startswith("asyncbackups.simulator"), path.name
