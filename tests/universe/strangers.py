"""Other people: they create backups around ours, delete ours, and the platform makes scheduled ones."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final
from urllib.parse import unquote

from .faults import Gateway
from .service import EARLIER, PLATFORM, HttpRequest, Service, TrueBackup
from .variables import Variables

STRANGER: Final = "stranger"
_USUAL_BODY: Final[dict[str, Any]] = {
    "mechanism": "logical",
    "planetClass": "dev",
    "temporary": True,
    "retentionPeriodInDays": 10,
}


async def act_as_strangers(
    service: Service,
    gateway: Gateway,
    variables: Variables,
    *,
    now: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    seed: int,
) -> None:
    """Act as other people until cancelled.

    Strangers reach the service without the gateway: its faults do not hit them, and its responses never contain theirs.
    They notice our POSTs when these are sent, so that they act even around a POST that never arrives.
    """
    async with asyncio.TaskGroup() as group:
        strangers = _Strangers(service, variables, now=now, sleep=sleep, seed=seed, group=group)
        if variables.stranger_moment != "never":
            gateway.observers.append(strangers.notice_post)
        if variables.stranger_deletion:
            service.creation_observers.append(strangers.notice_backup)
        if variables.earlier_deletion:
            group.create_task(strangers.delete_earlier_backups())
        if variables.scheduled_time:
            group.create_task(strangers.back_up_everything())
        if variables.stranger_rate:
            group.create_task(strangers.create_at_random())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            strangers.active = False


class _Strangers:
    def __init__(
        self,
        service: Service,
        variables: Variables,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        seed: int,
        group: asyncio.TaskGroup,
    ) -> None:
        self.active = True
        self._service = service
        self._variables = variables
        self._now = now
        self._sleep = sleep
        self._group = group
        self._moments = Random(f"{seed}/stranger-moments")
        self._deletions = Random(f"{seed}/stranger-deletions")
        self._rounds = Random(f"{seed}/stranger-rounds")
        self._places = [(star, planet) for star, planets in service.planets.items() for planet in planets]
        self._count = 0

    def notice_post(self, request: HttpRequest) -> None:
        """Create in the planet of a POST of ours: before it, with it or after it."""
        variables = self._variables
        if self._moments.random() >= variables.stranger_share or not self.active:
            return
        parts = request.path.split("/")
        star, planet = unquote(parts[6]), unquote(parts[8])
        if planet not in self._service.planets.get(star, ()):
            return
        body = self._stranger_body(request.body)
        match variables.stranger_moment:
            case "before":
                self._service.create_backup(star, planet, body, STRANGER)
            case "same":
                self._group.create_task(
                    self._create_later(variables.create_time * variables.effect_moment, star, planet, body)
                )
            case "after":
                self._group.create_task(self._create_later(variables.stranger_delay, star, planet, body))

    def notice_backup(self, backup: TrueBackup) -> None:
        """Delete a backup of ours some time after its creation."""
        if backup.origin in {STRANGER, PLATFORM} or not self.active:
            return
        if self._deletions.random() < self._variables.stranger_deletion:
            self._group.create_task(self._delete_later(backup))

    async def delete_earlier_backups(self) -> None:
        """Delete backups of earlier days during the first minute."""
        earlier = [backup for backup in self._service.truth if backup.origin == EARLIER]
        for backup in earlier:
            if self._deletions.random() < self._variables.earlier_deletion:
                await self._sleep(60.0 / len(earlier))
                self._service.delete_backup(backup, STRANGER)

    async def back_up_everything(self) -> None:
        """Create a scheduled backup of every planet, once."""
        await self._sleep(max(self._variables.scheduled_time - self._now(), 0.0))
        for star, planet in self._places:
            body = {"mechanism": "logical", "planetClass": "dev", "temporary": False}
            self._service.create_backup(star, planet, body, PLATFORM, scheduled=True)

    async def create_at_random(self) -> None:
        """Create backups in random planets, at random times."""
        while True:
            await self._sleep(self._rounds.expovariate(self._variables.stranger_rate / 60.0))
            star, planet = self._rounds.choice(self._places)
            self._service.create_backup(star, planet, self._stranger_body(b""), STRANGER)

    async def _create_later(self, delay: float, star: str, planet: str, body: dict[str, Any]) -> None:
        if delay > 0.0:
            await self._sleep(delay)
        self._service.create_backup(star, planet, body, STRANGER)

    async def _delete_later(self, backup: TrueBackup) -> None:
        await self._sleep(self._variables.deletion_delay)
        self._service.delete_backup(backup, STRANGER)

    def _stranger_body(self, ours: bytes) -> dict[str, Any]:
        try:
            body = {**_USUAL_BODY, **json.loads(ours)}
        except (ValueError, TypeError):
            body = dict(_USUAL_BODY)
        # A stranger never knows our marker: only the documented fields apart from metadata are copied.
        body.pop("metadata", None)
        match self._variables.stranger_spec:
            case "retention":
                body["retentionPeriodInDays"] = 3 if body.get("retentionPeriodInDays") != 3 else 4
            case "mechanism":
                body["mechanism"] = "snapshot" if body["mechanism"] == "logical" else "logical"
        self._count += 1
        match self._variables.stranger_metadata:
            case "own":
                body["metadata"] = {"name": f"copy {self._count}", "description": "Before the release."}
            case "name":
                body["metadata"] = {"name": f"copy {self._count}"}
        return body
