"""Duration models, the workload, and the outcomes drawn from it."""

from __future__ import annotations

import random

import pytest

from asyncbackups.simulator import Bimodal, Fixed, Lognormal, PlanetProfile, Workload


def test_lognormal_without_spread_returns_median() -> None:
    """With sigma 0 every duration is the median."""
    assert Lognormal(90, 0)(random.Random(1)) == 90


def test_bimodal_draws_from_two_models() -> None:
    """The share of quick durations is as requested."""
    model, rng = Bimodal(Fixed(1), Fixed(10), quick_share=0.25), random.Random(1)
    drawn = [model(rng) for _ in range(1000)]
    assert set(drawn) == {1, 10}
    assert drawn.count(1) == pytest.approx(250, abs=50)


def test_duration_model_of_planet_and_mechanism() -> None:
    """A planet's mechanism takes precedence over its duration, and its duration over the workload's."""
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
def test_invalid_setting_is_refused(build: object, message: str) -> None:
    """The error names the class, the setting, what is accepted and the value."""
    with pytest.raises(ValueError, match=message):
        build()
