"""The operations of the Database API: send the request, parse the response, follow the pages of a list."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import attrs

from asyncbackups._api.pagination import (
    LazyBackups,
    ListEntry,
    ParsedPage,
    check_complete,
    decode_backups,
    decode_entries,
    parse_page,
)
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._api.responses import CreateResponse, parse_backup, parse_create_response, parse_health
from asyncbackups._http.headers import parse_retry_after, parse_server_time
from asyncbackups._http.messages import Request, RequestKind, Response, as_protocol_error
from asyncbackups.errors import NotFoundError
from asyncbackups.models import Backup, BackupId, BackupRef, BackupSpec, Health, PlanetRef

_MAX_PAGES = 10_000
"""A list with more pages is taken for endless."""
_BATCH_SIZE = 128
"""Backups decoded between two yields to the event loop: about a millisecond of work."""
_LONG_LIST = 2_000
"""A list with more entries takes some milliseconds to process."""


class Sender(Protocol):
    """Sends requests: the transport, or a fake in tests."""

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        """Send a request and return its 2xx or 304 response; raise the matching error for anything else.

        Args:
            request: The request.
            attempts: Maximum number of attempts; None for the retry policy's.
        """
        ...


@attrs.frozen(kw_only=True, eq=False)
class ResponseInfo:
    """Size, timing and headers of a response, or of all pages of a list.

    Attributes:
        size: Size of the bodies, in bytes.
        seconds: Duration of the requests, in seconds.
        retry_after: `Retry-After`, in seconds from now; None if not sent.
        etag: The entity tag; None if not sent, or if there are several pages.
        date: The server's clock (aware, whole seconds); None if not sent.
    """

    size: int
    seconds: float
    retry_after: float | None
    etag: str | None
    date: datetime | None

    @classmethod
    def from_responses(cls, responses: Iterable[Response], *, now: datetime) -> ResponseInfo:
        """Sum up the responses to one request and its further pages."""
        pages = list(responses)
        headers = pages[-1].headers
        return cls(
            size=sum(len(response.body) for response in pages),
            seconds=sum(response.seconds for response in pages),
            retry_after=parse_retry_after(headers, now=now),
            etag=headers.get("ETag") if len(pages) == 1 else None,
            date=parse_server_time(headers),
        )


@attrs.frozen(kw_only=True, eq=False)
class PolledList:
    """The response to one poll of a list.

    Attributes:
        entries: Id, status and completion of every backup listed; None if nothing changed (304).
        backups: The wanted backups, by `id_key`; each is decoded on access.
        info: Size, timing and headers.
    """

    entries: Sequence[ListEntry] | None
    backups: Mapping[BackupId, Backup]
    info: ResponseInfo

    async def decode_all(self) -> builtins.list[Backup]:
        """Decode all wanted backups, yielding to other tasks in between."""
        return [backup async for backup in _iterate_in_batches(self.backups.values())]


class Operations:
    """The operations for one tenant.

    Args:
        sender: Sends the requests.
        requests: Builds the requests of the tenant.
        utcnow: Returns the time of day, for `Retry-After` dates.
    """

    def __init__(self, sender: Sender, requests: RequestBuilder, *, utcnow: Callable[[], datetime]) -> None:
        self._sender = sender
        self._requests = requests
        self._utcnow = utcnow

    async def get(self, ref: BackupRef) -> Backup:
        """Retrieve a backup."""
        response = await self._sender.send(self._requests.get(ref))
        return parse_backup(response, backup_id=ref.backup_id)

    async def list(self, star_system: str, planet: str | None = None) -> builtins.list[Backup]:
        """List the backups of a star system or of one planet, following all pages."""
        return (await self.list_with_date(star_system, planet))[0]

    async def list_with_date(
        self, star_system: str, planet: str | None = None, *, attempts: int | None = None
    ) -> tuple[builtins.list[Backup], datetime | None]:
        """List backups; return the server's clock (aware), too, or None if no page showed it."""
        pages = await self._fetch_pages(self._requests.list(star_system, planet), attempts=attempts)
        backups: builtins.list[Backup] = []
        for page in pages:
            of_page = decode_backups(page, start=len(backups))
            backups += [backup async for backup in _iterate_in_batches(of_page)]
        check_complete(pages[-1], pages=len(pages), entries=len(backups))
        return backups, parse_server_time(pages[-1].response.headers)

    async def delete(self, ref: BackupRef, *, missing_ok: bool = False) -> None:
        """Delete a backup."""
        try:
            await self._sender.send(self._requests.delete(ref))
        except NotFoundError as exc:
            # If the first attempt lost its response and the repeated one finds nothing, the first one deleted it.
            if not (missing_ok or exc.repeated):
                raise

    async def health(self) -> Health:
        """Check the health of the service."""
        return parse_health(await self._sender.send(self._requests.health()))

    async def create(self, planet: PlanetRef, spec: BackupSpec) -> CreateResponse:
        """Send one create, on a new connection."""
        return parse_create_response(await self._sender.send(self._requests.create(planet, spec)))

    async def poll_get(self, ref: BackupRef, *, etag: str | None = None) -> tuple[Backup | None, ResponseInfo]:
        """Retrieve a backup without retries: the polling schedule decides when to try again.

        Args:
            ref: The backup.
            etag: The entity tag of its last response; None if there was none.

        Returns:
            The backup, None if it has not changed (304); and the response's details.
        """
        request = self._requests.get(ref, etag=etag)
        response = await self._sender.send(request, attempts=1)
        info = ResponseInfo.from_responses([response], now=self._utcnow())
        if _is_not_modified(response, request):
            return None, info
        return parse_backup(response, backup_id=ref.backup_id), info

    async def poll_list(
        self,
        star_system: str,
        planet: str | None,
        *,
        etag: str | None,
        wanted: Callable[[Iterable[ListEntry]], set[BackupId]],
    ) -> PolledList:
        """Retrieve a list without retries, and decode in full only the wanted backups.

        Args:
            star_system: The star system's id.
            planet: The planet's id; None for all planets.
            etag: The entity tag of the last response; None to get the list even if unchanged.
            wanted: Returns the ids of the entries to decode in full.
        """
        pages = await self._fetch_pages(self._requests.list(star_system, planet, etag=etag), attempts=1)
        info = ResponseInfo.from_responses([page.response for page in pages], now=self._utcnow())
        if pages[0].response.status == 304:
            return PolledList(entries=None, backups={}, info=info)
        per_page: builtins.list[Sequence[ListEntry]] = []
        entries: builtins.list[ListEntry] = []
        for page in pages:
            per_page.append(decode_entries(page, start=len(entries)))
            entries += per_page[-1]
        check_complete(pages[-1], pages=len(pages), entries=len(entries))
        await _yield_if_long(len(entries))
        ids = wanted(entries)
        await _yield_if_long(len(entries))
        backups = LazyBackups(zip(pages, per_page, strict=True), ids)
        await _yield_if_long(len(entries))
        return PolledList(entries=entries, backups=backups, info=info)

    async def _fetch_pages(self, request: Request, *, attempts: int | None) -> builtins.list[ParsedPage]:
        pages: list[ParsedPage] = []
        seen: set[str] = set()
        while True:
            response = await self._sender.send(request, attempts=attempts)
            page = _empty_page(response) if _is_not_modified(response, request) else parse_page(response)
            pages.append(page)
            seen.add(response.url)
            if page.next_url is None:
                return pages
            if page.next_url in seen or len(pages) >= _MAX_PAGES:
                raise as_protocol_error(f"the list's pages never end ({len(pages)} read)", response)
            request = Request(kind=RequestKind.LIST, method="GET", path=page.next_url)


def _is_not_modified(response: Response, request: Request) -> bool:
    """Return True if a response is 304 (Not Modified).

    Raises:
        ProtocolError: If it is, but the request had no entity tag.
    """
    if response.status == 304 and request.etag is None:
        raise as_protocol_error("304 (Not Modified) to a request without an entity tag", response)
    return response.status == 304


async def _yield_if_long(entries: int) -> None:
    """Yield to other tasks between two passes over a long list."""
    if entries > _LONG_LIST:
        await asyncio.sleep(0)


def _empty_page(response: Response) -> ParsedPage:
    return ParsedPage(b"[]", None, {}, response)


async def _iterate_in_batches(backups: Iterable[Backup]) -> AsyncIterator[Backup]:
    """Iterate over backups that are decoded on access, yielding to other tasks after each batch."""
    for number, backup in enumerate(backups):
        if number % _BATCH_SIZE == _BATCH_SIZE - 1:
            await asyncio.sleep(0)
        yield backup
