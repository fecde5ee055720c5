"""The client: it owns the HTTP session and the polling engine, and offers all operations as methods.

Modules that not every program needs (creating, polling, bulk runs, the journal, the environment) are imported on first
use, so that `import asyncbackups` costs little more than `import aiohttp`.
"""

from __future__ import annotations

import builtins
import functools
import os
import random as random_numbers
import ssl as tls
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._api.status_rule import progress_of
from asyncbackups._base.clock import ClientClock, Clock, SystemClock
from asyncbackups._base.validation import (
    Seconds,
    check_file_path,
    check_flag,
    check_instance,
    check_integer,
    check_not_blank,
    check_protocol,
    quote_value,
)
from asyncbackups._http.oauth import TokenSource
from asyncbackups._http.transport import Transport
from asyncbackups._inputs import Planets, Refs, Targets, parse_planets
from asyncbackups.errors import ClientClosedError, ConfigurationError
from asyncbackups.models import Backup, BackupId, BackupRef, BackupSpec, Health, PlanetRef, StatusRule
from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy, Timeouts

if TYPE_CHECKING:
    # aiohttp is imported only by the transport; the others are imported on first use (see the module's docstring).
    import aiohttp

    from asyncbackups._api.create import Creator
    from asyncbackups._bulk.bulk_create import BulkRun
    from asyncbackups._bulk.bulk_delete import BulkDeletion
    from asyncbackups._bulk.journal.journal import Journal
    from asyncbackups._bulk.run_store import RunStore
    from asyncbackups._polling.engine import Engine
    from asyncbackups._polling.watch import Watch

__all__ = ["BackupClient"]

_BULK_CONCURRENCY = 8
_DEFAULT_DEADLINE = 24 * 3600.0
"""Seconds for which a backup is watched by default: a logical backup may take hours."""


class BackupClient:
    """A client of the Database API for one tenant, to be used with ``async with``; it can be entered once.

    Each method raises `ConfigurationError` for an invalid argument before anything is sent, and `ClientClosedError` if
    the client is not open. Each request may raise `ApiError` (error status), `TransportError` (no complete response) or
    `ProtocolError` (unreadable response). ``Raises`` below lists only what a method adds.

    Args:
        base_url: The service's URL, for instance a region's; https, or http to loopback.
        tenant: The tenant's id.
        auth: A token, or an object with ``async def token(self) -> str``, for instance `ClientCredentials`.
        retry: When to resend idempotent requests.
        polling: When to poll backups in progress.
        creating: How to handle a create with a lost response.
        limits: Limits on the requests of this client.
        timeouts: Timeouts of one request; a wait has a deadline of its own.
        session: An aiohttp session to use, which the caller closes; None to open and close one.
        star_system_list: The last segment of the path of a star system's list: "backup" as documented, or "backups".
        status_rule: Returns what a backup's status means.
        insecure_http: Whether plain http is allowed to other hosts than loopback.
        max_answer_bytes: Maximum size of a response, in bytes.
        ssl: The TLS context of the client's own session; None for Python's default.
        proxy: A proxy's URL; None for no proxy.
        trust_env: Whether the client's own session reads the proxy from the environment.
        clock: The clock, for tests; None for the system's.
        random: The random numbers for jitter, for tests; None for a new generator.

    Raises:
        ConfigurationError: If an argument is invalid.
    """

    def __init__(
        self,
        base_url: str,
        tenant: str,
        *,
        auth: str | TokenSource,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen, as are the next ones
        polling: PollingPolicy = PollingPolicy(),  # noqa: B008
        creating: CreatePolicy = CreatePolicy(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        session: aiohttp.ClientSession | None = None,
        star_system_list: str = "backup",
        status_rule: StatusRule = progress_of,
        insecure_http: bool = False,
        max_answer_bytes: int = 64 * 1024 * 1024,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        clock: Clock | None = None,
        random: random_numbers.Random | None = None,
    ) -> None:
        check_instance(retry, RetryPolicy, "retry")
        check_instance(timeouts, Timeouts, "timeouts")
        check_flag(insecure_http, "insecure_http")
        check_flag(trust_env, "trust_env")
        if not callable(status_rule):
            raise ConfigurationError(
                f"must be a function of a Backup, not {quote_value(status_rule)}", field="status_rule"
            )
        self._clock = ClientClock(SystemClock() if clock is None else check_protocol(clock, Clock, "clock"))
        generator = random_numbers.Random() if random is None else random  # noqa: S311 - jitter, no cryptography
        self._random = check_instance(generator, random_numbers.Random, "random")
        self._polling = check_instance(polling, PollingPolicy, "polling")
        self._limits = check_instance(limits, Limits, "limits")
        self._creating = check_instance(creating, CreatePolicy, "creating")
        self._retry, self._status_rule = retry, status_rule
        requests = RequestBuilder(tenant, star_system_list)
        self._transport = self._new_transport(
            base_url,
            auth=auth,
            retry=retry,
            limits=limits,
            timeouts=timeouts,
            session=session,
            insecure_http=insecure_http,
            max_answer_bytes=max_answer_bytes,
            ssl=ssl,
            proxy=proxy,
            trust_env=trust_env,
            clock=self._clock,
            random=self._random,
        )
        self._operations = Operations(self._transport, requests, utcnow=self._clock.utcnow)
        self._tenant, self._base_url = tenant, base_url
        self._engine: Engine | None = None
        self._entered = False
        self._left = False

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Create a client from environment variables.

        ``ASYNCBACKUPS_BASE_URL`` or ``ASYNCBACKUPS_REGION``; ``ASYNCBACKUPS_TENANT``; ``ASYNCBACKUPS_TOKEN``, or
        ``ASYNCBACKUPS_CLIENT_ID`` and ``ASYNCBACKUPS_CLIENT_SECRET`` (with ``ASYNCBACKUPS_TOKEN_URL`` unless the region
        implies it, and ``ASYNCBACKUPS_SCOPES`` instead of the tenant's read and write scopes).

        Args:
            overrides: Arguments of the client, which take precedence over the environment.

        Raises:
            ConfigurationError: If variables are missing (the message lists all) or invalid.
        """
        from asyncbackups._env import load_environment  # noqa: PLC0415 - on first use, see the module's docstring

        known = {name: overrides.pop(name, None) for name in ("base_url", "tenant", "auth")}
        found = load_environment(os.environ, **known, insecure_http=overrides.get("insecure_http", False))
        return cls(found.base_url, found.tenant, auth=found.auth, **overrides)

    def __repr__(self) -> str:
        return f"<BackupClient of tenant {self._tenant!r}>"

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            ClientClosedError: If it was entered before.
        """
        if self._entered or self._left:
            raise ClientClosedError("a client can be entered only once: create another one")
        try:
            await self._transport.open()
        except BaseException:
            await self._transport.close()
            raise
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, also from another task; waits in progress end with a `ClientClosedError`."""
        self._left = True
        try:
            if self._engine is not None:
                await self._engine.close()
        finally:
            self._clock.close()
            await self._transport.close()

    @property
    def requests(self) -> dict[str, int]:
        """Number of requests sent, by kind ("create", "get", "list", "delete", "health", "token")."""
        return {str(kind): number for kind, number in self._transport.requests.items()}

    async def create(
        self, star_system: str, planet: str, spec: BackupSpec, *, key: str | None = None, may_exist: bool = False
    ) -> Backup:
        """Create a backup of a planet, exactly once as far as that can be known.

        After a lost response the planet's backups are listed to find the new one, before anything is sent again; see
        `CreatePolicy`. Creates of one planet run one at a time.

        Args:
            star_system: The star system's id.
            planet: The planet's id.
            spec: The spec of the backup.
            key: An idempotency key: the same key in the same planet returns the same backup, while this client lives
                (another client needs `may_exist` for that). None for a create without one.
            may_exist: Whether an earlier attempt with this key, in this process or another, may have created the
                backup: then it is searched for, up to `CreatePolicy.settle`, before anything is sent.

        Returns:
            The new backup, usually in progress.

        Raises:
            AmbiguousCreateError: If the backup may have been created, but was not identified.
        """
        self._require_operations()
        if check_flag(may_exist, "may_exist") and key is None:
            raise ConfigurationError("needs a key: the key of the earlier attempt", field="may_exist")
        ref = PlanetRef(star_system, planet)
        checked_key = None if key is None else check_not_blank(key, "key")
        checked_spec = check_instance(spec, BackupSpec, "spec")
        return (await self._creator.create(ref, checked_spec, key=checked_key, may_exist=may_exist)).backup

    async def get(self, star_system: str, backup_id: BackupId) -> Backup:
        """Retrieve a backup.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.

        Raises:
            NotFoundError: If the backup does not exist.
        """
        return await self._require_operations().get(BackupRef(star_system, backup_id))

    async def list(self, star_system: str, planet: str | None = None) -> builtins.list[Backup]:
        """List the backups of a star system or of one planet, over all pages.

        Args:
            star_system: The star system's id.
            planet: The planet's id; None for all planets.

        Raises:
            ProtocolError: Also if the list may be incomplete.
        """
        return await self._require_operations().list(star_system, planet)

    async def delete(self, star_system: str, backup_id: BackupId, *, missing_ok: bool = False) -> None:
        """Delete a backup.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.
            missing_ok: Whether a backup that does not exist counts as deleted.

        Raises:
            NotFoundError: If the backup does not exist, unless `missing_ok`.
        """
        ref = BackupRef(star_system, backup_id)
        await self._require_operations().delete(ref, missing_ok=check_flag(missing_ok, "missing_ok"))

    async def health(self) -> Health:
        """Check the health of the service."""
        return await self._require_operations().health()

    async def wait(self, star_system: str, backup_id: BackupId, *, deadline: Seconds = _DEFAULT_DEADLINE) -> Backup:
        """Wait until a backup has succeeded. Several waits for one backup share its polls.

        Polls that fail temporarily do not end the wait.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.
            deadline: Maximum duration of the wait, in seconds.

        Returns:
            The succeeded backup.

        Raises:
            BackupFailedError: If the backup failed.
            BackupGoneError: If the backup does not exist or was deleted.
            WatchExpiredError: If the deadline passed.
            PermissionDeniedError: If reading it is not permitted.
            AuthenticationError: If the credentials are refused.
            EngineError: If the polling engine failed.
        """
        ref = BackupRef(star_system, backup_id)
        from asyncbackups._polling.watch import validate_deadline, wait_for  # noqa: PLC0415 - on first use

        return await wait_for(self._require_engine(), ref, deadline=validate_deadline(deadline))

    def watch(self, refs: Iterable[BackupRef] | None = None, *, deadline: Seconds = _DEFAULT_DEADLINE) -> Watch:
        """Watch any number of backups: an async iterator over their final events, in order of completion.

        Args:
            refs: The backups; the iteration ends after the last one. None for a watch that takes more backups
                (`Watch.add`) until `Watch.finish`.
            deadline: Maximum duration for each backup, in seconds, unless given to `Watch.add`.
        """
        from asyncbackups._polling.watch import Watch, validate_deadline  # noqa: PLC0415 - on first use

        return Watch(self._require_engine(), refs, deadline=validate_deadline(deadline))

    def bulk_create(
        self,
        targets: Targets,
        spec: BackupSpec,
        *,
        concurrency: int = _BULK_CONCURRENCY,
        deadline: Seconds = _DEFAULT_DEADLINE,
        journal: str | os.PathLike[str] | None = None,
        since: int | None = None,
    ) -> BulkRun:
        """Create a backup of each of many planets and watch them all: one stream of events, and a report.

        Args:
            targets: The planets, as any iterable or async iterable, read as creates start. A collection (list, set,
                ...) is checked as a whole before the first create, and stored in the journal.
            spec: The spec of each backup.
            concurrency: Maximum number of creates in flight.
            deadline: Maximum duration for each backup, in seconds.
            journal: A file that stores the run; the same call with the same file resumes it, as does `resume`. None for
                a run that cannot be resumed. Needs the extra ``journal``.
            since: With a journal: deliver again the events after this number. None for all unacknowledged events; an
                event is acknowledged when the next one is requested.

        Raises:
            ConfigurationError: Also if a journal is given, but aiosqlite is not installed.
        """
        from asyncbackups._bulk.run_store import MemoryRunStore  # noqa: PLC0415 - on first use

        checked_spec = check_instance(spec, BackupSpec, "spec")
        self._require_open()
        if journal is None and since is not None:
            raise ConfigurationError("needs a journal: without one, events have no numbers", field="since")
        store = MemoryRunStore(checked_spec) if journal is None else self._open_journal(journal, checked_spec, since)
        planets = parse_planets(targets, whole=journal is not None)
        return self._new_bulk_run(store, planets, concurrency=concurrency, deadline=deadline)

    def resume(
        self,
        journal: str | os.PathLike[str],
        *,
        concurrency: int = _BULK_CONCURRENCY,
        deadline: Seconds = _DEFAULT_DEADLINE,
        since: int | None = None,
    ) -> BulkRun:
        """Resume a bulk run from its journal, however its process ended.

        Creates that may have been sent are reconciled, backups in progress are watched, and the remaining targets of
        the journal are created. A create that failed is not repeated. The report covers the whole run.

        Args:
            journal: The run's journal file.
            concurrency: Maximum number of creates in flight.
            deadline: Maximum duration for each backup from now on, in seconds.
            since: Deliver again the events after this number; None for all unacknowledged events.

        Raises:
            ConfigurationError: Also if aiosqlite is not installed.
        """
        self._require_open()
        store = self._open_journal(journal, None, since)
        return self._new_bulk_run(store, None, concurrency=concurrency, deadline=deadline)

    def bulk_delete(
        self, refs: Refs, *, concurrency: int = _BULK_CONCURRENCY, missing_ok: bool = False
    ) -> BulkDeletion:
        """Delete many backups: an async iterator with one event for each, `BackupDeleted` or `DeleteFailed`.

        Args:
            refs: The backups, as any iterable or async iterable, read as deletes start. A collection (list, set, ...)
                is checked as a whole before the first delete.
            concurrency: Maximum number of deletes in flight.
            missing_ok: Whether a backup that does not exist counts as deleted.
        """
        from asyncbackups._bulk.bulk_delete import BulkDeletion  # noqa: PLC0415 - on first use

        return BulkDeletion(
            self._require_operations(),
            refs=refs,
            concurrency=check_integer(concurrency, "concurrency", minimum=1),
            missing_ok=check_flag(missing_ok, "missing_ok"),
            clock=self._clock,
        )

    def _new_transport(self, base_url: str, **settings: Any) -> Transport:
        return Transport(base_url, **settings)

    @functools.cached_property
    def _creator(self) -> Creator:
        from asyncbackups._api.create import Creator  # noqa: PLC0415 - on first use

        creator = Creator(
            self._operations,
            policy=self._creating,
            retry=self._retry,
            clock=self._clock,
            draw=self._random.random,
        )
        creator.baselines.observer = self._record_baseline_list
        return creator

    def _record_baseline_list(self, star_system: str, planet: str | None, backups: builtins.list[Backup]) -> None:
        """Feed the duration estimates from a list that was read for another purpose."""
        if self._engine is not None:
            self._engine.record_listed(star_system, planet, backups)

    def _new_engine(self) -> Engine:
        from asyncbackups._polling.engine import Engine  # noqa: PLC0415 - on first use
        from asyncbackups._polling.scheduler import Scheduler  # noqa: PLC0415 - on first use

        return Engine(
            self._operations,
            scheduler=lambda: Scheduler(self._polling, draw=self._random.random, retry=self._retry),
            clock=self._clock,
            concurrency=self._limits.concurrency,
            status_rule=self._status_rule,
            origin=self._creator.get_origin,
            is_foreign=self._creator.is_foreign,
        )

    def _open_journal(self, path: str | os.PathLike[str], spec: BackupSpec | None, since: int | None) -> Journal:
        from asyncbackups._bulk.journal.journal import Journal  # noqa: PLC0415 - on first use

        return Journal(
            check_file_path(path, "journal"),
            tenant=self._tenant,
            base_url=self._base_url,
            spec=spec,
            since=None if since is None else check_integer(since, "since", minimum=0),
            claim=self._creator.claim_backup,
            clock=self._clock,
        )

    def _new_bulk_run(self, store: RunStore, planets: Planets, *, concurrency: int, deadline: Seconds) -> BulkRun:
        from asyncbackups._bulk.bulk_create import BulkRun  # noqa: PLC0415 - on first use
        from asyncbackups._polling.watch import validate_deadline  # noqa: PLC0415 - on first use

        return BulkRun(
            self._require_engine(),
            create=self._creator.create,
            take_baseline=self._creator.baselines.for_run,
            find_duplicates=self._creator.find_duplicates,
            store=store,
            planets=planets,
            concurrency=check_integer(concurrency, "concurrency", minimum=1),
            deadline=validate_deadline(deadline),
            clock=self._clock,
            requests=self._transport.requests,
        )

    def _require_open(self) -> None:
        if not self._entered or self._left:
            state = "was left" if self._left else "is not open"
            raise ClientClosedError(f"the client {state}: use it within `async with BackupClient(...) as client`")

    def _require_engine(self) -> Engine:
        self._require_open()
        if self._engine is None:
            self._engine = self._new_engine()
        return self._engine

    def _require_operations(self) -> Operations:
        self._require_open()
        return self._operations
