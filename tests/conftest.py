"""Fixtures for all tests: a clock to move by hand, and a mocked network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
import pytest
from aioresponses import aioresponses

from tests.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still until the test moves it."""
    return FakeClock()


class _Response(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know what aiohttp 3.14 wants to be given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except TypeError:
            super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def network() -> Iterator[aioresponses]:
    """Mock aiohttp: what was not arranged is refused."""
    with patch("aioresponses.core.ClientResponse", _Response), aioresponses() as mock:
        yield mock
