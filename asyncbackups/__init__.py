"""Create, watch and delete database backups of Guidewire Cloud Platform.

An async client of the Database API. One polling engine per client watches any number of backups with few requests, and
an async iterator delivers each completion::

    async with BackupClient.from_env() as client:
        backup = await client.create("star-system", "planet", BackupSpec(retention_period_in_days=7))
        done = await client.wait("star-system", backup.id)
"""

import importlib
from typing import TYPE_CHECKING

from asyncbackups._api.codec import plain
from asyncbackups._http.oauth import ClientCredentials
from asyncbackups._polling.watch import Watch
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
    BackupDeleted,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    DeleteFailed,
    Event,
    Explanation,
    FinalEvent,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import (
    Backup,
    BackupId,
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

if TYPE_CHECKING:  # imported on first use by `__getattr__`, to keep the import light
    from asyncbackups._bulk.bulk_create import BulkRun
    from asyncbackups._bulk.bulk_delete import BulkDeletion
    from asyncbackups._bulk.journal import Holder, JournalStatus, TargetState, read_status
    from asyncbackups._bulk.report import BulkReport, Counts, Outcome

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
    "BackupDeleted",
    "BackupFailed",
    "BackupFailedError",
    "BackupGone",
    "BackupGoneError",
    "BackupId",
    "BackupMetadata",
    "BackupRef",
    "BackupSpec",
    "BackupSucceeded",
    "BackupType",
    "BackupsError",
    "BadGatewayError",
    "BadRequestError",
    "BulkDeletion",
    "BulkReport",
    "BulkRun",
    "CertificateError",
    "ClientClosedError",
    "ClientCredentials",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "Counts",
    "CreateFailed",
    "CreatePolicy",
    "DeleteFailed",
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

_LAZY_MODULES = {
    "BulkRun": "asyncbackups._bulk.bulk_create",
    **dict.fromkeys(("BulkReport", "Counts", "Outcome"), "asyncbackups._bulk.report"),
    "BulkDeletion": "asyncbackups._bulk.bulk_delete",
    **dict.fromkeys(("Holder", "JournalStatus", "TargetState", "read_status"), "asyncbackups._bulk.journal"),
}
"""The modules of names imported on first use (PEP 562): not every program needs bulk runs or a journal."""


def __getattr__(name: str) -> object:
    if name not in _LAZY_MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY_MODULES[name]), name)
