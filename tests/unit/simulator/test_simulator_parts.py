"""The simulator's clock, counts and tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncbackups.simulator import Access, Clock, Counts, Kind, ManualClock, SystemClock
from asyncbackups.simulator.access import TokenRefused, TokenStore


def test_clocks() -> None:
    """A manual clock moves only by hand, and never back; the system's clock is aware and in UTC."""
    clock = ManualClock(datetime(2025, 1, 1, tzinfo=UTC), monotonic=1)
    clock.advance(2.5)
    assert clock.monotonic() == 3.5
    assert clock.utcnow() == datetime(2025, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2025, 1, 1))  # noqa: DTZ001
    system = SystemClock()
    assert isinstance(system, Clock)
    assert system.utcnow().tzinfo is UTC
    assert system.monotonic() <= system.monotonic()


def test_counts_add_up_and_can_be_reset() -> None:
    """Counts can be asked by kind, by status and as plain values, and forgotten."""
    counts = Counts()
    counts.enter()
    counts.add(Kind.GET, 200, 10)
    counts.add(Kind.GET, 503, 5)
    counts.add(Kind.LIST, 200, 7)
    assert (counts.of(), counts.of("get"), counts.of(status=200), counts.of(Kind.GET, 200)) == (3, 2, 2, 1)
    assert counts.as_dict() == {
        "total": 3,
        "requests": {"get": {"200": 1, "503": 1}, "list": {"200": 1}},
        "bytes_sent": {"get": 15, "list": 7},
        "in_flight": 1,
        "peak": 1,
    }
    counts.reset()
    assert (counts.total, counts.peak) == (0, 1)
    with pytest.raises(ValueError, match="not a valid Kind"):
        counts.of("gets")


def test_revoked_tokens() -> None:
    """Revoking takes every issued token out of force at once, and leaves the fixed one."""
    store = TokenStore(Access(token_life=1.5), tenant="t", clock=ManualClock())
    form = {
        "grant_type": "client_credentials",
        "client_id": "simulator-client",
        "client_secret": "simulator-secret",
        "scope": "tenant.t",
    }
    grant = store.issue(form)
    assert grant["expires_in"] == 1.5
    assert store.check(f"bearer {grant['access_token']}") is not None
    store.revoke_all()
    assert store.check(f"Bearer {grant['access_token']}") is None
    assert store.check("Bearer simulator-token") is not None
    assert store.issued == 1
    with pytest.raises(TokenRefused):
        store.issue({})


def test_without_scope_checks_any_token_may_do_anything() -> None:
    """With scope checks off, a token without scopes covers writing."""
    store = TokenStore(Access(check_scopes=False), tenant="t", clock=ManualClock())
    form = {
        "grant_type": "client_credentials",
        "client_id": "simulator-client",
        "client_secret": "simulator-secret",
    }
    grant = store.check(f"Bearer {store.issue(form)['access_token']}")
    assert grant is not None
    assert grant.allows(Kind.CREATE)


def test_secrets_stay_out_of_reprs() -> None:
    """The repr of the credentials shows neither token nor secret."""
    assert "simulator-token" not in repr(Access())
    assert "simulator-secret" not in repr(Access())
