"""Tests of the random variables."""

from functools import cache
from random import Random
from statistics import median

import attrs
import pytest

from .variables import _CONDITIONS, CATALOG, DEFAULTS, Variables, describe, draw, explain_impossible, explain_unclear


@cache
def draw_many() -> list[Variables]:
    """Return the universes of some seeds."""
    return [draw(seed) for seed in range(800)]


def test_draw_is_deterministic() -> None:
    assert all(draw(seed) == draw_many()[seed] for seed in range(50))


def test_seeds_differ() -> None:
    assert len({str(describe(drawn)) for drawn in draw_many()}) > 700


def test_disabled_variable_changes_no_other() -> None:
    for seed, drawn in enumerate(draw_many()[:40]):
        for name in describe(drawn):
            expected = {**attrs.asdict(drawn), name: CATALOG[name].default}
            assert attrs.asdict(draw(seed, disabled=frozenset({name}))) == expected


def test_all_variables_disabled_gives_the_defaults() -> None:
    assert draw(7, disabled=frozenset(CATALOG)) == DEFAULTS


def test_unknown_name_cannot_be_disabled() -> None:
    with pytest.raises(ValueError, match="no_such_name"):
        draw(1, disabled=frozenset({"no_such_name"}))


def test_defaults_have_no_deviation() -> None:
    assert describe(DEFAULTS) == {}
    assert explain_impossible(DEFAULTS) == {}
    assert explain_unclear(DEFAULTS) == {}


def test_two_to_five_deviations_are_typical() -> None:
    counts = [sum(not CATALOG[name].needs for name in describe(drawn)) for drawn in draw_many()]
    assert 2 <= median(counts) <= 5
    assert sum(2 <= count <= 5 for count in counts) > 320
    assert max(counts) > 8


def test_every_distribution_deviates_from_the_default() -> None:
    random = Random(1)
    for info in CATALOG.values():
        assert any(info.distribution.draw(random) != info.default for _ in range(50)), info.name


def test_most_variables_deviate_in_some_seed() -> None:
    seen = {name for drawn in draw_many() for name in describe(drawn)}
    assert len(seen) > 0.9 * len(CATALOG)


def test_most_universes_allow_every_promise() -> None:
    impossible = sum(bool(explain_impossible(drawn)) for drawn in draw_many())
    assert 0 < impossible < 160


def test_parameter_without_its_fault_is_not_described() -> None:
    assert describe(Variables(repeat_delay=5.0)) == {}
    assert set(describe(Variables(repeat_delay=5.0, post_repeated=1.0))) == {"repeat_delay", "post_repeated"}


def test_marked_variables_are_impossible() -> None:
    assert "post_repeated" in explain_impossible(Variables(post_repeated=0.3))
    assert "planet_list_omits" in explain_impossible(Variables(planet_list_omits="new"))
    assert "planet_list_lag" in explain_impossible(Variables(planet_list_lag=100.0, star_list_lag=100.0))
    assert explain_impossible(Variables(planet_list_lag=100.0)) == {}


def test_unknown_words_are_unclear() -> None:
    assert "succeeded_word" in explain_unclear(Variables(succeeded_word="COMPLETED"))
    assert explain_unclear(Variables(succeeded_word="SUCCEEDED")) == {}
    assert explain_unclear(Variables(failed_word="broken", failure_share=1.0)) == {}
    assert explain_unclear(Variables(failed_word="broken", failure_share=1.0, completed_at="missing"))


def test_every_variable_is_documented() -> None:
    for info in CATALOG.values():
        assert info.doc.endswith(".")
        assert "\n" not in info.doc
        assert info.group in {"service", "backups", "strangers", "client", "faults"}
        assert 0.0 < info.chance <= 1.0
        assert info.needs == "" or info.needs in CATALOG
        assert bool(info.needs) or info.name in _CONDITIONS or info.chance < 0.5
