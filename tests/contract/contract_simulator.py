"""The simulator against the documented contract: requests that schemathesis generates from `docs/openapi.yaml`.

Not part of the default test run, hence the file's name; run it by its path::

    pytest tests/contract/contract_simulator.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from asyncbackups.simulator import ApiBehavior, Lognormal, SimulatorProcess, Workload

HISTORY = 2000
STAR_SYSTEM = "test"

schema = schemathesis.openapi.from_path(str(Path(__file__).parents[2] / "docs" / "openapi.yaml"))
bounded = settings(max_examples=100, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    # As permissive as the documentation: required members, mechanisms and limits are not documented.
    behavior = ApiBehavior(
        required_members=(), mechanisms=None, max_retention_days=None, temporary_needs_retention=False
    )
    workload = Workload(duration=Lognormal(1.0, 1.0), failure_share=0.3, history=HISTORY)
    with SimulatorProcess(behavior=behavior, workload=workload) as process:
        yield process


def credentials(sim: SimulatorProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {sim.token}"}


@schema.parametrize()
@bounded
def test_any_request(case: schemathesis.Case, sim: SimulatorProcess) -> None:
    """Any request, valid or not and of any tenant, gets a documented response."""
    case.call_and_validate(base_url=sim.base_url, headers=credentials(sim))


@schema.parametrize()
@bounded
def test_requests_that_reach_backups(case: schemathesis.Case, sim: SimulatorProcess) -> None:
    """Requests of the right tenant for existing backups get a documented response."""
    parameters = case.path_parameters
    if "tenantId" in parameters:
        parameters |= {"tenantId": sim.tenant, "projectId": STAR_SYSTEM}
    if "backupId" in parameters:
        parameters["backupId"] = 1 + crc32(str(parameters["backupId"]).encode()) % HISTORY
    # The documentation gives types but no bounds: a retention of 0 days matches the type, and is still refused.
    case.call_and_validate(base_url=sim.base_url, headers=credentials(sim), excluded_checks=[positive_data_acceptance])
