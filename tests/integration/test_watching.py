"""Watching over real HTTP, whichever way the unknowns of the API turn out, and whatever goes wrong."""

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

SPEED = 500.0
USUAL = Workload(duration=Lognormal(60, 0.4), failure_share=0.2, history=20)


@asynccontextmanager
async def stage(*, auth: Any = None, polling: PollingPolicy | None = None, **settings: Any) -> AsyncIterator[Any]:
    """Run the service and a client of it, both so fast that minutes take a second."""
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


async def created(client: BackupClient, number: int, star_systems: int = 2) -> list[BackupRef]:
    async def one(place: int) -> BackupRef:
        star_system = f"sun-{place % star_systems}"
        return BackupRef(star_system, (await client.create(star_system, f"planet-{place}", BackupSpec())).id)

    return list(await asyncio.gather(*(one(place) for place in range(number))))


async def watched(client: BackupClient, number: int = 16) -> list[Any]:
    """Create backups and watch them to the end; return the events."""
    refs = await created(client, number)
    async with client.watch(refs, deadline=20) as watch:
        events = [event async for event in watch]
    assert Counter(event.ref for event in events) == Counter(refs), "each has exactly one final event"
    return events


async def truth(sim: Any, client: BackupClient, events: list[Any]) -> None:
    """Hold the events to what the service says of each backup."""
    sim.faults.clear()
    for event in events:
        backup = await client.get(event.ref.star_system, event.ref.backup_id)
        assert isinstance(event, BackupSucceeded) is (backup.display_status in {"ready", "Fertig"}), event


SHAPES = {
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


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_watch_works_whichever_way_the_api_turns_out(shape: ApiBehavior) -> None:
    """Each backup has exactly one final event, and it is true."""
    async with stage(behavior=shape) as (sim, client):
        events = await watched(client)
        assert {type(event).__name__ for event in events} == {"BackupSucceeded", "BackupFailed"}
        await truth(sim, client, events)


POLLS = (OperationKind.GET, OperationKind.LIST, OperationKind.LIST_PLANET)
LISTS = (OperationKind.LIST, OperationKind.LIST_PLANET)


def often(action: Any, probability: float = 0.3, kinds: tuple[OperationKind, ...] = POLLS) -> list[Fault]:
    return [Fault(action, kind=kind, probability=probability) for kind in kinds]


FAULTS = {
    "unavailable": often(Respond(503)),
    "unavailable, says for how long": often(Respond(503, headers={"Retry-After": "0"}), 0.05),
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
async def test_faults_while_polling_end_nothing(faults: list[Fault]) -> None:
    """Whatever goes wrong on the way, each backup has its one true event."""
    async with stage() as (sim, client):
        refs = await created(client, 12)
        sim.faults.extend(faults)
        async with client.watch(refs, deadline=25) as watch:
            events = [event async for event in watch]
        assert Counter(event.ref for event in events) == Counter(refs)
        await truth(sim, client, events)


async def polled(client: BackupClient, *, times: int) -> None:
    """Wait until so many more requests were sent."""
    before = sum(client.requests.values())
    while sum(client.requests.values()) < before + times:
        await asyncio.sleep(0)


async def test_outage_is_survived() -> None:
    """The service is gone for a while, port and all, and comes back."""
    async with stage() as (sim, client):
        refs = await created(client, 10)
        async with client.watch(refs, deadline=25) as watch:
            await sim.stop()
            await polled(client, times=3)
            await sim.start()
            events = [event async for event in watch]
        assert Counter(event.ref for event in events) == Counter(refs)
        await truth(sim, client, events)


async def test_one_list_stands_for_many_gets() -> None:
    """Fifty backups in one star system cost far fewer requests than one each."""
    async with stage() as (_sim, client):
        refs = await created(client, 50, star_systems=1)
        before = client.requests
        async with client.watch(refs, deadline=20) as watch:
            assert len([event async for event in watch]) == 50
        spent = sum(client.requests.values()) - sum(before.values())
        assert spent < 50


async def test_waits_share_polls_and_tell_what_became_of_it() -> None:
    """A hundred waits for one backup are one; each raises, or returns, the same."""
    async with stage(workload=Workload(duration=Fixed(60), failure_share=1.0)) as (_sim, client):
        (ref,) = await created(client, 1)
        waits = [client.wait(ref.star_system, ref.backup_id, deadline=20) for _ in range(100)]
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(result) for result in results} == {BackupFailedError}
        assert client.requests["get"] < 30


async def test_deadline_is_the_waits_own() -> None:
    """A backup that takes too long is in progress when our time is up, and goes on."""
    async with stage(workload=Workload(duration=Fixed(50_000))) as (_sim, client):
        (ref,) = await created(client, 1)
        with pytest.raises(WatchExpiredError):
            await client.wait(ref.star_system, ref.backup_id, deadline=0.2)
        async with client.watch([ref], deadline=0.2) as watch:
            (event,) = [event async for event in watch]
        assert isinstance(event, WatchExpired)
        assert event.backup.status == "in_progress"


async def test_backup_that_is_deleted_while_it_is_watched_is_gone() -> None:
    """Confirmed by gets, for one polled by list as for one alone."""
    async with stage(workload=Workload(duration=Fixed(50_000))) as (_sim, client):
        refs = await created(client, 20, star_systems=1)
        async with client.watch(refs, deadline=20) as watch:
            await polled(client, times=3)
            await client.delete("sun-0", refs[3].backup_id)
            event = await anext(watch)
        assert isinstance(event, BackupGone)
        assert event.ref == refs[3]
        with pytest.raises(BackupGoneError):
            await client.wait("sun-0", 10**9, deadline=20)


async def test_star_system_that_may_not_be_read() -> None:
    """It is told as what it is, and does not end the watch of others."""
    async with stage(forbidden={"dark"}) as (_sim, client):
        (ref,) = await created(client, 1)
        with pytest.raises(PermissionDeniedError):
            await client.wait("dark", 1, deadline=20)
        async with client.watch([BackupRef("dark", 1), ref], deadline=20) as watch:
            kinds = [type(event).__name__ async for event in watch]
        assert kinds[0] == "WatchFailed"
        assert len(kinds) == 2


async def test_token_that_expires_while_watching_is_not_noticed() -> None:
    """It is renewed again and again, and no event tells of it."""

    def credentials(sim: Simulator) -> ClientCredentials:
        return ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)

    access = Access(token_life=1.0)
    async with stage(auth=credentials, access=access, workload=Workload(duration=Fixed(1_000))) as (_sim, client):
        events = await watched(client, 12)
        assert {type(event) for event in events} == {BackupSucceeded}
        assert client.requests["token"] >= 2


async def test_retry_after_is_obeyed_over_http() -> None:
    """Each get of a backup in progress says when to ask again."""
    shape = ApiBehavior(in_progress_retry_after=1)
    async with stage(behavior=shape, workload=Workload(duration=Fixed(250), history=0)) as (_sim, client):
        (ref,) = await created(client, 1)
        async with client.watch([ref], deadline=20) as watch:
            (event,) = [event async for event in watch]
        assert event.polls <= 2


async def test_watch_of_one_request_at_a_time() -> None:
    """The narrowest limits are enough."""
    async with stage(client={"limits": Limits(concurrency=1)}) as (_sim, client):
        assert len(await watched(client, 10)) == 10


async def test_plain_backoff_finds_everything_too() -> None:
    """Without lists and learning."""
    async with stage(polling=PollingPolicy(coalesce=False, learn=False)) as (sim, client):
        await truth(sim, client, await watched(client, 10))
        assert "list" not in client.requests


async def test_what_this_client_created_is_believed_in_though_gets_lag() -> None:
    """A get that finds nothing right after the create does not mean that the backup was deleted."""
    workload = Workload(duration=Fixed(120))
    async with (
        Simulator(speed=600, workload=workload, faults=[Fault(Respond(404), kind="get", count=2)]) as sim,
        BackupClient(sim.base_url, sim.tenant, auth=sim.token, polling=PollingPolicy().sped_up(600)) as client,
    ):
        backup = await client.create("s", "p", BackupSpec())
        assert (await client.wait("s", backup.id)).status == "succeeded"


async def test_leaving_the_client_wakes_who_waits_for_the_pace() -> None:
    """Calls of other tasks do not sit out a `Retry-After` on a client that was left: a retry, a get, a create."""
    async with Simulator(faults=[Fault(Respond(429, {"Retry-After": "300"}), kind="health", count=1)]) as sim:
        async with BackupClient(sim.base_url, sim.tenant, auth=sim.token) as client:
            calls: list[asyncio.Task[Any]] = [asyncio.create_task(client.health())]
            while not client._transport.rate_limiter.delay(client._clock.monotonic()):
                await asyncio.sleep(0)
            calls += [
                asyncio.create_task(client.get("s", 1)),
                asyncio.create_task(client.create("s", "p", BackupSpec())),
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [ClientClosedError] * 3
    assert dict(sim.creates) == {}
