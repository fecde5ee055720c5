"""Finds the few variables that a failure needs."""

import attrs

from .invariants import Verdict, check_invariants
from .universe import PLAN_NAMES, run_universe
from .variables import describe, draw


@attrs.frozen
class Shrunk:
    """A failure with all variables disabled that it does not need."""

    failed: bool
    disabled: frozenset[str]
    text: str


def shrink(seed: int, disabled: frozenset[str] = frozenset(), kind: str = "") -> Shrunk:
    """Switch off one variable after the other as long as the same violation remains."""
    verdict = _verdict(seed, disabled)
    kinds = [violation.kind for violation in verdict.violations]
    if not kinds or (kind and kind not in kinds):
        return Shrunk(False, disabled, f"seed {seed}: no such violation\n")
    kind = kind or kinds[0]
    again = True
    while again:
        again = False
        for name in (*describe(draw(seed, disabled=disabled - set(PLAN_NAMES))), *PLAN_NAMES):
            if name not in disabled and _has(kind, _verdict(seed, disabled | {name})):
                disabled |= {name}
                again = True
    left = describe(draw(seed, disabled=disabled - set(PLAN_NAMES)))
    text = next(violation.text for violation in _verdict(seed, disabled).violations if violation.kind == kind)
    return Shrunk(
        True,
        disabled,
        f"seed {seed}: {kind}: {text}\n  needs {left}, plan: {[name for name in PLAN_NAMES if name not in disabled]}\n"
        f"  --show {seed} --disable {','.join(sorted(disabled))}\n",
    )


def _verdict(seed: int, disabled: frozenset[str]) -> Verdict:
    return check_invariants(run_universe(seed, disabled=disabled))


def _has(kind: str, verdict: Verdict) -> bool:
    return any(violation.kind == kind for violation in verdict.violations)
