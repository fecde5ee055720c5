"""The client under test, with a virtual clock and the gateway of a universe in place of sockets.

Everything of the client runs but `aiohttp`: retries, rate limits, credentials, timeouts and errors are the real ones.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from asyncbackups import BackupClient, ClientCredentials
from asyncbackups._api.create import Creation, Creator
from asyncbackups._bulk.bulk_create import BulkRun
from asyncbackups._bulk.run_store import RunStore
from asyncbackups._http.credentials import Credential
from asyncbackups._http.transport import Transport, _SendAttempt
from asyncbackups._inputs import Planets
from asyncbackups.models import PlanetRef

from .faults import Gateway, LostResponse, NotConnected
from .service import EPOCH, HttpRequest, HttpResponse

BASE_URL: Final = "https://db.example"
TOKEN_URL: Final = "https://hub.example/oauth2/abc/v1/token"
TENANT: Final = "example"
KEEPALIVE: Final = 30.0
_ROUNDS_OF_A_KILL: Final = 50


@attrs.define(eq=False)
class Exchange:
    """A request of a client, and what the client got for it.

    Attributes:
        origin: The process and the number of the request; the service keeps it with what a create made.
        result: The status, the name of an exception, or "" while there is none.
    """

    origin: str
    method: str
    path: str
    started: float
    ended: float = -1.0
    result: str = ""
    body: bytes = b""


@attrs.define(eq=False)
class Process:
    """A process of ours: a client with its tasks and timers, which all stop at once when it is killed.

    Attributes:
        client: The number of the client: a resumed process continues the work of the one before.
        incarnation: How many processes of this client were before it.
        started: When it was started, in virtual time.
        dead: Whether it was killed.
        warnings: What it logged.
    """

    client: int
    incarnation: int
    started: float
    dead: bool = False
    warnings: list[tuple[float, str]] = attrs.field(factory=list)

    @property
    def name(self) -> str:
        """The name of the process in the history."""
        return f"client-{self.client}.{self.incarnation}"


class OwnedTask(asyncio.Task[Any]):
    """A task that knows its process; None for tasks of the harness."""

    process: Process | None = None


class Ownership:
    """Assigns every task to the process of the task or the timer that created it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._of_timer: Process | None = None
        loop.set_task_factory(self._create_task)

    def _create_task(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> OwnedTask:
        task = OwnedTask(coro, loop=loop, **kwargs)
        task.process = self.current()
        return task

    def current(self) -> Process | None:
        """Return the process that runs now."""
        task = asyncio.current_task(self._loop)
        return self._of_timer if task is None else getattr(task, "process", None)

    def create_task(self, coro: Coroutine[Any, Any, Any], process: Process | None) -> OwnedTask:
        """Create a task of a process, or of the harness."""
        task = self._loop.create_task(coro)
        assert isinstance(task, OwnedTask)
        task.process = process
        return task

    def run_callback(self, process: Process, callback: Callable[[], object]) -> None:
        """Run the callback of a timer, unless its process is dead."""
        if process.dead:
            return
        self._of_timer = process
        try:
            callback()
        finally:
            self._of_timer = None

    def tasks_of(self, process: Process | None) -> list[asyncio.Task[Any]]:
        """Return the tasks of a process that are not done."""
        return [task for task in asyncio.all_tasks(self._loop) if getattr(task, "process", None) is process]

    async def kill(self, process: Process) -> None:
        """End a process at once: nothing that it does to clean up reaches anybody."""
        process.dead = True
        for _ in range(_ROUNDS_OF_A_KILL):
            tasks = self.tasks_of(process)
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        raise AssertionError(f"{process.name} does not end: {tasks}")


class WarningLog(logging.Handler):
    """Collects the warnings of each process."""

    def __init__(self, ownership: Ownership, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.WARNING)
        self._ownership = ownership
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning with its process."""
        process = self._ownership.current()
        if process is not None and not process.dead:
            process.warnings.append((self._loop.time(), record.getMessage()))


class VirtualClock:
    """The clock of a process: the loop's time, and a time of day that may be wrong."""

    def __init__(self, process: Process, ownership: Ownership, loop: asyncio.AbstractEventLoop, offset: float) -> None:
        self._process = process
        self._ownership = ownership
        self._loop = loop
        self._epoch = datetime.fromtimestamp(EPOCH + offset, UTC)
        self.monotonic: Callable[[], float] = loop.time

    def utcnow(self) -> datetime:
        """Return the time of day as this process sees it."""
        return self._epoch + timedelta(seconds=self._loop.time())

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Schedule a callback of the process."""
        return self._loop.call_at(when, self._ownership.run_callback, self._process, callback)

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time."""
        await asyncio.sleep(max(0.0, seconds))


class GatewayResponse:
    """The part of `aiohttp.ClientResponse` that the transport uses."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers = CIMultiDictProxy(CIMultiDict(response.headers))


class GatewaySession:
    """The part of `aiohttp.ClientSession` that the transport uses: connections, and requests in flight."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, keeps_connections: bool) -> None:
        self.closed = False
        self._loop = loop
        self._keeps_connections = keeps_connections
        self._idle: list[float] = []
        self.in_flight: set[OwnedTask] = set()

    def take_connection(self) -> bool:
        """Take a connection; return whether it was used before."""
        now = self._loop.time()
        self._idle = [since for since in self._idle if now - since < KEEPALIVE]
        if not self._idle:
            return False
        self._idle.pop()
        return True

    def return_connection(self) -> None:
        """Keep a connection for the next request."""
        if self._keeps_connections:
            self._idle.append(self._loop.time())

    async def close(self) -> None:
        """End all requests in flight."""
        self.closed = True
        for task in self.in_flight:
            task.cancel()


class GatewayTransport(Transport):
    """The real transport, with the gateway in place of aiohttp."""

    def __init__(
        self,
        base_url: str,
        *,
        gateway: Gateway,
        process: Process,
        ownership: Ownership,
        exchanges: list[Exchange],
        **settings: Any,
    ) -> None:
        super().__init__(base_url, **settings)
        self._gateway = gateway
        self._process = process
        self._ownership = ownership
        self._exchanges = exchanges

    def _create_session(self, *, force_close: bool = False, **settings: Any) -> Any:
        return GatewaySession(asyncio.get_running_loop(), keeps_connections=not force_close)

    async def _request_and_read(
        self, session: Any, attempt: _SendAttempt, credential: Credential, started: float
    ) -> tuple[Any, bytes]:
        if session.closed:
            raise RuntimeError("Session is closed")
        request = attempt.request
        parts = urlsplit(attempt.address.text)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        now = asyncio.get_running_loop().time
        exchange = Exchange(f"{self._process.name}#{len(self._exchanges)}", request.method, path, now())
        if not self._process.dead:
            self._exchanges.append(exchange)
        try:
            with self._time_limit.scope_from(started):
                return await self._exchange(session, attempt, credential, exchange, path)
        except BaseException as exc:
            exchange.result = exchange.result or type(exc).__name__
            raise
        finally:
            exchange.ended = now()

    async def _exchange(
        self, session: GatewaySession, attempt: _SendAttempt, credential: Credential, exchange: Exchange, path: str
    ) -> tuple[Any, bytes]:
        if self._process.dead:
            await asyncio.get_running_loop().create_future()
        request = attempt.request
        host = urlsplit(attempt.address.text).netloc
        sent = HttpRequest(
            request.method,
            path,
            {"Host": host, "Accept": "application/json", **credential.headers_for(request)},
            request.body or b"",
            exchange.origin,
            session.take_connection(),
        )
        task = self._ownership.create_task(self._gateway.handle(sent), None)
        session.in_flight.add(task)
        try:
            response: HttpResponse = await task
        except NotConnected as exc:
            exchange.result = "NotConnected"
            key: Any = SimpleNamespace(host=host, port=443, is_ssl=True, ssl=True)
            raise aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused")) from exc
        except LostResponse as exc:
            exchange.result = "LostResponse"
            raise aiohttp.ServerDisconnectedError from exc
        finally:
            session.in_flight.discard(task)
        session.return_connection()
        exchange.result, exchange.body = str(response.status), response.body
        return GatewayResponse(response), response.body


class UniverseClient(BackupClient):
    """A client of a process.

    Attributes:
        creations: What each create returned, by planet: `BackupClient.create` returns less than that.
        creation_times: When it returned, in virtual time: a slow consumer is notified much later.
    """

    def __init__(
        self,
        process: Process,
        *,
        gateway: Gateway,
        ownership: Ownership,
        exchanges: list[Exchange],
        clock_offset: float,
        renews_tokens: bool,
        seed: int,
        **settings: Any,
    ) -> None:
        self._wiring = {"gateway": gateway, "process": process, "ownership": ownership, "exchanges": exchanges}
        self.creations: dict[PlanetRef, Creation] = {}
        self.creation_times: dict[PlanetRef, float] = {}
        credentials = ClientCredentials(TOKEN_URL, "id", "secret", scopes=f"tenant.{TENANT} gcc.deployments.write")
        super().__init__(
            BASE_URL,
            TENANT,
            auth=credentials if renews_tokens else "configured-by-hand",
            clock=VirtualClock(process, ownership, asyncio.get_running_loop(), clock_offset),
            random=Random(f"{seed}/{process.name}"),
            **settings,
        )

    def _new_transport(self, base_url: str, **settings: Any) -> Transport:
        return GatewayTransport(base_url, **self._wiring, **settings)

    @functools.cached_property
    def _creator(self) -> Creator:
        creator = super()._creator
        create = creator.create

        async def create_and_note(planet: PlanetRef, *args: Any, **kwargs: Any) -> Creation:
            creation = await create(planet, *args, **kwargs)
            self.creations[planet] = creation
            self.creation_times[planet] = asyncio.get_running_loop().time()
            return creation

        creator.create = create_and_note  # type: ignore[method-assign]
        return creator

    def claim(self, *args: Any) -> None:
        """Claim a backup, as a journal does."""
        self._creator.claim_backup(*args)

    def run_with_store(self, store: RunStore, planets: Planets, *, concurrency: int, deadline: float) -> BulkRun:
        """Make a bulk run with a store of the caller's."""
        return self._new_bulk_run(store, planets, concurrency=concurrency, deadline=deadline)


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
