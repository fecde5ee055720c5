"""How outcomes are written, in the table of expectations and in what was observed."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

OR = " or "
"""Between outcomes of which either may come: it depends on who was faster."""


def format_counts(**numbers: int) -> str:
    """Write several outcomes with their numbers."""
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(numbers.items()))


def summarize_outcomes(outcomes: Iterable[str]) -> str:
    """Say several outcomes in one word, or with their numbers where they differ: "ok" is what is not named."""
    counted: Mapping[str, int] = collections.Counter(outcomes)
    if len(counted) == 1:
        return next(iter(counted))
    return format_counts(**{outcome: number for outcome, number in counted.items() if outcome != "ok"})
