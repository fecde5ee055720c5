"""The error tree: classes, data, messages, pickling, and what each error means."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbackups import errors
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    ApiError,
    AuthenticationError,
    BackupFailedError,
    BackupGoneError,
    BackupsError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    EngineError,
    JournalError,
    ProtocolError,
    TransportError,
    WatchError,
    WatchExpiredError,
)
from asyncbackups.models import Backup, BackupRef, Environment, PlanetRef

REF = BackupRef("alpha", 362)
BACKUP = Backup(
    id=362,
    status="broken",
    error_message="disk full",
    environment=Environment(project="alpha"),
    started_at=datetime(2024, 1, 29, tzinfo=UTC),
    extra={"more": [1]},
)


def tree(cls: type[BackupsError]) -> list[type[BackupsError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in tree(child))]


def build_error(cls: type[BackupsError]) -> BackupsError:
    """Build an error with a value for every attribute."""
    details: dict[str, Any] = {"method": "GET", "url": "https://host.example/backups/362", "attempt": 3}
    if issubclass(cls, ApiError):
        headers = {"Retry-After": "7"}
        return cls(status=503, headers=headers, excerpt="busy", retry_after=7.0, **details)
    if issubclass(cls, ProtocolError):
        return cls("not JSON", status=200, excerpt="<html>", **details)
    if issubclass(cls, TransportError):
        return cls("connection reset", **details)
    if issubclass(cls, WatchError):
        return cls.of(REF, BACKUP)
    if issubclass(cls, AmbiguousCreateError):
        return cls("no response", planet=PlanetRef("alpha", "p1"), candidates=[BACKUP])
    if issubclass(cls, ConfigurationError):
        return cls("must be a string, not 5", field="key", hint="Pass a string.")
    if issubclass(cls, JournalError):
        return cls("locked", path="run.db")
    return cls("it failed")


@pytest.mark.parametrize("cls", tree(BackupsError), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_can_be_pickled_and_copied(cls: type[BackupsError], copied: Any) -> None:
    """A pickled or copied error has the same class, message, attributes and notes."""
    error = build_error(cls)
    error.add_note("raised in a bulk run")
    copy_of_error = copied(error)
    assert type(copy_of_error) is cls
    assert (str(copy_of_error), copy_of_error.args) == (str(error), error.args)
    assert copy_of_error.__dict__ == error.__dict__


def test_docstring_draws_the_tree() -> None:
    """The tree in the module's docstring shows every class under its parent."""
    drawn: list[tuple[str, str]] = []
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn.append((found[2], path[depth - 1] if depth else "Exception"))
    real = {cls.__name__: {base.__name__ for base in cls.__bases__} for cls in tree(BackupsError)}
    assert len(drawn) == len(set(drawn))
    assert {name for name, _ in drawn} == set(real)
    assert all(parent in real[name] for name, parent in drawn)


def test_all_is_the_tree() -> None:
    """`__all__` contains the classes of the tree and nothing else."""
    assert errors.__all__ == sorted(cls.__name__ for cls in tree(BackupsError))


def test_every_error_of_the_module_is_in_the_tree() -> None:
    """Every error class of the module is a `BackupsError`."""
    classes = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BackupsError)}
    assert classes == set(tree(BackupsError))


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [(ConfigurationError, ValueError), (AnswerTimeoutError, TimeoutError), (WatchExpiredError, TimeoutError)],
)
def test_errors_are_also_built_in_errors(cls: type[Exception], builtin: type[Exception]) -> None:
    """`except ValueError` and `except TimeoutError` catch the errors of that kind."""
    assert issubclass(cls, builtin)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (405, "MethodNotAllowedError"),
        (408, "RequestTimeoutError"),
        (409, "ConflictError"),
        (410, "NotFoundError"),
        (422, "UnprocessableError"),
        (424, "FailedDependencyError"),
        (429, "RateLimitedError"),
        (500, "InternalServerError"),
        (502, "BadGatewayError"),
        (503, "ServiceUnavailableError"),
        (504, "GatewayTimeoutError"),
        (418, "ApiError"),
    ],
)
def test_class_for_status(status: int, name: str) -> None:
    """Documented statuses and those of gateways have a subclass; any other status is a plain `ApiError`."""
    assert ApiError.class_for(status).__name__ == name


def test_api_error_describes_request_and_response() -> None:
    """The message contains method, URL, status, meaning, excerpt and attempt; each is an attribute."""
    error = build_error(ApiError.class_for(503))
    assert str(error) == (
        "GET https://host.example/backups/362: 503, the service is temporarily unavailable; "
        "try again in a few minutes; response: busy (attempt 3)"
    )
    assert isinstance(error, ApiError)
    assert (error.status, error.headers, error.retry_after, error.attempt) == (503, {"Retry-After": "7"}, 7.0, 3)


def test_api_error_without_a_response_has_a_reason() -> None:
    """If no token can be obtained, there is no status, and the reason replaces the documented meaning."""
    error = AuthenticationError(status=None, reason="no token could be obtained")
    assert str(error) == "no token could be obtained"
    assert error.headers == {}


@pytest.mark.parametrize(("cls", "sent"), [(TransportError, True), (ConnectError, False), (AnswerTimeoutError, True)])
def test_transport_error_reports_whether_the_request_was_sent(cls: type[TransportError], sent: bool) -> None:
    """Without a connection nothing was sent; otherwise it may have been, unless the raiser says otherwise."""
    assert cls("reset").sent is sent
    assert cls("reset", sent=not sent).sent is not sent
    assert str(cls("reset")) == "reset"


def test_protocol_error_quotes_the_response() -> None:
    """The message contains the reason, and the excerpt and request if they are known."""
    assert str(build_error(ProtocolError)) == (
        "GET https://host.example/backups/362: not JSON; it starts with: <html> (attempt 3)"
    )
    assert str(ProtocolError("not JSON")) == "not JSON"


@pytest.mark.parametrize(
    ("cls", "backup", "message"),
    [
        (WatchError, None, "alpha/362 was not seen to succeed"),
        (WatchError, BACKUP, "alpha/362 ended with status 'broken'"),
        (BackupFailedError, None, "alpha/362 failed"),
        (BackupFailedError, BACKUP, "alpha/362 failed with status 'broken': disk full"),
        (BackupFailedError, Backup(id=362), "alpha/362 failed with status not given"),
        (BackupGoneError, None, "alpha/362 does not exist"),
        (BackupGoneError, BACKUP, "alpha/362 was deleted while it was watched"),
        (WatchExpiredError, None, "alpha/362 was not finished when the deadline passed; it was never seen"),
        (WatchExpiredError, BACKUP, "alpha/362 was not finished when the deadline passed; its status was 'broken'"),
    ],
)
def test_watch_error_describes_the_backup(cls: type[WatchError], backup: Backup | None, message: str) -> None:
    """The message contains the reference and the outcome; the backup is an attribute."""
    error = cls.of(REF, backup)
    assert str(error) == message
    assert (error.ref, error.backup) == (REF, backup)


def test_watch_error_message_is_bounded() -> None:
    """A long text from the server is truncated in the error's message and complete in the backup."""
    error = BackupFailedError.of(REF, Backup(id=362, status="s" * 10**6, error_message="x" * 10**6))
    assert len(str(error)) < 1200
    assert error.backup is not None
    assert len(error.backup.error_message or "") == 10**6


def test_ambiguous_create_lists_the_candidates() -> None:
    """The message names ten candidates at most; the attribute contains all."""
    planet = PlanetRef("alpha", "p1")
    error = AmbiguousCreateError("no response", planet=planet, candidates=[Backup(id=i) for i in range(50)])
    assert "(candidates: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)" in str(error)
    assert len(error.candidates) == 50
    assert "candidates" not in str(AmbiguousCreateError("no response", planet=planet))


def test_ambiguous_create_has_reason_and_hint_as_data() -> None:
    """The message is planet, reason and hint, and each of them is an attribute."""
    error = build_error(AmbiguousCreateError)
    assert isinstance(error, AmbiguousCreateError)
    assert error.reason == "whether the backup was created is unknown: no response (candidates: 362)"
    assert error.hint == "List the planet's backups before you create it again."
    assert str(error) == f"alpha/p1: {error.reason}. {error.hint}"


def test_configuration_error_has_field_reason_and_hint_as_data() -> None:
    """The message is field, reason and hint; field and hint are None if there is none."""
    error = build_error(ConfigurationError)
    assert isinstance(error, ConfigurationError)
    assert (error.field, error.reason, error.hint) == ("key", "must be a string, not 5", "Pass a string.")
    assert str(error) == "key must be a string, not 5. Pass a string."
    error = ConfigurationError("a planet is listed twice")
    assert (error.field, error.reason, error.hint, str(error)) == (None, error.reason, None, error.reason)


# --- what an error means --------------------------------------------------------------------------------------------


def status(number: int) -> ApiError:
    return ApiError.class_for(number)(status=number)


EVERY_STATUS = (400, 401, 403, 404, 405, 408, 409, 410, 418, 422, 424, 429, 500, 501, 502, 503, 504, 505, 507, 520)
NO_TOKEN = AuthenticationError(status=None, reason="no token")
REFUSED_BY_TOKEN_ENDPOINT = AuthenticationError(status=400, reason="invalid_client")
RESET, UNSENT = TransportError("reset"), TransportError("no token", sent=False)
REFUSED, CERTIFICATE, LATE = ConnectError("refused"), CertificateError("expired"), AnswerTimeoutError("late")
GARBLED, NAMELESS = ProtocolError("no JSON"), ProtocolError("no id", status=201)
CLOSED, BUG = ClientClosedError("closed"), EngineError("bug")
OTHERS = (
    NO_TOKEN,
    REFUSED_BY_TOKEN_ENDPOINT,
    RESET,
    UNSENT,
    REFUSED,
    CERTIFICATE,
    LATE,
    GARBLED,
    NAMELESS,
    CLOSED,
    BUG,
)


@pytest.mark.parametrize(
    ("meaning", "statuses", "others"),
    [
        (errors.is_transient, {408, 424, 429, 502, 503, 504}, {RESET, UNSENT, REFUSED, LATE}),
        (
            errors.is_transient_for_token,
            {408, 424, 429, 500, 501, 502, 503, 504, 505, 507, 520},
            {RESET, UNSENT, REFUSED, LATE},
        ),
        (
            errors.may_have_been_processed,
            {408, 500, 502, 503, 504, 507, 520},
            {RESET, LATE, GARBLED, NAMELESS},
        ),
        (errors.may_resend_create, {429}, {REFUSED}),
        (errors.surely_created, set(), {NAMELESS}),
        (errors.is_service_fault, {408, 424, 429, 500, 502, 503, 504}, {RESET, UNSENT, REFUSED, CERTIFICATE, LATE}),
        (errors.is_informative, {401, 403, 404, 410}, {NO_TOKEN, REFUSED_BY_TOKEN_ENDPOINT}),
        (errors.ends_wait, {401, 403}, {NO_TOKEN, REFUSED_BY_TOKEN_ENDPOINT, CLOSED}),
        (errors.is_refusal, {400, 404, 405, 409, 410, 422}, set()),
        (errors.is_client_shutdown, set(), {CLOSED, BUG}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_meaning_of_every_error(meaning: Any, statuses: set[int], others: set[BackupsError]) -> None:
    """Every meaning is checked for every status and every class of error."""
    assert {number for number in EVERY_STATUS if meaning(status(number))} == statuses
    assert {error for error in OTHERS if meaning(error)} == others


def test_surely_created_without_an_error() -> None:
    """Without an error there is no proof."""
    assert not errors.surely_created(None)


def test_which_errors_end_reconciling() -> None:
    """Refusals end it at once, responses that cannot be understood after three in a row, all else never."""
    final = {400, 401, 403, 404, 405, 409, 410, 418, 422}
    assert {number for number in EVERY_STATUS if errors.ends_reconcile(status(number), failures=1)} == final
    assert errors.ends_reconcile(NO_TOKEN, failures=1)
    assert [errors.ends_reconcile(GARBLED, failures=number) for number in (1, 2, 3, 4)] == [False, False, True, True]
    assert not any(errors.ends_reconcile(error, failures=100) for error in (RESET, UNSENT, REFUSED, CERTIFICATE, LATE))


def test_which_statuses_request_a_lower_rate() -> None:
    """Apart from 429 that is 503, with which nginx's `limit_req` responds by default."""
    assert {number for number in (200, 304, *EVERY_STATUS) if errors.is_overload(number)} == {429, 503}
