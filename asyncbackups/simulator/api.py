"""The Database API without I/O: finds the operation of a request, checks its token, and returns the response."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, MutableSet
from enum import StrEnum
from typing import Any, assert_never
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from attrs import define, field, frozen

from asyncbackups.simulator import api_behavior, settings
from asyncbackups.simulator.api_behavior import ApiBehavior, BackupRenderer, CreateAnswer, ErrorBody
from asyncbackups.simulator.state import SimulatedBackup, SimulationClock, SimulatorState

TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105 - a path
ADMIN_PREFIX = "/_simulator/"
READ_SCOPE = "gcc.deployments.read"
WRITE_SCOPE = "gcc.deployments.write"
JSON_TYPE = {"Content-Type": "application/json"}


class OperationKind(StrEnum):
    """The operations that faults and counts distinguish."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    LIST_PLANET = "list_planet"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - the name of an operation
    OTHER = "other"
    ADMIN = "admin"


@frozen
class Route:
    """A request's operation and the parts of its path, percent-decoded.

    If the path exists but not with this method, `kind` is `OperationKind.OTHER` and `allowed` has the methods;
    if there is no such path, `allowed` is empty.
    """

    kind: OperationKind
    tenant: str = ""
    star_system: str = ""
    planet: str = ""
    backup_id: int | None = None
    query: str = ""
    allowed: tuple[str, ...] = ()
    admin_page: str = ""


_SERVICES = {"/management/health": {"GET": OperationKind.HEALTH}, TOKEN_PATH: {"POST": OperationKind.TOKEN}}
_BACKUP = {"GET": OperationKind.GET, "DELETE": OperationKind.DELETE}
_PLANET = {"GET": OperationKind.LIST_PLANET, "POST": OperationKind.CREATE}
_STAR_SYSTEM = {"GET": OperationKind.LIST}


def find_route(method: str, target: str, *, list_segment: str = "backup") -> Route:
    """Return the route of a request; `target` is as sent, percent-encoded, `list_segment` ends a star system's list."""
    path, _, query = target.partition("?")
    if path.startswith(ADMIN_PREFIX):
        return Route(OperationKind.ADMIN, admin_page=path.removeprefix(ADMIN_PREFIX))
    parts = path.split("/")
    # Decoded only after the split: an encoded slash belongs to the name, not to the path.
    if "%" in path:
        parts = [unquote(part) for part in parts]
    tenant, star_system, planet, backup_id = "", "", "", None
    if len(parts) < 8 or parts[1:4] != ["api", "v1", "tenants"] or parts[5] != "starsystems" or "" in parts[1:]:
        methods = _SERVICES.get(path, {})
    else:
        tenant, star_system = parts[4], parts[6]
        match parts[7:]:
            case ["backups", number]:
                methods, backup_id = _BACKUP, _parse_backup_id(number)
            case ["planets", planet, "backups"]:
                methods = _PLANET
            case [segment] if segment == list_segment:
                methods = _STAR_SYSTEM
            case _:
                return Route(OperationKind.OTHER)
    allowed = () if method in methods else tuple(methods)
    return Route(methods.get(method, OperationKind.OTHER), tenant, star_system, planet, backup_id, query, allowed)


def _parse_backup_id(text: str) -> int:
    """Return a backup's id, or -1, which no backup has, for anything but an integer."""
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else -1


@frozen(kw_only=True)
class Access:
    """The accepted credentials.

    Args:
        token: A bearer token that never expires and has every scope.
        client_id: Client id for the token endpoint.
        client_secret: Client secret for the token endpoint.
        token_life: Lifetime in seconds of the tokens that the token endpoint issues.
        check_scopes: Whether those tokens need the documented scope of each operation.
    """

    token: str = field(default="simulator-token", validator=settings.text, repr=False)
    client_id: str = field(default="simulator-client", validator=settings.text)
    client_secret: str = field(default="simulator-secret", validator=settings.text, repr=False)
    token_life: float = field(default=3600.0, validator=settings.positive)
    check_scopes: bool = field(default=True, validator=settings.flag)


@frozen
class TokenGrant:
    """The scopes of a token (None for all), and when it expires, in monotonic seconds."""

    expires_at: float
    scopes: frozenset[str] | None

    def allows_operation(self, kind: OperationKind) -> bool:
        """Return True if the scopes cover an operation."""
        if self.scopes is None or kind in (OperationKind.HEALTH, OperationKind.OTHER):
            return True
        writes = kind in (OperationKind.CREATE, OperationKind.DELETE)
        return (WRITE_SCOPE if writes else READ_SCOPE) in self.scopes


@define(eq=False)
class TokenRequestError(Exception):
    """The token endpoint refuses a request with a status and an error code of RFC 6749, section 5.2."""

    status: int
    code: str


@define(eq=False, slots=False)
class TokenStore:
    """The valid tokens; `issued` counts those that the token endpoint has issued."""

    _access: Access
    _tenant: str
    _clock: SimulationClock
    issued: int = field(default=0, init=False)
    _grants: dict[str, TokenGrant] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.revoke_all()

    def find_grant(self, authorization: str | None) -> TokenGrant | None:
        """Return the grant for an `Authorization` header; None if it is missing, wrong or expired."""
        scheme, _, token = (authorization or "").partition(" ")
        grant = self._grants.get(token)
        if grant is None or grant.expires_at <= self._clock.monotonic() or scheme.lower() != "bearer":
            return None
        return grant

    def issue_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Issue a token for a posted form and return the response's members; a wrong form is a `TokenRequestError`."""
        scopes = self._check_form(form)
        token, lifetime = secrets.token_urlsafe(24), self._access.token_life
        granted_scopes = scopes if self._access.check_scopes else None
        self._grants[token] = TokenGrant(self._clock.monotonic() + lifetime, granted_scopes)
        self.issued += 1
        return {
            "token_type": "Bearer",
            "expires_in": int(lifetime) if lifetime == int(lifetime) else lifetime,
            "access_token": token,
            "scope": form.get("scope", ""),
        }

    def revoke_all(self) -> None:
        """Invalidate every issued token at once; `Access.token` stays valid."""
        self._grants = {self._access.token: TokenGrant(float("inf"), None)}

    def _check_form(self, form: Mapping[str, str]) -> frozenset[str]:
        access = self._access
        if form.get("grant_type") != "client_credentials":
            raise TokenRequestError(400, "unsupported_grant_type" if "grant_type" in form else "invalid_request")
        if (form.get("client_id"), form.get("client_secret")) != (access.client_id, access.client_secret):
            raise TokenRequestError(401, "invalid_client")
        scopes = frozenset(form.get("scope", "").split())
        if access.check_scopes and f"tenant.{self._tenant}" not in scopes:
            raise TokenRequestError(400, "invalid_scope")
        return scopes


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
    """The operations of the Database API; those of other tenants and `forbidden` star systems respond with 403."""

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
            if route.allowed:
                return self._error_response(405, "Method not supported.", {"Allow": ", ".join(route.allowed)})
            return self._error_response(404, "No such path.")
        if not grant.allows_operation(route.kind):
            return self._error_response(403, "The token's scopes do not cover this operation.")
        return None if route.kind is OperationKind.HEALTH else self._refuse_target(route)

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
            body = api_behavior.parse_create_body(request.body, self._behavior)
        except api_behavior.CreateBodyError as exc:
            return self._error_response(400, str(exc))
        return self._create_response(self._state.create(route.star_system, route.planet, body), request)

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
                return json_response(status, {name: value for name, value in members.items() if name != "id"})
            case CreateAnswer.EMPTY:
                return ServerResponse(status, b"", {})
            case _:
                assert_never(behavior.create_answer)

    def _get_backup(self, route: Route, request: ServerRequest) -> ServerResponse:
        backup = self._state.find(route.star_system, route.backup_id or 0)
        if backup is None:
            return self._error_response(404, "No such backup.")
        phase = backup.phase(self._state.now())
        seconds = self._behavior.in_progress_retry_after
        retry_after = {} if seconds is None or phase.final else {"Retry-After": str(seconds)}
        response = ServerResponse(200, self._renderer.encode_backup(backup, phase), {**JSON_TYPE, **retry_after})
        return self._add_etag(response, request)

    def _list_backups(self, route: Route, request: ServerRequest) -> ServerResponse:
        planet = route.planet if route.kind is OperationKind.LIST_PLANET else None
        shown = self._state.backup_list(route.star_system, planet)
        url = self._list_url(route, request)
        body, headers = self._renderer.render_list(shown, self._state.now(), route.query, url)
        return self._add_etag(ServerResponse(200, body, {**JSON_TYPE, **headers}), request)

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
        if not self._behavior.etag:
            return response
        tag = f'"{hashlib.blake2b(response.body, digest_size=8).hexdigest()}"'
        headers = {**response.headers, "ETag": tag}
        if tag in request.headers.get("If-None-Match", ""):
            del headers["Content-Type"]
            return ServerResponse(304, b"", headers)
        return ServerResponse(200, response.body, headers)

    def _error_response(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> ServerResponse:
        if self._behavior.error_body is ErrorBody.JSON:
            return json_response(status, {"status": status, "message": message}, headers)
        if self._behavior.error_body is ErrorBody.TEXT:
            plain = {"Content-Type": "text/plain; charset=utf-8"}
            return ServerResponse(status, message.encode(), {**plain, **(headers or {})})
        return ServerResponse(status, b"", headers or {})

    def _list_url(self, route: Route, request: ServerRequest) -> str:
        star_system_url = self._star_system_url(route.star_system, request)
        if route.kind is OperationKind.LIST_PLANET:
            return f"{star_system_url}/planets/{quote(route.planet, safe='')}/backups"
        return f"{star_system_url}/{self._behavior.list_segment}"

    def _star_system_url(self, star_system: str, request: ServerRequest) -> str:
        origin = request.origin if self._behavior.absolute_links else ""
        return f"{origin}/api/v1/tenants/{quote(self._tenant, safe='')}/starsystems/{quote(star_system, safe='')}"
