"""Create, watch and delete database backups of Guidewire Cloud Platform.

An async client of the Database API. One polling engine per client watches any number of backups with few requests, and
an async iterator delivers each completion::

    async with BackupClient.from_env() as client:
        backup = await client.create("star-system", "planet", BackupSpec(retention_period_in_days=7))
        done = await client.wait("star-system", backup.id)
"""

import importlib

# For type checkers; at run time each name is imported on first use, by `__getattr__` below. (`typing` is not imported:
# the command line handles Ctrl-C only once this package is imported.)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncbackups._api.codec import plain
    from asyncbackups._api.status_rule import progress_of
    from asyncbackups._bulk.bulk_create import BulkRun
    from asyncbackups._bulk.bulk_delete import BulkDeletion
    from asyncbackups._bulk.journal.lock import Holder
    from asyncbackups._bulk.journal.run_state import TargetState
    from asyncbackups._bulk.journal.status import JournalStatus, read_status
    from asyncbackups._bulk.report import BulkReport, Counts, Outcome
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
        DuplicateFound,
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
    )
    from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy, Timeouts
    from asyncbackups.regions import REGIONS, Region

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
    "DuplicateFound",
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
    **{name: "errors" for name in __all__ if name.endswith("Error")},
    **{
        name: module
        for module, names in {
            "_api.codec": "plain",
            "_api.status_rule": "progress_of",
            "_bulk.bulk_create": "BulkRun",
            "_bulk.bulk_delete": "BulkDeletion",
            "_bulk.journal.lock": "Holder",
            "_bulk.journal.run_state": "TargetState",
            "_bulk.journal.status": "JournalStatus read_status",
            "_bulk.report": "BulkReport Counts Outcome",
            "_http.oauth": "ClientCredentials",
            "_polling.watch": "Watch",
            "client": "BackupClient",
            "events": "BackupCreated BackupDeleted BackupFailed BackupGone BackupSucceeded CreateFailed DeleteFailed "
            "DuplicateFound Event Explanation FinalEvent WatchExpired WatchFailed",
            "models": "Backup BackupId BackupMetadata BackupRef BackupSpec BackupType Environment Health Mechanism "
            "PlanetClass PlanetRef Progress Status",
            "policies": "CreatePolicy Limits PollingPolicy RetryPolicy Timeouts",
            "regions": "REGIONS Region",
        }.items()
        for name in names.split()
    },
}
_PUBLIC_MODULES = frozenset({"client", "errors", "events", "models", "policies", "regions"})

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name or module on first use (PEP 562): the command line starts without aiohttp and attrs."""
        if name in _PUBLIC_MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _LAZY_MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_LAZY_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PUBLIC_MODULES})
