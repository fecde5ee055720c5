"""Settings and fixtures for all tests: Hypothesis profiles, a fake clock, and a mocked network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
import pytest
from aioresponses import aioresponses
from hypothesis import HealthCheck, settings

from tests.fake_clock import FakeClock

# Examples are the same in every run, and no time limit applies to them: a busy machine must not fail a test.
settings.register_profile(
    "suite", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# For new examples in each run: python -m pytest --hypothesis-profile=explore
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False)
settings.load_profile("suite")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still until the test advances it."""
    return FakeClock()


class _Response(aiohttp.ClientResponse):
    """A response with the argument `stream_writer`, which aiohttp 3.14 requires and aioresponses 0.7.9 leaves out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except TypeError:
            super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def network() -> Iterator[aioresponses]:
    """Mock aiohttp: requests without a registered response are refused."""
    with patch("aioresponses.core.ClientResponse", _Response), aioresponses() as mock:
        yield mock
