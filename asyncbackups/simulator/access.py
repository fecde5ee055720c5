"""Who may do what: bearer tokens, and the token endpoint's client credentials (RFC 6749, section 4.4)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from asyncbackups.simulator.routing import Kind
from asyncbackups.simulator.settings import flag, positive, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncbackups.simulator.clock import Clock

__all__ = ["Access", "Grant", "TokenRefused", "TokenStore"]

READ_SCOPE = "gcc.deployments.read"
WRITE_SCOPE = "gcc.deployments.write"
_WRITING = (Kind.CREATE, Kind.DELETE)


@frozen(kw_only=True)
class Access:
    """The credentials that the simulator takes.

    Args:
        token: A bearer token that never expires and may do everything.
        client_id: Client id at the token endpoint.
        client_secret: Client secret at the token endpoint.
        token_life: Seconds that a token from the token endpoint lives.
        check_scopes: Whether a token needs the documented scopes for what it is used for.
    """

    token: str = field(default="simulator-token", validator=text, repr=False)
    client_id: str = field(default="simulator-client", validator=text)
    client_secret: str = field(default="simulator-secret", validator=text, repr=False)
    token_life: float = field(default=3600.0, validator=positive)
    check_scopes: bool = field(default=True, validator=flag)


@frozen
class Grant:
    """What a token allows, and until when in monotonic seconds."""

    expires_at: float
    scopes: frozenset[str] | None

    def allows(self, kind: Kind) -> bool:
        """Say whether the scopes cover a kind of request; `scopes` of `None` cover everything."""
        if self.scopes is None or kind in (Kind.HEALTH, Kind.OTHER):
            return True
        return (WRITE_SCOPE if kind in _WRITING else READ_SCOPE) in self.scopes


class TokenRefused(Exception):  # noqa: N818 - named after what happened; it never leaves the simulator
    """The token endpoint says no.

    Args:
        status: The HTTP status.
        error: The error code of RFC 6749, section 5.2.
    """

    def __init__(self, status: int, error: str) -> None:
        self.status = status
        self.error = error
        super().__init__(status, error)


class TokenStore:
    """The tokens in force.

    Attributes:
        issued: How many tokens the token endpoint has given out.
    """

    def __init__(self, access: Access, *, tenant: str, clock: Clock) -> None:
        self.issued: int = 0
        self._access = access
        self._tenant = tenant
        self._clock = clock
        self._grants: dict[str, Grant] = {access.token: Grant(float("inf"), None)}

    def check(self, authorization: str | None) -> Grant | None:
        """Look at an `Authorization` header; `None` when it is missing, wrong, or its token has expired."""
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        grant = self._grants.get(token)
        if grant is None or grant.expires_at <= self._clock.monotonic() or scheme.lower() != "bearer":
            return None
        return grant

    def issue(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Give out a token, or refuse.

        Args:
            form: The fields of the posted form.

        Raises:
            TokenRefused: The form or the credentials are not right.
        """
        scopes = self._judge(form)
        token = secrets.token_urlsafe(24)
        life = self._access.token_life
        self._grants[token] = Grant(self._clock.monotonic() + life, scopes if self._access.check_scopes else None)
        self.issued += 1
        return {
            "token_type": "Bearer",
            "expires_in": int(life) if life == int(life) else life,
            "access_token": token,
            "scope": form.get("scope", ""),
        }

    def revoke_all(self) -> None:
        """Make every token that the token endpoint gave out invalid at once; the fixed one stays."""
        fixed = self._access.token
        self._grants = {fixed: self._grants[fixed]}

    def _judge(self, form: Mapping[str, str]) -> frozenset[str]:
        access = self._access
        if form.get("grant_type") != "client_credentials":
            raise TokenRefused(400, "unsupported_grant_type" if "grant_type" in form else "invalid_request")
        if (form.get("client_id"), form.get("client_secret")) != (access.client_id, access.client_secret):
            raise TokenRefused(401, "invalid_client")
        scopes = frozenset(form.get("scope", "").split())
        if access.check_scopes and f"tenant.{self._tenant}" not in scopes:
            raise TokenRefused(400, "invalid_scope")
        return scopes
