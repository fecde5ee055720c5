"""A gateway in front of the service: it loses, delays, repeats, truncates and confuses requests and responses."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import attrs

from .service import EARLIER, HttpRequest, HttpResponse, Service, TrueBackup
from .variables import Variables

POST_FAULTS: Final = (
    "reused_reset",
    "post_not_connected",
    "post_request_lost",
    "post_error_before",
    "post_late_effect",
    "post_repeated",
    "post_slow",
    "post_response_lost",
    "post_error_after",
    "post_other_response",
    "post_used_id",
    "post_truncated",
)
READ_FAULTS: Final = (
    "read_not_connected",
    "read_slow",
    "read_lost",
    "read_error",
    "read_html",
    "read_other_response",
    "read_truncated",
)
BEFORE_EFFECT: Final = frozenset({"reused_reset", "post_not_connected", "post_request_lost", "post_error_before"})

ERROR_STATUSES: Final = (
    408,
    409,
    425,
    499,
    500,
    502,
    503,
    504,
    520,
    521,
    522,
    523,
    524,
    525,
    526,
    527,
    301,
    302,
    303,
    307,
    308,
)
READ_STATUSES: Final = (408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524)
_HTML_PAGE: Final = b"<!DOCTYPE html><html><head><title>%d</title></head><body>%d</body></html>"


class TransmissionError(Exception):
    """The connection failed; the client got no response."""


class NotConnected(TransmissionError):  # noqa: N818
    """No connection was made: the request was not sent."""


class LostResponse(TransmissionError):  # noqa: N818
    """The connection broke after the request was sent.

    Args:
        processed: Whether the service acts on the request, sooner or later. Only `invariants` may read it.
    """

    def __init__(self, processed: bool) -> None:
        super().__init__("The connection was closed before a response arrived")
        self.processed = processed


@attrs.frozen
class FaultRecord:
    """A fault that was injected, and the request that it hit."""

    time: float
    kind: str
    method: str
    path: str
    origin: str


class _Hits:
    """Draws which requests a fault hits, by ordinal of the request."""

    def __init__(self, seed: int, kind: str, share: float, budget: int) -> None:
        self._random = Random(f"{seed}/{kind}")
        self._share = share
        self._budget = budget

    def draw_next(self) -> bool:
        """Return whether the fault hits the next request."""
        hit = self._random.random() < self._share and self._budget > 0
        self._budget -= hit
        return hit


class Gateway:
    """A gateway with the interface of the service.

    A POST or a DELETE that was forwarded is processed even if the client stops waiting for it, as in life.

    Args:
        service: The service behind it.
        variables: The universe.
        now: Returns the virtual time.
        sleep: Waits in virtual time.
        seed: Seed of the hits.

    Attributes:
        observers: Called with each POST of a backup when it is sent, whether or not it arrives.
        faults: Every fault that was injected.
    """

    def __init__(
        self,
        service: Service,
        variables: Variables,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        seed: int,
    ) -> None:
        self.service = service
        self.variables = variables
        self.observers: list[Callable[[HttpRequest], None]] = []
        self.faults: list[FaultRecord] = []
        self._now = now
        self._sleep = sleep
        self._details = Random(f"{seed}/details")
        self._tasks: set[asyncio.Task[HttpResponse]] = set()
        self._delivered: list[tuple[str, HttpResponse]] = []
        self._last_read: HttpResponse | None = None
        budget = variables.post_budget
        self._post_hits = self._make_hits(seed, POST_FAULTS, budget)
        self._read_hits = self._make_hits(seed, READ_FAULTS, 1000)
        self._delete_hits = self._make_hits(seed, ("delete_lost",), budget)
        self._token_hits = self._make_hits(seed, ("token_error",), 1000)

    def _make_hits(self, seed: int, kinds: tuple[str, ...], budget: int) -> dict[str, _Hits]:
        shares = {kind: float(getattr(self.variables, kind)) for kind in kinds}
        return {kind: _Hits(seed, kind, share, budget) for kind, share in shares.items() if share}

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Forward a request, and return the response or what a fault makes of it.

        Raises:
            NotConnected: The request was not sent.
            LostResponse: The request was sent, and no response arrived.
        """
        is_token = request.path.endswith("/v1/token")
        is_create = request.method == "POST" and not is_token
        if is_create:
            for observer in self.observers:
                observer(request)
        refused = await self._pass_disturbances(request)
        if refused is not None:
            return refused
        if is_create:
            return await self._handle_post(request)
        if is_token:
            if self._draw_hits(self._token_hits):
                return self._fail(request, "token_error", 503)
            return await self.service.handle(request)
        if request.method == "DELETE":
            hits = self._draw_hits(self._delete_hits)
            response = await self._forward(request)
            if hits:
                await self._lose(request, "delete_lost", processed=True)
            return response
        return await self._handle_read(request)

    async def drain(self) -> None:
        """Wait until every forwarded request has been processed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # Times at which everybody is hit

    async def _pass_disturbances(self, request: HttpRequest) -> HttpResponse | None:
        variables = self.variables
        if variables.outage_kind != "none":
            age = self._now() - variables.outage_start
            if 0.0 <= age < variables.outage_length:
                await self._suffer_outage(request)
        if variables.blip_kind != "none":
            age = self._now() - variables.blip_start
            if 0.0 <= age < variables.blip_length:
                self._record(f"blip_{variables.blip_kind}", request)
                status = int(variables.blip_kind)
                headers = self.service.common_headers()
                if status == 503:
                    headers.update(self.service.retry_headers(min(variables.blip_length - age, 10.0)))
                if status in {401, 403}:
                    headers["Content-Type"] = "application/json"
                    return HttpResponse(status, headers, b'{"message": "Unauthorized"}')
                headers["Content-Type"] = "text/html"
                return HttpResponse(status, headers, _HTML_PAGE % (status, status))
        return None

    async def _suffer_outage(self, request: HttpRequest) -> None:
        kind = self.variables.outage_kind
        if kind == "refused":
            self._record("outage", request)
            raise NotConnected("Connection refused")
        if kind == "hanging":
            self._record("outage", request)
            await self._sleep(60.0)
            raise LostResponse(processed=False)
        if request.method == "GET":
            await self._lose(request, "outage", processed=False)
        await self._forward(request)
        await self._lose(request, "outage", processed=True)

    # POSTs

    async def _handle_post(self, request: HttpRequest) -> HttpResponse:
        hits = self._draw_hits(self._post_hits)
        if not request.reused:
            hits.discard("reused_reset")
        for kind in POST_FAULTS:
            if kind in hits and kind in BEFORE_EFFECT:
                return await self._fail_before(request, kind)
        if "post_late_effect" in hits:
            self._spawn(request, self.variables.late_effect_delay)
            await self._lose(request, "post_late_effect", processed=True)
        response = await self._forward(request)
        if "post_repeated" in hits and response.status < 300:
            self._record("post_repeated", request)
            self._spawn(request, self.variables.repeat_delay)
        if "post_slow" in hits:
            self._record("post_slow", request)
            await self._sleep(self.variables.slow_delay)
        return await self._finish_post(request, response, hits)

    async def _finish_post(self, request: HttpRequest, response: HttpResponse, hits: set[str]) -> HttpResponse:
        for kind in POST_FAULTS:
            changed = await self._change_response(request, response, kind) if kind in hits else None
            if changed is not None:
                return changed
        if response.backup_number >= 0:
            self._delivered.append((request.path, response))
        return response

    async def _fail_before(self, request: HttpRequest, kind: str) -> HttpResponse:
        if kind == "post_not_connected":
            self._record(kind, request)
            raise NotConnected("Connection refused")
        if kind == "post_error_before":
            await self._sleep(0.05)
            return self._fail(request, kind, self._error_status(ERROR_STATUSES))
        if kind == "reused_reset":
            self._record(kind, request)
            raise LostResponse(processed=False)
        return await self._lose(request, kind, processed=False)

    async def _change_response(self, request: HttpRequest, response: HttpResponse, kind: str) -> HttpResponse | None:
        """Return what a fault after the effect makes of a response, or None if it changes nothing."""
        succeeded = response.status < 300
        if kind == "post_response_lost":
            return await self._lose(request, kind, processed=succeeded)
        if kind == "post_error_after":
            return self._fail(request, kind, self._error_status(ERROR_STATUSES))
        if not succeeded:
            return None
        if kind == "post_other_response":
            others = [other for path, other in self._delivered if path != request.path]
            if others:
                self._record(kind, request)
                return self._details.choice(others)
        elif kind == "post_used_id":
            used = self._used_backups(request)
            if used:
                self._record(kind, request)
                return attrs.evolve(response, body=json.dumps({"id": self._details.choice(used).id}).encode())
        elif kind == "post_truncated" and response.body:
            self._record(kind, request)
            return attrs.evolve(response, body=response.body[: len(response.body) // 2])
        return None

    def _used_backups(self, request: HttpRequest) -> list[TrueBackup]:
        """Return the backups whose ids were used before: of earlier days, or delivered for another planet."""
        truth = self.service.truth
        used = [backup for backup in truth if backup.origin == EARLIER]
        # The response of a job or of an empty create did not tell the id of its backup.
        if self.variables.create_shape not in {"job", "empty"}:
            used += [truth[other.backup_number] for path, other in self._delivered if path != request.path]
        return used[-8:]

    # GETs and LISTs

    async def _handle_read(self, request: HttpRequest) -> HttpResponse:
        hits = self._draw_hits(self._read_hits) if self._read_hits else None
        if not hits:
            response = await self.service.handle(request)
            self._remember_read(request, response)
            return response
        if "read_not_connected" in hits:
            self._record("read_not_connected", request)
            raise NotConnected("Connection refused")
        response = await self.service.handle(request)
        if "read_slow" in hits:
            self._record("read_slow", request)
            await self._sleep(self.variables.slow_delay)
        if "read_lost" in hits:
            await self._lose(request, "read_lost", processed=True)
        if "read_error" in hits:
            return self._fail(request, "read_error", self._error_status(READ_STATUSES))
        if "read_html" in hits:
            self._record("read_html", request)
            headers = {**self.service.common_headers(), "Content-Type": "text/html"}
            return HttpResponse(200, headers, _HTML_PAGE % (200, 200))
        if "read_other_response" in hits and "/backups/" in request.path and self._last_read is not None:
            self._record("read_other_response", request)
            return self._last_read
        if "read_truncated" in hits and response.body:
            self._record("read_truncated", request)
            return attrs.evolve(response, body=response.body[: len(response.body) // 2])
        self._remember_read(request, response)
        return response

    def _remember_read(self, request: HttpRequest, response: HttpResponse) -> None:
        if response.status == 200 and "/backups/" in request.path:
            self._last_read = response

    # Parts

    def _draw_hits(self, hits: dict[str, _Hits]) -> set[str]:
        """Draw for every kind, so that each has its own sequence by ordinal."""
        return {kind for kind, drawn in hits.items() if drawn.draw_next()}

    async def _forward(self, request: HttpRequest) -> HttpResponse:
        return await asyncio.shield(self._spawn(request, 0.0))

    def _spawn(self, request: HttpRequest, delay: float) -> "asyncio.Task[HttpResponse]":
        async def process() -> HttpResponse:
            if delay:
                await self._sleep(delay)
            return await self.service.handle(request)

        task = asyncio.get_running_loop().create_task(process())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _lose(self, request: HttpRequest, kind: str, *, processed: bool) -> HttpResponse:
        self._record(kind, request)
        if self.variables.loss_delay:
            await self._sleep(self.variables.loss_delay)
        raise LostResponse(processed)

    def _fail(self, request: HttpRequest, kind: str, status: int) -> HttpResponse:
        self._record(kind, request)
        headers = {**self.service.common_headers(), "Content-Type": "text/html"}
        if 300 <= status < 400:
            # A redirect to the same resource would repeat the POST if it were followed.
            target = request.path if status in {307, 308} else "/login"
            headers["Location"] = target
            return HttpResponse(status, headers, b"")
        return HttpResponse(status, headers, _HTML_PAGE % (status, status))

    def _error_status(self, statuses: tuple[int, ...]) -> int:
        status = self._details.choice(statuses)
        chosen = self.variables.error_status
        return chosen if chosen in statuses else status

    def _record(self, kind: str, request: HttpRequest) -> None:
        self.faults.append(FaultRecord(self._now(), kind, request.method, request.path, request.origin))
