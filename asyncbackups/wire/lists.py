"""What a list says: its envelope, its pages, and its entries, decoded only as far as they are needed.

The envelope and the paging are not documented, so both are found out from each answer, and an answer that may be
only a part of the list is never taken for the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs
import msgspec

from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup
from asyncbackups.wire.answers import as_protocol_error
from asyncbackups.wire.codec import backup_from
from asyncbackups.wire.http import Response

__all__ = ["Glance", "Page", "check_complete", "full_backups", "glances", "open_page"]


class Glance(msgspec.Struct, gc=False):
    """The part of a backup that tells whether there is news of it. `id` is a number once `glances` has read it."""

    id: int | str
    status: Any = None
    completedAt: Any = None  # noqa: N815 - the API's own name


class _WithId(msgspec.Struct, gc=False):
    id: int | str


_GLANCES = msgspec.json.Decoder(list[Glance])
_WITH_ID = msgspec.json.Decoder(list[_WithId])
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])

_LIST_NAMES = ("backups", "items", "content", "data")
_BLOCKS = ("page", "paging", "pagination", "meta", "metadata")
_MORE_TOKENS = (
    "nextPageToken",
    "next_page_token",
    "nextToken",
    "next_token",
    "continuationToken",
    "nextCursor",
    "next",
)
_PAGE_COUNTS = ("totalPages", "total_pages", "pageCount")
_ENTRY_COUNTS = ("totalElements", "totalCount", "total_count", "totalItems", "total")


@attrs.frozen
class Page:
    """One answer of a list.

    Attributes:
        entries: The JSON array of backups, not yet decoded.
        next_url: Where the next page is, or None.
        members: What else the envelope holds, decoded.
        response: The answer itself.
    """

    entries: bytes | memoryview | msgspec.Raw
    next_url: str | None
    members: Mapping[str, Any]
    response: Response


def open_page(response: Response) -> Page:
    """Find the list in an answer, and the link to the next page.

    Raises:
        ProtocolError: If there is no list, more than one, or a next link to another origin.
    """
    body = response.body
    try:
        if body.lstrip()[:1] == b"[":
            return Page(body, _next_url(response, {}), {}, response)
        raw = _RAW_MEMBERS.decode(body)
        name = _list_name(raw)
        if name is None:
            raise as_protocol_error("the answer holds no list of backups (or more than one)", response)
        entries = raw.pop(name)
        members = {key: msgspec.json.decode(value) for key, value in raw.items()}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise as_protocol_error("the answer is not a JSON object or array", response) from exc
    return Page(entries, _next_url(response, members), members, response)


def _list_name(raw: Mapping[str, msgspec.Raw]) -> str | None:
    arrays = [name for name, value in raw.items() if bytes(memoryview(value)[:1]) == b"["]
    usual = [name for name in arrays if name in _LIST_NAMES]
    if len(usual) == 1:
        return usual[0]
    fitting = [name for name in arrays if _has_ids(raw[name])]
    if len(fitting) == 1:
        return fitting[0]
    # Where every array is empty, whichever is the list of backups is empty.
    empty = arrays if not fitting and all(_is_empty(raw[name]) for name in arrays) else []
    return empty[0] if empty else None


def _has_ids(raw: msgspec.Raw) -> bool:
    try:
        return len(_WITH_ID.decode(raw)) > 0
    except msgspec.ValidationError:
        return False


def _is_empty(raw: msgspec.Raw) -> bool:
    return not _RAW_ENTRIES.decode(raw)


def glances(page: Page) -> list[Glance]:
    """Decode of each entry only what tells whether there is news of it.

    Raises:
        ProtocolError: If an entry has no id.
    """
    try:
        found = _GLANCES.decode(page.entries)
        for glance in found:
            if type(glance.id) is not int:
                glance.id = int(glance.id)
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise as_protocol_error(f"the list holds something that is no backup ({exc})", page.response) from exc
    return found


def full_backups(page: Page) -> Iterator[Backup]:
    """Decode the entries one after the other, as they are asked for: a long list may be spread over event-loop turns.

    Raises:
        ProtocolError: If an entry is no backup.
    """
    try:
        for raw in _RAW_ENTRIES.decode(page.entries):
            yield backup_from(msgspec.json.decode(raw))
    except (msgspec.DecodeError, RecursionError) as exc:
        raise as_protocol_error("the list is not JSON", page.response) from exc
    except ProtocolError as exc:
        raise as_protocol_error("the list holds something that is no backup", page.response) from exc


def check_complete(page: Page, *, pages: int, entries: int) -> None:
    """Make sure that a page without a next link is the last one, by every marker of paging that is commonly used.

    Args:
        page: The last page that was read.
        pages: How many pages were read, this one included.
        entries: How many entries they held.

    Raises:
        ProtocolError: If there seem to be more pages, which we do not know how to ask for.
    """
    marker = next(_markers_of_more(page, pages, entries), None)
    if marker is not None:
        raise as_protocol_error(f"the list has more pages ({marker}), in a way that is not understood", page.response)


def _markers_of_more(page: Page, pages: int, entries: int) -> Iterator[str]:
    blocks = [
        page.members,
        *(page.members[name] for name in _BLOCKS if isinstance(page.members.get(name), dict)),
    ]
    for block in blocks:
        yield from _markers_in(block, pages, entries)
    headers = page.response.headers
    if headers.get("X-Next-Page", "").strip():
        yield "the header X-Next-Page"
    for name, seen in (("X-Total-Pages", pages), ("X-Total-Count", entries)):
        text = headers.get(name, "")
        if text.isascii() and text.isdigit() and int(text) > seen:
            yield f"the header {name}: {text}"


def _markers_in(block: Mapping[str, Any], pages: int, entries: int) -> Iterator[str]:
    if block.get("last") is False:
        yield "last is false"
    for name in ("hasMore", "has_more", "hasNext"):
        if block.get(name) is True:
            yield f"{name} is true"
    for name in _MORE_TOKENS:
        if block.get(name):
            yield f"there is a {name}"
    for names, seen in ((_PAGE_COUNTS, pages), (_ENTRY_COUNTS, entries)):
        for name in names:
            count = block.get(name)
            if isinstance(count, int) and count > seen:
                yield f"{name} is {count}"


def _next_url(response: Response, members: Mapping[str, Any]) -> str | None:
    """Find the link to the next page.

    Raises:
        ProtocolError: If it leads to another origin: the token must not go there.
    """
    target = _link_header(response.headers.get("Link", "")) or _link_member(members)
    if target is None:
        return None
    try:
        url = urljoin(response.url, target)
        same = urlsplit(url)[:2] == urlsplit(response.url)[:2]
    except ValueError:
        same = False
    if not same:
        raise as_protocol_error(f"the next page is at another origin ({target[:200]!r}): not followed", response)
    return url


def _link_header(text: str) -> str | None:
    """Read `Link` (RFC 8288) as far as `rel="next"` goes; a comma inside <...> does not separate."""
    for part in text.split("<")[1:]:
        target, closed, parameters = part.partition(">")
        relations = [
            value.strip(' \t",').casefold().split()
            for name, _, value in (parameter.partition("=") for parameter in parameters.split(";"))
            if name.strip().casefold() == "rel"
        ]
        if closed and any("next" in relation for relation in relations):
            return target.strip()
    return None


def _link_member(members: Mapping[str, Any]) -> str | None:
    for name in ("links", "_links"):
        links = members.get(name)
        following = links.get("next") if isinstance(links, dict) else None
        href = following.get("href") if isinstance(following, dict) else None
        if isinstance(href, str) and href:
            return href
    return None
