"""Baselines: what existed before a create, from as few lists as possible."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._api.baselines import Baselines
from asyncbackups.errors import (
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    ServiceUnavailableError,
)
from asyncbackups.models import Backup, PlanetRef
from tests.fake_clock import FakeClock
from tests.unit.api.fake_operations import FakeOperations

EARTH, MARS, VENUS = (PlanetRef("solar", name) for name in ("earth", "mars", "venus"))
REFUSALS = [PermissionDeniedError(status=403), ProtocolError("?"), ServiceUnavailableError(status=503)]


@pytest.fixture
def service(clock: FakeClock) -> FakeOperations:
    """Return a service with one old backup of each planet."""
    operations = FakeOperations(clock)
    for planet in (EARTH, MARS, VENUS):
        operations.make(planet)
    return operations


def baselines(service: FakeOperations, *, enabled: bool = True) -> Baselines:
    return Baselines(service, clock=service.clock, enabled=enabled)  # type: ignore[arg-type]


async def test_single_create_lists_its_planet(service: FakeOperations) -> None:
    """Again and again: one list in all, as long as it is fresh."""
    taken = baselines(service)
    baseline = await taken.for_planet(EARTH)
    assert baseline is not None
    assert (baseline.scope, baseline.keys) == ("planet", {1})
    for _ in range(10):
        assert await taken.for_planet(EARTH) is baseline
    assert service.lists == [("solar", "earth")]


async def test_single_creates_of_a_star_system_share_its_list(service: FakeOperations) -> None:
    """From the second planet on; the first one uses it from then on, too."""
    taken = baselines(service)
    await taken.for_planet(EARTH)
    shared = await taken.for_planet(MARS)
    assert shared is not None
    assert (shared.scope, shared.keys) == ("star_system", {1, 2, 3})
    for planet in (VENUS, EARTH, MARS):
        assert await taken.for_planet(planet) is shared
    await taken.for_planet(PlanetRef("lunar", "base"))
    assert service.lists == [("solar", "earth"), ("solar", None), ("lunar", "base")]


async def test_creates_at_once_take_turns(service: FakeOperations) -> None:
    """Concurrent creates do not list the same twice."""
    taken = baselines(service)
    both = await asyncio.gather(*(taken.for_planet(EARTH) for _ in range(20)))
    assert len(set(map(id, both))) == 1
    assert service.lists == [("solar", "earth")]
    many = await asyncio.gather(*(taken.for_planet(PlanetRef("solar", f"p{number}")) for number in range(100)))
    assert len(set(map(id, many))) == 1
    assert service.lists == [("solar", "earth"), ("solar", None)]


async def test_bulk_run_lists_each_star_system_once(clock: FakeClock) -> None:
    """1,000 planets in 20 star systems, 32 at a time: 20 more requests."""
    service = FakeOperations(clock)
    taken = baselines(service)
    planets = [PlanetRef(f"s{number % 20}", f"p{number}") for number in range(1_000)]
    places = asyncio.Semaphore(32)

    async def take(planet: PlanetRef) -> None:
        async with places:
            baseline = await taken.for_run(planet)
            assert baseline is not None
            assert baseline.scope == "star_system"

    await asyncio.gather(*map(take, planets))
    assert sorted(service.lists) == sorted((f"s{number}", None) for number in range(20))


async def test_single_create_after_a_run_uses_the_runs_list(service: FakeOperations) -> None:
    """It is as good as one of its own."""
    taken = baselines(service)
    whole = await taken.for_run(EARTH)
    assert await taken.for_planet(MARS) is whole
    assert service.lists == [("solar", None)]


@pytest.mark.parametrize("bulk", [False, True])
async def test_baseline_is_refreshed_after_five_minutes(service: FakeOperations, bulk: bool) -> None:
    """Otherwise strangers' backups would pile up after it."""
    taken = baselines(service)
    take = taken.for_run if bulk else taken.for_planet
    first = await take(EARTH)
    service.make(EARTH)
    service.clock.advance(299)
    assert await take(EARTH) is first
    service.clock.advance(1)
    second = await take(EARTH)
    assert second is not None
    assert 4 in second.keys
    assert len(service.lists) == 2


async def test_disabled_baselines_send_nothing(service: FakeOperations) -> None:
    """With `CreatePolicy(baseline=False)` there is none."""
    taken = baselines(service, enabled=False)
    assert await taken.for_planet(EARTH) is None
    assert await taken.for_run(EARTH) is None
    assert service.requests == []


# -- lists that are refused


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
async def test_no_baseline_where_the_planets_list_is_refused(service: FakeOperations, error: BackupsError) -> None:
    """Nor the star system's: it is None, and remembered: refused lists are not requested for each create."""
    service.list_error = lambda star_system, planet: error
    taken = baselines(service)
    assert [await taken.for_planet(EARTH) for _ in range(5)] == [None] * 5
    assert service.lists == [("solar", "earth"), ("solar", None)]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
async def test_star_systems_list_is_used_where_the_planets_list_is_refused(
    service: FakeOperations, error: BackupsError
) -> None:
    """It shows at least as much."""
    service.list_error = lambda star_system, planet: None if planet is None else error
    baseline = await baselines(service).for_planet(EARTH)
    assert baseline is not None
    assert (baseline.scope, baseline.keys) == ("star_system", {1, 2, 3})


@pytest.mark.parametrize("error", [*REFUSALS, NotFoundError(status=404)], ids=lambda error: type(error).__name__)
async def test_each_planets_list_is_what_is_left(service: FakeOperations, error: BackupsError) -> None:
    """If a star system's list is refused, a run lists each planet, once."""
    service.list_error = lambda star_system, planet: error if planet is None else None
    taken = baselines(service)
    for planet in (EARTH, MARS, EARTH, MARS):
        baseline = await taken.for_run(planet)
        assert baseline is not None
        assert baseline.scope == "planet"
    assert service.lists == [("solar", None), ("solar", "earth"), ("solar", "mars")]


async def test_planets_lists_are_kept_if_the_star_systems_list_is_refused(service: FakeOperations) -> None:
    """The second single create tries the star system's list once; the first one's baseline stays."""
    service.list_error = lambda star_system, planet: REFUSALS[0] if planet is None else None
    taken = baselines(service)
    first = await taken.for_planet(EARTH)
    await taken.for_planet(MARS)
    assert await taken.for_planet(EARTH) is first
    assert service.lists == [("solar", "earth"), ("solar", None), ("solar", "mars")]


async def test_failed_star_systems_list_is_read_again_after_a_minute(service: FakeOperations) -> None:
    """An outage ends."""
    service.list_faults = [REFUSALS[2]]
    taken = baselines(service)
    await taken.for_run(EARTH)
    service.clock.advance(60)
    baseline = await taken.for_run(EARTH)
    assert baseline is not None
    assert baseline.scope == "star_system"


@pytest.mark.parametrize(
    ("excerpt", "whole_refused", "scope"),
    [
        ('{"message": "no backups"}', False, "star_system"),
        ('{"message": "no backups"}', True, "planet"),
        ("<html>default backend", False, "star_system"),
        ("<html>default backend", True, None),
        ("", True, None),
    ],
)
async def test_case_7_list_that_is_404(
    service: FakeOperations, excerpt: str, whole_refused: bool, scope: str | None
) -> None:
    """The star system's list says more; without it, the API's own 404 is an empty list, a gateway's is nothing."""
    missing = NotFoundError(status=404, excerpt=excerpt)
    refused = PermissionDeniedError(status=403) if whole_refused else None
    service.list_error = lambda star_system, planet: refused if planet is None else missing
    baseline = await baselines(service).for_planet(EARTH)
    assert (None if baseline is None else baseline.scope) == scope
    if baseline is not None:
        assert baseline.keys == (set() if scope == "planet" else {1, 2, 3})
    assert service.lists == [("solar", "earth"), ("solar", None)]


@pytest.mark.parametrize("bulk", [False, True])
async def test_closed_client_is_an_error(service: FakeOperations, bulk: bool) -> None:
    """Nothing was sent, and nothing will be."""
    closed = ClientClosedError("left")
    service.list_error = lambda star_system, planet: closed
    taken = baselines(service)
    with pytest.raises(ClientClosedError):
        await (taken.for_run(EARTH) if bulk else taken.for_planet(EARTH))


@pytest.mark.parametrize("bulk", [False, True])
async def test_refused_credentials_are_an_error(service: FakeOperations, bulk: bool) -> None:
    """The create would be refused, too."""
    refused = AuthenticationError(status=401)
    service.list_error = lambda star_system, planet: refused
    taken = baselines(service)
    with pytest.raises(AuthenticationError):
        await (taken.for_run(EARTH) if bulk else taken.for_planet(EARTH))


async def test_cancelled_list_does_not_block_others(service: FakeOperations) -> None:
    """The next create lists itself."""
    taken = baselines(service)
    first, second = (asyncio.create_task(taken.for_planet(EARTH)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    baseline = await second
    assert baseline is not None
    assert baseline.keys == {1}


async def test_lists_are_shown_to_the_observer(service: FakeOperations) -> None:
    """The duration estimates are fed from them."""
    seen: list[tuple[str, str | None, list[int]]] = []

    def observe(star_system: str, planet: str | None, backups: list[Backup]) -> None:
        seen.append((star_system, planet, [backup.id for backup in backups]))

    taken = baselines(service)
    taken.observer = observe
    await taken.for_planet(EARTH)
    await taken.for_planet(MARS)
    assert seen == [("solar", "earth", [1]), ("solar", None, [1, 2, 3])]
