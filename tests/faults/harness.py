"""The environment of one matrix cell: a simulator on loopback, a client, and the faults between them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
from asyncbackups.simulator import (
    Access,
    ApiBehavior,
    CreateBody,
    Fault,
    Gate,
    Lognormal,
    PlanetProfile,
    Simulator,
    Workload,
)
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
    """A source of randomness that always returns the mean."""

    def random(self) -> float:
        return 0.5


@attrs.frozen(kw_only=True)
class FaultCase:
    """One row of the matrix: a fault, and the expected outcome of each operation.

    Attributes:
        name: The name in the table.
        faults: Builds the simulator's faults; they are armed when the operation starts.
        disrupt: Called once, when the first request of the operation arrives; that request is held until it returns.
        disrupt_after_effect: Whether that request takes effect before `disrupt` is called.
        prepare: Called just before the operation starts.
        has_old_backups: Whether each planet has an older backup when a create starts.
        behavior: The API behavior of the simulator.
        token_life: The lifetime of tokens, in seconds.
        has_token: Whether the client has a token when the operation starts.
        untrusted_tls: Whether the simulator uses TLS with a certificate that the client does not trust.
        retry: The client's retry policy.
        creating: The client's create policy.
        deadline: The deadline of waits, in seconds.
        server_lies: Whether the service itself gives false information.
        expected: The expected outcome by operation.
        default_outcome: The expected outcome of the other operations.
    """

    name: str
    faults: Callable[[Harness], list[Fault]] = lambda _: []
    disrupt: Callable[[Harness], Awaitable[None]] | None = None
    disrupt_after_effect: bool = False
    prepare: Callable[[Harness], Awaitable[None]] | None = None
    has_old_backups: bool = True
    behavior: ApiBehavior = attrs.field(factory=ApiBehavior)
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
    """The objects that a cell works with.

    Attributes:
        case: The row of the matrix.
        clock: The client's clock.
        server_clock: The simulator's clock: the same monotonic time, another time of day.
        sim: The simulator.
        client: The client under test.
        trap: The server that redirects lead to; it must receive no request.
        trusting_context: A TLS context that trusts the simulator's certificate, if it uses TLS.
        disruption: The task that runs the case's `disrupt`.
        creates_before: The creates that took effect before the operation started.
        tokens: All tokens issued so far.
    """

    case: FaultCase
    clock: FastClock
    server_clock: FastClock
    sim: Simulator
    client: BackupClient
    trap: RawServer
    trusting_context: ssl.SSLContext | None = None
    disruption: asyncio.Task[None] | None = None
    creates_before: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    tokens: set[str] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        issue = self.sim.tokens.issue_token

        def record(form: Mapping[str, str]) -> dict[str, Any]:
            response = issue(form)
            self.tokens.add(response["access_token"])
            return response

        self.sim.tokens.issue_token = record  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"<Harness: {self.case.name}>"

    @property
    def creates(self) -> Counter[tuple[str, str]]:
        """The creates that took effect since the operation started."""
        return self.sim.creates - self.creates_before

    @property
    def secrets(self) -> set[str]:
        """All secrets, which no text may contain."""
        return {ACCESS.token, ACCESS.client_secret, *self.tokens}

    def create_backup(self, planet: str, *, star_system: str = STAR_SYSTEM) -> BackupRef:
        """Create a backup without the client."""
        order = CreateBody(type="temporary", temporary=True, retention_days=3)
        return BackupRef(star_system, self.sim.state.create(star_system, planet, order).id)

    async def arm_faults(self) -> None:
        """Start recording creates, and let the faults of the case take effect."""
        if self.case.has_token:
            await self.client.health()
        self.creates_before = self.sim.creates.copy()
        self.sim.faults.extend(self.case.faults(self))
        if self.case.disrupt is not None:
            gate = Gate()
            after_effect = self.case.disrupt_after_effect
            # Appended last: an earlier fault still decides the response, and the gate decides when it is sent.
            self.sim.faults.append(Fault(gate_after=gate) if after_effect else Fault(gate=gate))
            self.disruption = asyncio.create_task(self._disrupt(gate, self.case.disrupt))
        if self.case.prepare is not None:
            await self.case.prepare(self)

    async def _disrupt(self, gate: Gate, disrupt: Callable[[Harness], Awaitable[None]]) -> None:
        await gate.arrived()
        try:
            await disrupt(self)
        finally:
            gate.open()

    async def clear_faults(self) -> None:
        """Remove all faults, and start the service if it is stopped."""
        if self.disruption is not None:
            self.disruption.cancel()
            await asyncio.wait({self.disruption})
        self.sim.faults.clear()
        with contextlib.suppress(RuntimeError):  # it is already serving
            await self.sim.start()

    def restart_later(self, seconds: float) -> asyncio.Task[None]:
        """Start the service after the given number of seconds."""

        async def restart() -> None:
            await self.clock.sleep(seconds)
            await self.sim.start()

        return asyncio.create_task(restart())

    async def outage(self, seconds: float) -> None:
        """Stop the service for the given number of seconds."""
        await self.sim.stop()
        await self.clock.sleep(seconds)
        await self.sim.start()


def new_client(harness: Harness, **changes: Any) -> BackupClient:
    """Build another client of the same service, as a new process would."""
    return _build_client(harness.sim, harness.clock, harness.case, **{"ssl": harness.trusting_context, **changes})


def _build_client(sim: Simulator, clock: FastClock, case: FaultCase, **changes: Any) -> BackupClient:
    auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
    settings: dict[str, Any] = {
        "auth": auth,
        "retry": case.retry,
        "polling": PollingPolicy(),
        "creating": case.creating,
        "timeouts": Timeouts(total=30.0),
        "max_answer_bytes": 128 * 1024,
        "clock": clock,
        "random": MeanJitter(),
    }
    return BackupClient(sim.base_url, sim.tenant, **{**settings, **changes})


def _tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the context of a server with an unknown authority, and a client context that trusts it."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


@contextlib.asynccontextmanager
async def open_harness(case: FaultCase) -> AsyncIterator[Harness]:
    """Build the environment of one cell, and close it afterwards."""
    clock = FastClock()
    server_clock = clock.with_own_date()
    server_context, trusting = _tls_contexts() if case.untrusted_tls else (None, None)
    sim = Simulator(
        clock=server_clock,
        seed=7,
        workload=Workload(duration=Lognormal(20.0, 0.2), planets={FAILING: PlanetProfile(failure_share=1.0)}),
        behavior=case.behavior,
        access=attrs.evolve(ACCESS, token_life=case.token_life),
        ssl_context=server_context,
    )
    async with RawServer(respond_with(http_response())) as trap, sim:
        client = _build_client(sim, clock, case)
        harness = Harness(
            case=case,
            clock=clock,
            server_clock=server_clock,
            sim=sim,
            client=client,
            trap=trap,
            trusting_context=trusting,
        )
        try:
            yield harness
        finally:
            await harness.clear_faults()
