"""Whole runs in simulated universes: some hundreds of seeds, and the seeds that found something.

`python -m tests.universe --seeds 0-99999` runs more; `--show SEED` shows the story of one, and `--shrink SEED` finds
the variables that a failure needs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncbackups._api import reconcile

from . import invariants, shrink, universe
from .invariants import check_invariants
from .story import format_history
from .trial import run_trials
from .universe import run_universe
from .variables import CATALOG, describe, draw

ROOT = Path(__file__).parents[2]
CHUNK = 25

# The seeds that failed once, and what each taught. Variables that a failure does not need are disabled.
LESSONS = {
    72: "a planet's list that shows the whole star system: a stranger's backup of another planet was adopted by time",
    324: "a list in {'_embedded': {'backups': [...]}} was not read, so that a lost create stayed unresolved",
    330: "GETs lag behind the list from which a backup was adopted: it was reported as gone after five seconds",
    368: "a list in {'data': {'items': [...]}}",
    422: "a list in [{'backups': [...]}]",
    847: "a job's id whose GET was answered with HTML was taken for a backup",
    1147: "an ingress whose service restarts answers 404 with a page for some seconds: all backups were gone",
    1188: "a job's id whose GET got no response during an outage was taken for a backup",
    1240: "an id that was used already, whose GET got 403 for a moment, was taken for a new backup",
    1796: "a planet's list that is refused, so no baseline: an earlier backup of the planet was taken for a new one",
    2449: "the same, because the list could not be read",
    3241: "two creates that were answered with one id at the same moment both had it",
    3857: "the baseline of the process that was killed counts, not that of the resumed one (the check was wrong)",
    4538: "an id that came again after a restore is watched twice: the wait for the new backup ended with the old one",
    10016: "an id-only response with another planet's earlier backup, and a baseline of this planet only",
    11138: "the planet's list lags more than the star system's: absence was concluded from the slower one",
    16526: "an object without marker and environment, of a create in another star system, was taken as the response",
    16895: "after a restore the id of a watched backup came again for another planet: both succeeded",
    43381: "no list could be read: an earlier backup of the planet, with other texts, was taken as the response",
    13278: "a refused create whose effect a stranger deleted meanwhile is refused (the check was wrong)",
}

# Open faults; docs/guarantees.md names them under "What cannot be guaranteed".
OPEN = {
    25572: "after a resume, a backup whose id another backup of the run had before is reported as gone",
    28678: "a stranger's backup of the same planet, with the id of the deleted one, is reported as succeeded",
}


@pytest.mark.parametrize("first", range(0, 300, CHUNK))
def test_seeds_break_no_promise(first: int) -> None:
    """No seed ends with a violation."""
    trial = run_trials(range(first, first + CHUNK))
    assert trial.failures == {}


@pytest.mark.parametrize("seed", LESSONS, ids=str)
def test_seed_that_failed_once(seed: int) -> None:
    """A seed that found a fault does not find it again."""
    assert check_invariants(run_universe(seed)).violations == []


@pytest.mark.xfail(strict=True, reason="the service gives the id of a deleted backup to another one")
@pytest.mark.parametrize("seed", OPEN, ids=str)
def test_reused_id_of_a_deleted_backup_misleads_no_watcher(seed: int) -> None:
    """Strict: when the fault is mended, the seed moves to `LESSONS`."""
    assert check_invariants(run_universe(seed)).violations == []


def test_seed_prints_the_same_story_in_every_process() -> None:
    """A seed reproduces exactly, whatever the order of sets."""
    seed = next(seed for seed in range(1000) if len(describe(draw(seed))) > 8 and draw(seed).kill_moments)
    code = f"from tests.universe.story import format_history; print(format_history({seed}), end='')"
    stories = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert stories == {format_history(seed)}


def test_disabled_variables_keep_their_defaults() -> None:
    """With everything disabled, all backups succeed, and few requests are sent."""
    ended = run_universe(5, disabled=frozenset(CATALOG) | set(universe.PLAN_NAMES))
    assert check_invariants(ended).violations == []
    assert {work.outcomes[0].kind for work in ended.work.values()} == {"succeeded"}
    assert len(ended.exchanges) < 20 * len(ended.work)


def test_faults_of_the_client_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes every mismatch for absence sends again what a list shows."""

    def decide(self: object, view: object, *, settled: bool) -> object:
        return reconcile.Absent()

    monkeypatch.setattr(reconcile.Reconciliation, "decide", decide)
    failures = run_trials(range(60)).failures
    assert "resent-though-visible" in failures


def test_unreported_duplicates_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the flag of a possible duplicate, the same is silent."""

    def decide(self: object, view: object, *, settled: bool) -> object:
        return reconcile.Absent()

    monkeypatch.setattr(reconcile.Reconciliation, "decide", decide)
    creation = universe.Creation
    monkeypatch.setattr(
        "asyncbackups._api.create.Creation",
        lambda **members: creation(**{**members, "possible_duplicate": False}),
    )
    assert "silent-duplicate" in run_trials(range(60)).failures


def test_failure_is_shrunk_to_the_variables_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrinking leaves the one variable by which a violation occurs."""

    def violate(ended: universe.Universe) -> invariants.Verdict:
        found = [invariants.Violation("test", "")] if ended.variables.post_response_lost else []
        return invariants.Verdict(found)

    monkeypatch.setattr(shrink, "check_invariants", violate)
    seed = next(seed for seed in range(100) if draw(seed).post_response_lost and len(describe(draw(seed))) > 3)
    found = shrink.shrink(seed)
    assert found.failed
    assert list(describe(draw(seed, disabled=found.disabled - set(universe.PLAN_NAMES)))) == ["post_response_lost"]


def test_killed_process_sends_nothing_more() -> None:
    """After a kill, no request of the process arrives, and none of its events counts."""
    seed = next(seed for seed in range(1000) if len(draw(seed).kill_moments) > 1)
    ended = run_universe(seed)
    moments = {text.split()[0]: time for time, text in ended.history if text.endswith("is killed")}
    assert moments
    for exchange in ended.exchanges:
        assert exchange.started <= moments.get(exchange.origin.partition("#")[0], 1e9)
