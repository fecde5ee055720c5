"""The Database API as a local HTTP server, for tests and demonstrations; it shares no code with the client.

`Simulator` serves the documented operations, the token endpoint and health in your event loop; `SimulatorProcess`
serves them in a child process, `run` and `serve` until a signal arrives::

    workload = Workload(duration=Fixed(60), planets={"alpha/test": PlanetProfile(failure_share=1)})
    lost = Fault(Drop(when="after"), kind="create", planet="prod", count=1)
    async with Simulator(speed=600, workload=workload, faults=[lost]) as sim:
        async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
            await client.create("alpha", "prod", BackupSpec())
        assert sim.creates == {("alpha", "prod"): 1}

- `Workload`: durations (`Fixed`, `Lognormal`, `Bimodal` or any callable), failures and history, by mechanism and planet
  (`PlanetProfile`). They are reproducible for a `seed`, and durations are divided by `speed`.
- `ApiBehavior`: everything that the documentation leaves open. `Access`: the accepted credentials.
- `ManualClock`: a clock that a test moves instead of waiting.
- `Simulator.faults`: a list of `Fault` rules that may be changed at any time. Each matches requests by operation, star
  system, planet, number and probability; it delays them, holds them at a `Gate`, or applies an action (`Respond`,
  `Drop`, `Html`, ...) before or after the request takes effect. `stop()` and `start()` simulate an outage.

`Simulator.creates` counts the creates that took effect, `counts` the requests (`RequestCounts`) and
`faults.hits(fault)` the requests that a fault affected; `state` has the true phase and outcome of every backup.
`SimulatorProcess.counts()` and `.backups()` return the same across processes. Invalid settings raise a `ValueError`.
"""

from typing import Any

from asyncbackups.simulator.api import Access, OperationKind
from asyncbackups.simulator.api_behavior import ApiBehavior, CreateAnswer, ErrorBody, MetadataEcho, Paging, StatusWords
from asyncbackups.simulator.faults import (
    Drop,
    Endless,
    Fault,
    FaultRules,
    Gate,
    GzipBomb,
    Html,
    Malformed,
    Oversized,
    Redirect,
    Respond,
    Slow,
    Truncate,
    When,
)
from asyncbackups.simulator.outcome_model import Bimodal, Fixed, Lognormal, PlanetProfile, Workload
from asyncbackups.simulator.process import SimulatorProcess, SimulatorSettings, run, serve
from asyncbackups.simulator.server import ManualClock, RealTimeClock, RequestCounts, Simulator
from asyncbackups.simulator.settings import warn_renamed
from asyncbackups.simulator.state import CreateBody, Phase, SimulatedBackup, SimulationClock, SimulatorState

# fmt: off
__all__ = [
    "Access", "ApiBehavior", "Bimodal", "CreateAnswer", "CreateBody", "Drop", "Endless", "ErrorBody", "Fault",
    "FaultRules", "Fixed", "Gate", "GzipBomb", "Html", "Lognormal", "Malformed", "ManualClock", "MetadataEcho",
    "OperationKind", "Oversized", "Paging", "Phase", "PlanetProfile", "RealTimeClock", "Redirect", "RequestCounts",
    "Respond", "SimulatedBackup", "SimulationClock", "Simulator", "SimulatorProcess", "SimulatorSettings",
    "SimulatorState", "Slow", "StatusWords", "Truncate", "When", "Workload", "run", "serve",
]
# fmt: on

_RENAMED = {
    "ApiShape": "ApiBehavior",
    "Clock": "SimulationClock",
    "Counts": "RequestCounts",
    "Echo": "MetadataEcho",
    "Kind": "OperationKind",
    "Order": "CreateBody",
    "SystemClock": "RealTimeClock",
    "World": "SimulatorState",
}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_renamed(f"{__name__}.{name}", _RENAMED[name])
    return globals()[_RENAMED[name]]
