"""The public API as a program uses it: checked by strict mypy, not executed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import assert_never, assert_type

from asyncbackups import (
    Backup,
    BackupClient,
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupMetadata,
    BackupRef,
    BackupsError,
    BackupSpec,
    BackupSucceeded,
    BulkReport,
    ClientCredentials,
    CreateFailed,
    CreatePolicy,
    Health,
    Limits,
    PlanetRef,
    PollingPolicy,
    Progress,
    RetryPolicy,
    Timeouts,
    Watch,
    WatchExpired,
    WatchFailed,
)


class Vault:
    """A token source defined by the program."""

    async def token(self) -> str:
        """Return a token."""
        return "from the vault"


def settings() -> list[BackupClient]:
    """Create clients in every documented way."""
    credentials = ClientCredentials("https://hub.example/token", "id", "secret", scopes=["tenant.example"])
    return [
        BackupClient("https://db.example", "example", auth="token"),
        BackupClient("https://db.example", "example", auth=Vault()),
        BackupClient(
            "https://db.example",
            "example",
            auth=credentials,
            retry=RetryPolicy(attempts=3, initial=0.5, maximum=timedelta(seconds=30)),
            polling=PollingPolicy(
                initial=1, factor=2, maximum=60, jitter=1, request_worth=5, coalesce=True, learn=True
            ),
            limits=Limits(concurrency=8, requests_per_second=5),
            creating=CreatePolicy(settle=timedelta(minutes=1)),
            timeouts=Timeouts(total=30),
            status_rule=lambda backup: Progress.SUCCEEDED if backup.status == "ready" else Progress.IN_PROGRESS,
        ),
        BackupClient.from_env(limits=Limits(concurrency=4)),
    ]


async def operations(client: BackupClient) -> None:
    """Call all operations, and wait."""
    spec = BackupSpec("logical", "dev", True, 7, metadata=BackupMetadata("nightly", "before the release"))
    backup = assert_type(await client.create("solar", "earth", spec, key="release-7", may_exist=True), Backup)
    assert_type(await client.get("solar", backup.id), Backup)
    assert_type(await client.list("solar"), list[Backup])
    assert_type(await client.list("solar", "earth"), list[Backup])
    assert_type(await client.delete("solar", backup.id, missing_ok=True), None)
    assert_type(await client.health(), Health)
    assert_type(await client.wait("solar", backup.id, deadline=timedelta(hours=2)), Backup)


async def watching(client: BackupClient) -> None:
    """Iterate over a watch that takes more backups, and over one of given backups."""
    async with client.watch() as watch:
        assert_type(watch, Watch)
        ref = assert_type(watch.add("solar", 362, deadline=3600), BackupRef)
        watch.discard(ref)
        watch.finish()
        assert_type(watch.in_flight, int)
    async with client.watch([ref], deadline=60) as watch:
        async for event in watch:
            match event:
                case BackupSucceeded() | BackupFailed():
                    assert_type(event.backup, Backup)
                case BackupGone() | WatchExpired():
                    assert_type(event.backup, Backup | None)
                case WatchFailed():
                    assert_type(event.error, BackupsError)
                case _:
                    assert_never(event)


async def planets() -> AsyncIterator[PlanetRef]:
    """Yield targets, which are read during the run."""
    yield PlanetRef("solar", "earth")


async def bulk(client: BackupClient) -> BulkReport:
    """Create many backups."""
    async with client.bulk_create(planets(), BackupSpec(), concurrency=4) as run:
        async for event in run:
            if isinstance(event, CreateFailed):
                assert_type(event.error, BackupsError)
            elif isinstance(event, BackupCreated):
                assert_type(event.ref, BackupRef)
        return run.report
