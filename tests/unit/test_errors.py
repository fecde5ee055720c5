"""The error tree: complete as drawn, carrying data, pickling, bounded."""

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
    JournalError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
    TransportError,
    WatchError,
    WatchExpiredError,
    ends_wait,
    is_informative,
    is_service_fault,
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


def made(cls: type[BackupsError]) -> BackupsError:
    """Build an error with everything that it can carry."""
    asked: dict[str, Any] = {"method": "GET", "url": "https://host.example/backups/362", "attempt": 3}
    if issubclass(cls, ApiError):
        headers = {"Retry-After": "7"}
        return cls(status=503, headers=headers, excerpt="busy", retry_after=7.0, **asked)
    if issubclass(cls, ProtocolError):
        return cls("not understood", status=200, excerpt="<html>", **asked)
    if issubclass(cls, TransportError):
        return cls("connection reset", **asked)
    if issubclass(cls, WatchError):
        return cls.of(REF, BACKUP)
    if issubclass(cls, AmbiguousCreateError):
        return cls("no answer came", planet=PlanetRef("alpha", "p1"), candidates=[BACKUP])
    if issubclass(cls, JournalError):
        return cls("locked", path="run.db")
    return cls("it broke")


@pytest.mark.parametrize("cls", tree(BackupsError), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_every_error_survives_pickling_and_copying(cls: type[BackupsError], copied: Any) -> None:
    """A pickled or copied error has the same class, message, data and notes."""
    error = made(cls)
    error.add_note("seen by the bulk run")
    again = copied(error)
    assert type(again) is cls
    assert (str(again), again.args) == (str(error), error.args)
    assert again.__dict__ == error.__dict__


def test_tree_is_as_its_docstring_draws_it() -> None:
    """The tree in the module's docstring names every class, under its parent."""
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


def test_all_names_the_whole_tree() -> None:
    """`__all__` is the tree and nothing else."""
    assert errors.__all__ == sorted(cls.__name__ for cls in tree(BackupsError))


def test_every_class_of_the_module_is_in_the_tree() -> None:
    """No error of the module stands outside the tree."""
    classes = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BackupsError)}
    assert classes == set(tree(BackupsError))


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [(ConfigurationError, ValueError), (AnswerTimeoutError, TimeoutError), (WatchExpiredError, TimeoutError)],
)
def test_errors_that_python_has_a_word_for_are_caught_by_it(cls: type[Exception], builtin: type[Exception]) -> None:
    """`except ValueError` and `except TimeoutError` catch what one expects of them."""
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
def test_each_status_has_its_class(status: int, name: str) -> None:
    """Documented statuses, and those of gateways, have a class of their own; others are plain `ApiError`."""
    assert ApiError.class_for(status).__name__ == name


def test_api_error_says_what_was_asked_and_answered() -> None:
    """The message holds method, URL, status, meaning, excerpt and attempt; the data are attributes."""
    error = made(ApiError.class_for(503))
    assert str(error) == (
        "GET https://host.example/backups/362: 503, temporarily unavailable; try again in a few minutes; "
        "the answer: busy (attempt 3)"
    )
    assert isinstance(error, ApiError)
    assert (error.status, error.headers, error.retry_after, error.attempt) == (503, {"Retry-After": "7"}, 7.0, 3)


def test_api_error_without_an_answer_gives_its_reason() -> None:
    """A token that could not be had has no status, and a reason instead of the documented one."""
    error = errors.AuthenticationError(status=None, reason="no token could be had")
    assert str(error) == "no token could be had"
    assert error.headers == {}


@pytest.mark.parametrize(("cls", "sent"), [(TransportError, True), (ConnectError, False), (AnswerTimeoutError, True)])
def test_transport_error_tells_whether_the_request_may_have_arrived(cls: type[TransportError], sent: bool) -> None:
    """A connection never made sent nothing; any other fault may have; the raiser may know better."""
    assert cls("reset").sent is sent
    assert cls("reset", sent=not sent).sent is not sent
    assert str(cls("reset")) == "reset"


def test_protocol_error_quotes_what_came() -> None:
    """The message holds the reason and the excerpt, and only what is known."""
    assert str(made(ProtocolError)) == (
        "GET https://host.example/backups/362: not understood; it began with: <html> (attempt 3)"
    )
    assert str(ProtocolError("not understood")) == "not understood"


@pytest.mark.parametrize(
    ("cls", "backup", "message"),
    [
        (WatchError, None, "alpha/362 was not seen to succeed"),
        (WatchError, BACKUP, "alpha/362 ended as 'broken'"),
        (BackupFailedError, None, "alpha/362 failed"),
        (BackupFailedError, BACKUP, "alpha/362 failed, its status is 'broken': disk full"),
        (BackupFailedError, Backup(id=362), "alpha/362 failed, its status is not given"),
        (BackupGoneError, None, "alpha/362 does not exist"),
        (BackupGoneError, BACKUP, "alpha/362 was deleted while it was watched"),
        (WatchExpiredError, None, "alpha/362 was not finished when our deadline passed; it was never seen"),
        (WatchExpiredError, BACKUP, "alpha/362 was not finished when our deadline passed; its status was 'broken'"),
    ],
)
def test_watch_error_says_what_was_last_seen(cls: type[WatchError], backup: Backup | None, message: str) -> None:
    """The message names the backup and what became of it; both are attributes."""
    error = cls.of(REF, backup)
    assert str(error) == message
    assert (error.ref, error.backup) == (REF, backup)


def test_watch_error_is_bounded() -> None:
    """A server's message of megabytes is cut in the error's message, and whole in the backup."""
    error = BackupFailedError.of(REF, Backup(id=362, status="s" * 10**6, error_message="x" * 10**6))
    assert len(str(error)) < 1200
    assert error.backup is not None
    assert len(error.backup.error_message or "") == 10**6


def test_ambiguous_create_names_the_candidates() -> None:
    """The message tells what to do, and ten candidates at most; all are kept."""
    planet = PlanetRef("alpha", "p1")
    error = AmbiguousCreateError("no answer came", planet=planet, candidates=[Backup(id=i) for i in range(50)])
    assert "(candidates: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)" in str(error)
    assert "List the planet's backups" in str(error)
    assert len(error.candidates) == 50
    assert "candidates" not in str(AmbiguousCreateError("no answer came", planet=planet))


@pytest.mark.parametrize(
    ("error", "service_fault", "ends", "informative"),
    [
        (ApiError(status=408), True, False, False),
        (ApiError(status=424), True, False, False),
        (RateLimitedError(status=429), True, False, False),
        (ApiError(status=500), True, False, False),
        (ServiceUnavailableError(status=503), True, False, False),
        (AnswerTimeoutError("slow"), True, False, False),
        (ConnectError("refused"), True, False, False),
        (CertificateError("expired"), True, False, False),
        (AuthenticationError(status=401), False, True, True),
        (PermissionDeniedError(status=403), False, True, True),
        (NotFoundError(status=404), False, False, True),
        (ApiError(status=400), False, False, False),
        (ApiError(status=501), False, False, False),
        (ProtocolError("garbage"), False, False, False),
        (ClientClosedError("the client was closed"), False, True, False),
    ],
)
def test_meaning_of_an_error_for_polling(
    error: BackupsError, service_fault: bool, ends: bool, informative: bool
) -> None:
    """The circuit breaker counts faults of the service; permanent errors end a wait; some report on the backup."""
    assert (is_service_fault(error), ends_wait(error), is_informative(error)) == (service_fault, ends, informative)
