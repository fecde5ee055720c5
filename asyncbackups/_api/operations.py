"""The five operations of the Database API and its health, over the transport."""

from __future__ import annotations

import asyncio
import builtins
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

import attrs

from asyncbackups._api.pagination import LazyBackups, ListEntry, Page, check_complete, full_backups, glances, open_page
from asyncbackups._api.requests import Requests
from asyncbackups._api.responses import parse_backup, parse_created, parse_health
from asyncbackups._http.headers import parse_retry_after, parse_server_time
from asyncbackups._http.messages import Request, RequestKind, Response
from asyncbackups._http.status import as_protocol_error
from asyncbackups.errors import AmbiguousCreateError, BackupsError, NotFoundError, may_have_been_processed
from asyncbackups.models import Backup, BackupRef, BackupSpec, Health, PlanetRef

_MOST_PAGES = 10_000
"""A list with more pages than this is taken for one without an end."""
_AT_ONCE = 128
"""How many backups are decoded between two turns of the event loop: about a millisecond's work."""
_LONG = 2_000
"""To look at a list with more entries than this takes some milliseconds."""


class Sender(Protocol):
    """The one door to the network."""

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        """Send a request and return its answer of 2xx or 304; raise the typed error for anything else."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class ResponseInfo:
    """What is worth knowing of how an answer came.

    Attributes:
        size: Bytes of its bodies.
        seconds: How long it took.
        retry_after: Seconds after which the server wants to be asked again, or None.
        etag: Its entity tag, or None.
        date: The server's clock (aware, whole seconds), or None.
    """

    size: int
    seconds: float
    retry_after: float | None
    etag: str | None
    date: datetime | None

    @classmethod
    def of(cls, responses: Iterable[Response], *, now: datetime) -> ResponseInfo:
        """Sum up the responses that make one answer: the pages of a list."""
        several = list(responses)
        headers = several[-1].headers
        return cls(
            size=sum(len(response.body) for response in several),
            seconds=sum(response.seconds for response in several),
            retry_after=parse_retry_after(headers, now=now),
            etag=headers.get("ETag") if len(several) == 1 else None,
            date=parse_server_time(headers),
        )


@attrs.frozen(kw_only=True, eq=False)
class PolledList:
    """A list as a watcher reads it.

    Attributes:
        entries: Of every backup in it, only what tells whether there is news; None where nothing changed (304).
        backups: Those that were wanted whole, by id; each is decoded when it is asked for.
        answer: How it came.
    """

    entries: list[ListEntry] | None
    backups: Mapping[int, Backup]
    info: ResponseInfo

    async def decode_all(self) -> builtins.list[Backup]:
        """Decode all that were wanted, giving way to other tasks in between."""
        return [backup async for backup in _in_turns(self.backups.values())]


class Operations:
    """The operations.

    Args:
        sender: The door to the network.
        requests: Builds the requests of the tenant.
        utcnow: The time of day, for `Retry-After` dates.
    """

    def __init__(self, sender: Sender, requests: Requests, *, utcnow: Callable[[], datetime]) -> None:
        self._sender = sender
        self._requests = requests
        self._utcnow = utcnow

    async def get(self, ref: BackupRef) -> Backup:
        """Retrieve one backup."""
        response = await self._sender.send(self._requests.get(ref))
        return parse_backup(response, backup_id=ref.backup_id)

    async def list(self, star_system: str, planet: str | None = None) -> builtins.list[Backup]:
        """List the backups of a star system or of one planet, over all pages."""
        pages = await self._pages(self._requests.list(star_system, planet), attempts=None)
        backups = [backup async for backup in _in_turns(itertools.chain.from_iterable(map(full_backups, pages)))]
        check_complete(pages[-1], pages=len(pages), entries=len(backups))
        return backups

    async def delete(self, ref: BackupRef, *, missing_ok: bool = False) -> None:
        """Delete one backup."""
        try:
            await self._sender.send(self._requests.delete(ref))
        except NotFoundError as exc:
            # A delete that is sent again after its answer was lost finds nothing: it has done its work.
            if not (missing_ok or exc.repeated):
                raise

    async def health(self) -> Health:
        """Ask how the service is."""
        return parse_health(await self._sender.send(self._requests.health()))

    async def create(self, planet: PlanetRef, spec: BackupSpec) -> Backup:
        """Send one create.

        Raises:
            AmbiguousCreateError: If it may have happened without our knowing the backup's id.
            ApiError: If the service refused it.
            TransportError: If it could not be sent.
        """
        request = self._requests.create(planet, spec)
        try:
            response = await self._sender.send(request)
        except BackupsError as exc:
            if may_have_been_processed(exc):
                raise AmbiguousCreateError(str(exc), planet=planet) from exc
            raise
        created = parse_created(response)
        if created.backup is not None:
            return created.backup
        if created.backup_id is None:
            unnamed = as_protocol_error("the answer to a create names no backup", response)
            raise AmbiguousCreateError(str(unnamed), planet=planet) from unnamed
        return await self._created(BackupRef(planet.star_system, created.backup_id))

    async def _created(self, ref: BackupRef) -> Backup:
        """Retrieve a backup that was just created; where that fails, its id at least is not lost."""
        try:
            return await self.get(ref)
        except BackupsError:
            return Backup(id=ref.backup_id)

    async def poll_get(self, ref: BackupRef, *, etag: str | None = None) -> tuple[Backup | None, ResponseInfo]:
        """Retrieve one backup once: a poll that fails is not repeated, the schedule does that.

        Args:
            ref: Which backup.
            etag: The entity tag of the last answer about it, where there was one.

        Returns:
            The backup, or None where it has not changed since (304); and how the answer came.
        """
        request = self._requests.get(ref, etag=etag)
        response = await self._sender.send(request, attempts=1)
        answer = ResponseInfo.of([response], now=self._utcnow())
        if _not_modified(response, request):
            return None, answer
        return parse_backup(response, backup_id=ref.backup_id), answer

    async def poll_list(
        self,
        star_system: str,
        planet: str | None,
        *,
        etag: str | None,
        wanted: Callable[[Iterable[ListEntry]], set[int]],
    ) -> PolledList:
        """Read a list once, as far as there is news in it.

        Args:
            star_system: Whose list.
            planet: Of which planet; None for all.
            etag: The entity tag of the last answer, where it may be used.
            wanted: Says which entries to decode whole.
        """
        pages = await self._pages(self._requests.list(star_system, planet, etag=etag), attempts=1)
        answer = ResponseInfo.of([page.response for page in pages], now=self._utcnow())
        if pages[0].response.status == 304:
            return PolledList(entries=None, backups={}, info=answer)
        per_page = [glances(page) for page in pages]
        entries = [entry for of_page in per_page for entry in of_page]
        check_complete(pages[-1], pages=len(pages), entries=len(entries))
        await _let_others(len(entries))
        ids = wanted(entries)
        await _let_others(len(entries))
        backups = LazyBackups(zip(pages, per_page, strict=True), ids)
        await _let_others(len(entries))
        return PolledList(entries=entries, backups=backups, info=answer)

    async def _pages(self, request: Request, *, attempts: int | None) -> builtins.list[Page]:
        pages: list[Page] = []
        seen: set[str] = set()
        while True:
            response = await self._sender.send(request, attempts=attempts)
            page = _unchanged_page(response) if _not_modified(response, request) else open_page(response)
            pages.append(page)
            seen.add(response.url)
            if page.next_url is None:
                return pages
            if page.next_url in seen or len(pages) >= _MOST_PAGES:
                raise as_protocol_error(f"the pages of the list have no end ({len(pages)} were read)", response)
            request = Request(kind=RequestKind.LIST, method="GET", path=page.next_url)


def _not_modified(response: Response, request: Request) -> bool:
    """Tell whether an answer says that nothing has changed since the tag that was sent; without one it says nothing."""
    if response.status == 304 and request.etag is None:
        raise as_protocol_error("nothing has changed, it says (304), but no entity tag was sent", response)
    return response.status == 304


async def _let_others(entries: int) -> None:
    """Give way to other tasks between two looks at a list that is long."""
    if entries > _LONG:
        await asyncio.sleep(0)


def _unchanged_page(response: Response) -> Page:
    return Page(b"[]", None, {}, response)


async def _in_turns(backups: Iterable[Backup]) -> AsyncIterator[Backup]:
    """Take backups that are decoded as they are asked for, giving way to other tasks in between."""
    for number, backup in enumerate(backups):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        yield backup
