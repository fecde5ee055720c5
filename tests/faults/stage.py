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
from tests.faults.hurried_clock import HurriedClock
from tests.raw_server import RawServer, answer, saying

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


class Even(random.Random):
    """Jitter that is always the middle."""

    def random(self) -> float:
        return 0.5


@attrs.frozen(kw_only=True)
class Trouble:
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
    fault: Callable[[Stage], list[Fault]] = lambda _: []
    strike: Callable[[Stage], Awaitable[None]] | None = None
    after: bool = False
    before: Callable[[Stage], Awaitable[None]] | None = None
    shape: ApiBehavior = attrs.field(factory=ApiBehavior)
    token_life: float = 3600.0
    warm: bool = True
    tls: bool = False
    retry: RetryPolicy = _RETRY
    creating: CreatePolicy = _CREATING
    deadline: float = DEADLINE
    lies: bool = False
    expected: dict[str, str] = attrs.field(factory=dict)
    otherwise: str = "ok"


@attrs.define(eq=False, kw_only=True)
class Stage:
    """Attributes: what a cell works with."""

    trouble: Trouble
    clock: HurriedClock
    sim: Simulator
    client: BackupClient
    trap: RawServer
    trusted: ssl.SSLContext | None = None
    striking: asyncio.Task[None] | None = None
    before: Counter[tuple[str, str]] = attrs.field(factory=Counter)

    def __repr__(self) -> str:
        return f"<Stage: {self.trouble.name}>"

    @property
    def creates(self) -> Counter[tuple[str, str]]:
        """Creates that took effect since the operation began."""
        return self.sim.creates - self.before

    @property
    def secrets(self) -> set[str]:
        """Everything that must not be shown."""
        return {ACCESS.token, ACCESS.client_secret, *self.sim.tokens._grants}

    def backup_of(self, planet: str, *, star_system: str = STAR_SYSTEM) -> BackupRef:
        """Begin a backup behind the client's back."""
        order = CreateBody(type="temporary", temporary=True, retention_days=3)
        return BackupRef(star_system, self.sim.state.create(star_system, planet, order).id)

    async def begin(self) -> None:
        """Let the trouble begin."""
        if self.trouble.warm:
            await self.client.health()
        self.before = self.sim.creates.copy()
        self.sim.faults.extend(self.trouble.fault(self))
        if self.trouble.strike is not None:
            gate = Gate()
            where = {"gate_after": gate} if self.trouble.after else {"gate": gate}
            # Last: with an action before it, the answer is what the action says, at the time that the gate says.
            self.sim.faults.append(Fault(**where))
            self.striking = asyncio.create_task(self._strike(gate, self.trouble.strike))
        if self.trouble.before is not None:
            await self.trouble.before(self)

    async def _strike(self, gate: Gate, strike: Callable[[Stage], Awaitable[None]]) -> None:
        await gate.arrived()
        try:
            await strike(self)
        finally:
            gate.open()

    async def calm(self) -> None:
        """End the trouble."""
        if self.striking is not None:
            self.striking.cancel()
            await asyncio.wait({self.striking})
        self.sim.faults.clear()
        with contextlib.suppress(RuntimeError):  # it is serving already
            await self.sim.start()

    def later(self, seconds: float) -> asyncio.Task[None]:
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


def another_client(stage: Stage, **changes: Any) -> BackupClient:
    """Make one more client of the same service, as a process that is started anew does."""
    return _client(stage.sim, stage.clock, stage.trouble, **{"ssl": stage.trusted, **changes})


def _client(sim: Simulator, clock: HurriedClock, trouble: Trouble, **changes: Any) -> BackupClient:
    auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
    settings: dict[str, Any] = {
        "auth": auth,
        "retry": trouble.retry,
        "polling": PollingPolicy(),
        "creating": trouble.creating,
        "timeouts": Timeouts(total=30.0),
        "max_answer_bytes": 128 * 1024,
        "clock": clock,
        "random": Even(),
    }
    return BackupClient(sim.base_url, sim.tenant, **{**settings, **changes})


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context that nobody knows, and that of a client which does."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


@contextlib.asynccontextmanager
async def staged(trouble: Trouble) -> AsyncIterator[Stage]:
    """Build the stage of one cell, and take it down again."""
    clock = HurriedClock()
    unknown, trusting = _contexts() if trouble.tls else (None, None)
    sim = Simulator(
        clock=clock,
        seed=7,
        workload=Workload(duration=Lognormal(20.0, 0.2), planets={FAILING: PlanetProfile(failure_share=1.0)}),
        behavior=trouble.shape,
        access=attrs.evolve(ACCESS, token_life=trouble.token_life),
        ssl_context=unknown,
    )
    async with RawServer(saying(answer())) as trap, sim:
        client = _client(sim, clock, trouble)
        stage = Stage(trouble=trouble, clock=clock, sim=sim, client=client, trap=trap, trusted=trusting)
        try:
            yield stage
        finally:
            await stage.calm()
