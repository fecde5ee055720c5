"""The web side of the simulator: reads requests, sends answers, counts both, and misbehaves when told to."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from asyncbackups.simulator.answers import Answer, Incoming
from asyncbackups.simulator.counts import DROPPED, Counts
from asyncbackups.simulator.faults import Drop, FaultRules, Verdict, When
from asyncbackups.simulator.misbehaviour import falsify, happens_before, misbehave
from asyncbackups.simulator.routing import Kind, Route, find_route

if TYPE_CHECKING:
    from asyncbackups.simulator.api import DatabaseApi
    from asyncbackups.simulator.world import World

__all__ = ["Service"]


class Service:
    """Handles requests.

    Args:
        api: What answers them.
        world: The backups, for the time and the admin endpoints.
        counts: Where they are counted.
        faults: What goes wrong.
        list_segment: Last path segment of a star system's list.
        scheme: `http` or `https`, for links.
    """

    def __init__(
        self,
        api: DatabaseApi,
        world: World,
        counts: Counts,
        faults: FaultRules,
        *,
        list_segment: str,
        scheme: str,
    ) -> None:
        self._api = api
        self._world = world
        self._counts = counts
        self._faults = faults
        self._list_segment = list_segment
        self._scheme = scheme
        self._date_second = 0.0
        self._date = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        route = find_route(request.method, request.raw_path, list_segment=self._list_segment)
        if route.kind is Kind.ADMIN:
            return self._admin(route)
        self._counts.enter()
        try:
            incoming = await self._read(request)
            verdict = self._judge(route) if self._faults else None
            if verdict is not None:
                return await self._handle_badly(request, route, incoming, verdict)
            return self._send(route, self._api.answer(route, incoming))
        finally:
            self._counts.leave()

    def _judge(self, route: Route) -> Verdict | None:
        planet = route.planet
        if not planet and route.backup_id is not None:
            backup = self._world.find(route.star_system, route.backup_id)
            planet = "" if backup is None else backup.planet
        return self._faults.judge(route.kind, route.star_system, planet)

    async def _handle_badly(
        self, request: web.BaseRequest, route: Route, incoming: Incoming, verdict: Verdict
    ) -> web.StreamResponse:
        """Answer a request that faults have hit."""
        await verdict.hold(When.BEFORE)
        action = verdict.action
        true = None if happens_before(action) else self._api.answer(route, incoming)
        await verdict.hold(When.AFTER)
        if action is None:
            return self._send(route, true or Answer(500))
        false = falsify(action, true)
        if false is not None:
            return self._send(route, false)
        status = DROPPED if true is None or isinstance(action, Drop) else true.status
        self._counts.add(route.kind, status, 0)
        try:
            return await misbehave(action, request, true)
        except ConnectionError:
            # The client has had enough, which is all that an endless answer waits for.
            return web.Response()

    def _send(self, route: Route, answer: Answer) -> web.Response:
        self._counts.add(route.kind, answer.status, len(answer.body))
        headers = {**answer.headers, "Date": self._now_as_date()}
        return web.Response(body=answer.body, status=answer.status, headers=headers)

    async def _read(self, request: web.BaseRequest) -> Incoming:
        body = await request.read() if request.body_exists else b""
        return Incoming(request.headers, body, f"{self._scheme}://{request.headers.get('Host', '')}")

    def _now_as_date(self) -> str:
        """Write the server's time for the `Date` header; a new text each second."""
        utcnow = self._world.utcnow()
        second = utcnow.timestamp() // 1
        if second != self._date_second:
            self._date_second = second
            self._date = format_datetime(utcnow, usegmt=True)
        return self._date

    def _admin(self, route: Route) -> web.Response:
        """Tell a benchmark or test in another process what is true; not part of the API and not counted."""
        if route.tail == "counts":
            content = self._counts.as_dict()
            content["creates"] = [[*where, number] for where, number in self._world.creates.items()]
        elif route.tail == "backups":
            content = {
                str(backup.id): {
                    "star_system": backup.star_system,
                    "planet": backup.planet,
                    "succeeds": backup.fate.succeeds,
                    "created_at": backup.created_at,
                    "completed_at": backup.completed_at,
                }
                for backup in self._world
            }
        else:
            return web.Response(status=404)
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")
