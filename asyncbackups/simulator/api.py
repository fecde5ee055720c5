"""The Database API as documented, and as its settings fill the gaps: a route and a request in, an `Answer` out.

It does no I/O and knows no web server, so that what it says can be tested by calling it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, MutableSet
from typing import assert_never
from urllib.parse import parse_qsl, quote

import msgspec

from asyncbackups.simulator.access import TokenRefused, TokenStore
from asyncbackups.simulator.answers import JSON_TYPE, Answer, Incoming, json_answer, refusal
from asyncbackups.simulator.orders import BadOrder, read_order
from asyncbackups.simulator.paging import Page, page_asked_for, wrap_list
from asyncbackups.simulator.rendering import Renderer
from asyncbackups.simulator.routing import Kind, Route
from asyncbackups.simulator.shape import ApiShape, CreateAnswer, Paging
from asyncbackups.simulator.world import SimulatedBackup, World

__all__ = ["DatabaseApi"]


class DatabaseApi:
    """Answers requests out of a world.

    Args:
        world: The backups.
        renderer: How they are written.
        shape: What the guide leaves open.
        tokens: The tokens in force.
        tenant: The one tenant.
        forbidden: Star systems that answer 403; may be changed at any time.
    """

    def __init__(
        self,
        world: World,
        renderer: Renderer,
        *,
        shape: ApiShape,
        tokens: TokenStore,
        tenant: str,
        forbidden: MutableSet[str],
    ) -> None:
        self._world = world
        self._renderer = renderer
        self._shape = shape
        self._tokens = tokens
        self._tenant = tenant
        self._forbidden = forbidden
        self._operations: dict[Kind, Callable[[Route, Incoming], Answer]] = {
            Kind.CREATE: self._create,
            Kind.GET: self._get,
            Kind.LIST: self._list,
            Kind.LIST_PLANET: self._list,
            Kind.DELETE: self._delete,
        }

    def answer(self, route: Route, incoming: Incoming) -> Answer:
        """Do what a request asks for.

        Args:
            route: What it asks for.
            incoming: The rest of the request.
        """
        if route.kind is Kind.TOKEN:
            return self._token(incoming)
        refused = self._refuse(route, incoming)
        if refused is not None:
            return refused
        if route.kind is Kind.HEALTH:
            return json_answer(200, {"status": self._shape.health_status})
        return self._operations[route.kind](route, incoming)

    def _refuse(self, route: Route, incoming: Incoming) -> Answer | None:
        """Check everything that is the same for all operations."""
        if route.kind is Kind.HEALTH and not self._shape.health_needs_token:
            return None
        grant = self._tokens.check(incoming.headers.get("Authorization"))
        if grant is None:
            message = "The bearer token is missing, invalid or expired."
            return self._refusal(401, message, WWW_Authenticate="Bearer")
        if route.kind is Kind.OTHER:
            return self._unknown_path(route)
        if not grant.allows(route.kind):
            return self._refusal(403, "The token's scopes do not cover this operation.")
        return None if route.kind is Kind.HEALTH else self._refuse_place(route)

    def _refuse_place(self, route: Route) -> Answer | None:
        if route.tenant != self._tenant or route.star_system in self._forbidden:
            return self._refusal(403, "Not in the access group.")
        if not self._world.knows(route.star_system, route.planet):
            return self._refusal(404, "There is no such star system or planet.")
        return None

    def _unknown_path(self, route: Route) -> Answer:
        if route.allowed:
            return self._refusal(405, "This method is not supported here.", Allow=", ".join(route.allowed))
        return self._refusal(404, "There is nothing under this path.")

    def _create(self, route: Route, incoming: Incoming) -> Answer:
        media_type = incoming.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return self._refusal(400, "The body's Content-Type must be application/json.")
        try:
            order = read_order(incoming.body, self._shape)
        except BadOrder as exc:
            return self._refusal(400, str(exc))
        backup = self._world.create(route.star_system, route.planet, order)
        return self._created(backup, incoming)

    def _created(self, backup: SimulatedBackup, incoming: Incoming) -> Answer:
        shape, status = self._shape, self._shape.create_status
        phase = backup.phase(self._world.now())
        match shape.create_answer:
            case CreateAnswer.OBJECT:
                return Answer(status, self._renderer.encode(backup, phase))
            case CreateAnswer.WRAPPED:
                whole = msgspec.Raw(self._renderer.encode(backup, phase))
                return json_answer(status, {shape.create_wrapper: whole})
            case CreateAnswer.LOCATION:
                return Answer(status, b"", {"Location": self._backup_url(backup, incoming)})
            case CreateAnswer.WITHOUT_ID:
                members = self._renderer.members(backup, phase)
                del members["id"]
                return json_answer(status, members)
            case CreateAnswer.EMPTY:
                return Answer(status, b"", {})
            case _:
                assert_never(shape.create_answer)

    def _get(self, route: Route, incoming: Incoming) -> Answer:
        world = self._world
        backup = world.find(route.star_system, route.backup_id or 0)
        if backup is None:
            return self._refusal(404, "There is no such backup.")
        phase = backup.phase(world.now())
        headers = JSON_TYPE
        seconds = self._shape.in_progress_retry_after
        if seconds is not None and not phase.final:
            headers = {**JSON_TYPE, "Retry-After": str(seconds)}
        answer = Answer(200, self._renderer.encode(backup, phase), headers)
        return self._tagged(answer, incoming) if self._shape.etag else answer

    def _list(self, route: Route, incoming: Incoming) -> Answer:
        planet = route.planet if route.kind is Kind.LIST_PLANET else None
        shelf = self._world.shelf(route.star_system, planet)
        now = self._world.now()
        if self._shape.paging is Paging.NONE:
            page = Page(self._renderer.array(shelf, now))
        else:
            number, size = page_asked_for(route.query), self._shape.page_size
            array, more, total = self._renderer.page(shelf, now, (number - 1) * size, size)
            page = Page(array, number, not more, total, -(-total // size))
        body, headers = wrap_list(page, self._shape, self._list_url(route, incoming))
        answer = Answer(200, body, {**JSON_TYPE, **headers})
        return self._tagged(answer, incoming) if self._shape.etag else answer

    def _delete(self, route: Route, incoming: Incoming) -> Answer:  # noqa: ARG002 - as every operation
        if not self._world.delete(route.star_system, route.backup_id or 0):
            return self._refusal(404, "There is no such backup.")
        return Answer(200, b"", {})

    def _token(self, incoming: Incoming) -> Answer:
        form = dict(parse_qsl(incoming.body.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            return json_answer(200, self._tokens.issue(form), Cache_Control="no-store")
        except TokenRefused as exc:
            return json_answer(exc.status, {"error": exc.error}, Cache_Control="no-store")

    def _tagged(self, answer: Answer, incoming: Incoming) -> Answer:
        tag = f'"{hashlib.blake2b(answer.body, digest_size=8).hexdigest()}"'
        headers = {**answer.headers, "ETag": tag}
        if tag in incoming.headers.get("If-None-Match", ""):
            del headers["Content-Type"]
            return Answer(304, b"", headers)
        return Answer(200, answer.body, headers)

    def _refusal(self, status: int, message: str, **headers: str) -> Answer:
        return refusal(self._shape.error_body, status, message, **headers)

    def _backup_url(self, backup: SimulatedBackup, incoming: Incoming) -> str:
        return f"{self._base(backup.star_system, incoming)}/backups/{backup.id}"

    def _list_url(self, route: Route, incoming: Incoming) -> str:
        base = self._base(route.star_system, incoming)
        if route.kind is Kind.LIST_PLANET:
            return f"{base}/planets/{quote(route.planet, safe='')}/backups"
        return f"{base}/{self._shape.list_segment}"

    def _base(self, star_system: str, incoming: Incoming) -> str:
        origin = incoming.origin if self._shape.absolute_links else ""
        return f"{origin}/api/v1/tenants/{quote(self._tenant, safe='')}/starsystems/{quote(star_system, safe='')}"
