"""The service without a network: it responds from memory, at once or when a gate opens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import attrs
import msgspec
from multidict import CIMultiDict

from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._api.status_rule import progress_of
from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._polling.engine import Engine
from asyncbackups._polling.scheduler import Scheduler
from asyncbackups.errors import BackupsError, NotFoundError
from asyncbackups.models import BackupId, BackupRef
from asyncbackups.policies import PollingPolicy, RetryPolicy
from tests.fake_clock import FakeClock


@attrs.define
class Service:
    """Backups in memory, and the faults to inject.

    Attributes:
        clock: The clock of client and server.
        backups: The members of each backup.
        received: All requests, in order.
        fault: Returns an error for a request, or None.
        gate: Responses wait until it is set.
        tagged: Whether responses have entity tags, and unchanged ones are 304.
        headers: Additional headers of every response.
    """

    clock: FakeClock
    backups: dict[BackupRef, dict[str, Any]] = attrs.field(factory=dict)
    received: list[Request] = attrs.field(factory=list)
    fault: Callable[[Request], BackupsError | None] = lambda request: None
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    tagged: bool = False
    headers: dict[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.gate.set()

    def begin(
        self, *ids: BackupId, star_system: str = "sun", status: str = "running", **members: Any
    ) -> list[BackupRef]:
        """Start backups now."""
        refs = [BackupRef(star_system, backup_id) for backup_id in ids]
        for ref in refs:
            began = self.clock.utcnow().isoformat()
            self.backups[ref] = {"id": ref.backup_id, "status": status, "startedAt": began, **members}
        return refs

    def end(self, *refs: BackupRef, status: str = "succeeded") -> None:
        """Complete backups now."""
        for ref in refs:
            self.backups[ref] |= {"status": status, "completedAt": self.clock.utcnow().isoformat()}

    def count(self, kind: RequestKind) -> int:
        return sum(request.kind is kind for request in self.received)

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        self.received.append(request)
        await asyncio.sleep(0)
        await self.gate.wait()
        error = self.fault(request)
        if error is not None:
            raise error
        return self._respond(request)

    def _respond(self, request: Request) -> Response:
        parts = request.path.split("/")
        star_system = parts[parts.index("starsystems") + 1]
        if request.kind is RequestKind.GET:
            found = self.backups.get(BackupRef(star_system, unquote(parts[-1])))
            if found is None:
                raise NotFoundError(status=404)
            content: object = found
        else:
            content = {"backups": [raw for ref, raw in self.backups.items() if ref.star_system == star_system]}
        body = msgspec.json.encode(content)
        etag = f'"{hash(body)}"'
        headers = {"Date": format_datetime(self.clock.utcnow().replace(microsecond=0)), **self.headers}
        if self.tagged:
            headers["ETag"] = etag
        known = self.tagged and request.etag == etag
        return Response(
            status=304 if known else 200,
            headers=CIMultiDict(headers),
            body=b"" if known else body,
            method=request.method,
            url=f"http://memory{request.path}",
        )

    def operations(self) -> Operations:
        return Operations(self, RequestBuilder("example"), utcnow=self.clock.utcnow)

    def engine(
        self,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        *,
        concurrency: int = 32,
        status_rule: Any = progress_of,
        is_foreign: Any = lambda star_system, backup: False,
        **policy: Any,
    ) -> Engine:
        chance = random.Random(1)
        return Engine(
            self.operations(),
            scheduler=lambda: Scheduler(PollingPolicy(**policy), draw=chance.random, retry=retry),
            clock=self.clock,
            concurrency=concurrency,
            status_rule=status_rule,
            origin=lambda _: None,
            is_foreign=is_foreign,
        )
