"""The rows of the matrix, as data: what goes wrong, and what is to come of it.

An outcome is "ok", the name of an error or event, or "2 ThatError" where only some of several backups got it. Whatever
the outcome, each cell asserts that it is true, that nothing was created twice, and the rest of `cells.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from typing import Any

from asyncbackups.policies import CreatePolicy, RetryPolicy
from asyncbackups.simulator import (
    ApiBehavior,
    Drop,
    Endless,
    Fault,
    GzipBomb,
    Html,
    Malformed,
    Oversized,
    Redirect,
    Respond,
    Slow,
    Truncate,
    When,
)
from asyncbackups.simulator.fault_rules import Action
from tests.faults.outcomes import OR, several
from tests.faults.stage import FAULTED, Stage, Trouble

LOST = Drop(When.AFTER)
LISTS = ("list", "list_planet")
STUBBORN = {
    # Chance may strike a poll many times in a row: that must not be taken for the end.
    "deadline": 1800.0,
    "retry": RetryPolicy(attempts=40, initial=2.0, maximum=20.0),
    "creating": CreatePolicy(settle=60.0, patience=240.0, resends=12),
}

UNSURE = "AmbiguousCreateError"
DENIED = "PermissionDeniedError"
DEPENDED = "FailedDependencyError"
INTERNAL = "InternalServerError"
TOO_LARGE = "AnswerTooLargeError"
REDIRECT = "RedirectRefusedError"

Faults = Callable[[Stage], list[Fault]]


def once(action: Action | None = None, **settings: Any) -> Faults:
    """Strike the first request of each kind."""
    return lambda _: [Fault(action, kind=kind, count=1, **settings) for kind in FAULTED]


def always(action: Action | None = None, **settings: Any) -> Faults:
    """Strike every request."""
    return lambda _: [Fault(action, kind=kind, **settings) for kind in FAULTED]


def often(action: Action | None = None, **settings: Any) -> Faults:
    """Strike one request in three."""
    return always(action, probability=0.33, **settings)


def on_lists(action: Action) -> Faults:
    """Strike every list, and hide the answers of creates, which lists then have to find."""
    return lambda _: [*(Fault(action, kind=kind) for kind in LISTS), Fault(LOST, kind="create", count=1)]


def on_token(action: Action, count: int | None) -> Faults:
    """Strike the token endpoint."""
    return lambda _: [Fault(action, kind="token", count=count)]


def all_of(outcome: str, **others: str) -> dict[str, str]:
    """Expect one outcome of every operation, but for some."""
    names = ("create", "create again", "get", "list", "delete", "wait", "watch", "bulk", "resume")
    return {name: others.get(name.replace(" ", "_"), outcome) for name in names}


def heals(outcome: str, **others: str) -> dict[str, str]:
    """Expect what comes of a fault that may heal and never does: waits go on until their deadline."""
    resumed = several(**{UNSURE: 1, outcome: 3, "WatchExpired": 2})
    waits = {"wait": "WatchExpiredError", "watch": "WatchExpired", "resume": resumed}
    return all_of(outcome, **{"create_again": UNSURE, **waits, **others})


def hides(outcome: str, **others: str) -> dict[str, str]:
    """Expect what comes of a fault that hides whether a create happened, and hides it from all who look for it."""
    resumed = several(**{UNSURE: 4, "WatchExpired": 2})
    return heals(outcome, **{"create": UNSURE, "bulk": UNSURE, "resume": resumed, **others})


def is_final(outcome: str, **others: str) -> dict[str, str]:
    """Expect what comes of an answer that says no, and that no answer after it heals."""
    return all_of(outcome, **{"create_again": UNSURE, "resume": several(**{UNSURE: 1, outcome: 5}), **others})


def once_final(outcome: str, **others: str) -> dict[str, str]:
    """Expect what comes of a no that is said once: polls ask again, a bulk run loses one create."""
    lost = {"bulk": f"1 {outcome}", "resume": several(**{UNSURE: 1, outcome: 1})}
    return all_of(outcome, **{"create_again": UNSURE, "wait": "ok", "watch": "ok", **lost, **others})


def unread(outcome: str, **others: str) -> dict[str, str]:
    """Expect what comes of one answer that makes no sense: creates are looked for, polls ask again."""
    return {"get": outcome, "list": outcome, **others}


def list_is(outcome: str) -> dict[str, str]:
    """Expect what comes of lists that are of no use, where the answer of one create is lost."""
    return {
        "create": UNSURE,
        "create again": UNSURE,
        "bulk": f"1 {UNSURE}",
        "resume": f"2 {UNSURE}",
        "list": outcome,
    }


async def _down(stage: Stage) -> None:
    await stage.sim.stop()


async def _down_for_a_second(stage: Stage) -> None:
    await stage.sim.stop()
    stage.striking = stage.later(1.0)


async def _down_for_minutes(stage: Stage) -> None:
    await stage.outage(180.0)


async def _tokens_revoked(stage: Stage) -> None:
    stage.sim.tokens.revoke_all()


def _client_jumps(seconds: float) -> Callable[[Stage], Any]:
    async def jump(stage: Stage) -> None:
        stage.clock.jump(seconds)

    return jump


def _server_jumps(seconds: float) -> Callable[[Stage], Any]:
    async def jump(stage: Stage) -> None:
        stage.sim.state.clock_offset += seconds

    return jump


def _redirect(stage: Stage) -> Action:
    return Redirect(f"{stage.trap.url}/elsewhere")


def _on_date(seconds: float) -> Faults:
    def faults(stage: Stage) -> list[Fault]:
        when = format_datetime(stage.clock.utcnow() + dt.timedelta(seconds=seconds), usegmt=True)
        return once(Respond(429, {"Retry-After": when}))(stage)

    return faults


def _refusals() -> Iterator[Trouble]:
    for status, name in {
        405: "MethodNotAllowedError",
        409: "ConflictError",
        422: "UnprocessableError",
    }.items():
        yield Trouble(name=f"{status} once", fault=once(Respond(status)), expected=once_final(name))
        resumed = several(**{UNSURE: 1, name: 3, "WatchExpired": 2})
        ends = is_final(name, wait="WatchExpiredError", watch="WatchExpired", resume=resumed)
        yield Trouble(name=f"{status} for good", fault=always(Respond(status)), expected=ends)


# A connection that is kept alive may break with the create on it, or be known to be closed before it is sent.
_REFUSED_OR_UNSURE = f"ConnectError{OR}{UNSURE}"
_SOME_UNSURE = OR.join(several(**{UNSURE: n, "ConnectError": 6 - n}) for n in range(1, 6))
DOWN = heals("ConnectError", create=_REFUSED_OR_UNSURE, bulk=f"{_REFUSED_OR_UNSURE}{OR}{_SOME_UNSURE}")


TROUBLES: list[Trouble] = [
    Trouble(name="nothing"),
    # Connections
    Trouble(name="refused for a second", before=_down_for_a_second),
    Trouble(name="refused for good", before=_down, warm=False, expected=heals("ConnectError")),
    Trouble(name="down for good, a connection was open", before=_down, expected=DOWN),
    Trouble(name="reset before the effect, once", fault=once(Drop())),
    Trouble(name="reset before the effect, often", fault=often(Drop()), **STUBBORN),
    Trouble(name="reset before the effect, always", fault=always(Drop()), expected=hides("TransportError")),
    Trouble(name="reset after the effect, once", fault=once(LOST)),
    Trouble(name="reset after the effect, often", fault=often(LOST), **STUBBORN),
    Trouble(name="reset after the effect, always", fault=always(LOST), expected=hides("TransportError")),
    Trouble(name="reset mid-answer, once", fault=once(Truncate())),
    Trouble(name="reset mid-answer, always", fault=always(Truncate()), expected=hides("TransportError")),
    Trouble(name="truncated to nothing, once", fault=once(Truncate(0.0))),
    Trouble(name="timeout before the effect, once", fault=once(delay=0.5)),
    Trouble(name="timeout after the effect, once", fault=once(delay_after=0.5)),
    Trouble(name="timeout, always", fault=always(delay_after=0.5), expected=hides("AnswerTimeoutError")),
    Trouble(name="slow body", fault=always(Slow(64, 0.001))),
    Trouble(name="body slower than the timeout, once", fault=once(Slow(1, 0.05))),
    Trouble(name="body without an end, once", fault=once(Endless(interval=0.05))),
    Trouble(name="certificate does not verify", tls=True, warm=False, expected=heals("CertificateError")),
    # Bodies
    Trouble(name="malformed JSON, once", fault=once(Malformed()), expected=unread("ProtocolError")),
    Trouble(name="malformed JSON, always", fault=always(Malformed()), expected=hides("ProtocolError", delete="ok")),
    Trouble(name="HTML page with 200, once", fault=once(Html(200, When.AFTER)), expected=unread("ProtocolError")),
    Trouble(name="HTML page with 502, once", fault=once(Html(502))),
    Trouble(
        name="oversized answer, once", fault=once(Oversized(300_000)), expected=unread(TOO_LARGE, delete=TOO_LARGE)
    ),
    Trouble(name="oversized answer, always", fault=always(Oversized(300_000)), expected=hides(TOO_LARGE)),
    Trouble(name="gzip bomb, once", fault=once(GzipBomb(4_000_000)), expected=unread(TOO_LARGE, delete=TOO_LARGE)),
    Trouble(
        name="redirect, once",
        fault=lambda stage: once(_redirect(stage))(stage),
        expected=unread(REDIRECT, delete=REDIRECT),
    ),
    Trouble(name="redirect, always", fault=lambda stage: always(_redirect(stage))(stage), expected=hides(REDIRECT)),
    # Statuses
    Trouble(name="401 once", fault=once(Respond(401))),
    Trouble(name="401 for good", fault=always(Respond(401)), expected=is_final("AuthenticationError")),
    Trouble(name="404 once", fault=once(Respond(404)), expected=once_final("NotFoundError")),
    Trouble(
        name="404 for good",
        fault=always(Respond(404)),
        lies=True,
        expected=is_final(
            "NotFoundError",
            wait="BackupGoneError",
            watch="BackupGone",
            resume="1 AmbiguousCreateError, 2 BackupGone, 3 NotFoundError",
        ),
    ),
    Trouble(
        name="403 once",
        fault=once(Respond(403)),
        expected=once_final(
            DENIED, wait=DENIED, watch=f"1 {DENIED}", bulk=f"2 {DENIED}", resume=several(**{UNSURE: 1, DENIED: 2})
        ),
    ),
    Trouble(name="403 for good", fault=always(Respond(403)), expected=is_final(DENIED)),
    *_refusals(),
    Trouble(name="408 once", fault=once(Respond(408))),
    Trouble(name="408 after the effect, once", fault=once(Respond(408, when=When.AFTER))),
    Trouble(
        name="424 once",
        fault=once(Respond(424)),
        expected={"create": DEPENDED, "bulk": f"1 {DEPENDED}", "resume": f"1 {DEPENDED}"},
    ),
    Trouble(name="424 for good", fault=always(Respond(424)), expected=heals(DEPENDED)),
    Trouble(name="500 once", fault=once(Respond(500)), expected=unread(INTERNAL, delete=INTERNAL)),
    Trouble(
        name="500 after the effect, once",
        fault=once(Respond(500, when=When.AFTER)),
        expected=unread(INTERNAL, delete=INTERNAL),
    ),
    Trouble(name="500 for good", fault=always(Respond(500)), expected=hides("InternalServerError")),
    Trouble(name="502 once", fault=once(Respond(502))),
    Trouble(name="502 after the effect, once", fault=once(Respond(502, when=When.AFTER))),
    Trouble(name="503 once", fault=once(Respond(503))),
    Trouble(name="503 often", fault=often(Respond(503)), **STUBBORN),
    Trouble(name="503 after the effect, often", fault=often(Respond(503, when=When.AFTER)), **STUBBORN),
    Trouble(name="503 for good", fault=always(Respond(503)), expected=hides("ServiceUnavailableError")),
    Trouble(name="503 with Retry-After: 5, once", fault=once(Respond(503, {"Retry-After": "5"}))),
    Trouble(name="504 once", fault=once(Respond(504))),
    Trouble(name="504 after the effect, once", fault=once(Respond(504, when=When.AFTER))),
    Trouble(name="504 for good", fault=always(Respond(504)), expected=hides("GatewayTimeoutError")),
    Trouble(name="429 without Retry-After, once", fault=once(Respond(429))),
    Trouble(name="429 without Retry-After, for good", fault=always(Respond(429)), expected=heals("RateLimitedError")),
    Trouble(name="429, Retry-After: 0, once", fault=once(Respond(429, {"Retry-After": "0"}))),
    Trouble(name="429, Retry-After: 3, once", fault=once(Respond(429, {"Retry-After": "3"}))),
    Trouble(name="429, Retry-After: 3, often", fault=often(Respond(429, {"Retry-After": "3"})), **STUBBORN),
    Trouble(name="429, Retry-After: a date, once", fault=_on_date(3.0)),
    Trouble(name="429, Retry-After: a past date, once", fault=_on_date(-3600.0)),
    Trouble(
        name="429, Retry-After: a century, once",
        fault=once(Respond(429, {"Retry-After": "3153600000"})),
        deadline=3000.0,
    ),
    Trouble(name="429, Retry-After: garbage, once", fault=once(Respond(429, {"Retry-After": "soon; or -1"}))),
    # Tokens
    Trouble(name="token endpoint down once", fault=on_token(Respond(503), 1), warm=False),
    Trouble(
        name="token endpoint down", fault=on_token(Respond(503), None), warm=False, expected=heals("TransportError")
    ),
    Trouble(name="token endpoint resets", fault=on_token(Drop(), None), warm=False, expected=heals("TransportError")),
    Trouble(
        name="token endpoint says HTML",
        fault=on_token(Html(200, When.AFTER), None),
        warm=False,
        expected=is_final("AuthenticationError"),
    ),
    Trouble(
        name="credentials refused",
        fault=on_token(Respond(401), None),
        warm=False,
        expected=is_final("AuthenticationError"),
    ),
    Trouble(name="tokens expire every few seconds", token_life=7.0),
    Trouble(name="tokens revoked in mid-wait", strike=_tokens_revoked),
    # The service
    Trouble(name="down for minutes, answer lost", strike=_down_for_minutes, after=True, **STUBBORN),
    Trouble(name="down for minutes, request lost", strike=_down_for_minutes, **STUBBORN),
    # Lists
    Trouble(
        name="lists lag and are stale, creates' answers lost",
        shape=ApiBehavior(list_lag=30.0, list_stale=20.0),
        fault=lambda _: [Fault(LOST, kind="create")],
        expected={"list": "behind"},
    ),
    Trouble(
        name="no metadata echoed, creates' answers lost",
        shape=ApiBehavior(echo_metadata="none"),
        fault=lambda _: [Fault(LOST, kind="create")],
        # Nobody knows when the earlier attempt was made: its only candidate is shown, not adopted.
        expected={"create again": "AmbiguousCreateError"},
    ),
    Trouble(name="lists refused, creates' answers lost", fault=on_lists(Respond(403)), expected=list_is(DENIED)),
    Trouble(name="lists reset, creates' answers lost", fault=on_lists(Drop()), expected=list_is("TransportError")),
    Trouble(
        name="lists malformed, creates' answers lost", fault=on_lists(Malformed()), expected=list_is("ProtocolError")
    ),
    # Clocks
    Trouble(name="client's clock jumps a day ahead", strike=_client_jumps(86400.0), after=True, fault=once(LOST)),
    Trouble(name="client's clock jumps a day back", strike=_client_jumps(-86400.0), after=True, fault=once(LOST)),
    Trouble(name="server's clock jumps an hour ahead", strike=_server_jumps(3600.0), after=True, fault=once(LOST)),
    Trouble(name="server's clock jumps an hour back", strike=_server_jumps(-3600.0), after=True, fault=once(LOST)),
]
