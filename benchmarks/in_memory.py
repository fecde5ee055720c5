"""The service without a network: an engine over GETs and LISTs whose responses come from memory."""

from __future__ import annotations

import asyncio
import random

import attrs
import msgspec

from asyncbackups import PollingPolicy
from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._api.status_rule import progress_of
from asyncbackups._base.clock import SystemClock
from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._polling.engine import Engine
from asyncbackups._polling.scheduler import Scheduler


def raw(star_system: str, backup_id: int, status: str = "in_progress") -> dict[str, object]:
    """Return a backup as the API writes it."""
    return {
        "id": backup_id,
        "mechanism": "logical",
        "type": "temporary",
        "environment": {"tenant": "example", "project": star_system, "stage": "dev", "name": "a-planet"},
        "status": status,
        "displayStatus": "In progress" if status == "in_progress" else "Succeeded",
        "errorMessage": None,
        "startedAt": "2026-01-05T10:00:00Z",
        "completedAt": None if status == "in_progress" else "2026-01-05T10:02:11Z",
        "expirationDate": "2026-01-15T10:00:00Z",
        "databaseToApplicationBuilds": {},
    }


KEPT = {"status": "in_progress", "mechanism": "logical", "startedAt": "2026-01-05T10:00:00Z"}
"""The members that a watch keeps; lists of `Memory` show no others, so that decoding a million takes little time."""


@attrs.define
class Memory:
    """Responds from memory: every backup is in progress, without end.

    Attributes:
        ids: The backup ids of each star system.
        listed: The star systems that were listed.
        all_listed: Set once all star systems were listed.
        requests: How many requests were sent.
    """

    ids: dict[str, range]
    listed: set[str] = attrs.field(factory=set)
    all_listed: asyncio.Event = attrs.field(factory=asyncio.Event)
    requests: int = 0

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:  # noqa: ARG002
        """Respond to a request; one turn of the event loop represents the network."""
        await asyncio.sleep(0)
        self.requests += 1
        parts = request.path.split("/")
        star_system = parts[parts.index("starsystems") + 1]
        if request.kind is RequestKind.GET:
            content: object = raw(star_system, int(parts[-1]))
        else:
            self.listed.add(star_system)
            if len(self.listed) == len(self.ids):
                self.all_listed.set()
            content = [{"id": backup_id, **KEPT} for backup_id in self.ids[star_system]]
        body = msgspec.json.encode(content)
        url = f"http://memory{request.path}"
        return Response(status=200, headers={}, body=body, method="GET", url=url, attempt=1, seconds=0.01)


def engine_over(sender: Memory, policy: PollingPolicy | None = None) -> Engine:
    """Create an engine as a client does, over a sender in memory."""
    clock, chance = SystemClock(), random.Random(1)
    chosen = PollingPolicy() if policy is None else policy
    return Engine(
        Operations(sender, RequestBuilder("example"), utcnow=clock.utcnow),
        scheduler=lambda: Scheduler(chosen, draw=chance.random),
        clock=clock,
        concurrency=32,
        status_rule=progress_of,
        origin=lambda _: None,
        is_foreign=lambda *_: False,
    )
