"""The rows of the matrix as data: each fault, and the expected outcome of each operation.

An outcome is "ok", the name of an error or event, or "2 SomeError" if only some of several backups ended that way.
Every cell also checks that the outcome is true and that nothing was created twice, and runs the checks of `cells.py`.
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
from asyncbackups.simulator.faults import Action
from tests.faults.harness import FAULTED, FaultCase, Harness
from tests.faults.outcomes import OR, format_counts

LOST_RESPONSE = Drop(When.AFTER)
LISTS = ("list", "list_planet")
PERSISTENT = {
    # A random fault may affect many polls in a row. That must not end a wait.
    "deadline": 1800.0,
    "retry": RetryPolicy(attempts=40, initial=2.0, maximum=20.0),
    "creating": CreatePolicy(settle=60.0, patience=240.0, resends=12),
}

AMBIGUOUS = "AmbiguousCreateError"
CONFLICT = "ConflictError"
DENIED = "PermissionDeniedError"
DEPENDED = "FailedDependencyError"
INTERNAL = "InternalServerError"
TOO_LARGE = "AnswerTooLargeError"
REDIRECT = "RedirectRefusedError"

Faults = Callable[[Harness], list[Fault]]


def fault_once(action: Action | None = None, **settings: Any) -> Faults:
    """Affect the first request of each kind."""
    return lambda _: [Fault(action, kind=kind, count=1, **settings) for kind in FAULTED]


def fault_always(action: Action | None = None, **settings: Any) -> Faults:
    """Affect every request."""
    return lambda _: [Fault(action, kind=kind, **settings) for kind in FAULTED]


def fault_often(action: Action | None = None, **settings: Any) -> Faults:
    """Affect one request in three."""
    return fault_always(action, probability=0.33, **settings)


def fault_creates(action: Action) -> Faults:
    """Affect every create, and nothing else."""
    return lambda _: [Fault(action, kind="create")]


def fault_lists(action: Action) -> Faults:
    """Affect every list, and lose the response of one create, which must then be reconciled with lists."""
    return lambda _: [*(Fault(action, kind=kind) for kind in LISTS), Fault(LOST_RESPONSE, kind="create", count=1)]


def fault_tokens(action: Action, count: int | None) -> Faults:
    """Affect the token endpoint."""
    return lambda _: [Fault(action, kind="token", count=count)]


def expect_everywhere(outcome: str, **others: str) -> dict[str, str]:
    """Expect the same outcome of every operation except those given."""
    names = ("create", "create again", "get", "list", "delete", "wait", "watch", "bulk", "resume")
    return {name: others.get(name.replace(" ", "_"), outcome) for name in names}


def expect_deadline(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of a fault that may be temporary and never ends: waits continue until their deadline."""
    resumed = format_counts(**{AMBIGUOUS: 1, outcome: 3, "WatchExpired": 2})
    waits = {"wait": "WatchExpiredError", "watch": "WatchExpired", "resume": resumed}
    return expect_everywhere(outcome, **{"create_again": AMBIGUOUS, **waits, **others})


def expect_ambiguous(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of a fault that also hides whether a create took effect, even from reconciliation."""
    resumed = format_counts(**{AMBIGUOUS: 4, "WatchExpired": 2})
    return expect_deadline(outcome, **{"create": AMBIGUOUS, "bulk": AMBIGUOUS, "resume": resumed, **others})


def expect_refused(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of a permanent refusal."""
    return expect_everywhere(
        outcome, **{"create_again": AMBIGUOUS, "resume": format_counts(**{AMBIGUOUS: 1, outcome: 5}), **others}
    )


def expect_refused_once(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of one refusal: polls are repeated, and one create of a bulk run fails."""
    lost = {"bulk": f"1 {outcome}", "resume": format_counts(**{AMBIGUOUS: 1, outcome: 1})}
    return expect_everywhere(outcome, **{"create_again": AMBIGUOUS, "wait": "ok", "watch": "ok", **lost, **others})


def expect_unreadable_once(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of one unreadable response: creates are reconciled, polls are repeated."""
    return {"get": outcome, "list": outcome, **others}


def expect_no_baseline_once(outcome: str, **others: str) -> dict[str, str]:
    """Expect the outcomes of one failure that no list is retried after: a single create then has no baseline.

    Without one, an older backup of the planet is unexplained, so that a lost create is not sent again.
    """
    return expect_unreadable_once(outcome, create=AMBIGUOUS, **others)


def expect_lists_fail(outcome: str) -> dict[str, str]:
    """Expect the outcomes of failing lists if the response of one create is lost."""
    return {
        "create": AMBIGUOUS,
        "create again": AMBIGUOUS,
        "bulk": f"1 {AMBIGUOUS}",
        "resume": f"2 {AMBIGUOUS}",
        "list": outcome,
    }


async def _stop_service(harness: Harness) -> None:
    await harness.sim.stop()


async def _stop_for_a_second(harness: Harness) -> None:
    await harness.sim.stop()
    harness.disruption = harness.restart_later(1.0)


async def _stop_for_minutes(harness: Harness) -> None:
    await harness.outage(180.0)


async def _revoke_tokens(harness: Harness) -> None:
    harness.sim.tokens.revoke_all()


def _jump_client_clock(seconds: float) -> Callable[[Harness], Any]:
    async def jump(harness: Harness) -> None:
        harness.clock.jump(seconds)

    return jump


def _jump_server_clock(seconds: float) -> Callable[[Harness], Any]:
    async def jump(harness: Harness) -> None:
        harness.server_clock.jump(seconds)

    return jump


def _redirect(harness: Harness) -> Action:
    return Redirect(f"{harness.trap.url}/elsewhere")


def _retry_after_date(seconds: float) -> Faults:
    def faults(harness: Harness) -> list[Fault]:
        when = format_datetime(harness.clock.utcnow() + dt.timedelta(seconds=seconds), usegmt=True)
        return fault_once(Respond(429, {"Retry-After": when}))(harness)

    return faults


def _refusal_cases() -> Iterator[FaultCase]:
    for status, name in {405: "MethodNotAllowedError", 422: "UnprocessableError"}.items():
        yield FaultCase(name=f"{status} once", faults=fault_once(Respond(status)), expected=expect_refused_once(name))
        resumed = format_counts(**{AMBIGUOUS: 1, name: 3, "WatchExpired": 2})
        ends = expect_refused(name, wait="WatchExpiredError", watch="WatchExpired", resume=resumed)
        yield FaultCase(name=f"{status} always", faults=fault_always(Respond(status)), expected=ends)


def _conflict_cases() -> Iterator[FaultCase]:
    """Yield the cases of 409, which a gateway also returns if it has sent a create twice: the first may have succeeded.

    Lists decide. A list with a baseline to compare it with proves that the create was rejected. Where the lists return
    409, too, nothing is known. Where only the first lists do, there is no baseline: an old backup is a candidate.
    """
    conflict = Respond(409)
    yield FaultCase(
        name="409 once", faults=fault_once(conflict), expected=expect_refused_once(CONFLICT, create=AMBIGUOUS)
    )
    yield FaultCase(
        name="409 for creates, always",
        faults=fault_creates(conflict),
        expected={"create": CONFLICT, "bulk": CONFLICT, "resume": f"3 {CONFLICT}"},
    )
    yield FaultCase(
        name="409 always",
        faults=fault_always(conflict),
        expected=expect_ambiguous(CONFLICT, wait="WatchExpiredError", watch="WatchExpired"),
    )


# A kept-alive connection may break after the create was sent, or be known to be closed before that.
_REFUSED_OR_AMBIGUOUS = f"ConnectError{OR}{AMBIGUOUS}"
_SOME_AMBIGUOUS = OR.join(format_counts(**{AMBIGUOUS: n, "ConnectError": 6 - n}) for n in range(1, 6))
DOWN = expect_deadline(
    "ConnectError", create=_REFUSED_OR_AMBIGUOUS, bulk=f"{_REFUSED_OR_AMBIGUOUS}{OR}{_SOME_AMBIGUOUS}"
)


FAULT_CASES: list[FaultCase] = [
    FaultCase(name="no fault"),
    # Connections
    FaultCase(name="refused for a second", prepare=_stop_for_a_second),
    FaultCase(name="refused always", prepare=_stop_service, has_token=False, expected=expect_deadline("ConnectError")),
    FaultCase(name="down always, with an open connection", prepare=_stop_service, expected=DOWN),
    FaultCase(name="reset before the effect, once", faults=fault_once(Drop())),
    FaultCase(name="reset before the effect, often", faults=fault_often(Drop()), **PERSISTENT),
    FaultCase(
        name="reset before the effect, always", faults=fault_always(Drop()), expected=expect_ambiguous("TransportError")
    ),
    FaultCase(name="reset after the effect, once", faults=fault_once(LOST_RESPONSE)),
    FaultCase(name="reset after the effect, often", faults=fault_often(LOST_RESPONSE), **PERSISTENT),
    FaultCase(
        name="reset after the effect, always",
        faults=fault_always(LOST_RESPONSE),
        expected=expect_ambiguous("TransportError"),
    ),
    FaultCase(name="reset mid-response, once", faults=fault_once(Truncate())),
    FaultCase(
        name="reset mid-response, always", faults=fault_always(Truncate()), expected=expect_ambiguous("TransportError")
    ),
    FaultCase(name="truncated to nothing, once", faults=fault_once(Truncate(0.0))),
    FaultCase(name="timeout before the effect, once", faults=fault_once(delay=0.5)),
    FaultCase(name="timeout after the effect, once", faults=fault_once(delay_after=0.5)),
    FaultCase(
        name="timeout, always", faults=fault_always(delay_after=0.5), expected=expect_ambiguous("AnswerTimeoutError")
    ),
    FaultCase(name="slow body", faults=fault_always(Slow(64, 0.001))),
    FaultCase(name="body slower than the timeout, once", faults=fault_once(Slow(1, 0.05))),
    FaultCase(name="body without an end, once", faults=fault_once(Endless(interval=0.05))),
    FaultCase(
        name="certificate does not verify",
        untrusted_tls=True,
        has_token=False,
        expected=expect_deadline("CertificateError"),
    ),
    # Bodies
    FaultCase(
        name="malformed JSON, once", faults=fault_once(Malformed()), expected=expect_unreadable_once("ProtocolError")
    ),
    FaultCase(
        name="malformed JSON, always",
        faults=fault_always(Malformed()),
        expected=expect_ambiguous("ProtocolError", delete="ok"),
    ),
    FaultCase(
        name="HTML page with 200, once",
        faults=fault_once(Html(200, When.AFTER)),
        expected=expect_unreadable_once("ProtocolError"),
    ),
    FaultCase(name="HTML page with 502, once", faults=fault_once(Html(502))),
    FaultCase(
        name="oversized response, once",
        faults=fault_once(Oversized(300_000)),
        expected=expect_unreadable_once(TOO_LARGE, delete=TOO_LARGE),
    ),
    FaultCase(
        name="oversized response, always", faults=fault_always(Oversized(300_000)), expected=expect_ambiguous(TOO_LARGE)
    ),
    FaultCase(
        name="gzip bomb, once",
        faults=fault_once(GzipBomb(4_000_000)),
        expected=expect_unreadable_once(TOO_LARGE, delete=TOO_LARGE),
    ),
    FaultCase(
        name="redirect, once",
        faults=lambda harness: fault_once(_redirect(harness))(harness),
        # A redirected create may have been processed. The lists of a bulk run prove that it was not.
        expected=expect_no_baseline_once(REDIRECT, delete=REDIRECT, bulk=f"1 {REDIRECT}", resume=f"1 {REDIRECT}"),
    ),
    FaultCase(
        name="redirect of creates, always",
        faults=lambda harness: fault_creates(_redirect(harness))(harness),
        expected={"create": REDIRECT, "bulk": REDIRECT, "resume": f"3 {REDIRECT}"},
    ),
    FaultCase(
        name="redirect, always",
        faults=lambda harness: fault_always(_redirect(harness))(harness),
        expected=expect_ambiguous(REDIRECT),
    ),
    # Statuses
    FaultCase(name="401 once", faults=fault_once(Respond(401))),
    FaultCase(name="401 always", faults=fault_always(Respond(401)), expected=expect_refused("AuthenticationError")),
    FaultCase(
        name="404 once",
        faults=fault_once(Respond(404)),
        # A list that returns 404 may be an empty one, so it is repeated: the next one shows the earlier backup.
        expected=expect_refused_once("NotFoundError", create_again="ok", resume="1 NotFoundError"),
    ),
    FaultCase(
        name="404 always",
        faults=fault_always(Respond(404)),
        server_lies=True,
        expected=expect_refused(
            "NotFoundError",
            wait="BackupGoneError",
            watch="BackupGone",
            resume="1 AmbiguousCreateError, 2 BackupGone, 3 NotFoundError",
        ),
    ),
    FaultCase(
        name="403 once",
        faults=fault_once(Respond(403)),
        expected=expect_refused_once(
            DENIED,
            wait=DENIED,
            watch=f"1 {DENIED}",
            bulk=f"2 {DENIED}",
            resume=format_counts(**{AMBIGUOUS: 1, DENIED: 2}),
        ),
    ),
    FaultCase(name="403 always", faults=fault_always(Respond(403)), expected=expect_refused(DENIED)),
    *_refusal_cases(),
    *_conflict_cases(),
    FaultCase(name="408 once", faults=fault_once(Respond(408))),
    FaultCase(name="408 after the effect, once", faults=fault_once(Respond(408, when=When.AFTER))),
    # A create may have been processed before its dependency failed: it is reconciled, and sent again if it is absent.
    FaultCase(name="424 once", faults=fault_once(Respond(424))),
    FaultCase(name="424 after the effect, once", faults=fault_once(Respond(424, when=When.AFTER))),
    FaultCase(name="424 always", faults=fault_always(Respond(424)), expected=expect_ambiguous(DEPENDED)),
    FaultCase(
        name="500 once", faults=fault_once(Respond(500)), expected=expect_no_baseline_once(INTERNAL, delete=INTERNAL)
    ),
    FaultCase(
        name="500 after the effect, once",
        faults=fault_once(Respond(500, when=When.AFTER)),
        expected=expect_unreadable_once(INTERNAL, delete=INTERNAL),
    ),
    FaultCase(name="500 always", faults=fault_always(Respond(500)), expected=expect_ambiguous("InternalServerError")),
    FaultCase(name="502 once", faults=fault_once(Respond(502))),
    FaultCase(name="502 after the effect, once", faults=fault_once(Respond(502, when=When.AFTER))),
    FaultCase(name="503 once", faults=fault_once(Respond(503))),
    FaultCase(
        name="503 once, planets without backups",
        faults=fault_once(Respond(503)),
        has_old_backups=False,
        # Lists that have shown no backup of the planet prove nothing. In a bulk run other planets' backups are
        # evidence, but the resumed create is alone in its star system.
        expected={"create": AMBIGUOUS, "resume": f"1 {AMBIGUOUS}"},
    ),
    FaultCase(name="503 often", faults=fault_often(Respond(503)), **PERSISTENT),
    FaultCase(name="503 after the effect, often", faults=fault_often(Respond(503, when=When.AFTER)), **PERSISTENT),
    FaultCase(
        name="503 always", faults=fault_always(Respond(503)), expected=expect_ambiguous("ServiceUnavailableError")
    ),
    FaultCase(name="503 with Retry-After: 5, once", faults=fault_once(Respond(503, {"Retry-After": "5"}))),
    FaultCase(name="504 once", faults=fault_once(Respond(504))),
    FaultCase(name="504 after the effect, once", faults=fault_once(Respond(504, when=When.AFTER))),
    FaultCase(name="504 always", faults=fault_always(Respond(504)), expected=expect_ambiguous("GatewayTimeoutError")),
    FaultCase(name="429 without Retry-After, once", faults=fault_once(Respond(429))),
    FaultCase(
        name="429 without Retry-After, always",
        faults=fault_always(Respond(429)),
        expected=expect_deadline("RateLimitedError"),
    ),
    FaultCase(name="429, Retry-After: 0, once", faults=fault_once(Respond(429, {"Retry-After": "0"}))),
    FaultCase(name="429, Retry-After: 3, once", faults=fault_once(Respond(429, {"Retry-After": "3"}))),
    FaultCase(name="429, Retry-After: 3, often", faults=fault_often(Respond(429, {"Retry-After": "3"})), **PERSISTENT),
    FaultCase(name="429, Retry-After: a date, once", faults=_retry_after_date(3.0)),
    FaultCase(name="429, Retry-After: a past date, once", faults=_retry_after_date(-3600.0)),
    FaultCase(
        name="429, Retry-After: a century, once",
        faults=fault_once(Respond(429, {"Retry-After": "3153600000"})),
        deadline=3000.0,
    ),
    FaultCase(name="429, Retry-After: garbage, once", faults=fault_once(Respond(429, {"Retry-After": "soon; or -1"}))),
    # Tokens
    FaultCase(name="token endpoint down once", faults=fault_tokens(Respond(503), 1), has_token=False),
    FaultCase(
        name="token endpoint down",
        faults=fault_tokens(Respond(503), None),
        has_token=False,
        expected=expect_deadline("TransportError"),
    ),
    FaultCase(
        name="token endpoint resets",
        faults=fault_tokens(Drop(), None),
        has_token=False,
        expected=expect_deadline("TransportError"),
    ),
    FaultCase(
        name="token endpoint returns HTML",
        faults=fault_tokens(Html(200, When.AFTER), None),
        has_token=False,
        expected=expect_refused("AuthenticationError"),
    ),
    FaultCase(
        name="credentials refused",
        faults=fault_tokens(Respond(401), None),
        has_token=False,
        expected=expect_refused("AuthenticationError"),
    ),
    FaultCase(name="tokens expire every few seconds", token_life=15.0),
    FaultCase(name="tokens revoked during a wait", disrupt=_revoke_tokens),
    # The service
    FaultCase(
        name="down for minutes, response lost", disrupt=_stop_for_minutes, disrupt_after_effect=True, **PERSISTENT
    ),
    FaultCase(name="down for minutes, request lost", disrupt=_stop_for_minutes, **PERSISTENT),
    # Lists
    FaultCase(
        name="lists lag and are stale, lost create responses",
        behavior=ApiBehavior(list_lag=30.0, list_stale=20.0),
        faults=lambda _: [Fault(LOST_RESPONSE, kind="create")],
        expected={"list": "stale"},
    ),
    FaultCase(
        name="no metadata echoed, lost create responses",
        behavior=ApiBehavior(echo_metadata="none"),
        faults=lambda _: [Fault(LOST_RESPONSE, kind="create")],
        # The time of the earlier attempt is unknown, so its only candidate is reported and not adopted.
        expected={"create again": "AmbiguousCreateError"},
    ),
    FaultCase(
        name="lists refused, lost create responses",
        faults=fault_lists(Respond(403)),
        expected=expect_lists_fail(DENIED),
    ),
    FaultCase(
        name="lists reset, lost create responses",
        faults=fault_lists(Drop()),
        expected=expect_lists_fail("TransportError"),
    ),
    FaultCase(
        name="lists malformed, lost create responses",
        faults=fault_lists(Malformed()),
        expected=expect_lists_fail("ProtocolError"),
    ),
    # Clocks
    FaultCase(
        name="client's clock jumps a day ahead",
        disrupt=_jump_client_clock(86400.0),
        disrupt_after_effect=True,
        faults=fault_once(LOST_RESPONSE),
    ),
    FaultCase(
        name="client's clock jumps a day back",
        disrupt=_jump_client_clock(-86400.0),
        disrupt_after_effect=True,
        faults=fault_once(LOST_RESPONSE),
    ),
    FaultCase(
        name="server's clock jumps an hour ahead",
        disrupt=_jump_server_clock(3600.0),
        disrupt_after_effect=True,
        faults=fault_once(LOST_RESPONSE),
    ),
    FaultCase(
        name="server's clock jumps an hour back",
        disrupt=_jump_server_clock(-3600.0),
        disrupt_after_effect=True,
        faults=fault_once(LOST_RESPONSE),
    ),
]
