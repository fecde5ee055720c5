"""The behavior that the documentation leaves open: the effect of each setting, over real HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
import trustme

from asyncbackups.simulator import (
    ApiBehavior,
    Fixed,
    ManualClock,
    Simulator,
    StatusWords,
    Workload,
)

BODY = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 2,
    "metadata": {"name": "mine", "description": "of mine"},
}
STAR_SYSTEM = "api/v1/tenants/example/starsystems/test"
PLANET = f"{STAR_SYSTEM}/planets/mars/backups"
BACKUP = f"{STAR_SYSTEM}/backups/1"


class Caller:
    """A plain HTTP client of a simulator, with the simulator's clock."""

    def __init__(self, sim: Simulator, http: aiohttp.ClientSession, clock: ManualClock) -> None:
        self.sim = sim
        self.clock = clock
        self._http = http

    async def request(self, method: str, path: str, **more: object) -> tuple[int, object, dict[str, str]]:
        async with self._http.request(method, path, **more) as response:
            body = await response.json() if response.content_type == "application/json" else await response.text()
            return response.status, body, response.headers

    async def get(self, path: str, **more: object) -> object:
        return (await self.request("GET", path, **more))[1]

    async def create(self, planet: str = "mars", **change: object) -> tuple[int, object, dict[str, str]]:
        return await self.request("POST", f"{STAR_SYSTEM}/planets/{planet}/backups", json=BODY | change)


@asynccontextmanager
async def serving(behavior: ApiBehavior | None = None, **settings: object) -> AsyncIterator[Caller]:
    clock = ManualClock()
    settings.setdefault("workload", Workload(duration=Fixed(60), queue_time=10))
    async with Simulator(behavior=behavior or ApiBehavior(), clock=clock, **settings) as sim:
        headers = {"Authorization": f"Bearer {sim.token}"}
        async with aiohttp.ClientSession(f"{sim.base_url}/", headers=headers) as http:
            yield Caller(sim, http, clock)


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        (ApiBehavior(envelope=None), []),
        (ApiBehavior(), {"backups": []}),
        (ApiBehavior(envelope="items", envelope_extra={"count": 0}), {"items": [], "count": 0}),
    ],
)
async def test_envelopes(behavior: ApiBehavior, expected: object) -> None:
    """A list is a bare array, or the value of the given key, beside other members."""
    async with serving(behavior) as caller:
        assert await caller.get(PLANET) == expected


async def test_status_words() -> None:
    """Each phase of a backup has the given words."""
    words = StatusWords(queued="WAITING", in_progress="RUNNING", succeeded="succeeded", failed="BROKEN")
    async with serving(ApiBehavior(words=words)) as caller:
        assert (await caller.create())[1]["status"] == "WAITING"
        seen = []
        for seconds in (10, 59, 1):
            caller.clock.advance(seconds)
            backup = await caller.get(BACKUP)
            seen.append((backup["status"], bool(backup["startedAt"]), bool(backup["completedAt"])))
        assert seen == [("RUNNING", True, False), ("RUNNING", True, False), ("succeeded", True, True)]


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        ("object", 200, {"id": 1}),
        ("object", 201, {"id": 1}),
        ("wrapped", 202, {"backup": {"id": 1}}),
        ("without_id", 200, {"id": None}),
    ],
)
async def test_create_response_with_body(answer: str, status: int, expected: dict[str, object]) -> None:
    """A create returns the object, wrapped in a key, or without an id, with the given status."""
    async with serving(ApiBehavior(create_answer=answer, create_status=status)) as caller:
        code, body, _ = await caller.create()
        assert code == status
        inner, wanted = body.get("backup", body), expected.get("backup", expected)
        assert inner.get("id") == wanted["id"]
        assert inner["status"] == "queued"


@pytest.mark.parametrize("absolute", [True, False])
async def test_create_response_with_location_only(absolute: bool) -> None:
    """A create may return only a Location, absolute or relative, which is the URL of the backup."""
    async with serving(ApiBehavior(create_answer="location", absolute_links=absolute)) as caller:
        _, body, headers = await caller.create()
        assert body == ""
        assert headers["Location"].startswith(caller.sim.base_url if absolute else "/api/")
        assert (await caller.get(headers["Location"]))["id"] == 1


async def test_empty_create_response() -> None:
    """A create may return nothing, and the backup exists."""
    async with serving(ApiBehavior(create_answer="empty", create_status=202)) as caller:
        status, body, _ = await caller.create()
        assert (status, body) == (202, "")
        assert caller.sim.creates["test", "mars"] == 1


@pytest.mark.parametrize(
    ("echo", "in_get", "in_list"),
    [("none", False, False), ("get", True, False), ("list", False, True), ("both", True, True)],
)
async def test_metadata_echo(echo: str, in_get: bool, in_list: bool) -> None:
    """Gets, lists, both or neither contain the metadata."""
    async with serving(ApiBehavior(echo_metadata=echo, extra_members={"region": "x"})) as caller:
        created = (await caller.create())[1]
        got = await caller.get(BACKUP)
        listed = (await caller.get(PLANET))["backups"][0]
        assert [("metadata" in one) for one in (created, got, listed)] == [in_get, in_get, in_list]
        assert got["region"] == listed["region"] == "x"


async def test_plural_list_path() -> None:
    """A star system's list may have the plural path; the singular one is then a 404."""
    async with serving(ApiBehavior(plural_list_path=True)) as caller:
        assert [(await caller.request("GET", f"{STAR_SYSTEM}/{last}"))[0] for last in ("backup", "backups")] == [
            404,
            200,
        ]


@pytest.mark.parametrize(
    "behavior",
    [ApiBehavior(paging="links_next", page_size=2), ApiBehavior(paging="link_header", page_size=2, envelope=None)],
)
@pytest.mark.parametrize("path", [f"{STAR_SYSTEM}/backup", PLANET])
async def test_links_lead_through_whole_list(behavior: ApiBehavior, path: str) -> None:
    """Following the links shows every backup once."""
    async with serving(behavior) as caller:
        for _ in range(5):
            await caller.create()
        seen, following = [], path
        while following:
            _, body, headers = await caller.request("GET", following)
            seen.append([one["id"] for one in (body if isinstance(body, list) else body["backups"])])
            if isinstance(body, list):
                following = headers.get("Link", "").removeprefix("<").removesuffix('>; rel="next"')
            else:
                following = body.get("links", {}).get("next", {}).get("href")
        assert seen == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    ("paging", "marker", "last_marker"),
    [
        (
            "total_pages",
            {"totalPages": 2, "totalElements": 3, "number": 0},
            {"totalPages": 2, "totalElements": 3, "number": 1},
        ),
        ("last_false", {"last": False}, {"last": True}),
        ("next_page_token", {"nextPageToken": "2"}, {}),
    ],
)
async def test_markers_of_more_pages(paging: str, marker: dict[str, object], last_marker: dict[str, object]) -> None:
    """A page may mark that there are more in a way that no standard defines."""
    async with serving(ApiBehavior(paging=paging, page_size=2)) as caller:
        for _ in range(3):
            await caller.create()
        first = await caller.get(PLANET)
        second = await caller.get(f"{PLANET}?page=2")
        assert [len(first.pop("backups")), len(second.pop("backups"))] == [2, 1]
        assert (first, second) == (marker, last_marker)
        assert len((await caller.get(f"{PLANET}?page=oops"))["backups"]) == 2


async def test_entity_tags() -> None:
    """An unchanged response is a 304, a changed one is not."""
    async with serving(ApiBehavior(etag=True)) as caller:
        await caller.create()
        for path in (BACKUP, PLANET):
            tag = (await caller.request("GET", path))[2]["ETag"]
            assert (await caller.request("GET", path, headers={"If-None-Match": tag}))[0] == 304
            caller.clock.advance(40)
            assert (await caller.request("GET", path, headers={"If-None-Match": tag}))[0] == 200


async def test_retry_after_on_unfinished_backups() -> None:
    """A get may have a Retry-After header while the backup is unfinished."""
    async with serving(ApiBehavior(in_progress_retry_after=5)) as caller:
        await caller.create()
        assert (await caller.request("GET", BACKUP))[2]["Retry-After"] == "5"
        caller.clock.advance(70)
        assert "Retry-After" not in (await caller.request("GET", BACKUP))[2]


async def test_lists_lag_behind_gets() -> None:
    """A new backup appears in lists late, and its status there is behind that of a get."""
    async with serving(ApiBehavior(list_lag=20, list_stale=15)) as caller:
        await caller.create()
        assert (await caller.get(BACKUP))["id"] == 1
        seen = []
        for seconds in (19, 1, 50, 15):
            caller.clock.advance(seconds)
            seen.append([one["status"] for one in (await caller.get(PLANET))["backups"]])
        assert seen == [[], ["queued"], ["in_progress"], ["succeeded"]]


@pytest.mark.parametrize(
    ("speed", "started", "completed"), [(1, "09:53:09Z", "09:54:09Z"), (60, "09:53:09.000000Z", "09:53:10.000000Z")]
)
async def test_speed_shortens_durations_and_timestamps(speed: float, started: str, completed: str) -> None:
    """At speed 60 a minute takes a second, also in the timestamps, which then have microseconds."""
    async with serving(speed=speed, workload=Workload(duration=Fixed(60))) as caller:
        await caller.create()
        caller.clock.advance(60 / speed)
        backup = await caller.get(BACKUP)
        assert backup["startedAt"].endswith(started)
        assert backup["completedAt"].endswith(completed)


async def test_clock_offset() -> None:
    """An offset changes timestamps and the Date header, but no duration."""
    async with serving(clock_offset=3600, workload=Workload(duration=Fixed(60))) as caller:
        await caller.create()
        caller.clock.advance(60)
        _, backup, headers = await caller.request("GET", BACKUP)
        assert backup["startedAt"] == "2024-01-29T10:53:09Z"
        assert headers["Date"] == "Mon, 29 Jan 2024 10:54:09 GMT"


async def test_initial_history() -> None:
    """Each star system starts with finished backups, older than any created later."""
    planets = {"test": ("mars", "venus"), "other": ("pluto",)}
    workload = Workload(history=7, history_span=3600)
    async with serving(workload=workload, star_systems=planets) as caller:
        backups = (await caller.get(f"{STAR_SYSTEM}/backup"))["backups"]
        assert len(backups) == 7
        assert {one["status"] for one in backups} == {"succeeded"}
        assert {one["environment"]["name"] for one in backups} == {"mars", "venus"}
        stamps = [datetime.fromisoformat(one["completedAt"]) for one in backups]
        assert max(stamps) <= datetime(2024, 1, 29, 9, 53, 9, tzinfo=UTC)
        assert len((await caller.get("api/v1/tenants/example/starsystems/other/backup"))["backups"]) == 7
        assert (await caller.create())[1]["id"] == 15


async def test_unknown_names() -> None:
    """If star systems are given, other star systems and planets are a 404."""
    async with serving(star_systems={"test": ("mars",)}) as caller:
        other = "api/v1/tenants/example/starsystems/other/backup"
        assert (await caller.request("GET", other))[0] == 404
        assert (await caller.create("venus"))[0] == 404
        assert (await caller.create("mars"))[0] == 200


async def test_temporary_backups_expire() -> None:
    """With `expire`, a temporary backup is removed after its retention period."""
    async with serving(workload=Workload(duration=Fixed(60), expire=True)) as caller:
        await caller.create()
        await caller.create(temporary=False)
        caller.clock.advance(2 * 86400 - 1)
        assert (await caller.request("GET", BACKUP))[0] == 200
        caller.clock.advance(1)
        assert (await caller.request("GET", BACKUP))[0] == 404
        assert [one["id"] for one in (await caller.get(PLANET))["backups"]] == [2]


@pytest.mark.parametrize(
    ("kind", "media_type", "empty"),
    [("json", "application/json", False), ("text", "text/plain", False), ("empty", "application/octet-stream", True)],
)
async def test_error_bodies(kind: str, media_type: str, empty: bool) -> None:
    """Errors have a JSON body, a text, or none."""
    async with serving(ApiBehavior(error_body=kind)) as caller:
        status, body, headers = await caller.request("GET", BACKUP)
        assert (status, headers.get("Content-Type", media_type).partition(";")[0]) == (404, media_type)
        assert (not body) == empty


async def test_health_without_token() -> None:
    """Health may need no token."""
    async with serving(ApiBehavior(health_needs_token=False, health_status="ok")) as caller:
        assert await caller.get("management/health", headers={"Authorization": "no"}) == {"status": "ok"}


async def test_tls() -> None:
    """With an SSL context the simulator serves over TLS."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Simulator(ssl_context=server) as sim, aiohttp.ClientSession() as http:
        assert sim.base_url.startswith("https://127.0.0.1:")
        async with http.get(f"{sim.base_url}/management/health", ssl=client) as response:
            assert response.status == 401


async def test_long_list_follows_every_change() -> None:
    """The cached beginning of a long list is discarded when a backup in it is deleted, and grows with time."""
    async with serving(workload=Workload(duration=Fixed(60), history=100)) as caller:
        await caller.create()
        listed = (await caller.get(f"{STAR_SYSTEM}/backup"))["backups"]
        assert [one["id"] for one in listed] == list(range(1, 102))
        await caller.request("DELETE", f"{STAR_SYSTEM}/backups/50")
        caller.clock.advance(60)
        listed = (await caller.get(f"{STAR_SYSTEM}/backup"))["backups"]
        assert [one["id"] for one in listed] == [n for n in range(1, 102) if n != 50]
        assert listed[-1]["status"] == "succeeded"


async def test_invalid_starts() -> None:
    """Starting twice and a port in use are errors; stopping is possible at any time."""
    async with Simulator() as sim:
        with pytest.raises(RuntimeError, match="serving already"):
            await sim.start()
        other = Simulator(port=sim.port)
        with pytest.raises(OSError, match="address already in use"):
            await other.start()
        await other.stop()
    await sim.stop()


async def test_address_and_unknown_admin_page() -> None:
    """The simulator binds the given address, also IPv6; an unknown admin page is a 404."""
    async with Simulator(host="::1") as sim, aiohttp.ClientSession() as http:
        assert sim.base_url.startswith("http://[::1]:")
        async with http.get(f"{sim.base_url}/_simulator/nothing") as response:
            assert response.status == 404
        assert sim.counts.total == 0


async def test_token_without_scopes() -> None:
    """A token without operation scopes may only use health."""
    async with serving() as caller:
        form = {
            "grant_type": "client_credentials",
            "scope": "tenant.example",
            "client_id": caller.sim.client_id,
            "client_secret": caller.sim.client_secret,
        }
        _, grant, _ = await caller.request("POST", caller.sim.token_url, data=form)
        headers = {"Authorization": f"Bearer {grant['access_token']}"}
        paths = ("management/health", PLANET)
        assert [(await caller.request("GET", path, headers=headers))[0] for path in paths] == [200, 403]
        assert caller.sim.scopes[0] == "tenant.example"


async def test_create_without_content_type() -> None:
    """A create without the documented Content-Type is a 400."""
    async with serving() as caller:
        assert (await caller.request("POST", PLANET, data=b"{}"))[0] == 400
        assert not caller.sim.creates


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"envelope": None, "envelope_extra": {"a": 1}}, "envelope_extra needs an envelope"),
        ({"create_status": 204}, r"ApiBehavior\.create_status must be one of 200, 201, 202, not 204"),
        ({"page_size": 0}, r"ApiBehavior\.page_size must be a whole number of 1 or more, not 0"),
        ({"echo_metadata": "sometimes"}, "'sometimes' is not a valid MetadataEcho"),
    ],
)
def test_invalid_behavior_is_refused(settings: dict[str, object], message: str) -> None:
    """The error names the setting and what is accepted."""
    with pytest.raises(ValueError, match=message):
        ApiBehavior(**settings)
