"""What the simulator was asked, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from asyncbackups.simulator.routing import Kind

__all__ = ["DROPPED", "Counts"]

DROPPED = 0
"""Counted in place of a status when the connection was dropped without an answer."""


class Counts:
    """Requests by kind and status, bytes of bodies, and the most requests that were open at once.

    Attributes:
        requests: How many requests there were, by kind and status; a dropped connection has status 0.
        bytes_sent: Bytes of answers' bodies by kind; headers are not counted.
        in_flight: Requests that are open now.
        peak: Most requests that were ever open at once.
    """

    __slots__ = ("bytes_sent", "in_flight", "peak", "requests")

    def __init__(self) -> None:
        self.requests: Counter[tuple[Kind, int]] = Counter()
        self.bytes_sent: Counter[Kind] = Counter()
        self.in_flight: int = 0
        self.peak: int = 0

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    def add(self, kind: Kind, status: int, size: int) -> None:
        """Count an answer.

        Args:
            kind: What was asked.
            status: The status sent, or `DROPPED`.
            size: Bytes of the body.
        """
        self.requests[kind, status] += 1
        self.bytes_sent[kind] += size

    def of(self, kind: Kind | str | None = None, status: int | None = None) -> int:
        """Add up the requests of a kind, of a status, of both, or all.

        Args:
            kind: Such as `"get"`; `None` for any.
            status: Such as 200; `None` for any.
        """
        wanted = None if kind is None else Kind(kind)
        return sum(
            number for (one, code), number in self.requests.items() if wanted in (None, one) and status in (None, code)
        )

    @property
    def total(self) -> int:
        """All requests, whatever they asked for."""
        return self.requests.total()

    def reset(self) -> None:
        """Forget what was counted; requests that are open stay counted as such."""
        self.requests.clear()
        self.bytes_sent.clear()
        self.peak = self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Tell everything in plain values, as the admin endpoint does."""
        by_kind: dict[str, dict[str, int]] = {}
        for (kind, status), number in sorted(self.requests.items()):
            by_kind.setdefault(kind.value, {})[str(status)] = number
        return {
            "total": self.total,
            "requests": by_kind,
            "bytes_sent": {kind.value: size for kind, size in self.bytes_sent.items()},
            "in_flight": self.in_flight,
            "peak": self.peak,
        }
