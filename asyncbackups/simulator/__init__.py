"""The Database API as a program: what it does over real HTTP, how long its backups take, and how it fails.

It is an oracle for tests and a stage for demonstrations, and shares no code with the client.
"""

from asyncbackups.simulator.access import Access
from asyncbackups.simulator.clock import Clock, ManualClock, SystemClock
from asyncbackups.simulator.counts import Counts
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
from asyncbackups.simulator.process import SimulatorProcess, SimulatorSettings, run, serve
from asyncbackups.simulator.routing import Kind
from asyncbackups.simulator.server import Simulator
from asyncbackups.simulator.shape import ApiShape, CreateAnswer, Echo, ErrorBody, Paging, StatusWords
from asyncbackups.simulator.workload import Bimodal, Fixed, Lognormal, PlanetProfile, Workload
from asyncbackups.simulator.world import Order, Phase, SimulatedBackup, World

__all__ = [
    "Access",
    "ApiShape",
    "Bimodal",
    "Clock",
    "Counts",
    "CreateAnswer",
    "Drop",
    "Echo",
    "Endless",
    "ErrorBody",
    "Fault",
    "FaultRules",
    "Fixed",
    "Gate",
    "GzipBomb",
    "Html",
    "Kind",
    "Lognormal",
    "Malformed",
    "ManualClock",
    "Order",
    "Oversized",
    "Paging",
    "Phase",
    "PlanetProfile",
    "Redirect",
    "Respond",
    "SimulatedBackup",
    "Simulator",
    "SimulatorProcess",
    "SimulatorSettings",
    "Slow",
    "StatusWords",
    "SystemClock",
    "Truncate",
    "When",
    "Workload",
    "World",
    "run",
    "serve",
]
