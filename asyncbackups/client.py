"""The face: a client owns the session and the engine, and offers everything as methods.

What creates, polls, does many at once, keeps a journal or reads the environment is imported when it is first needed:
`import asyncbackups` is to cost little more than `import aiohttp`.
"""

from __future__ import annotations

import builtins
import os
import random as random_numbers
import ssl as tls
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import Requests
from asyncbackups._base.clock import ClientClock, Clock, SystemClock
from asyncbackups._base.validation import Seconds, file_path, flag, instance, integer, not_blank, offering, shown
from asyncbackups._http.oauth import TokenSource
from asyncbackups._http.transport import Transport
from asyncbackups._polling.watch import DEFAULT_DEADLINE, Watch, checked_deadline, wait_for
from asyncbackups.errors import ClientClosedError, ConfigurationError
from asyncbackups.models import Backup, BackupRef, BackupSpec, Health, PlanetRef, StatusRule, progress_of
from asyncbackups.policies import CreatePolicy, Limits, PollingPolicy, RetryPolicy, Timeouts

if TYPE_CHECKING:
    import aiohttp

    from asyncbackups._api.create import Creator
    from asyncbackups._bulk.bulk_create import BulkRun
    from asyncbackups._bulk.bulk_delete import BulkDeletion
    from asyncbackups._bulk.journal.journal import Journal
    from asyncbackups._bulk.run_store import RunStore
    from asyncbackups._inputs import Planets, Refs, Targets
    from asyncbackups._polling.engine import Engine

__all__ = ["BackupClient"]

_BULK_CONCURRENCY = 8


class BackupClient:
    """A client of the Database API for one tenant. Use it with ``async with``; it may be left in another task.

    Args:
        base_url: The service's address, for instance that of a region; https, or http to loopback.
        tenant: The tenant's id.
        auth: A token; or an object with ``async def token(self) -> str``, for instance `ClientCredentials`.
        retry: When idempotent requests are sent again.
        polling: When backups in flight are asked about.
        creating: What is done about a create whose answer was lost.
        limits: How fast all calls of this client may go together.
        timeouts: How long one request may take; not to be confused with the deadline of a watch.
        session: An aiohttp session to use and not to close; None for an own one.
        star_system_list: The end of the path of a star system's list: "backup" as the guide prints it, or "backups".
        status_rule: Says what a backup's status means.
        insecure_http: Whether plain http is allowed to other machines than this.
        max_answer_bytes: The largest answer that is read, in bytes.
        ssl: The TLS context of the own session; None for Python's default one.
        proxy: A proxy's URL, or None.
        trust_env: Whether the own session takes proxies from the environment.
        clock: The time; tests pass their own.
        random: Where jitter comes from; None for a fresh generator.

    Raises:
        ConfigurationError: If an argument is wrong; nothing is opened or sent.
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
        instance(retry, RetryPolicy, "retry")
        instance(timeouts, Timeouts, "timeouts")
        flag(insecure_http, "insecure_http")
        flag(trust_env, "trust_env")
        if not callable(status_rule):
            raise ConfigurationError(f"status_rule must be a function of a Backup, not {shown(status_rule)}")
        self._clock = ClientClock(SystemClock() if clock is None else offering(clock, Clock, "clock"))
        fresh = random_numbers.Random() if random is None else random  # noqa: S311 - jitter, no cryptography
        self._random = instance(fresh, random_numbers.Random, "random")
        self._polling = instance(polling, PollingPolicy, "polling")
        self._limits = instance(limits, Limits, "limits")
        self._creating = instance(creating, CreatePolicy, "creating")
        self._retry, self._status_rule = retry, status_rule
        requests = Requests(tenant, star_system_list)
        self._transport = Transport(
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
        self._left = False

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Make a client from environment variables.

        ``ASYNCBACKUPS_BASE_URL`` or ``ASYNCBACKUPS_REGION``; ``ASYNCBACKUPS_TENANT``; ``ASYNCBACKUPS_TOKEN``, or
        ``ASYNCBACKUPS_CLIENT_ID`` and ``ASYNCBACKUPS_CLIENT_SECRET`` (with ``ASYNCBACKUPS_TOKEN_URL`` where no region
        says it, and ``ASYNCBACKUPS_SCOPES`` for other scopes than the tenant's read and write).

        Args:
            overrides: Arguments of the client; they win over the environment.

        Raises:
            ConfigurationError: If variables are missing (all are named at once) or wrong.
        """
        from asyncbackups._env import read_environment  # noqa: PLC0415 - see the module's docstring

        known = {name: overrides.pop(name, None) for name in ("base_url", "tenant", "auth")}
        found = read_environment(os.environ, **known, insecure_http=overrides.get("insecure_http", False))
        return cls(found.base_url, found.tenant, auth=found.auth, **overrides)

    def __repr__(self) -> str:
        return f"<BackupClient of tenant {self._tenant!r}>"

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            ClientClosedError: If it was entered before: a client is used once.
        """
        if self._engine is not None or self._left:
            raise ClientClosedError("a client can be entered only once: make another one")
        try:
            await self._transport.open()
            self._creator = self._new_creator()
            self._engine = self._new_engine()
        except BaseException:
            await self._transport.close()
            raise
        return self

    def _new_creator(self) -> Creator:
        from asyncbackups._api.create import Creator  # noqa: PLC0415 - see the module's docstring

        return Creator(
            self._operations,
            policy=self._creating,
            retry=self._retry,
            clock=self._clock,
            draw=self._random.random,
        )

    def _new_engine(self) -> Engine:
        from asyncbackups._polling.engine import Engine  # noqa: PLC0415 - see the module's docstring
        from asyncbackups._polling.scheduler import Scheduler  # noqa: PLC0415

        return Engine(
            self._operations,
            scheduler=lambda: Scheduler(self._polling, draw=self._random.random),
            clock=self._clock,
            concurrency=self._limits.concurrency,
            status_rule=self._status_rule,
            origin=self._creator.origin,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened; whoever still waits gets a `ClientClosedError`."""
        self._left = True
        try:
            if self._engine is not None:
                await self._engine.close()
        finally:
            self._clock.leave()
            await self._transport.close()

    @property
    def requests(self) -> dict[str, int]:
        """How many requests were sent so far, by kind ("create", "get", "list", "delete", "health", "token")."""
        return {str(kind): number for kind, number in self._transport.requests.items()}

    async def create(
        self, star_system: str, planet: str, spec: BackupSpec, *, key: str | None = None, may_exist: bool = False
    ) -> Backup:
        """Create a backup of a planet, exactly once as far as that can be known.

        It is sent once. Where its answer is lost, the planet's backups are listed and it is looked for; see
        `CreatePolicy`. Creates of one planet take turns.

        Args:
            star_system: The star system's id.
            planet: The planet's id.
            spec: What to create.
            key: The caller's own identity for this create: the same key in the same planet gives this client the same
                backup (another one needs `may_exist` for that). None for a create of its own.
            may_exist: Whether an earlier attempt with this key, of this process or another, may have got through: then
                it is looked for, for `CreatePolicy.settle`, before anything is sent.

        Returns:
            The new backup, as the service shows it; in progress, as a rule.

        Raises:
            ConfigurationError: If an argument is wrong; nothing was sent.
            AmbiguousCreateError: If the backup may have been created, and looking did not settle it.
            ApiError: If the service refused it.
            TransportError: If the request could not be sent.
            ClientClosedError: If the client is not open.
        """
        self._opened()
        if flag(may_exist, "may_exist") and key is None:
            raise ConfigurationError("may_exist needs a key: the one that the earlier attempt was given")
        where = PlanetRef(star_system, planet)
        wanted = None if key is None else not_blank(key, "key")
        checked = instance(spec, BackupSpec, "spec")
        return (await self._creator.create(where, checked, key=wanted, may_exist=may_exist)).backup

    async def get(self, star_system: str, backup_id: int) -> Backup:
        """Retrieve a backup.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.

        Raises:
            ConfigurationError: If an argument is wrong; nothing was sent.
            NotFoundError: If there is no such backup.
            ApiError: If the service answered with another error.
            TransportError: If no complete answer came.
            ProtocolError: If the answer cannot be understood.
            ClientClosedError: If the client is not open.
        """
        return await self._opened().get(BackupRef(star_system, backup_id))

    async def list(self, star_system: str, planet: str | None = None) -> builtins.list[Backup]:
        """List the backups of a star system, or of one planet.

        Args:
            star_system: The star system's id.
            planet: The planet's id; None for all planets.

        Raises:
            ConfigurationError: If an argument is wrong; nothing was sent.
            ApiError: If the service answered with an error.
            TransportError: If no complete answer came.
            ProtocolError: If the answer cannot be understood, or may be only a part of the list.
            ClientClosedError: If the client is not open.
        """
        return await self._opened().list(star_system, planet)

    async def delete(self, star_system: str, backup_id: int, *, missing_ok: bool = False) -> None:
        """Delete a backup.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.
            missing_ok: Whether it is fine that there is no such backup.

        Raises:
            ConfigurationError: If an argument is wrong; nothing was sent.
            NotFoundError: If there is no such backup.
            ApiError: If the service answered with another error.
            TransportError: If no complete answer came.
            ProtocolError: If the answer cannot be understood.
            ClientClosedError: If the client is not open.
        """
        ref = BackupRef(star_system, backup_id)
        await self._opened().delete(ref, missing_ok=flag(missing_ok, "missing_ok"))

    async def health(self) -> Health:
        """Ask how the service is.

        Raises:
            ApiError: If the service answered with an error.
            TransportError: If no complete answer came.
            ProtocolError: If the answer cannot be understood.
            ClientClosedError: If the client is not open.
        """
        return await self._opened().health()

    async def wait(self, star_system: str, backup_id: int, *, deadline: Seconds = DEFAULT_DEADLINE) -> Backup:
        """Wait until a backup has succeeded. Waits for the same backup share their polls.

        Args:
            star_system: The star system's id.
            backup_id: The backup's id.
            deadline: For how long, in seconds; it bounds the wait, not a request.

        Returns:
            The backup, succeeded.

        Raises:
            ConfigurationError: If an argument is wrong; nothing was sent.
            BackupFailedError: If it ran and failed.
            BackupGoneError: If it does not exist, or was deleted meanwhile.
            WatchExpiredError: If the deadline passed.
            PermissionDeniedError: If it may not be read.
            AuthenticationError: If the credentials are refused.
            ClientClosedError: If the client is not open, or was left meanwhile.
            EngineError: If the polling engine broke.
        """
        ref = BackupRef(star_system, backup_id)
        return await wait_for(self._opened_engine(), ref, deadline=checked_deadline(deadline))

    def watch(self, refs: Iterable[BackupRef] | None = None, *, deadline: Seconds = DEFAULT_DEADLINE) -> Watch:
        """Watch any number of backups: an async iterator of final events, in the order in which they come.

        Args:
            refs: The backups; the iteration ends with the last of them. None for a watch that is open until its
                `finish`, to which backups are added as it runs.
            deadline: For how long each backup is watched, in seconds, unless `Watch.add` says otherwise.

        Raises:
            ConfigurationError: If an argument is wrong.
            ClientClosedError: If the client is not open.
        """
        return Watch(self._opened_engine(), refs, deadline=checked_deadline(deadline))

    def bulk_create(
        self,
        targets: Targets,
        spec: BackupSpec,
        *,
        concurrency: int = _BULK_CONCURRENCY,
        deadline: Seconds = DEFAULT_DEADLINE,
        journal: str | os.PathLike[str] | None = None,
        since: int | None = None,
    ) -> BulkRun:
        """Create a backup of each of many planets and watch them all: one stream of events, and a report.

        Args:
            targets: Planets, as any iterable or async iterable; it is read as creates begin, never ahead. Those of a
                collection (which has an end) are all checked at once, and written down at once with a journal.
            spec: What to create.
            concurrency: The most creates in flight at once.
            deadline: For how long each backup is watched, in seconds.
            journal: A file that remembers the run (see `resume`); the same call with the same file goes on with it.
                None for no memory. Needs the extra ``journal``.
            since: With a journal: deliver again the events after this one. None for those that were not acknowledged:
                an event is, once the next one is asked for.

        Raises:
            ConfigurationError: If an argument is wrong, or aiosqlite is not installed.
            ClientClosedError: If the client is not open.
        """
        from asyncbackups._bulk.run_store import MemoryRunStore  # noqa: PLC0415 - see the module's docstring
        from asyncbackups._inputs import planets_of  # noqa: PLC0415

        checked = instance(spec, BackupSpec, "spec")
        self._opened()
        if journal is None and since is not None:
            raise ConfigurationError("since needs a journal: without one, events are not numbered")
        store = MemoryRunStore(checked) if journal is None else self._journal(journal, checked, since)
        planets = planets_of(targets, whole=journal is not None)
        return self._run(store, planets, concurrency=concurrency, deadline=deadline)

    def resume(
        self,
        journal: str | os.PathLike[str],
        *,
        concurrency: int = _BULK_CONCURRENCY,
        deadline: Seconds = DEFAULT_DEADLINE,
        since: int | None = None,
    ) -> BulkRun:
        """Go on with a bulk run from its journal alone, however its process ended.

        Creates that may have been sent are looked for first; backups without an outcome are watched; the remaining
        targets that the journal has are created. Outcomes stand: a create that failed is not tried again. The report
        covers the whole run.

        Args:
            journal: The run's file.
            concurrency: The most creates in flight at once.
            deadline: For how long each backup is watched from now on, in seconds.
            since: Deliver again the events after this one; None for those that were not acknowledged.

        Raises:
            ConfigurationError: If an argument is wrong, or aiosqlite is not installed.
            ClientClosedError: If the client is not open.
        """
        self._opened()
        return self._run(self._journal(journal, None, since), None, concurrency=concurrency, deadline=deadline)

    def bulk_delete(
        self, refs: Refs, *, concurrency: int = _BULK_CONCURRENCY, missing_ok: bool = False
    ) -> BulkDeletion:
        """Delete many backups: an async iterator with one event for each, `BackupDeleted` or `DeleteFailed`.

        Args:
            refs: The backups, as any iterable or async iterable; it is read as deletes begin, never ahead. Those of a
                collection (which has an end) are all checked at once.
            concurrency: The most deletes in flight at once.
            missing_ok: Whether a backup that does not exist counts as deleted.

        Raises:
            ConfigurationError: If an argument is wrong.
            ClientClosedError: If the client is not open.
        """
        from asyncbackups._bulk.bulk_delete import BulkDeletion  # noqa: PLC0415 - see the module's docstring

        return BulkDeletion(
            self._opened(),
            refs=refs,
            concurrency=integer(concurrency, "concurrency", lowest=1),
            missing_ok=flag(missing_ok, "missing_ok"),
            clock=self._clock,
        )

    def _journal(self, path: str | os.PathLike[str], spec: BackupSpec | None, since: int | None) -> Journal:
        from asyncbackups._bulk.journal.journal import Journal  # noqa: PLC0415 - see the module's docstring

        return Journal(
            file_path(path, "journal"),
            tenant=self._tenant,
            base_url=self._base_url,
            spec=spec,
            since=None if since is None else integer(since, "since", lowest=0),
            claim=self._creator.own,
            clock=self._clock,
        )

    def _run(self, store: RunStore, planets: Planets, *, concurrency: int, deadline: Seconds) -> BulkRun:
        from asyncbackups._bulk.bulk_create import BulkRun  # noqa: PLC0415 - see the module's docstring

        return BulkRun(
            self._opened_engine(),
            create=self._creator.create,
            store=store,
            planets=planets,
            concurrency=integer(concurrency, "concurrency", lowest=1),
            deadline=checked_deadline(deadline),
            clock=self._clock,
            requests=self._transport.requests,
        )

    def _opened_engine(self) -> Engine:
        if self._engine is None or self._left:
            state = "was left" if self._left else "is not open"
            raise ClientClosedError(f"the client {state}: use it within `async with BackupClient(...) as client`")
        return self._engine

    def _opened(self) -> Operations:
        self._opened_engine()
        return self._operations
