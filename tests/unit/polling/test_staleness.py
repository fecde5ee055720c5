"""Whether a list is far behind."""

from __future__ import annotations

import math

from asyncbackups._polling.staleness import ended
from tests.unit.polling.worlds import sighting


def test_an_end_is_known_from_age_and_duration() -> None:
    """By the server's clock; an end that is still to come is taken for now, and without both it is not known."""
    assert ended(sighting(1, "succeeded", age=100.0, duration=60.0), 1000.0) == 960.0
    assert ended(sighting(1, "succeeded", age=100.0, duration=1e9), 1000.0) == 1000.0
    assert ended(sighting(1, "succeeded", age=100.0), 1000.0) == -math.inf
    assert ended(sighting(1, "succeeded", duration=60.0), 1000.0) == -math.inf
