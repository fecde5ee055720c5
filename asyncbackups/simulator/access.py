"""Authentication: bearer tokens, and the token endpoint's client credentials (RFC 6749, section 4.4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from asyncbackups.simulator.routes import OperationKind
from asyncbackups.simulator.settings import flag, positive, text
from asyncbackups.simulator.simulation_clock import SimulationClock

READ_SCOPE = "gcc.deployments.read"
WRITE_SCOPE = "gcc.deployments.write"


@frozen(kw_only=True)
class Access:
    """The credentials that the simulator accepts.

    Args:
        token: A bearer token that never expires and has every scope.
        client_id: Client id for the token endpoint.
        client_secret: Client secret for the token endpoint.
        token_life: Lifetime in seconds of the tokens that the token endpoint issues.
        check_scopes: Whether those tokens need the documented scope of each operation.
    """

    token: str = field(default="simulator-token", validator=text, repr=False)
    client_id: str = field(default="simulator-client", validator=text)
    client_secret: str = field(default="simulator-secret", validator=text, repr=False)
    token_life: float = field(default=3600.0, validator=positive)
    check_scopes: bool = field(default=True, validator=flag)


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


class TokenRequestError(Exception):
    """The token endpoint refuses a request with a status and an error code of RFC 6749, section 5.2."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code
        super().__init__(status, code)


class TokenStore:
    """The valid tokens.

    Attributes:
        issued: Number of tokens that the token endpoint has issued.
    """

    def __init__(self, access: Access, *, tenant: str, clock: SimulationClock) -> None:
        self.issued: int = 0
        self._access = access
        self._tenant = tenant
        self._clock = clock
        self._grants: dict[str, TokenGrant] = {access.token: TokenGrant(float("inf"), None)}

    def find_grant(self, authorization: str | None) -> TokenGrant | None:
        """Return the grant for an `Authorization` header; None if it is missing, wrong or expired."""
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        grant = self._grants.get(token)
        if grant is None or grant.expires_at <= self._clock.monotonic() or scheme.lower() != "bearer":
            return None
        return grant

    def issue_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Issue a token for the fields of a posted form, and return the members of the response.

        Raises:
            TokenRequestError: The form or the credentials are wrong.
        """
        scopes = self._check_form(form)
        token = secrets.token_urlsafe(24)
        lifetime = self._access.token_life
        expires_at = self._clock.monotonic() + lifetime
        self._grants[token] = TokenGrant(expires_at, scopes if self._access.check_scopes else None)
        self.issued += 1
        return {
            "token_type": "Bearer",
            "expires_in": int(lifetime) if lifetime == int(lifetime) else lifetime,
            "access_token": token,
            "scope": form.get("scope", ""),
        }

    def revoke_all(self) -> None:
        """Invalidate every issued token at once; `Access.token` stays valid."""
        fixed = self._access.token
        self._grants = {fixed: self._grants[fixed]}

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
