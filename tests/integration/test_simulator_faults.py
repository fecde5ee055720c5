"""The effects of the simulator's faults on a plain HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from asyncbackups.simulator import (
    Drop,
    Endless,
    Fault,
    Gate,
    GzipBomb,
    Html,
    Malformed,
    ManualClock,
    Oversized,
    Redirect,
    Respond,
    Simulator,
    Slow,
    Truncate,
)

BODY = {"mechanism": "logical", "planetClass": "dev", "temporary": False}
STAR_SYSTEM = "api/v1/tenants/example/starsystems/test"
PLANET = f"{STAR_SYSTEM}/planets/mars/backups"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(clock=ManualClock()) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sim.token}"}
    async with aiohttp.ClientSession(f"{sim.base_url}/", headers=headers) as session:
        yield session


async def status_of(http: aiohttp.ClientSession, method: str, path: str, **more: object) -> int:
    async with http.request(method, path, allow_redirects=False, **more) as response:
        return response.status


async def test_skip_and_count(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """`skip` and `count` select which of the matching requests are affected."""
    fault = Fault(Respond(503, {"Retry-After": "7"}, '{"why": "busy"}'), kind="list", skip=1, count=2)
    sim.faults.append(fault)
    assert [await status_of(http, "GET", f"{STAR_SYSTEM}/backup") for _ in range(4)] == [200, 503, 503, 200]
    assert await status_of(http, "GET", PLANET) == 200
    assert sim.faults.hits(fault) == 2
    assert sim.counts.of("list", 503) == 2


async def test_headers_and_body_of_response(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A fault's response has its own headers and body."""
    sim.faults.append(Fault(Respond(429, {"Retry-After": "7"}, '{"why": "busy"}')))
    async with http.get(PLANET) as response:
        assert response.headers["Retry-After"] == "7"
        assert await response.json() == {"why": "busy"}


@pytest.mark.parametrize(("when", "creates"), [("before", 0), ("after", 1)])
async def test_dropped_create(sim: Simulator, http: aiohttp.ClientSession, when: str, creates: int) -> None:
    """If the connection is dropped before the effect there is no backup; after it, there is one."""
    sim.faults.append(Fault(Drop(when), kind="create"))
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(PLANET, json=BODY)
    assert sim.creates["test", "mars"] == creates
    assert sim.counts.of("create", 0) == 1


@pytest.mark.parametrize("action", [Respond(500, when="after"), Html(504, "after")])
async def test_failed_create_with_effect(sim: Simulator, http: aiohttp.ClientSession, action: Respond | Html) -> None:
    """An error after the effect hides a backup that exists."""
    sim.faults.append(Fault(action, kind="create"))
    assert await status_of(http, "POST", PLANET, json=BODY) >= 500
    assert sim.creates["test", "mars"] == 1


async def test_rules_match_star_system_and_planet(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A rule for a planet also affects gets of its backups, and no other planet's."""
    for planet in ("mars", "venus"):
        await status_of(http, "POST", f"{STAR_SYSTEM}/planets/{planet}/backups", json=BODY)
    sim.faults.append(Fault(Respond(500), planet="mars"))
    sim.faults.append(Fault(Respond(502), star_system="elsewhere"))
    assert [await status_of(http, "GET", f"{STAR_SYSTEM}/backups/{n}") for n in (1, 2)] == [500, 200]
    sim.faults.clear()
    assert await status_of(http, "GET", f"{STAR_SYSTEM}/backups/1") == 200


async def test_probability_follows_seed() -> None:
    """With the same seed, the same requests are affected."""
    outcomes = []
    for _ in range(2):
        simulator = Simulator(seed=5, faults=[Fault(Respond(500), probability=0.5)])
        async with simulator as sim, aiohttp.ClientSession() as http:
            outcomes.append([await status_of(http, "GET", sim.base_url) for _ in range(20)])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {500, 401}


@pytest.mark.parametrize("share", [0, 0.5, 1])
async def test_truncated_body(sim: Simulator, http: aiohttp.ClientSession, share: float) -> None:
    """The connection ends before the body is as long as its Content-Length."""
    sim.faults.append(Fault(Truncate(share), kind="list"))
    async with http.get(f"{STAR_SYSTEM}/backup") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_malformed_body(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A malformed body is complete for HTTP, but not JSON."""
    sim.faults.append(Fault(Malformed()))
    async with http.get(f"{STAR_SYSTEM}/backup") as response:
        with pytest.raises(json.JSONDecodeError):
            await response.json()


async def test_html_and_redirect(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A gateway's page is HTML; a redirect has its target."""
    sim.faults.extend([Fault(Html(), count=1), Fault(Redirect("http://127.0.0.1:1/"), skip=1)])
    async with http.get(PLANET) as response:
        assert (response.status, response.content_type) == (502, "text/html")
    async with http.get(PLANET, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "http://127.0.0.1:1/")


async def test_oversized_and_gzip_bomb(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """The body has exactly the requested size, with gzip after decompression."""
    sim.faults.extend([Fault(Oversized(5000), count=1), Fault(GzipBomb(100_000), skip=1)])
    async with http.get(PLANET) as response:
        assert len(await response.read()) == 5000
        await response.json()
    async with http.get(PLANET) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert len(await response.read()) == 100_000
        assert int(response.headers["Content-Length"]) < 1000


async def test_endless_body_ends_with_client(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """An endless body continues until the client disconnects; the server then serves others."""
    sim.faults.append(Fault(Endless("x" * 100), count=1))
    async with http.get(PLANET) as response:
        assert len(await response.content.readexactly(10_000)) == 10_000
    assert await status_of(http, "GET", PLANET) == 200


async def test_slow_body_is_complete(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A slow body arrives in pieces, and is the correct one."""
    sim.faults.append(Fault(Slow(5, 0.001)))
    async with http.get(PLANET) as response:
        assert await response.json() == {"backups": []}


async def test_gates_order_requests(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A gate holds creates before or after their effect, and the peak of open requests is exact."""
    before, after = Gate(), Gate()
    sim.faults.append(Fault(kind="create", gate=before, gate_after=after))
    creates = [asyncio.create_task(status_of(http, "POST", PLANET, json=BODY)) for _ in range(3)]
    await before.arrived()
    assert sim.creates["test", "mars"] == 0
    before.open()
    await after.arrived()
    while after.waiting < 3:
        await asyncio.sleep(0)
    assert (sim.creates["test", "mars"], sim.counts.in_flight, sim.counts.peak) == (3, 3, 3)
    after.open()
    assert await asyncio.gather(*creates) == [200, 200, 200]


async def test_stop_drops_held_requests(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """Stopping drops a request that is held at a gate, before it takes effect."""
    gate = Gate()
    sim.faults.append(Fault(kind="create", gate=gate))
    create = asyncio.create_task(status_of(http, "POST", PLANET, json=BODY))
    await gate.arrived()
    await sim.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await create
    assert sim.creates["test", "mars"] == 0


async def test_token_endpoint_can_fail(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """A rule for tokens affects the token endpoint."""
    sim.faults.append(Fault(Respond(503), kind="token"))
    assert await status_of(http, "POST", sim.token_url) == 503


async def test_delay_alone_lets_request_through(sim: Simulator, http: aiohttp.ClientSession) -> None:
    """Delays before and after the effect change nothing else."""
    sim.faults.append(Fault(delay=0.001, delay_after=0.001))
    assert await status_of(http, "POST", PLANET, json=BODY) == 200


def test_faults_are_a_list() -> None:
    """The active faults can be indexed, sliced, replaced and removed like a list."""
    one, two = Fault(Drop()), Fault(Html())
    sim = Simulator(faults=[one])
    sim.faults[0] = two
    sim.faults[1:] = [one]
    assert list(sim.faults) == [two, one]
    assert sim.faults[:1] == [two]
    sim.faults.remove(two)
    assert sim.faults.index(one) == 0
    with pytest.raises(ValueError, match="would do nothing"):
        Fault(kind="get")
    with pytest.raises(ValueError, match="'gets' is not a valid OperationKind"):
        Fault(Drop(), kind="gets")
