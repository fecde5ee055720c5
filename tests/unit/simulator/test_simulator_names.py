"""The public names of the simulator, and the names that were renamed in this release."""

from __future__ import annotations

import random

import pytest

from asyncbackups import simulator
from asyncbackups.simulator import (
    ApiBehavior,
    CreateBody,
    FaultRules,
    Gate,
    ManualClock,
    Simulator,
    SimulatorState,
    Workload,
)


def test_all_is_sorted_and_complete() -> None:
    """Every name of `__all__` exists, and they are in order."""
    assert simulator.__all__ == sorted(simulator.__all__, key=lambda name: (name.islower(), name))
    assert all(hasattr(simulator, name) for name in simulator.__all__)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ApiShape", "ApiBehavior"),
        ("Clock", "SimulationClock"),
        ("Counts", "RequestCounts"),
        ("Echo", "MetadataEcho"),
        ("Kind", "OperationKind"),
        ("Order", "CreateBody"),
        ("SystemClock", "RealTimeClock"),
        ("World", "SimulatorState"),
    ],
)
def test_old_name_warns(old: str, new: str) -> None:
    """The old name is the same class, with a warning that gives the new name and points to this file."""
    with pytest.warns(DeprecationWarning, match=rf"simulator\.{old} was renamed to {new}") as warned:
        assert getattr(simulator, old) is getattr(simulator, new)
    assert warned[0].filename == __file__


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that never existed is reported as usual."""
    with pytest.raises(AttributeError, match=r"module 'asyncbackups\.simulator' has no attribute 'Galaxy'"):
        _ = simulator.Galaxy


def test_old_argument_shape_warns() -> None:
    """`Simulator(shape=...)` sets the behavior, is checked like it, and warns."""
    behavior = ApiBehavior(envelope=None)
    with pytest.warns(DeprecationWarning, match="renamed to behavior") as warned:
        sim = Simulator(shape=behavior)
    assert warned[0].filename == __file__
    assert sim.behavior is behavior
    for wrong in (None, 5):
        with (
            pytest.warns(DeprecationWarning, match="renamed to behavior"),
            pytest.raises(ValueError, match=r"^Simulator\.behavior must be an instance of ApiBehavior, not "),
        ):
            Simulator(shape=wrong)


def test_old_attributes_warn() -> None:
    """Renamed attributes and methods can be read under their old names, with a warning."""
    state = SimulatorState(Workload(), clock=ManualClock(), rng=random.Random())
    backup = state.create("x", "a", CreateBody())
    sim, rules, gate = Simulator(), FaultRules([], rng=random.Random()), Gate()
    for target, old, new in [
        (sim, "shape", "behavior"),
        (sim, "world", "state"),
        (backup, "order", "create_body"),
        (backup, "fate", "outcome"),
        (state, "knows", "has_planet"),
        (state, "shelf", "backup_list"),
        (rules, "judge", "match_request"),
        (gate, "passing", "pass_through"),
    ]:
        message = rf"^{type(target).__name__}\.{old} was renamed to {new}; "
        with pytest.warns(DeprecationWarning, match=message) as warned:
            assert getattr(target, old) == getattr(target, new)
        assert warned[0].filename == __file__
