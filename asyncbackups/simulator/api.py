"""The Database API: a route and a request in, a response out, without I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableSet
from typing import Any, assert_never
from urllib.parse import parse_qsl, quote

import msgspec
from attrs import define, field, frozen

from asyncbackups.simulator.access import TokenRequestError, TokenStore
from asyncbackups.simulator.api_behavior import (
    ApiBehavior,
    BackupRenderer,
    CreateAnswer,
    ErrorBody,
    ListPage,
    Paging,
    parse_page_number,
    wrap_list,
)
from asyncbackups.simulator.request_body import CreateBodyError, parse_create_body
from asyncbackups.simulator.routes import OperationKind, Route
from asyncbackups.simulator.state import SimulatedBackup, SimulatorState

JSON_TYPE = {"Content-Type": "application/json"}


@frozen
class ServerRequest:
    """A received request without its route: headers (case-insensitive), body, and the origin of its URL."""

    headers: Mapping[str, str]
    body: bytes
    origin: str


@frozen
class ServerResponse:
    """A response with a complete body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = JSON_TYPE


def json_response(status: int, content: Any, headers: Mapping[str, str] | None = None) -> ServerResponse:
    """Return a response with a JSON body."""
    return ServerResponse(status, msgspec.json.encode(content), {**JSON_TYPE, **(headers or {})})


@define(eq=False)
class DatabaseApi:
    """The operations of the Database API.

    Args:
        state: The backups.
        behavior: The API's behavior.
        renderer: Encodes backups.
        tokens: The valid tokens.
        tenant: The only tenant.
        forbidden: Star systems that respond with 403; may be changed at any time.
    """

    _state: SimulatorState
    _behavior: ApiBehavior
    _renderer: BackupRenderer
    _tokens: TokenStore
    _tenant: str
    _forbidden: MutableSet[str]
    _operations: dict[OperationKind, Callable[[Route, ServerRequest], ServerResponse]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._operations = {
            OperationKind.CREATE: self._create_backup,
            OperationKind.GET: self._get_backup,
            OperationKind.LIST: self._list_backups,
            OperationKind.LIST_PLANET: self._list_backups,
            OperationKind.DELETE: self._delete_backup,
        }

    def respond(self, route: Route, request: ServerRequest) -> ServerResponse:
        """Carry out a request and return its response."""
        if route.kind is OperationKind.TOKEN:
            return self._issue_token(request)
        refusal = self._refuse_request(route, request)
        if refusal is not None:
            return refusal
        if route.kind is OperationKind.HEALTH:
            return json_response(200, {"status": self._behavior.health_status})
        return self._operations[route.kind](route, request)

    def _refuse_request(self, route: Route, request: ServerRequest) -> ServerResponse | None:
        """Make the checks that all operations share."""
        if route.kind is OperationKind.HEALTH and not self._behavior.health_needs_token:
            return None
        grant = self._tokens.find_grant(request.headers.get("Authorization"))
        if grant is None:
            message = "The bearer token is missing, invalid or expired."
            return self._error_response(401, message, {"WWW-Authenticate": "Bearer"})
        if route.kind is OperationKind.OTHER:
            return self._refuse_path(route)
        if not grant.allows_operation(route.kind):
            return self._error_response(403, "The token's scopes do not cover this operation.")
        return None if route.kind is OperationKind.HEALTH else self._refuse_target(route)

    def _refuse_path(self, route: Route) -> ServerResponse:
        if route.allowed:
            return self._error_response(405, "Method not supported.", {"Allow": ", ".join(route.allowed)})
        return self._error_response(404, "No such path.")

    def _refuse_target(self, route: Route) -> ServerResponse | None:
        if route.tenant != self._tenant or route.star_system in self._forbidden:
            return self._error_response(403, "Not in the access group.")
        if not self._state.has_planet(route.star_system, route.planet):
            return self._error_response(404, "No such star system or planet.")
        return None

    def _create_backup(self, route: Route, request: ServerRequest) -> ServerResponse:
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return self._error_response(400, "The body's Content-Type must be application/json.")
        try:
            body = parse_create_body(request.body, self._behavior)
        except CreateBodyError as exc:
            return self._error_response(400, str(exc))
        backup = self._state.create(route.star_system, route.planet, body)
        return self._create_response(backup, request)

    def _create_response(self, backup: SimulatedBackup, request: ServerRequest) -> ServerResponse:
        behavior, status = self._behavior, self._behavior.create_status
        phase = backup.phase(self._state.now())
        match behavior.create_answer:
            case CreateAnswer.OBJECT:
                return ServerResponse(status, self._renderer.encode_backup(backup, phase))
            case CreateAnswer.WRAPPED:
                encoded = msgspec.Raw(self._renderer.encode_backup(backup, phase))
                return json_response(status, {behavior.create_wrapper: encoded})
            case CreateAnswer.LOCATION:
                location = f"{self._star_system_url(backup.star_system, request)}/backups/{backup.id}"
                return ServerResponse(status, b"", {"Location": location})
            case CreateAnswer.WITHOUT_ID:
                members = self._renderer.backup_members(backup, phase)
                del members["id"]
                return json_response(status, members)
            case CreateAnswer.EMPTY:
                return ServerResponse(status, b"", {})
            case _:
                assert_never(behavior.create_answer)

    def _get_backup(self, route: Route, request: ServerRequest) -> ServerResponse:
        backup = self._state.find(route.star_system, route.backup_id or 0)
        if backup is None:
            return self._error_response(404, "No such backup.")
        phase = backup.phase(self._state.now())
        headers = JSON_TYPE
        seconds = self._behavior.in_progress_retry_after
        if seconds is not None and not phase.final:
            headers = {**JSON_TYPE, "Retry-After": str(seconds)}
        response = ServerResponse(200, self._renderer.encode_backup(backup, phase), headers)
        return self._add_etag(response, request) if self._behavior.etag else response

    def _list_backups(self, route: Route, request: ServerRequest) -> ServerResponse:
        planet = route.planet if route.kind is OperationKind.LIST_PLANET else None
        shown = self._state.backup_list(route.star_system, planet)
        now = self._state.now()
        if self._behavior.paging is Paging.NONE:
            page = ListPage(self._renderer.encode_list(shown, now))
        else:
            number, size = parse_page_number(route.query), self._behavior.page_size
            array, total = self._renderer.encode_slice(shown, now, (number - 1) * size, size)
            page = ListPage(array, number, total, -(-total // size))
        body, headers = wrap_list(page, self._behavior, self._list_url(route, request))
        response = ServerResponse(200, body, {**JSON_TYPE, **headers})
        return self._add_etag(response, request) if self._behavior.etag else response

    def _delete_backup(self, route: Route, request: ServerRequest) -> ServerResponse:  # noqa: ARG002 - common signature
        if not self._state.delete(route.star_system, route.backup_id or 0):
            return self._error_response(404, "No such backup.")
        return ServerResponse(200, b"", {})

    def _issue_token(self, request: ServerRequest) -> ServerResponse:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        no_store = {"Cache-Control": "no-store"}
        try:
            return json_response(200, self._tokens.issue_token(form), no_store)
        except TokenRequestError as exc:
            return json_response(exc.status, {"error": exc.code}, no_store)

    def _add_etag(self, response: ServerResponse, request: ServerRequest) -> ServerResponse:
        tag = f'"{hashlib.blake2b(response.body, digest_size=8).hexdigest()}"'
        headers = {**response.headers, "ETag": tag}
        if tag in request.headers.get("If-None-Match", ""):
            del headers["Content-Type"]
            return ServerResponse(304, b"", headers)
        return ServerResponse(200, response.body, headers)

    def _error_response(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> ServerResponse:
        match self._behavior.error_body:
            case ErrorBody.JSON:
                return json_response(status, {"status": status, "message": message}, headers)
            case ErrorBody.TEXT:
                plain = {"Content-Type": "text/plain; charset=utf-8"}
                return ServerResponse(status, message.encode(), {**plain, **(headers or {})})
            case ErrorBody.EMPTY:
                return ServerResponse(status, b"", headers or {})
            case _:
                assert_never(self._behavior.error_body)

    def _list_url(self, route: Route, request: ServerRequest) -> str:
        star_system_url = self._star_system_url(route.star_system, request)
        if route.kind is OperationKind.LIST_PLANET:
            return f"{star_system_url}/planets/{quote(route.planet, safe='')}/backups"
        return f"{star_system_url}/{self._behavior.list_segment}"

    def _star_system_url(self, star_system: str, request: ServerRequest) -> str:
        origin = request.origin if self._behavior.absolute_links else ""
        return f"{origin}/api/v1/tenants/{quote(self._tenant, safe='')}/starsystems/{quote(star_system, safe='')}"
