"""The simulator as an HTTP server on loopback: `Simulator`, and the handler of its requests."""

from __future__ import annotations

import random
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar, Self

import msgspec
from aiohttp import web
from attrs import define, field

from asyncbackups.simulator import api, faults, settings
from asyncbackups.simulator.api import Access, OperationKind, Route, ServerRequest, ServerResponse, TokenStore
from asyncbackups.simulator.api_behavior import ApiBehavior, BackupRenderer
from asyncbackups.simulator.faults import Fault, FaultRules, When
from asyncbackups.simulator.outcome_model import Workload
from asyncbackups.simulator.state import SimulationClock, SimulatorState

DROPPED = 0
"""Counted in place of a status when the connection was dropped without a response."""
_NOT_GIVEN: Any = object()


class RealTimeClock:
    """The machine's own clock."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved: backups finish exactly when a test advances it.

    Args:
        start: The initial time of day, timezone-aware; by default the start of the documented example backup.
        monotonic: The initial value of `monotonic()`, in seconds.
    """

    __slots__ = ("_monotonic", "_utc")

    def __init__(
        self, start: datetime = datetime(2024, 1, 29, 9, 53, 9, tzinfo=UTC), *, monotonic: float = 1000.0
    ) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must be an aware datetime, not {start!r}")
        self._utc = start.astimezone(UTC)
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Seconds, changed only by `advance`."""
        return self._monotonic

    def utcnow(self) -> datetime:
        """The time of day, changed only by `advance`."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Move the clock forward; a negative number of seconds is a `ValueError`."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds!r})")
        self._monotonic += seconds
        self._utc += timedelta(seconds=seconds)


@define(eq=False)
class RequestCounts:
    """Counts of requests and of bytes sent.

    Attributes:
        requests: Number of requests by operation and status; the status of a dropped connection is 0.
        bytes_sent: Bytes of response bodies by operation; headers are not counted.
        in_flight: Number of requests that are open now.
        peak: Maximum number of requests that were open at once.
    """

    requests: Counter[tuple[OperationKind, int]] = field(factory=Counter, init=False)
    bytes_sent: Counter[OperationKind] = field(factory=Counter, init=False)
    in_flight: int = field(default=0, init=False)
    peak: int = field(default=0, init=False)

    def enter(self) -> None:
        """Count a request as open."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def leave(self) -> None:
        """Count a request as no longer open."""
        self.in_flight -= 1

    def add(self, kind: OperationKind, status: int, size: int) -> None:
        """Count a response: its operation, its status or `DROPPED`, and the bytes of its body."""
        self.requests[kind, status] += 1
        self.bytes_sent[kind] += size

    def of(self, kind: OperationKind | str | None = None, status: int | None = None) -> int:
        """Return the number of requests.

        Args:
            kind: Only this operation, such as `"get"`; None for all.
            status: Only this status, such as 200; None for all.
        """
        wanted = None if kind is None else OperationKind(kind)
        return sum(n for (one, code), n in self.requests.items() if wanted in (None, one) and status in (None, code))

    @property
    def total(self) -> int:
        """The number of all requests."""
        return self.requests.total()

    def reset(self) -> None:
        """Set all counts to zero; open requests stay counted as open."""
        self.requests.clear()
        self.bytes_sent.clear()
        self.peak = self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Return all counts as plain values, for the admin endpoint."""
        by_kind: dict[str, dict[str, int]] = {}
        for (kind, status), number in sorted(self.requests.items()):
            by_kind.setdefault(kind.value, {})[str(status)] = number
        return {
            "total": self.total,
            "requests": by_kind,
            "bytes_sent": {kind.value: size for kind, size in self.bytes_sent.items()},
            "in_flight": self.in_flight,
            "peak": self.peak,
        }


@define(eq=False)
class RequestHandler:
    """Receives requests, applies faults, sends responses and counts both."""

    _api: api.DatabaseApi
    _state: SimulatorState
    _counts: RequestCounts
    _faults: FaultRules
    _list_segment: str
    _scheme: str
    _date_second: float = 0.0
    _date: str = ""

    async def handle_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to a request."""
        route = api.find_route(request.method, request.raw_path, list_segment=self._list_segment)
        if route.kind is OperationKind.ADMIN:
            return self._respond_to_admin(route.admin_page)
        self._counts.enter()
        try:
            body = await request.read() if request.body_exists else b""
            origin = f"{self._scheme}://{request.headers.get('Host', '')}"
            received = ServerRequest(request.headers, body, origin)
            matching = self._match_faults(route) if self._faults else []
            if matching:
                return await self._apply_faults(matching, request, route, received)
            return self._build_response(route, self._api.respond(route, received))
        finally:
            self._counts.leave()

    def _match_faults(self, route: Route) -> list[Fault]:
        backup = None if route.backup_id is None else self._state.find(route.star_system, route.backup_id)
        planet = route.planet if backup is None else backup.planet
        return self._faults.match_request(route.kind, route.star_system, planet)

    async def _apply_faults(
        self, matching: list[Fault], request: web.BaseRequest, route: Route, received: ServerRequest
    ) -> web.StreamResponse:
        action = next((fault.action for fault in matching if fault.action is not None), None)
        for fault in matching:
            await fault.hold_request(When.BEFORE)
        correct = None if faults.prevents_effect(action) else self._api.respond(route, received)
        for fault in matching:
            await fault.hold_request(When.AFTER)
        if action is None:
            return self._build_response(route, correct or ServerResponse(500))
        altered = faults.alter_response(action, correct)
        if altered is not None:
            return self._build_response(route, altered)
        status = DROPPED if correct is None or isinstance(action, faults.Drop) else correct.status
        self._counts.add(route.kind, status, 0)
        try:
            return await faults.send_broken(action, request, correct)
        except ConnectionError:  # the client has disconnected, which is the only end of an endless body
            return web.Response()

    def _build_response(self, route: Route, response: ServerResponse) -> web.Response:
        self._counts.add(route.kind, response.status, len(response.body))
        headers = {**response.headers, "Date": self._format_date()}
        return web.Response(body=response.body, status=response.status, headers=headers)

    def _format_date(self) -> str:
        """Return the server's time for the `Date` header, formatted once per second."""
        utcnow = self._state.utcnow()
        second = utcnow.timestamp() // 1
        if second != self._date_second:
            self._date_second = second
            self._date = format_datetime(utcnow, usegmt=True)
        return self._date

    def _respond_to_admin(self, page: str) -> web.Response:
        """Report counts or the true state of the backups to another process; not part of the API, and not counted."""
        if page == "counts":
            creates = [[*planet, number] for planet, number in self._state.creates.items()]
            content: dict[Any, Any] = {**self._counts.as_dict(), "creates": creates}
        elif page == "backups":
            names = ("star_system", "planet", "created_at", "completed_at")
            content = {
                backup.id: {"succeeds": backup.outcome.succeeds, **{name: getattr(backup, name) for name in names}}
                for backup in self._state
            }
        else:
            return web.Response(status=404)
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _convert_names(names: Iterable[str]) -> set[str]:
    """Return a set of names; anything else is returned unchanged, for the validator to refuse."""
    given = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else names
    return set(given) if settings.are_texts(given) else names  # type: ignore[return-value]


def _convert_faults(faults: Iterable[Fault]) -> FaultRules:
    return FaultRules(faults, rng=random.Random())  # noqa: S311 - seeded with the simulator's seed later


_planets_by_star_system = settings.optional(settings.mapping_to("lists of strings", settings.are_texts))
_ssl_context = settings.optional(settings.instance_of(ssl.SSLContext))


@define(kw_only=True, eq=False, slots=False)
class Simulator:
    """The Database API over real HTTP on loopback, with backups that take time and can fail.

    Enter it with `async with`; it serves at `base_url`, in the event loop that entered it.
    Its settings are also its attributes. `stop` and `start` simulate an outage: the port and all backups stay.

    Args:
        tenant: The only tenant.
        star_systems: The planets of each star system; other names are a 404. None if every name exists.
        forbidden: Star systems that respond with 403.
        speed: Divisor of durations; at 60, a backup of two minutes takes two seconds.
        seed: Seed of durations and outcomes, which otherwise depend on the planet and the number of its backups only.
        workload: Durations, failures and history of the backups.
        behavior: The behavior that the documentation leaves open.
        access: Tokens and client credentials.
        faults: The initial faults; the attribute is a list that may be changed at any time.
        clock: The time; by default the machine's clock.
        clock_offset: Seconds by which the server's time of day is ahead of `clock`.
        host: Address to bind.
        port: Port to bind; 0 for any free one.
        ssl_context: A server-side context, to serve over TLS.
        shape: The former name of `behavior`, deprecated.

    Attributes:
        counts: Counts of the received requests.
        state: The backups.
        tokens: The valid tokens.
    """

    tenant: str = field(default="example", validator=settings.text)
    star_systems: Mapping[str, Sequence[str]] | None = field(default=None, validator=_planets_by_star_system)
    forbidden: set[str] = field(factory=set, converter=_convert_names, validator=settings.texts)
    speed: float = field(default=1.0, validator=settings.positive)
    seed: int = field(default=0, validator=settings.whole)
    workload: Workload = field(factory=Workload, validator=settings.instance_of(Workload))
    behavior: ApiBehavior = field(factory=ApiBehavior, validator=settings.instance_of(ApiBehavior))
    access: Access = field(factory=Access, validator=settings.instance_of(Access))
    faults: FaultRules = field(factory=lambda: _convert_faults(()), converter=_convert_faults)
    clock: SimulationClock = field(factory=RealTimeClock, validator=settings.instance_of(SimulationClock))
    clock_offset: float = field(default=0.0, validator=settings.finite)
    host: str = field(default="127.0.0.1", validator=settings.text)
    port: int = field(default=0, validator=settings.whole_from(0, 65535))
    ssl_context: ssl.SSLContext | None = field(default=None, validator=_ssl_context)
    _shape: ApiBehavior = field(default=_NOT_GIVEN, alias="shape", repr=False)

    shape: ClassVar[property] = settings.renamed_attribute("Simulator.shape", "behavior")
    world: ClassVar[property] = settings.renamed_attribute("Simulator.world", "state")

    def __attrs_post_init__(self) -> None:
        if self._shape is not _NOT_GIVEN:
            settings.warn_renamed("Simulator(shape=...)", "behavior", stacklevel=4)  # of the generated __init__
            self.behavior = self._shape
        self.counts: RequestCounts = RequestCounts()
        self.faults.seed(self.seed)
        self.tokens: TokenStore = TokenStore(self.access, self.tenant, self.clock)
        self.state: SimulatorState = SimulatorState(
            self.workload,
            clock=self.clock,
            rng=random.Random(),  # noqa: S311 - durations are no secrets
            seed=self.seed,
            speed=self.speed,
            clock_offset=self.clock_offset,
            star_systems=self.star_systems,
        )
        behavior = self.behavior
        fractional = self.speed != 1 if behavior.fractional_seconds is None else behavior.fractional_seconds
        renderer = BackupRenderer(behavior, tenant=self.tenant, fractional_seconds=fractional)
        database = api.DatabaseApi(self.state, behavior, renderer, self.tokens, self.tenant, self.forbidden)
        self._handler = RequestHandler(
            database, self.state, self.counts, self.faults, behavior.list_segment, self._scheme
        )
        self._runner: web.ServerRunner | None = None

    @property
    def _scheme(self) -> str:
        return "https" if self.ssl_context is not None else "http"

    @property
    def base_url(self) -> str:
        """The base URL of the API, without a slash at the end.

        Raises:
            RuntimeError: The simulator has never been started, so its port is not known.
        """
        if not self.port:
            raise RuntimeError("the simulator has no address before it is started: use `async with`")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    @property
    def token_url(self) -> str:
        """The URL of the token endpoint."""
        return self.base_url + api.TOKEN_PATH

    @property
    def token(self) -> str:
        """A bearer token that never expires."""
        return self.access.token

    @property
    def client_id(self) -> str:
        """The client id that the token endpoint accepts."""
        return self.access.client_id

    @property
    def client_secret(self) -> str:
        """The client secret that the token endpoint accepts."""
        return self.access.client_secret

    @property
    def scopes(self) -> list[str]:
        """The scopes that all operations together need."""
        return [f"tenant.{self.tenant}", api.READ_SCOPE, api.WRITE_SCOPE]

    @property
    def creates(self) -> Counter[tuple[str, str]]:
        """Creates that took effect, by star system and planet."""
        return self.state.creates

    async def start(self) -> None:
        """Start serving; after a `stop`, on the same port and with the same backups.

        Raises:
            RuntimeError: The simulator is serving already.
            OSError: The port cannot be bound.
        """
        if self._runner is not None:
            raise RuntimeError("the simulator is serving already")
        # The low-level server: an application's routing would cost several times as much per request.
        server = web.Server(self._handler.handle_request, access_log=None)
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
        """Stop serving and drop all connections; backups continue, and are available again after `start`."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
