"""The notation of outcomes, for expectations and for observations."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

OR = " or "
"""Separates outcomes that are all allowed because the result depends on timing."""


def format_counts(**counts: int) -> str:
    """Format several outcomes with their counts: "2 BackupGone, 1 ConnectError"."""
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def summarize_outcomes(outcomes: Iterable[str]) -> str:
    """Return the outcome if all are equal; otherwise the counts of those that are not "ok"."""
    counts: Mapping[str, int] = collections.Counter(outcomes)
    if len(counts) == 1:
        return next(iter(counts))
    return format_counts(**{outcome: count for outcome, count in counts.items() if outcome != "ok"})
