"""The operations that a creator uses, over a service in memory that knows the truth."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import msgspec
from multidict import CIMultiDict

from asyncbackups._api.codec import plain
from asyncbackups._api.responses import CreateResponse, parse_create_response
from asyncbackups._http.messages import Response
from asyncbackups.errors import BackupsError, NotFoundError
from asyncbackups.models import Backup, BackupRef, BackupSpec, Environment, PlanetRef
from tests.fake_clock import FakeClock


@attrs.frozen
class Never:
    """The create has no effect, and fails with this error."""

    error: BackupsError


@attrs.frozen
class Lost:
    """The create has its effect, after a delay in seconds, and fails with this error."""

    error: BackupsError
    late: float = 0.0


@attrs.frozen
class Body:
    """The create has its effect, and the response has this body instead."""

    content: Any
    headers: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Made:
    """A backup of the service: its planet, and when it was made, in monotonic seconds."""

    planet: PlanetRef
    at: float
    backup: Backup


@attrs.define
class FakeOperations:
    """A service in memory.

    Attributes:
        clock: The clock of client and service.
        faults: What happens to each further create; None for the documented response.
        list_faults: The error of each further list, or None.
        list_error: Returns the error of a list of a star system or planet, or None.
        list_lag: Seconds until lists show a new backup.
        get_lag: Seconds until a GET does.
        metadata_in: Which responses show metadata: "list", "get", "both" (POST, too) or "none".
        alter: Alters the texts of metadata that are shown.
        only_name: Whether only the name is shown, not the description.
        show: Alters what lists and GETs show of a backup.
        names: Whether `environment.name` shows the planet.
        date_offset: How many seconds the service's `Date` is ahead; None for no `Date`.
        before_create: Called before the effect of each create; may be a coroutine function.
        hidden: Whether lists show no backup of an unfinished status.
        requests: All requests: ("create", planet), ("list", star system, planet or None), ("get", id).
        made: All backups.
    """

    clock: FakeClock
    faults: list[Never | Lost | Body | None] = attrs.field(factory=list)
    list_faults: list[BackupsError | None] = attrs.field(factory=list)
    list_error: Callable[[str, str | None], BackupsError | None] = lambda star_system, planet: None
    list_lag: float = 0.0
    get_lag: float = 0.0
    metadata_in: str = "both"
    alter: Callable[[str], str] = str
    only_name: bool = False
    show: Callable[[Backup], Backup] = lambda backup: backup
    names: bool = False
    date_offset: float | None = 0.0
    before_create: Callable[[PlanetRef], Any] | None = None
    hidden: bool = False
    requests: list[tuple[Any, ...]] = attrs.field(factory=list)
    made: list[Made] = attrs.field(factory=list)
    next_id: int = 1

    @property
    def sends(self) -> int:
        return sum(request[0] == "create" for request in self.requests)

    @property
    def lists(self) -> list[tuple[str, str | None]]:
        return [(request[1], request[2]) for request in self.requests if request[0] == "list"]

    def ids_of(self, planet: PlanetRef) -> list[int]:
        return [made.backup.id for made in self.made if made.planet == planet]

    def make(self, planet: PlanetRef, *, late: float = 0.0, ago: float = 0.0, **members: Any) -> Backup:
        """Make a backup, as anybody may."""
        fields = {
            "id": self.next_id,
            "mechanism": "logical",
            "type": "temporary",
            "status": "running",
            "started_at": self.clock.utcnow() - timedelta(seconds=ago),
            "environment": Environment(name=planet.planet) if self.names else None,
        }
        backup = Backup(**{**fields, **members})
        self.next_id = max(self.next_id, backup.id) + 1
        self.made.append(Made(planet, self.clock.monotonic() + late - ago, backup))
        return backup

    async def create(self, planet: PlanetRef, spec: BackupSpec) -> CreateResponse:
        self.requests.append(("create", planet))
        await asyncio.sleep(0)
        if self.before_create is not None:
            result = self.before_create(planet)
            if inspect.isawaitable(result):
                await result
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Never):
            raise fault.error
        metadata = attrs.asdict(spec.metadata)
        late = fault.late if isinstance(fault, Lost) else 0.0
        backup = self.make(planet, late=late, mechanism=spec.mechanism, extra={"metadata": metadata})
        if isinstance(fault, Lost):
            raise fault.error
        body = fault.content if isinstance(fault, Body) else plain(self._as_shown(backup, "post"))
        headers = fault.headers if isinstance(fault, Body) else {}
        response = Response(
            status=202, headers=CIMultiDict(headers), body=msgspec.json.encode(body), method="POST", url="http://memory"
        )
        return parse_create_response(response)

    async def list_with_date(
        self, star_system: str, planet: str | None = None, *, attempts: int | None = None
    ) -> tuple[list[Backup], datetime | None]:
        self.requests.append(("list", star_system, planet))
        await asyncio.sleep(0)
        fault = self.list_faults.pop(0) if self.list_faults else self.list_error(star_system, planet)
        if fault is not None:
            raise fault
        due = self.clock.monotonic() - self.list_lag
        shown = [
            self._as_shown(made.backup, "list")
            for made in self.made
            if made.planet.star_system == star_system and planet in {None, made.planet.planet} and made.at <= due
        ]
        if self.hidden:
            shown = [backup for backup in shown if backup.status != "running"]
        date = None if self.date_offset is None else self.clock.utcnow() + timedelta(seconds=self.date_offset)
        return shown, date

    async def get(self, ref: BackupRef) -> Backup:
        self.requests.append(("get", ref.backup_id))
        await asyncio.sleep(0)
        due = self.clock.monotonic() - self.get_lag
        for made in self.made:
            if made.backup.id == ref.backup_id and made.planet.star_system == ref.star_system and made.at <= due:
                return self._as_shown(made.backup, "get")
        raise NotFoundError(status=404)

    def _as_shown(self, backup: Backup, where: str) -> Backup:
        metadata = backup.extra.get("metadata")
        if metadata is not None:
            texts = {"name": metadata["name"]} if self.only_name else metadata
            extra = {"metadata": {name: self.alter(text) for name, text in texts.items()}}
            backup = attrs.evolve(backup, extra=extra if self.metadata_in in {where, "both"} else {})
        return self.show(backup)
