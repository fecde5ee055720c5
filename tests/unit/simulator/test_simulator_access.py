"""The simulator's bearer tokens and scopes."""

from __future__ import annotations

import pytest

from asyncbackups.simulator import Access, ManualClock, OperationKind
from asyncbackups.simulator.access import TokenRequestError, TokenStore

FORM = {
    "grant_type": "client_credentials",
    "client_id": "simulator-client",
    "client_secret": "simulator-secret",
    "scope": "tenant.t",
}


def test_revoke_all_invalidates_issued_tokens() -> None:
    """Every issued token is invalid at once; the fixed one stays valid."""
    store = TokenStore(Access(token_life=1.5), tenant="t", clock=ManualClock())
    response = store.issue_token(FORM)
    assert response["expires_in"] == 1.5
    assert store.find_grant(f"bearer {response['access_token']}") is not None
    store.revoke_all()
    assert store.find_grant(f"Bearer {response['access_token']}") is None
    assert store.find_grant("Bearer simulator-token") is not None
    assert store.issued == 1


def test_request_without_grant_type_is_refused() -> None:
    """An empty form gets the error code of RFC 6749."""
    store = TokenStore(Access(), tenant="t", clock=ManualClock())
    with pytest.raises(TokenRequestError) as caught:
        store.issue_token({})
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")


def test_any_token_may_do_everything_without_scope_checks() -> None:
    """With `check_scopes=False`, a token without scopes may create."""
    store = TokenStore(Access(check_scopes=False), tenant="t", clock=ManualClock())
    response = store.issue_token({name: value for name, value in FORM.items() if name != "scope"})
    grant = store.find_grant(f"Bearer {response['access_token']}")
    assert grant is not None
    assert grant.allows_operation(OperationKind.CREATE)


def test_repr_contains_no_secret() -> None:
    """The repr of the credentials shows neither token nor secret."""
    assert "simulator-token" not in repr(Access())
    assert "simulator-secret" not in repr(Access())
