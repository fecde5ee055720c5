"""The server's clock, from the `Date` headers of its responses.

`startedAt` is the server's time; its clock and ours may differ by hours. A `Date` header of whole second D, on a
response to a request sent at a and received at b, says that the server's clock showed some time in [D, D + 1) between
a and b, so that (server - ours) lies in [D - b, D + 1 - a]. Intersecting such intervals finds the offset far more
precisely than a second. Source: the idea of Marzullo's algorithm (K. Marzullo, 1984), with one source.
"""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

_RESOLUTION = 1.0  # seconds: RFC 9110 dates have no fractions
_FIRST_YEAR, _LAST_YEAR = 1971, 9000  # a clock that shows another year is broken, and would overflow date arithmetic


@attrs.define
class ServerClock:
    """Estimates the server's clock as an offset to our monotonic clock."""

    _lowest: float = float("-inf")
    _highest: float = float("inf")

    def record_date(self, date: datetime, *, sent: float, received: float) -> None:
        """Refine the offset by the `Date` header of a response; the other times are on our monotonic clock."""
        if not _FIRST_YEAR <= date.year <= _LAST_YEAR:
            return
        timestamp = date.timestamp()
        lowest, highest = timestamp - received, timestamp + _RESOLUTION - sent
        self._lowest, self._highest = max(self._lowest, lowest), min(self._highest, highest)
        if self._lowest > self._highest:  # one of the two clocks was set: start again
            self._lowest, self._highest = lowest, highest

    def time_at(self, monotonic: float, *, otherwise: datetime) -> datetime:
        """Return the server's time (UTC) at a time of our monotonic clock; `otherwise` until it is known."""
        if self._lowest == float("-inf"):
            return otherwise
        return datetime.fromtimestamp(monotonic + (self._lowest + self._highest) / 2, UTC)
