"""Watch backups over real HTTP, for every variant of the undocumented parts of the API and under faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncbackups import (
    BackupClient,
    BackupFailedError,
    BackupGone,
    BackupGoneError,
    BackupRef,
    BackupSpec,
    BackupSucceeded,
    ClientClosedError,
    ClientCredentials,
    CreatePolicy,
    Limits,
    PermissionDeniedError,
    PollingPolicy,
    RetryPolicy,
    WatchExpired,
    WatchExpiredError,
)
from asyncbackups.simulator import (
    Access,
    ApiBehavior,
    CreateAnswer,
    Drop,
    Fault,
    Fixed,
    Html,
    Lognormal,
    Malformed,
    MetadataEcho,
    OperationKind,
    Oversized,
    Paging,
    Respond,
    Simulator,
    StatusWords,
    Truncate,
    When,
    Workload,
)
from tests.fake_clock import FakeClock

SPEED = 500.0
USUAL = Workload(duration=Lognormal(60, 0.4), failure_share=0.2, history=20)


@asynccontextmanager
async def fast_service(
    *, auth: Any = None, polling: PollingPolicy | None = None, **settings: Any
) -> AsyncIterator[tuple[Simulator, BackupClient]]:
    """Run the service and a client, both so fast that minutes take a second."""
    client_settings = {"max_answer_bytes": 10**6, **settings.pop("client", {})}
    simulator = Simulator(speed=SPEED, seed=7, **{"workload": USUAL, **settings})
    async with simulator as sim:
        client = BackupClient(
            sim.base_url,
            sim.tenant,
            auth=sim.token if auth is None else auth(sim),
            polling=(polling or PollingPolicy()).sped_up(SPEED),
            retry=RetryPolicy(initial=0.01, maximum=0.05),
            **client_settings,
        )
        async with client:
            yield sim, client


async def create_backups(client: BackupClient, number: int, star_systems: int = 2) -> list[BackupRef]:
    async def one(place: int) -> BackupRef:
        star_system = f"sun-{place % star_systems}"
        return BackupRef(star_system, (await client.create(star_system, f"planet-{place}", BackupSpec())).id)

    return list(await asyncio.gather(*(one(place) for place in range(number))))


async def watch_new_backups(client: BackupClient, number: int = 16) -> list[Any]:
    """Create backups, watch them to the end, and return the events."""
    refs = await create_backups(client, number)
    async with client.watch(refs, deadline=20) as watch:
        events = [event async for event in watch]
    assert Counter(event.ref for event in events) == Counter(refs), "each has exactly one final event"
    return events


async def check_events(sim: Simulator, client: BackupClient, events: list[Any]) -> None:
    """Compare each event with the final state of its backup."""
    sim.faults.clear()
    for event in events:
        backup = await client.get(event.ref.star_system, event.ref.backup_id)
        assert isinstance(event, BackupSucceeded) is (backup.display_status in {"ready", "Fertig"}), event


BEHAVIORS = {
    "as documented": ApiBehavior(),
    "bare array": ApiBehavior(envelope=None),
    "other envelope": ApiBehavior(envelope="content", envelope_extra={"took": 3, "warnings": []}),
    "other words": ApiBehavior(
        words=StatusWords(queued="Wartend", in_progress="Läuft", failed="CANCELLED", display_succeeded="Fertig")
    ),
    "unknown word for failure": ApiBehavior(words=StatusWords(failed="kaputt")),
    "wrapped create": ApiBehavior(create_answer=CreateAnswer.WRAPPED, create_status=201),
    "location only": ApiBehavior(create_answer=CreateAnswer.LOCATION, create_status=202),
    "no echo": ApiBehavior(echo_metadata=MetadataEcho.NONE),
    "plural path": ApiBehavior(plural_list_path=True),
    "link header": ApiBehavior(paging=Paging.LINK_HEADER, page_size=5),
    "next link": ApiBehavior(paging=Paging.LINKS_NEXT, page_size=5, absolute_links=False),
    "pages not understood": ApiBehavior(paging=Paging.TOTAL_PAGES, page_size=5),
    "last is false": ApiBehavior(paging=Paging.LAST_FALSE, page_size=5),
    "page token": ApiBehavior(paging=Paging.NEXT_PAGE_TOKEN, page_size=5),
    "lists that lag": ApiBehavior(list_lag=30.0),
    "lists that are stale": ApiBehavior(list_stale=30.0),
    "entity tags": ApiBehavior(etag=True),
    "entity tags, paged": ApiBehavior(etag=True, paging=Paging.LINK_HEADER, page_size=5),
    "whole seconds": ApiBehavior(fractional_seconds=False),
    "more members": ApiBehavior(extra_members={"completed": None, "items": [1, 2], "statuses": {"status": "?"}}),
}


@pytest.mark.parametrize("behavior", BEHAVIORS.values(), ids=BEHAVIORS)
async def test_watch_works_with_every_api_behavior(behavior: ApiBehavior) -> None:
    """Each backup has exactly one final event, and it is correct."""
    async with fast_service(behavior=behavior) as (sim, client):
        events = await watch_new_backups(client)
        assert {type(event).__name__ for event in events} == {"BackupSucceeded", "BackupFailed"}
        await check_events(sim, client, events)


POLLS = (OperationKind.GET, OperationKind.LIST, OperationKind.LIST_PLANET)
LISTS = (OperationKind.LIST, OperationKind.LIST_PLANET)


def often(action: Any, probability: float = 0.3, kinds: tuple[OperationKind, ...] = POLLS) -> list[Fault]:
    return [Fault(action, kind=kind, probability=probability) for kind in kinds]


FAULTS = {
    "unavailable": often(Respond(503)),
    "unavailable, with Retry-After": often(Respond(503, headers={"Retry-After": "0"}), 0.05),
    "too many requests": often(Respond(429), 0.05),
    "internal errors": often(Respond(500)),
    "gateway pages": often(Html(502)),
    "html with 200": often(Html(200)),
    "dropped before": often(Drop(When.BEFORE)),
    "dropped after": often(Drop(When.AFTER)),
    "truncated": often(Truncate()),
    "malformed": often(Malformed()),
    "oversized": often(Oversized(2 * 10**6), 0.2),
    "lists not allowed": often(Respond(403), 1.0, LISTS),
    "lists not found": often(Respond(404), 1.0, (OperationKind.LIST,)),
    "lists too large": often(Oversized(2 * 10**6), 1.0, LISTS),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
async def test_faults_while_polling_do_not_end_a_watch(faults: list[Fault]) -> None:
    """Under each fault every backup has exactly one final event, and it is correct."""
    async with fast_service() as (sim, client):
        refs = await create_backups(client, 12)
        sim.faults.extend(faults)
        async with client.watch(refs, deadline=25) as watch:
            events = [event async for event in watch]
        assert Counter(event.ref for event in events) == Counter(refs)
        await check_events(sim, client, events)


async def wait_for_requests(client: BackupClient, *, times: int) -> None:
    """Wait until the client has sent the given number of further requests."""
    before = sum(client.requests.values())
    while sum(client.requests.values()) < before + times:
        await asyncio.sleep(0)


async def test_outage_does_not_end_a_watch() -> None:
    """A watch continues after the service was stopped and started again."""
    async with fast_service() as (sim, client):
        refs = await create_backups(client, 10)
        async with client.watch(refs, deadline=25) as watch:
            await sim.stop()
            await wait_for_requests(client, times=3)
            await sim.start()
            events = [event async for event in watch]
        assert Counter(event.ref for event in events) == Counter(refs)
        await check_events(sim, client, events)


async def test_one_list_replaces_many_gets() -> None:
    """Fifty backups in one star system take fewer than fifty requests."""
    async with fast_service() as (_sim, client):
        refs = await create_backups(client, 50, star_systems=1)
        before = client.requests
        async with client.watch(refs, deadline=20) as watch:
            assert len([event async for event in watch]) == 50
        sent = sum(client.requests.values()) - sum(before.values())
        assert sent < 50


async def test_waits_for_one_backup_share_polls() -> None:
    """A hundred waits for one backup share its polls, and each raises the same error."""
    async with fast_service(workload=Workload(duration=Fixed(60), failure_share=1.0)) as (_sim, client):
        (ref,) = await create_backups(client, 1)
        waits = [client.wait(ref.star_system, ref.backup_id, deadline=20) for _ in range(100)]
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(result) for result in results} == {BackupFailedError}
        assert client.requests["get"] < 30


async def test_deadline_ends_only_the_wait() -> None:
    """At the deadline the wait ends, and the backup is still in progress."""
    async with fast_service(workload=Workload(duration=Fixed(50_000))) as (_sim, client):
        (ref,) = await create_backups(client, 1)
        with pytest.raises(WatchExpiredError):
            await client.wait(ref.star_system, ref.backup_id, deadline=0.2)
        async with client.watch([ref], deadline=0.2) as watch:
            (event,) = [event async for event in watch]
        assert isinstance(event, WatchExpired)
        assert event.backup.status == "in_progress"


async def test_backup_deleted_while_watched_is_gone() -> None:
    """GETs confirm it, both for a backup polled by LIST and for a single one."""
    async with fast_service(workload=Workload(duration=Fixed(50_000))) as (_sim, client):
        refs = await create_backups(client, 20, star_systems=1)
        async with client.watch(refs, deadline=20) as watch:
            await wait_for_requests(client, times=3)
            await client.delete("sun-0", refs[3].backup_id)
            event = await anext(watch)
        assert isinstance(event, BackupGone)
        assert event.ref == refs[3]
        with pytest.raises(BackupGoneError):
            await client.wait("sun-0", 10**9, deadline=20)


async def test_forbidden_star_system_does_not_end_the_watch_of_others() -> None:
    """A 403 for one star system fails its own backups only."""
    async with fast_service(forbidden={"dark"}) as (_sim, client):
        (ref,) = await create_backups(client, 1)
        with pytest.raises(PermissionDeniedError):
            await client.wait("dark", 1, deadline=20)
        async with client.watch([BackupRef("dark", 1), ref], deadline=20) as watch:
            kinds = [type(event).__name__ async for event in watch]
        assert kinds[0] == "WatchFailed"
        assert len(kinds) == 2


async def test_expiring_tokens_are_renewed_while_watching() -> None:
    """Tokens are renewed without any event."""

    def credentials(sim: Simulator) -> ClientCredentials:
        return ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)

    access = Access(token_life=1.0)
    async with fast_service(auth=credentials, access=access, workload=Workload(duration=Fixed(1_000))) as (
        _sim,
        client,
    ):
        events = await watch_new_backups(client, 12)
        assert {type(event) for event in events} == {BackupSucceeded}
        assert client.requests["token"] >= 2


async def test_retry_after_of_a_backup_in_progress_is_honored() -> None:
    """The next poll waits for the `Retry-After` of the last response."""
    behavior = ApiBehavior(in_progress_retry_after=1)
    async with fast_service(behavior=behavior, workload=Workload(duration=Fixed(250), history=0)) as (_sim, client):
        (ref,) = await create_backups(client, 1)
        async with client.watch([ref], deadline=20) as watch:
            (event,) = [event async for event in watch]
        assert event.polls <= 2


async def test_watch_with_a_concurrency_of_one() -> None:
    """A watch completes with one request at a time."""
    async with fast_service(client={"limits": Limits(concurrency=1)}) as (_sim, client):
        assert len(await watch_new_backups(client, 10)) == 10


async def test_watch_without_lists_and_learning() -> None:
    """Plain backoff detects every completion, without LISTs; creates without baselines need none either."""
    without = {"creating": CreatePolicy(baseline=False)}
    async with fast_service(polling=PollingPolicy(coalesce=False, learn=False), client=without) as (sim, client):
        await check_events(sim, client, await watch_new_backups(client, 10))
        assert "list" not in client.requests


async def test_404_right_after_the_create_is_not_a_deletion() -> None:
    """A wait for a backup of this client continues if the first GETs return 404."""
    workload = Workload(duration=Fixed(120))
    async with (
        Simulator(speed=600, workload=workload, faults=[Fault(Respond(404), kind="get", count=2)]) as sim,
        BackupClient(sim.base_url, sim.tenant, auth=sim.token, polling=PollingPolicy().sped_up(600)) as client,
    ):
        backup = await client.create("s", "p", BackupSpec())
        assert (await client.wait("s", backup.id)).status == "succeeded"


async def test_closing_the_client_wakes_calls_that_wait_for_retry_after() -> None:
    """A retry, a GET and a create in other tasks do not wait for a `Retry-After` once the client is closed."""
    clock = FakeClock()
    async with Simulator(faults=[Fault(Respond(429, {"Retry-After": "300"}), kind="health", count=1)]) as sim:
        async with BackupClient(sim.base_url, sim.tenant, auth=sim.token, clock=clock) as client:
            calls: list[asyncio.Task[Any]] = [asyncio.create_task(client.health())]
            while not clock.slept:  # the first sleep is that for `Retry-After`
                await asyncio.sleep(0)
            calls += [
                asyncio.create_task(client.get("s", 1)),
                asyncio.create_task(client.create("s", "p", BackupSpec())),
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert min(clock.slept) >= 300.0
    assert [type(result) for result in results] == [ClientClosedError] * 3
    assert dict(sim.creates) == {}
    assert sim.counts.total == 1
