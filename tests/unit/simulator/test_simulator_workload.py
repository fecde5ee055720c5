"""Models of durations and the settings of the simulated world."""

from __future__ import annotations

import random

import pytest

from asyncbackups.simulator import Bimodal, Fixed, Lognormal, PlanetProfile, Workload


def test_lognormal_without_spread_is_its_median() -> None:
    """With sigma 0 every duration is the median."""
    assert Lognormal(90, 0)(random.Random(1)) == 90


def test_bimodal_is_one_of_two() -> None:
    """A bimodal duration is a quick or a slow one, in the share asked for."""
    model, rng = Bimodal(Fixed(1), Fixed(10), quick_share=0.25), random.Random(1)
    drawn = [model(rng) for _ in range(1000)]
    assert set(drawn) == {1, 10}
    assert drawn.count(1) == pytest.approx(250, abs=50)


def test_the_mechanism_chooses_the_model() -> None:
    """A planet's mechanism comes before its duration, and its duration before the workload's."""
    a, b, c, d = Fixed(1), Fixed(2), Fixed(3), Fixed(4)
    workload = Workload(
        duration=a,
        by_mechanism={"snapshot": b},
        planets={
            "mars": PlanetProfile(duration=c, by_mechanism={"snapshot": d}),
            "venus": PlanetProfile(failure_share=1),
        },
    )
    chosen = {
        (planet, mechanism): workload.duration_for("x", planet, mechanism)
        for planet in ("mars", "venus", "earth")
        for mechanism in ("logical", "snapshot")
    }
    assert chosen == {
        ("mars", "logical"): c,
        ("mars", "snapshot"): d,
        ("venus", "logical"): a,
        ("venus", "snapshot"): b,
        ("earth", "logical"): a,
        ("earth", "snapshot"): b,
    }


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lognormal(0), r"Lognormal\.median must be a number greater than 0, not 0"),
        (lambda: Lognormal(1, -1), r"Lognormal\.sigma must be a number of 0 or more, not -1"),
        (lambda: Lognormal("5"), r"Lognormal\.median must be a number greater than 0, not '5'"),
        (lambda: Bimodal(quick_share=1.5), r"Bimodal\.quick_share must be a number from 0 to 1, not 1\.5"),
        (lambda: Workload(history=1.5), r"Workload\.history must be a whole number of 0 or more, not 1\.5"),
        (lambda: Workload(duration=5), r"Workload\.duration must be a callable .* not 5"),
        (lambda: PlanetProfile(duration=5), r"PlanetProfile\.duration must be a callable .* not 5"),
        (lambda: Fixed(float("nan")), r"Fixed\.seconds must be a number of 0 or more, not nan"),
    ],
)
def test_settings_that_cannot_be(build: object, message: str) -> None:
    """A setting that cannot be names the class, the setting, the value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        build()
