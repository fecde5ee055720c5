"""The simulator as a server on loopback."""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web
from attrs import define, field

from asyncbackups.simulator.access import Access, TokenStore
from asyncbackups.simulator.api import DatabaseApi
from asyncbackups.simulator.clock import Clock, SystemClock
from asyncbackups.simulator.counts import Counts
from asyncbackups.simulator.faults import Fault, FaultRules
from asyncbackups.simulator.rendering import Renderer
from asyncbackups.simulator.routing import TOKEN_PATH
from asyncbackups.simulator.service import Service
from asyncbackups.simulator.settings import (
    finite,
    instance_of,
    is_texts,
    mapping,
    natural,
    optional,
    positive,
    text,
    texts,
    whole,
)
from asyncbackups.simulator.shape import ApiShape
from asyncbackups.simulator.workload import Workload
from asyncbackups.simulator.world import World

__all__ = ["Simulator"]


def _as_set(names: Iterable[str]) -> set[str]:
    """Make a set of names; what cannot be names is left as it is, for the validator to refuse."""
    given = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else names
    return set(given) if is_texts(given) else names  # type: ignore[return-value]


def _as_rules(faults: Iterable[Fault]) -> FaultRules:
    return FaultRules(faults, rng=random.Random())  # noqa: S311 - seeded with the simulator's seed later


def _no_rules() -> FaultRules:
    return _as_rules(())


@define(kw_only=True, eq=False, slots=False)
class Simulator:
    """The Database API over real HTTP on loopback, with backups that take their time and can fail.

    Enter it with `async with`; it serves from `base_url` in the event loop that entered it::

        async with Simulator(speed=60, workload=Workload(duration=Lognormal(120, 0.4))) as sim:
            client = BackupClient(sim.base_url, sim.tenant, auth=sim.token)

    Its settings are also its attributes. `stop` and `start` make an outage: the port and all backups stay.

    Args:
        tenant: The one tenant that it has.
        star_systems: The planets of each star system; anything else is a 404. `None`: every name exists.
        forbidden: Star systems that answer 403.
        speed: What durations of backups are divided by; at 60 a backup of two minutes takes two seconds.
        seed: What makes durations and outcomes repeat: same seed, same planet, same backup, same fate.
        workload: What backups are like, and the history at the start.
        shape: What the guide leaves open about the API.
        access: Tokens and client credentials.
        faults: What goes wrong, from the start; the attribute is a list that may be changed at any time.
        clock: The time; the machine's own unless given.
        clock_offset: Seconds by which the server's time of day is ahead of `clock`.
        host: Address to bind.
        port: Port to bind; 0 for any free one.
        ssl_context: A server context, to serve over TLS.
    """

    tenant: str = field(default="example", validator=text)
    star_systems: Mapping[str, Sequence[str]] | None = field(
        default=None, validator=optional(mapping(is_texts, "lists of strings"))
    )
    forbidden: set[str] = field(factory=set, converter=_as_set, validator=texts)
    speed: float = field(default=1.0, validator=positive)
    seed: int = field(default=0, validator=whole)
    workload: Workload = field(factory=Workload, validator=instance_of(Workload))
    shape: ApiShape = field(factory=ApiShape, validator=instance_of(ApiShape))
    access: Access = field(factory=Access, validator=instance_of(Access))
    faults: FaultRules = field(factory=_no_rules, converter=_as_rules)
    clock: Clock = field(factory=SystemClock, validator=instance_of(Clock))
    clock_offset: float = field(default=0.0, validator=finite)
    host: str = field(default="127.0.0.1", validator=text)
    port: int = field(default=0, validator=natural(0, 65535))
    ssl_context: ssl.SSLContext | None = field(default=None, validator=optional(instance_of(ssl.SSLContext)))

    def __attrs_post_init__(self) -> None:
        self.counts: Counts = Counts()
        self.faults.seed(self.seed)
        self.tokens: TokenStore = TokenStore(self.access, tenant=self.tenant, clock=self.clock)
        self.world: World = World(
            self.workload,
            clock=self.clock,
            rng=random.Random(),  # noqa: S311 - durations are no secrets
            seed=self.seed,
            speed=self.speed,
            clock_offset=self.clock_offset,
            star_systems=self.star_systems,
        )
        self._service = self._build_service()
        self._runner: web.ServerRunner | None = None

    def _build_service(self) -> Service:
        fractional = self.shape.fractional_seconds
        renderer = Renderer(
            self.shape, tenant=self.tenant, fractional=self.speed != 1 if fractional is None else fractional
        )
        api = DatabaseApi(
            self.world,
            renderer,
            shape=self.shape,
            tokens=self.tokens,
            tenant=self.tenant,
            forbidden=self.forbidden,
        )
        return Service(
            api, self.world, self.counts, self.faults, list_segment=self.shape.list_segment, scheme=self._scheme
        )

    @property
    def _scheme(self) -> str:
        return "https" if self.ssl_context is not None else "http"

    @property
    def base_url(self) -> str:
        """Where the API is served, without a slash at the end.

        Raises:
            RuntimeError: The simulator has never been started, so that no port is known.
        """
        if not self.port:
            raise RuntimeError("the simulator has no address before it is started: use `async with`")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    @property
    def token_url(self) -> str:
        """Where client credentials are exchanged for a token."""
        return self.base_url + TOKEN_PATH

    @property
    def token(self) -> str:
        """A bearer token that never expires."""
        return self.access.token

    @property
    def client_id(self) -> str:
        """The client id that the token endpoint knows."""
        return self.access.client_id

    @property
    def client_secret(self) -> str:
        """The client secret that the token endpoint knows."""
        return self.access.client_secret

    @property
    def scopes(self) -> list[str]:
        """The scopes that all operations together need."""
        return [f"tenant.{self.tenant}", "gcc.deployments.read", "gcc.deployments.write"]

    @property
    def creates(self) -> Counter[tuple[str, str]]:
        """Creates that took effect, by star system and planet."""
        return self.world.creates

    async def start(self) -> None:
        """Begin to serve; after a `stop`, on the same port and with everything as it was.

        Raises:
            RuntimeError: It is serving already.
            OSError: The port cannot be bound.
        """
        if self._runner is not None:
            raise RuntimeError("the simulator is serving already")
        # The low-level server: routing is ours, and a request then costs a fraction of an application's.
        server = web.Server(self._service.handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, ssl_context=self.ssl_context, backlog=1024).start()
        except BaseException:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Stop serving and drop all connections; backups go on and are there again after `start`."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
