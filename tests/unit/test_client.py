"""The client: its operations, its life cycle and the checks of its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses

from asyncbackups.client import BackupClient
from asyncbackups.errors import ClientClosedError, ConfigurationError, NotFoundError
from asyncbackups.models import Backup, BackupRef, BackupSpec
from asyncbackups.policies import RetryPolicy

URL = "https://backups.example"
SUN = f"{URL}/api/v1/tenants/acme/starsystems/sun"
RAW = {"id": 7, "status": "running"}


def client(**options: Any) -> BackupClient:
    return BackupClient(URL, "acme", auth="t0ken", **options)


async def test_all_operations_send_their_requests(network: aioresponses) -> None:
    """Each operation sends its request and parses the response; requests are counted by kind.

    The response to the create has a bare id: a LIST before it, a GET of the id and another LIST belong to the create.
    """
    network.post(f"{SUN}/planets/earth/backups", payload=RAW)
    network.get(f"{SUN}/backups/7", payload=RAW, repeat=True)
    network.get(f"{SUN}/backup", payload={"backups": [RAW]})
    network.get(f"{SUN}/planets/earth/backups", payload=[])
    for _ in range(2):
        network.get(f"{SUN}/planets/earth/backups", payload=[RAW])
    network.delete(f"{SUN}/backups/7")
    network.get(f"{URL}/management/health", payload={"status": "UP"})
    backup = Backup(id=7, status="running")
    async with client() as one:
        assert await one.create("sun", "earth", BackupSpec()) == backup
        assert await one.get("sun", 7) == backup
        assert await one.list("sun") == [backup]
        assert await one.list("sun", "earth") == [backup]
        await one.delete("sun", 7)
        assert (await one.health()).status == "UP"
        assert one.requests == {"create": 1, "get": 2, "list": 4, "delete": 1, "health": 1}


async def test_star_system_list_is_configurable(network: aioresponses) -> None:
    """The documented path can be replaced."""
    network.get(f"{SUN}/backups", payload=[])
    async with client(star_system_list="backups") as one:
        assert await one.list("sun") == []
    with pytest.raises(ConfigurationError, match="star_system_list"):
        client(star_system_list="backupz")


async def test_delete_accepts_a_missing_backup(network: aioresponses) -> None:
    """With missing_ok a 404 is no error."""
    network.delete(f"{SUN}/backups/7", status=404, repeat=True)
    async with client() as one:
        await one.delete("sun", 7, missing_ok=True)
        with pytest.raises(NotFoundError):
            await one.delete("sun", 7)


@pytest.mark.parametrize("state", ["is not open", "was left"])
async def test_closed_client_raises(state: str) -> None:
    """Every method raises before the client is entered and after it was left; nothing hangs, nothing is sent."""
    one = client()
    if state == "was left":
        async with one:
            pass
    calls: list[Any] = [
        lambda: one.create("sun", "earth", BackupSpec()),
        lambda: one.get("sun", 7),
        lambda: one.list("sun"),
        lambda: one.delete("sun", 7),
        one.health,
        lambda: one.wait("sun", 7),
    ]
    for call in calls:
        with pytest.raises(ClientClosedError, match=state):
            await call()
    with pytest.raises(ClientClosedError, match=state):
        one.watch()
    with pytest.raises(ClientClosedError, match=state):
        one.bulk_create(["sun/earth"], BackupSpec())


async def test_client_can_be_entered_once() -> None:
    """Entering it again raises, also after it was left; leaving it without entering does nothing."""
    one = client()
    async with one:
        with pytest.raises(ClientClosedError, match="only once"):
            await one.__aenter__()
    with pytest.raises(ClientClosedError, match="only once"):
        await one.__aenter__()
    await client().__aexit__(None, None, None)


async def test_client_that_failed_to_open_can_be_entered_again() -> None:
    """If the caller's session is closed, entering fails and leaves nothing half open."""
    session = aiohttp.ClientSession()
    await session.close()
    one = client(session=session)
    for _ in range(2):
        with pytest.raises(ClientClosedError, match="session"):
            await one.__aenter__()
    with pytest.raises(ClientClosedError, match="is not open"):
        one.watch()


async def test_session_is_closed_if_entering_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session stays open if opening fails half way; entering may be tried again."""
    one = client()
    opened = []
    transport_open = one._transport.open

    async def fail_after_opening() -> None:
        await transport_open()
        opened.append(one._transport._session)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(one._transport, "open", fail_after_opening)
        with pytest.raises(MemoryError):
            await one.__aenter__()
    assert [session.closed for session in opened] == [True]
    async with one:
        assert one.watch().in_flight == 0


@pytest.mark.parametrize(
    ("name", "wrong", "wanted"),
    [
        ("retry", 5, "a RetryPolicy"),
        ("retry", RetryPolicy, "a RetryPolicy"),
        ("polling", None, "a PollingPolicy"),
        ("creating", "x", "a CreatePolicy"),
        ("limits", {}, "a Limits"),
        ("timeouts", 30, "a Timeouts"),
        ("clock", 5, "an object with the methods monotonic, utcnow, call_at, sleep"),
        ("clock", 0, "an object with the methods monotonic, utcnow, call_at, sleep"),
        ("random", 5, "a Random"),
        ("random", 0, "a Random"),
        ("status_rule", 5, "a function of a Backup"),
        ("insecure_http", "no", "True or False"),
        ("trust_env", "no", "True or False"),
    ],
)
def test_invalid_settings_are_refused_by_name(name: str, wrong: object, wanted: str) -> None:
    """They are refused when the client is created, not when it is first used."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be {wanted}, not "):
        client(**{name: wrong})


CALLS: dict[str, Callable[[BackupClient, Any], Any]] = {
    "create may_exist": lambda one, wrong: one.create("sun", "earth", BackupSpec(), key="k", may_exist=wrong),
    "create spec": lambda one, wrong: one.create("sun", "earth", wrong),
    "create key": lambda one, wrong: one.create("sun", "earth", BackupSpec(), key=wrong),
    "list planet": lambda one, wrong: one.list("sun", wrong),
    "delete missing_ok": lambda one, wrong: one.delete("sun", 7, missing_ok=wrong),
    "wait deadline": lambda one, wrong: one.wait("sun", 7, deadline=wrong),
    "watch refs": lambda one, wrong: one.watch(wrong),
    "watch deadline": lambda one, wrong: one.watch(deadline=wrong),
    "bulk_create targets": lambda one, wrong: one.bulk_create(wrong, BackupSpec()),
    "bulk_create journal": lambda one, wrong: one.bulk_create([], BackupSpec(), journal=wrong),
    "resume journal": lambda one, wrong: one.resume(wrong),
    "bulk_delete refs": lambda one, wrong: one.bulk_delete(wrong),
    "bulk_delete missing_ok": lambda one, wrong: one.bulk_delete([], missing_ok=wrong),
}


@pytest.mark.parametrize(
    ("call", "wrong", "message"),
    [
        ("create may_exist", "no", "may_exist must be True or False, not 'no'"),
        ("create spec", "logical", "spec must be a BackupSpec, not 'logical'"),
        ("create key", 5, "key must be a string, not 5"),
        ("list planet", 3, "planet must be a string, not 3"),
        ("delete missing_ok", "x", "missing_ok must be True or False, not 'x'"),
        ("wait deadline", "5", "deadline must be a finite number of seconds or a timedelta, not '5'"),
        ("watch refs", 5, "refs must be a list or another iterable of backups, not 5"),
        ("watch refs", "ss/1", "refs must be a list or another iterable of backups, for instance ['ss/1']"),
        ("watch deadline", None, "deadline must be a finite number of seconds or a timedelta, not None"),
        ("bulk_create targets", None, "targets must be a list or another iterable of planets, not None"),
        ("bulk_create targets", "ss/p", "targets must be a list or another iterable of planets, for instance ['ss/p']"),
        ("bulk_create targets", ["ss/p1", "bad"], "a planet is written star_system/planet, not 'bad'"),
        ("bulk_create journal", "", "journal must be the path of a file, not ''"),
        ("bulk_create journal", 5, "journal must be the path of a file, not 5"),
        ("resume journal", "", "journal must be the path of a file, not ''"),
        ("bulk_delete refs", 5, "refs must be a list or another iterable of backups, not 5"),
        (
            "bulk_delete refs",
            ["ss/1", 5],
            "a backup must be a BackupRef, a (star_system, backup_id) pair or a string star_system/backup_id, not 5",
        ),
        ("bulk_delete missing_ok", None, "missing_ok must be True or False, not None"),
    ],
)
async def test_invalid_argument_is_refused_by_name(
    network: aioresponses, call: str, wrong: object, message: str
) -> None:
    """The message names the argument, the value and what is allowed, and nothing is sent."""
    async with client() as one:
        with pytest.raises(ConfigurationError) as caught:
            await CALLS[call](one, wrong)
        assert str(caught.value) == message
        assert one.requests == {}


async def test_invalid_arguments_are_refused_before_sending(network: aioresponses) -> None:
    """No request is counted."""
    async with client() as one:
        for call in (
            lambda: one.create("sun", "earth", {"mechanism": "logical"}),  # type: ignore[arg-type]
            lambda: one.create("sun", " ", BackupSpec()),
            lambda: one.create("sun", "earth", BackupSpec(), may_exist=True),
            lambda: one.create("sun", "earth", BackupSpec(), key=""),
            lambda: one.get("sun", 362.0),  # type: ignore[arg-type]
            lambda: one.list(""),
            lambda: one.list("sun", ".."),
            lambda: one.wait("sun", 7, deadline=0),
            lambda: one.wait("sun", ".."),
        ):
            with pytest.raises(ConfigurationError):
                await call()
        for wrong in ({"deadline": -1}, {"refs": ["x"]}):
            with pytest.raises(ConfigurationError):
                one.watch(**wrong)  # type: ignore[arg-type]
        for options in ({"concurrency": 0}, {"deadline": 0}, {"concurrency": 1.5}):
            with pytest.raises(ConfigurationError):
                one.bulk_create([], BackupSpec(), **options)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="BackupSpec"):
            one.bulk_create([], "logical")  # type: ignore[arg-type]
        assert one.requests == {}


async def test_client_can_be_left_in_another_task(network: aioresponses) -> None:
    """Fixtures of pytest and web frameworks do so; waits in progress end with an error."""
    network.get(f"{SUN}/backups/7", payload=RAW, repeat=True)
    one = client()
    await asyncio.create_task(one.__aenter__())
    waiting = asyncio.create_task(one.wait("sun", 7))
    async with one.watch([BackupRef("sun", 7)]) as watch:
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.create_task(one.__aexit__(None, None, None))
        with pytest.raises(ClientClosedError):
            await waiting
        assert [type(event).__name__ async for event in watch] == ["WatchFailed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_client_is_created_from_the_environment(monkeypatch: pytest.MonkeyPatch, network: aioresponses) -> None:
    """Arguments take precedence; the error lists all missing variables."""
    for name in ("BASE_URL", "REGION", "TENANT", "TOKEN", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"ASYNCBACKUPS_{name}", raising=False)
    with pytest.raises(ConfigurationError, match=r"ASYNCBACKUPS_TENANT(.|\n)*ASYNCBACKUPS_TOKEN"):
        BackupClient.from_env()
    monkeypatch.setenv("ASYNCBACKUPS_BASE_URL", URL)
    monkeypatch.setenv("ASYNCBACKUPS_TENANT", "somebody")
    monkeypatch.setenv("ASYNCBACKUPS_TOKEN", "t0ken")
    network.get(f"{SUN}/backups/7", payload=RAW)
    async with BackupClient.from_env(tenant="acme") as one:
        assert (await one.get("sun", 7)).id == 7
    assert "t0ken" not in repr(one)
    assert "acme" in repr(one)
