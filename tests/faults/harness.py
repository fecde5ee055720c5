"""The stage of one cell: a simulator on loopback, a client before it, and what strikes in between."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import trustme

from asyncbackups import (
    BackupClient,
    BackupRef,
    BackupSpec,
    ClientCredentials,
    CreatePolicy,
    PollingPolicy,
    RetryPolicy,
)
from asyncbackups.policies import Timeouts
from asyncbackups.simulator import Access, ApiShape, Fault, Gate, Lognormal, Order, PlanetProfile, Simulator, Workload
from tests.faults.fast_clock import FastClock
from tests.raw_server import RawServer, http_response, respond_with

ACCESS = Access(
    token="fixed/token+with=odd~characters",
    client_id="a-client",
    client_secret="the/client+secret&with=odd characters",
    token_life=3600.0,
)
SPEC = BackupSpec(retention_period_in_days=3)
STAR_SYSTEM = "solar"
FAILING = "pluto"
"""The planet whose backups fail."""
DEADLINE = 120.0
_RETRY = RetryPolicy(initial=2.0, maximum=30.0)
_CREATING = CreatePolicy(settle=60.0, patience=240.0)
FAULTED = ("create", "get", "list", "list_planet", "delete")


class MeanJitter(random.Random):
    """Jitter that is always the middle."""

    def random(self) -> float:
        return 0.5


@attrs.frozen(kw_only=True)
class FaultCase:
    """One row of the matrix: what goes wrong.

    Attributes:
        name: As it is printed.
        fault: Builds the faults of the simulator, given the stage; they are armed when the operation begins.
        strike: Done once, when the first request of the operation has come; the request is held until it is done.
        after: Whether that request has had its effect when `strike` is done.
        before: Done before the operation begins.
        shape: Of the simulator.
        token_life: Of tokens, in seconds.
        warm: Whether the client has a token when the operation begins.
        tls: Whether the simulator speaks TLS with a certificate that nobody vouches for.
        retry: The client's policy.
        creating: The client's policy.
        deadline: Of waits, in seconds.
        lies: Whether the service itself says what is not true.
        expected: Outcomes by operation; `otherwise` for those not named.
        otherwise: The usual outcome.
    """

    name: str
    faults: Callable[[Harness], list[Fault]] = lambda _: []
    disrupt: Callable[[Harness], Awaitable[None]] | None = None
    disrupt_after_effect: bool = False
    prepare: Callable[[Harness], Awaitable[None]] | None = None
    shape: ApiShape = attrs.field(factory=ApiShape)
    token_life: float = 3600.0
    has_token: bool = True
    untrusted_tls: bool = False
    retry: RetryPolicy = _RETRY
    creating: CreatePolicy = _CREATING
    deadline: float = DEADLINE
    server_lies: bool = False
    expected: dict[str, str] = attrs.field(factory=dict)
    default_outcome: str = "ok"


@attrs.define(eq=False, kw_only=True)
class Harness:
    """Attributes: what a cell works with."""

    case: FaultCase
    clock: FastClock
    sim: Simulator
    client: BackupClient
    trap: RawServer
    trusting_context: ssl.SSLContext | None = None
    disruption: asyncio.Task[None] | None = None
    creates_before: Counter[tuple[str, str]] = attrs.field(factory=Counter)

    def __repr__(self) -> str:
        return f"<Stage: {self.case.name}>"

    @property
    def creates(self) -> Counter[tuple[str, str]]:
        """Creates that took effect since the operation began."""
        return self.sim.creates - self.creates_before

    @property
    def secrets(self) -> set[str]:
        """Everything that must not be shown."""
        return {ACCESS.token, ACCESS.client_secret, *self.sim.tokens._grants}

    def create_backup(self, planet: str, *, star_system: str = STAR_SYSTEM) -> BackupRef:
        """Begin a backup behind the client's back."""
        order = Order(type="temporary", temporary=True, retention_days=3)
        return BackupRef(star_system, self.sim.world.create(star_system, planet, order).id)

    async def arm_faults(self) -> None:
        """Let the trouble begin."""
        if self.case.has_token:
            await self.client.health()
        self.creates_before = self.sim.creates.copy()
        self.sim.faults.extend(self.case.faults(self))
        if self.case.disrupt is not None:
            gate = Gate()
            where = {"gate_after": gate} if self.case.disrupt_after_effect else {"gate": gate}
            # Last: with an action before it, the answer is what the action says, at the time that the gate says.
            self.sim.faults.append(Fault(**where))
            self.disruption = asyncio.create_task(self._disrupt(gate, self.case.disrupt))
        if self.case.prepare is not None:
            await self.case.prepare(self)

    async def _disrupt(self, gate: Gate, strike: Callable[[Harness], Awaitable[None]]) -> None:
        await gate.arrived()
        try:
            await strike(self)
        finally:
            gate.open()

    async def clear_faults(self) -> None:
        """End the trouble."""
        if self.disruption is not None:
            self.disruption.cancel()
            await asyncio.wait({self.disruption})
        self.sim.faults.clear()
        with contextlib.suppress(RuntimeError):  # it is serving already
            await self.sim.start()

    def restart_later(self, seconds: float) -> asyncio.Task[None]:
        """Bring the service up again in a while."""

        async def up() -> None:
            await self.clock.sleep(seconds)
            await self.sim.start()

        return asyncio.create_task(up())

    async def outage(self, seconds: float) -> None:
        """Take the service down, and up again."""
        await self.sim.stop()
        await self.clock.sleep(seconds)
        await self.sim.start()


def new_client(stage: Harness, **changes: Any) -> BackupClient:
    """Make one more client of the same service, as a process that is started anew does."""
    return _build_client(stage.sim, stage.clock, stage.case, **{"ssl": stage.trusting_context, **changes})


def _build_client(sim: Simulator, clock: FastClock, trouble: FaultCase, **changes: Any) -> BackupClient:
    auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
    settings: dict[str, Any] = {
        "auth": auth,
        "retry": trouble.retry,
        "polling": PollingPolicy(),
        "creating": trouble.creating,
        "timeouts": Timeouts(total=30.0),
        "max_answer_bytes": 128 * 1024,
        "clock": clock,
        "random": MeanJitter(),
    }
    return BackupClient(sim.base_url, sim.tenant, **{**settings, **changes})


def _tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context that nobody knows, and that of a client which does."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


@contextlib.asynccontextmanager
async def open_harness(trouble: FaultCase) -> AsyncIterator[Harness]:
    """Build the stage of one cell, and take it down again."""
    clock = FastClock()
    unknown, trusting = _tls_contexts() if trouble.untrusted_tls else (None, None)
    sim = Simulator(
        clock=clock,
        seed=7,
        workload=Workload(duration=Lognormal(20.0, 0.2), planets={FAILING: PlanetProfile(failure_share=1.0)}),
        shape=trouble.shape,
        access=attrs.evolve(ACCESS, token_life=trouble.token_life),
        ssl_context=unknown,
    )
    async with RawServer(respond_with(http_response())) as trap, sim:
        client = _build_client(sim, clock, trouble)
        stage = Harness(case=trouble, clock=clock, sim=sim, client=client, trap=trap, trusting_context=trusting)
        try:
            yield stage
        finally:
            await stage.clear_faults()
