"""Fixtures of the bulk layer's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fake_clock import FakeClock
from tests.unit.bulk.stage import Stage
from tests.unit.service import Service


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    service = Service(clock)
    engine = service.engine()
    yield Stage(clock, service, engine)
    await engine.close()
