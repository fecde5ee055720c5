"""The simulator's settings: an invalid one is refused when it is given."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from asyncbackups.simulator import (
    Access,
    ApiBehavior,
    Bimodal,
    Drop,
    Endless,
    Fault,
    FaultRules,
    ManualClock,
    PlanetProfile,
    RealTimeClock,
    Redirect,
    Respond,
    Simulator,
    Workload,
)

MODELS = "a mapping of strings to callables that take a random.Random and return seconds"
LISTS = "a mapping of strings to lists of strings"


@pytest.mark.parametrize(
    ("build", "setting", "wanted"),
    [
        (lambda: Simulator(faults=[5]), "Simulator.faults", "a list of Faults, not [5]"),
        (lambda: Simulator(faults=5), "Simulator.faults", "a list of Faults, not 5"),
        (lambda: Simulator(faults=Fault(Drop())), "Simulator.faults", "a list of Faults, not Fault("),
        (lambda: Simulator(speed=10**400), "Simulator.speed", "a number greater than 0, not 10"),
        (lambda: Simulator(seed="x"), "Simulator.seed", "a whole number, not 'x'"),
        (lambda: Simulator(seed=True), "Simulator.seed", "a whole number, not True"),
        (lambda: Simulator(host=5), "Simulator.host", "a string that is not empty, not 5"),
        (lambda: Simulator(star_systems={"a": "pq"}), "Simulator.star_systems", f"{LISTS}, not {{'a': 'pq'}}"),
        (lambda: Simulator(star_systems={"a": [5]}), "Simulator.star_systems", f"{LISTS}, not {{'a': [5]}}"),
        (lambda: Simulator(star_systems={5: ["p"]}), "Simulator.star_systems", f"{LISTS}, not {{5: ['p']}}"),
        (lambda: Simulator(star_systems=["a"]), "Simulator.star_systems", f"{LISTS}, not ['a']"),
        (lambda: Simulator(forbidden="ab"), "Simulator.forbidden", "a list of strings that are not empty, not 'ab'"),
        (lambda: Simulator(forbidden=[[]]), "Simulator.forbidden", "a list of strings that are not empty, not [[]]"),
        (lambda: Simulator(forbidden=5), "Simulator.forbidden", "a list of strings that are not empty, not 5"),
        (lambda: Simulator(workload=5), "Simulator.workload", "an instance of Workload, not 5"),
        (lambda: Simulator(behavior=ApiBehavior), "Simulator.behavior", "an instance of ApiBehavior, not <class "),
        (lambda: Simulator(access=None), "Simulator.access", "an instance of Access, not None"),
        (lambda: Simulator(clock=5), "Simulator.clock", "an instance of SimulationClock, not 5"),
        (lambda: Simulator(clock=RealTimeClock), "Simulator.clock", "an instance of SimulationClock, not <class "),
        (lambda: Simulator(ssl_context=True), "Simulator.ssl_context", "an instance of SSLContext, not True"),
        (lambda: Access(check_scopes="no"), "Access.check_scopes", "True or False, not 'no'"),
        (lambda: ApiBehavior(words={}), "ApiBehavior.words", "an instance of StatusWords, not {}"),
        (lambda: ApiBehavior(etag="no"), "ApiBehavior.etag", "True or False, not 'no'"),
        (
            lambda: ApiBehavior(mechanisms="logical"),
            "ApiBehavior.mechanisms",
            "a list of strings that are not empty, not 'l",
        ),
        (lambda: ApiBehavior(extra_members=[]), "ApiBehavior.extra_members", "an instance of Mapping, not []"),
        (
            lambda: Fault(5),
            "Fault.action",
            "an instance of Respond or Drop or Html or ",
        ),
        (lambda: Fault(Drop(), planet=5), "Fault.planet", "an instance of str, not 5"),
        (lambda: Fault(gate=True), "Fault.gate", "an instance of Gate, not True"),
        (lambda: Respond(503, {"Retry-After": 5}), "Respond.headers", "a mapping of strings to strings, not {'Retry"),
        (lambda: Respond(503, body=5), "Respond.body", "an instance of bytes, not 5"),
        (lambda: Endless(5), "Endless.chunk", "an instance of bytes, not 5"),
        (lambda: Redirect(None), "Redirect.location", "a string that is not empty, not None"),
        (lambda: Bimodal(5), "Bimodal.quick", "a callable that takes a random.Random and returns seconds, not 5"),
        (lambda: Workload(by_mechanism={"x": 5}), "Workload.by_mechanism", f"{MODELS}, not {{'x': 5}}"),
        (lambda: PlanetProfile(by_mechanism=[]), "PlanetProfile.by_mechanism", f"{MODELS}, not []"),
        (lambda: Workload(failure_messages="x"), "Workload.failure_messages", "a list of at least one string, not 'x'"),
        (lambda: Workload(failure_messages=()), "Workload.failure_messages", "a list of at least one string, not ()"),
        (
            lambda: Workload(planets={"a": 5}),
            "Workload.planets",
            "a mapping of strings to PlanetProfiles, not {'a': 5}",
        ),
        (lambda: Workload(expire="no"), "Workload.expire", "True or False, not 'no'"),
    ],
)
def test_invalid_setting_is_refused(build: Callable[[], Any], setting: str, wanted: str) -> None:
    """The error names the class, the setting, what is accepted and the value."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        build()
    assert str(caught.value).startswith(f"{setting} must be {wanted}")


def test_long_value_is_shortened_in_message() -> None:
    """The error does not list thousands of planets."""
    with pytest.raises(ValueError, match=r"^Simulator\.star_systems must be ") as caught:
        Simulator(star_systems={str(number): "p" for number in range(10_000)})
    assert len(str(caught.value)) < 400


def test_names_may_be_any_collection() -> None:
    """Tuples, sets and iterators of strings are accepted like lists; optional settings may be None."""
    sim = Simulator(
        star_systems={"a": ("p", "q"), "b": {"r"}, "c": []}, forbidden=iter(["x", "x"]), seed=-1, clock=ManualClock()
    )
    assert sim.forbidden == {"x"}
    assert Simulator(forbidden=()).forbidden == set()
    assert ApiBehavior(mechanisms=None, planet_classes=["dev"], fractional_seconds=True).mechanisms is None
    assert Workload(failure_messages=[""]).failure_messages == [""]


def test_fault_list_accepts_only_faults() -> None:
    """Later changes of the list are checked, too; a refused change leaves the list as it was."""
    one = Fault(Drop())
    rules = FaultRules([one], rng=random.Random(1))
    wrong: Any = "drop"
    for change in (
        lambda: rules.append(wrong),
        lambda: rules.__setitem__(0, wrong),
        lambda: rules.__setitem__(slice(0, 1), [wrong]),
    ):
        with pytest.raises(ValueError, match=r"^Simulator\.faults must be a list of Faults, not \['drop'\]"):
            change()
    assert list(rules) == [one]
