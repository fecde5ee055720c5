"""Await and watch database backups of Guidewire Cloud Platform.

An async session manager creates, lists and deletes backups through the Database API; one polling engine per client
watches any number of them, asks little and knows soon, and tells of each end through an async iterator::

    async with BackupClient.from_env() as client:
        backup = await client.create("star-system", "planet", BackupSpec(retention_period_in_days=7))
        done = await client.wait("star-system", backup.id)
"""

from typing import TYPE_CHECKING

from asyncbackups.auth import ClientCredentials
from asyncbackups.bulk import BulkReport, BulkRun, Outcome
from asyncbackups.client import BackupClient
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    AnswerTooLargeError,
    ApiError,
    AuthenticationError,
    BackupFailedError,
    BackupGoneError,
    BackupsError,
    BadGatewayError,
    BadRequestError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    EngineError,
    FailedDependencyError,
    GatewayTimeoutError,
    InternalServerError,
    JournalError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    RedirectRefusedError,
    RequestTimeoutError,
    ServiceUnavailableError,
    TransportError,
    UnprocessableError,
    WatchError,
    WatchExpiredError,
)
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    Event,
    Explanation,
    FinalEvent,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import (
    Backup,
    BackupMetadata,
    BackupRef,
    BackupSpec,
    BackupType,
    Environment,
    Health,
    Mechanism,
    PlanetClass,
    PlanetRef,
    Progress,
    Status,
    progress_of,
)
from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy, Timeouts
from asyncbackups.regions import REGIONS, Region
from asyncbackups.watch import Watch
from asyncbackups.wire.codec import plain

if TYPE_CHECKING:
    from asyncbackups.journal import Holder, JournalStatus, TargetState, read_status

__all__ = [
    "REGIONS",
    "AmbiguousCreateError",
    "AnswerTimeoutError",
    "AnswerTooLargeError",
    "ApiError",
    "AuthenticationError",
    "Backup",
    "BackupClient",
    "BackupCreated",
    "BackupFailed",
    "BackupFailedError",
    "BackupGone",
    "BackupGoneError",
    "BackupMetadata",
    "BackupRef",
    "BackupSpec",
    "BackupSucceeded",
    "BackupType",
    "BackupsError",
    "BadGatewayError",
    "BadRequestError",
    "BulkReport",
    "BulkRun",
    "CertificateError",
    "ClientClosedError",
    "ClientCredentials",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "CreateFailed",
    "CreatePolicy",
    "EngineError",
    "Environment",
    "Event",
    "Explanation",
    "FailedDependencyError",
    "FinalEvent",
    "GatewayTimeoutError",
    "Health",
    "Holder",
    "InternalServerError",
    "JournalError",
    "JournalStatus",
    "Limits",
    "Mechanism",
    "MethodNotAllowedError",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "PlanetClass",
    "PlanetRef",
    "PollingPolicy",
    "Progress",
    "ProtocolError",
    "RateLimitedError",
    "RedirectRefusedError",
    "Region",
    "RequestTimeoutError",
    "RetryPolicy",
    "ServiceUnavailableError",
    "Status",
    "TargetState",
    "Timeouts",
    "TransportError",
    "UnprocessableError",
    "Watch",
    "WatchError",
    "WatchExpired",
    "WatchExpiredError",
    "WatchFailed",
    "plain",
    "progress_of",
    "read_status",
]

_OF_THE_JOURNAL = frozenset({"Holder", "JournalStatus", "TargetState", "read_status"})
"""Imported when they are first asked for (PEP 562): most programs keep no journal."""


def __getattr__(name: str) -> object:
    if name not in _OF_THE_JOURNAL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from asyncbackups import journal  # noqa: PLC0415

    return getattr(journal, name)
