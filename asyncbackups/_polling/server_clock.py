"""What time it is at the server, from the `Date` headers of its answers.

`startedAt` is the server's clock; ours may disagree with it by hours. A header of whole second D on an answer that was
asked for at a and came at b says that the server's clock showed some time in [D, D + 1) between a and b, so that
(server - ours) lies in [D - b, D + 1 - a]. Intersecting such intervals finds the offset far more finely than a second.
Source: the idea of Marzullo's algorithm (K. Marzullo, 1984), with one source.
"""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

_RESOLUTION = 1.0  # seconds: RFC 9110 dates have no fractions
_FIRST_YEAR, _LAST_YEAR = 1971, 9000  # a clock that shows another one is no clock, and would break date arithmetic


@attrs.define
class ServerClock:
    """Learns the server's clock as an offset to our monotonic one."""

    _lowest: float = float("-inf")
    _highest: float = float("inf")

    def observe(self, date: datetime, *, asked: float, came: float) -> None:
        """Learn from one answer.

        Args:
            date: Its `Date` header (aware).
            asked: When the request left, on our monotonic clock, in seconds.
            came: When the answer was there, on the same clock.
        """
        if not _FIRST_YEAR <= date.year <= _LAST_YEAR:
            return
        stamp = date.timestamp()
        lowest, highest = stamp - came, stamp + _RESOLUTION - asked
        self._lowest, self._highest = max(self._lowest, lowest), min(self._highest, highest)
        if self._lowest > self._highest:  # one of the two clocks was set: begin anew
            self._lowest, self._highest = lowest, highest

    def at(self, monotonic: float, *, otherwise: datetime) -> datetime:
        """Return what the server's clock shows.

        Args:
            monotonic: The time on our monotonic clock.
            otherwise: The time of day here, for as long as the server's is not known.

        Returns:
            An aware time in UTC.
        """
        if self._lowest == float("-inf"):
            return otherwise
        return datetime.fromtimestamp(monotonic + (self._lowest + self._highest) / 2, UTC)
