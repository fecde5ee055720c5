"""The backups that existed before a create was sent: from few lists, shared by many creates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import attrs

from asyncbackups._api.operations import Operations
from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.clock import Clock
from asyncbackups._base.containers import LruDict
from asyncbackups.errors import AuthenticationError, BackupsError, ClientClosedError, NotFoundError, is_api_response
from asyncbackups.models import Backup, PlanetRef

_log = logging.getLogger(__name__)

_MAX_AGE = 300.0
"""Seconds after which a baseline is taken again, so that other clients' backups do not accumulate after it."""
_MAX_AGE_OF_FAILURE = 60.0
"""Seconds after which a list that failed is read again."""
_STAR_SYSTEMS = 4096


@attrs.define
class _StarSystem:
    """The baselines of one star system, and when each was taken; None if its list failed."""

    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    whole: tuple[float, Baseline | None] | None = None
    planets: dict[str, tuple[float, Baseline | None]] = attrs.field(factory=dict)


class Baselines:
    """Takes baselines.

    A bulk run uses one LIST of each star system. A single create uses a LIST of its planet; from the second planet of a
    star system on, single creates share one LIST of the star system. A baseline stays valid while it ages: what
    appeared since then is explained, or blocks a resend.

    Args:
        operations: Sends the requests.
        clock: The clock.
        enabled: False to take none.

    Attributes:
        observer: Called with a star system, a planet or None, and the backups of each list that was read: the duration
            estimates are fed from them, too.
    """

    def __init__(self, operations: Operations, *, clock: Clock, enabled: bool) -> None:
        self._operations = operations
        self._clock = clock
        self._enabled = enabled
        self._star_systems: LruDict[str, _StarSystem] = LruDict(_STAR_SYSTEMS)
        self.observer: Callable[[str, str | None, list[Backup]], None] | None = None

    async def for_planet(self, planet: PlanetRef) -> Baseline | None:
        """Return a baseline for a single create; None if no list is available."""
        return await self._get_or_list(planet, whole=False)

    async def for_run(self, planet: PlanetRef) -> Baseline | None:
        """Return the star system's baseline for a bulk run's create, else the planet's; None if both lists failed.

        Raises:
            AuthenticationError: If the credentials are refused: the create would be refused, too.
        """
        return await self._get_or_list(planet, whole=True)

    async def _get_or_list(self, planet: PlanetRef, *, whole: bool) -> Baseline | None:
        if not self._enabled:
            return None
        known = self._star_systems.get(planet.star_system)
        if known is None:
            known = self._star_systems.store(planet.star_system, _StarSystem())
        async with known.lock:
            now = self._clock.monotonic()
            if self._is_fresh(known.whole, now) and known.whole is not None and known.whole[1] is not None:
                return known.whole[1]
            own = known.planets.get(planet.planet)
            if not whole and own is not None and self._is_fresh(own, now):
                return own[1]
            shared = whole or any(self._is_fresh(other, now) for other in known.planets.values())
            if shared and not self._is_fresh(known.whole, now):
                whole_list = await self._try_list(planet.star_system, None)
                known.whole = (now, whole_list)
                if whole_list is not None:
                    known.planets.clear()
            if shared and known.whole is not None and known.whole[1] is not None:
                return known.whole[1]
            # The star system's list is refused: each planet's own list is the only source left.
            if own is None or not self._is_fresh(own, now):
                own = known.planets[planet.planet] = (now, await self._list_planet(planet))
            return own[1]

    @staticmethod
    def _is_fresh(taken: tuple[float, Baseline | None] | None, now: float) -> bool:
        if taken is None:
            return False
        return now - taken[0] < (_MAX_AGE_OF_FAILURE if taken[1] is None else _MAX_AGE)

    async def _list_planet(self, planet: PlanetRef) -> Baseline | None:
        try:
            return await self._list_backups(planet.star_system, planet.planet)
        except NotFoundError as exc:
            # An empty list on some services, a path that does not exist on others, or an ingress without its service.
            whole = await self._try_list(planet.star_system, None)
            return whole or (Baseline("planet", frozenset()) if is_api_response(exc) else None)
        except (AuthenticationError, ClientClosedError):
            raise
        except BackupsError as exc:
            _log.info("%s: no baseline from its list: %s", planet, exc)
            return await self._try_list(planet.star_system, None)

    async def _try_list(self, star_system: str, planet: str | None) -> Baseline | None:
        try:
            return await self._list_backups(star_system, planet)
        except (AuthenticationError, ClientClosedError):
            raise
        except BackupsError as exc:
            _log.info("star system %s: no baseline from its list: %s", star_system, exc)
            return None

    async def _list_backups(self, star_system: str, planet: str | None) -> Baseline:
        backups, _ = await self._operations.list_with_date(star_system, planet)
        if self.observer is not None:
            self.observer(star_system, planet, backups)
        ids = (backup.id for backup in backups)
        return Baseline.from_ids("star_system" if planet is None else "planet", ids)
