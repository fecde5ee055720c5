"""The simulator's operations and its token endpoint, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from asyncbackups.simulator import Access, ApiBehavior, Fixed, ManualClock, PlanetProfile, Simulator, Workload

BODY = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 10,
    "metadata": {"name": "sample backup", "description": "This is a sample backup."},
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def sim(clock: ManualClock) -> AsyncIterator[Simulator]:
    workload = Workload(duration=Fixed(131), planets={"doomed": PlanetProfile(failure_share=1.0)}, first_id=362)
    async with Simulator(clock=clock, workload=workload, forbidden={"secret"}) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sim.token}", "Accept": "application/json"}
    async with aiohttp.ClientSession(f"{sim.base_url}/", headers=headers) as session:
        yield session


STAR_SYSTEM = "api/v1/tenants/example/starsystems/test"
PLANET = f"{STAR_SYSTEM}/planets/testbackup/backups"


async def test_create_then_get_until_ready(http: aiohttp.ClientSession, clock: ManualClock) -> None:
    """A backup is in progress after its creation, and is the documented object when it has completed."""
    async with http.post(PLANET, json=BODY) as response:
        assert response.status == 200
        created = await response.json()
    assert created["id"] == 362
    assert created["status"] == "in_progress"
    assert created["completedAt"] is None
    clock.advance(131)
    async with http.get(f"{STAR_SYSTEM}/backups/362") as response:
        assert response.headers["Date"] == "Mon, 29 Jan 2024 09:55:20 GMT"
        finished = await response.json()
    assert finished == {
        "id": 362,
        "mechanism": "logical",
        "type": "temporary",
        "environment": {"tenant": "example", "project": "test", "stage": "dev", "name": "testbackup"},
        "status": "succeeded",
        "displayStatus": "ready",
        "errorMessage": None,
        "startedAt": "2024-01-29T09:53:09Z",
        "completedAt": "2024-01-29T09:55:20Z",
        "expirationDate": "2024-02-08T09:53:09Z",
        "databaseToApplicationBuilds": {},
        "metadata": BODY["metadata"],
    }


async def test_failed_backup_has_error_message(http: aiohttp.ClientSession, clock: ManualClock) -> None:
    """With a failure share of 1, the backup fails with an error message."""
    async with http.post(f"{STAR_SYSTEM}/planets/doomed/backups", json=BODY) as response:
        backup_id = (await response.json())["id"]
    clock.advance(131)
    async with http.get(f"{STAR_SYSTEM}/backups/{backup_id}") as response:
        backup = await response.json()
    assert (backup["status"], bool(backup["errorMessage"])) == ("failed", True)


async def test_lists_of_planet_and_star_system(http: aiohttp.ClientSession) -> None:
    """A planet's list contains its own backups, the star system's singular path all of them."""
    for planet in ("a", "b", "a"):
        async with http.post(f"{STAR_SYSTEM}/planets/{planet}/backups", json=BODY) as response:
            response.raise_for_status()
    async with http.get(f"{STAR_SYSTEM}/planets/a/backups") as response:
        of_planet = await response.json()
    async with http.get(f"{STAR_SYSTEM}/backup") as response:
        of_star_system = await response.json()
    assert [one["id"] for one in of_planet["backups"]] == [362, 364]
    assert [one["id"] for one in of_star_system["backups"]] == [362, 363, 364]


async def test_deleted_backup_is_gone(http: aiohttp.ClientSession) -> None:
    """After a delete, get and delete return 404, and lists do not contain the backup."""
    async with http.post(PLANET, json=BODY):
        pass
    async with http.delete(f"{STAR_SYSTEM}/backups/362") as response:
        assert response.status == 200
    for request in (http.get(f"{STAR_SYSTEM}/backups/362"), http.delete(f"{STAR_SYSTEM}/backups/362")):
        async with request as response:
            assert response.status == 404
    async with http.get(f"{STAR_SYSTEM}/backup") as response:
        assert await response.json() == {"backups": []}


async def test_health(http: aiohttp.ClientSession) -> None:
    """Health returns an object with a status."""
    async with http.get("management/health") as response:
        assert await response.json() == {"status": "UP"}


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic simulator-token", "simulator-token"])
async def test_wrong_credentials(sim: Simulator, header: str | None) -> None:
    """A missing or wrong token, or another scheme, is a 401."""
    headers = {} if header is None else {"Authorization": header}
    async with aiohttp.request("GET", f"{sim.base_url}/{STAR_SYSTEM}/backup", headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{STAR_SYSTEM}/backups/1", 404),
        ("GET", f"{STAR_SYSTEM}/backups/x", 404),
        ("GET", f"{STAR_SYSTEM}/backups/{'9' * 30}", 404),
        ("GET", f"{STAR_SYSTEM}/backups", 404),
        ("GET", "elsewhere", 404),
        ("PUT", f"{STAR_SYSTEM}/backups/1", 405),
        ("POST", f"{STAR_SYSTEM}/backup", 405),
        ("DELETE", PLANET, 405),
        ("GET", "oauth2/v1/token", 405),
        ("GET", "api/v1/tenants/example/starsystems/secret/backup", 403),
        ("GET", "api/v1/tenants/other/starsystems/test/backup", 403),
    ],
)
async def test_refused_requests(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    """Unknown ids and paths are 404, wrong methods 405, other tenants and forbidden star systems 403."""
    async with http.request(method, path) as response:
        assert response.status == status
        assert ("Allow" in response.headers) == (status == 405)


async def test_encoded_names_stay_one_segment(http: aiohttp.ClientSession, sim: Simulator) -> None:
    """A percent-encoded planet name with slashes and dots is one path segment."""
    for name, encoded in (("../../x", "..%2F..%2Fx"), ("a/b", "a%2Fb"), ("é", "%C3%A9")):
        url = URL(f"{sim.base_url}/{STAR_SYSTEM}/planets/{encoded}/backups", encoded=True)
        async with http.post(url, json=BODY) as response:
            assert (await response.json())["environment"]["name"] == name
        assert sim.creates["test", name] == 1


async def test_counts(http: aiohttp.ClientSession, sim: Simulator) -> None:
    """Requests are counted by operation and status, creates by planet."""
    async with http.post(PLANET, json=BODY):
        pass
    async with http.post(PLANET, json={}):
        pass
    async with http.get(f"{STAR_SYSTEM}/backup"):
        pass
    assert sim.counts.of("create") == 2
    assert sim.counts.of("create", 400) == 1
    assert sim.counts.of(status=200) == 2
    assert sim.counts.total == 3
    assert sim.creates["test", "testbackup"] == 1
    assert sim.counts.peak == 1


async def test_client_credentials(sim: Simulator, clock: ManualClock) -> None:
    """The token endpoint issues a token with the requested scopes, which expires when it says."""
    form = {
        "grant_type": "client_credentials",
        "scope": "tenant.example gcc.deployments.read",
        "client_id": sim.client_id,
        "client_secret": sim.client_secret,
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.token_url, data=form) as response:
            grant = await response.json()
        assert (grant["token_type"], grant["expires_in"]) == ("Bearer", 3600)
        headers = {"Authorization": f"Bearer {grant['access_token']}"}
        statuses = []
        for method, path, wait in (("GET", f"{STAR_SYSTEM}/backup", 0), ("POST", PLANET, 3600), ("GET", PLANET, 0)):
            async with session.request(method, f"{sim.base_url}/{path}", headers=headers) as response:
                statuses.append(response.status)
            clock.advance(wait)
        assert statuses == [200, 403, 401]


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "no"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "gcc.deployments.read"}, 400, "invalid_scope"),
    ],
)
async def test_token_refused(sim: Simulator, change: dict[str, str], status: int, error: str) -> None:
    """Wrong credentials, grant type and scopes get the error codes of RFC 6749."""
    form = {
        "grant_type": "client_credentials",
        "scope": "tenant.example",
        "client_id": sim.client_id,
        "client_secret": sim.client_secret,
    }
    async with aiohttp.request("POST", sim.token_url, data=form | change) as response:
        assert (response.status, (await response.json())["error"]) == (status, error)


async def test_outage_keeps_port_and_backups(clock: ManualClock) -> None:
    """After stop and start the port is the same, and backups have continued."""
    async with Simulator(clock=clock, workload=Workload(duration=Fixed(60))) as sim:
        headers = {"Authorization": f"Bearer {sim.token}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            url = sim.base_url
            async with http.post(f"{url}/{PLANET}", json=BODY):
                pass
            await sim.stop()
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get(f"{url}/{STAR_SYSTEM}/backups/1")
            clock.advance(60)
            await sim.start()
            assert sim.base_url == url
            async with http.get(f"{url}/{STAR_SYSTEM}/backups/1") as response:
                assert (await response.json())["status"] == "succeeded"


async def test_settings_are_checked() -> None:
    """An invalid setting raises an error that names it, the value and what is accepted."""
    with pytest.raises(ValueError, match=r"Simulator\.speed must be a number greater than 0, not 0"):
        Simulator(speed=0)
    with pytest.raises(ValueError, match=r"Workload\.failure_share must be a number from 0 to 1"):
        Workload(failure_share=2)
    with pytest.raises(ValueError, match="needs an envelope"):
        ApiBehavior(envelope=None, paging="total_pages")
    with pytest.raises(ValueError, match=r"Access\.token must be a string"):
        Access(token="")
    with pytest.raises(ValueError, match=r"Simulator\.clock_offset must be a finite number, not inf"):
        Simulator(clock_offset=float("inf"))
    with pytest.raises(RuntimeError, match="async with"):
        _ = Simulator().base_url
