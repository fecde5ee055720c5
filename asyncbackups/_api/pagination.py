"""What a list says: its envelope, its pages, and its entries, decoded only as far as they are needed.

The envelope and the paging are not documented, so both are found out from each answer, and an answer that may be
only a part of the list is never taken for the whole of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote, urldefrag, urljoin

import attrs
import msgspec

from asyncbackups._api.codec import backup_from
from asyncbackups._base.validation import quote_value
from asyncbackups._http.messages import Response
from asyncbackups._http.status import as_protocol_error
from asyncbackups._http.text import JSON_FAULTS
from asyncbackups._http.urls import same_origin
from asyncbackups.errors import ProtocolError
from asyncbackups.models import Backup

_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ListEntry(msgspec.Struct, gc=False):
    """The part of a backup that tells whether there is news of it."""

    id: _Id
    status: Any = None
    completedAt: Any = None  # noqa: N815 - the API's own name


class _WithId(msgspec.Struct, gc=False):
    id: int | str


# Lax, so that an id may be written as a text.
_GLANCES = msgspec.json.Decoder(list[ListEntry], strict=False)
_WITH_ID = msgspec.json.Decoder(list[_WithId])
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])

_LIST_NAMES = ("backups", "items", "content", "data")

# Names in which APIs commonly speak of paging: lower case, letters only, as `_letters` makes them of any spelling.
_BLOCKS = frozenset({"meta", "metadata", "page", "pageinfo", "pagemetadata", "paging", "pagination"})
_LAST = frozenset({"islast", "islastpage", "last", "lastpage"})
_MORE = frozenset({"hasmore", "hasnext", "hasnextpage", "istruncated", "more", "moreavailable", "truncated"})
_TOKENS = frozenset(
    {
        *("continuation", "continuationtoken", "odatanextlink"),
        *("next", "nextcursor", "nexthref", "nextlink", "nextmarker", "nextoffset", "nextpage", "nextpagelink"),
        *("nextpagetoken", "nextpageurl", "nexttoken", "nexturi", "nexturl"),
    }
)
_PAGE_COUNTS = frozenset({"pagecount", "pages", "totalpages"})
_ENTRY_COUNTS = frozenset(
    {"count", "total", "totalcount", "totalelements", "totalitems", "totalrecords", "totalresults"}
)


@attrs.frozen(eq=False)
class Page:
    """One answer of a list.

    Attributes:
        entries: The JSON array of backups, not yet decoded.
        next_url: Where the next page is, or None.
        members: What else the envelope holds, decoded.
        response: The answer itself.
    """

    entries: bytes | memoryview | msgspec.Raw = attrs.field(repr=False)
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
    except JSON_FAULTS as exc:
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
    return next(iter(arrays), None) if all(_is_empty(raw[name]) for name in arrays) else None


def _has_ids(raw: msgspec.Raw) -> bool:
    try:
        return len(_WITH_ID.decode(raw)) > 0
    except msgspec.ValidationError:
        return False


def _is_empty(raw: msgspec.Raw) -> bool:
    return not _RAW_ENTRIES.decode(raw)


def glances(page: Page) -> list[ListEntry]:
    """Decode of each entry only what tells whether there is news of it.

    Raises:
        ProtocolError: If an entry has no id.
    """
    try:
        return _GLANCES.decode(page.entries)
    except JSON_FAULTS as exc:
        raise as_protocol_error(f"the list holds something that is no backup ({exc})", page.response) from exc


def full_backups(page: Page) -> Iterator[Backup]:
    """Decode all entries, one after the other, as they are asked for: a long list may be spread over event-loop turns.

    Raises:
        ProtocolError: If an entry is no backup.
    """
    for raw in _raw_entries(page):
        yield _backup(raw, page.response)


class LazyBackups(Mapping[int, Backup]):
    """Some backups of a list, by id, each decoded when it is asked for: of a long list few are in memory at a time.

    Asking for one raises a `ProtocolError` if it is no backup.

    Args:
        pages: The list's pages, and the glances of each.
        ids: Which backups.
    """

    def __init__(self, pages: Iterable[tuple[Page, Sequence[ListEntry]]], ids: Collection[int]) -> None:
        # Two dictionaries and no tuples: ten thousand would be that much more for the garbage collector to look at.
        self._raw: dict[int, msgspec.Raw] = {}
        self._responses: dict[int, Response] = {}
        for page, seen in pages if ids else ():
            for glance, raw in zip(seen, _raw_entries(page), strict=True):
                if glance.id in ids:
                    self._raw[glance.id], self._responses[glance.id] = raw, page.response

    def __getitem__(self, backup_id: int) -> Backup:
        return _backup(self._raw[backup_id], self._responses[backup_id])

    def __iter__(self) -> Iterator[int]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, backup_id: object) -> bool:
        return backup_id in self._raw


def _raw_entries(page: Page) -> list[msgspec.Raw]:
    try:
        return _RAW_ENTRIES.decode(page.entries)
    except JSON_FAULTS as exc:
        raise as_protocol_error("the list is not JSON", page.response) from exc


def _backup(raw: msgspec.Raw, response: Response) -> Backup:
    try:
        return backup_from(msgspec.json.decode(raw))
    except JSON_FAULTS as exc:
        raise as_protocol_error("the list is not JSON", response) from exc
    except ProtocolError as exc:
        raise as_protocol_error("the list holds something that is no backup", response) from exc


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
    for block in _blocks(page.members):
        for name, value in block.items():
            if _tells_of_more(_letters(name), value, pages, entries):
                yield f"{quote_value(name)} is {quote_value(value)}"
        if any(map(_says_something, _next_links(block))):
            yield "a next link without an address"
    yield from _headers_of_more(page.response.headers, pages, entries)


def _headers_of_more(headers: Mapping[str, str], pages: int, entries: int) -> Iterator[str]:
    if headers.get("X-Next-Page", "").strip():
        yield "the header X-Next-Page"
    if _count(headers.get("X-Total-Pages")) > pages:
        yield "the header X-Total-Pages"
    # RFC 9110 section 14.4: "items 0-49/319".
    if max(_count(headers.get("X-Total-Count")), _count(headers.get("Content-Range", "").rpartition("/")[2])) > entries:
        yield "the header X-Total-Count or Content-Range"


def _blocks(members: Mapping[str, Any], depth: int = 2) -> Iterator[Mapping[str, Any]]:
    """Iterate over the objects that may speak of paging: the envelope, and in it `page`, `meta.pagination`, ..."""
    yield members
    for name, value in members.items():
        if depth and isinstance(value, dict) and _letters(name) in _BLOCKS:
            yield from _blocks(value, depth - 1)


def _tells_of_more(name: str, value: object, pages: int, entries: int) -> bool:
    return (
        (name in _LAST and value is False)
        or (name in _MORE and value is True)
        or (name in _TOKENS and _says_something(value))
        or (name in _PAGE_COUNTS and _count(value) > pages)
        or (name in _ENTRY_COUNTS and _count(value) > entries)
    )


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, name.casefold()))


def _says_something(value: object) -> bool:
    return any(value.values()) if isinstance(value, dict) else bool(value)


def _count(value: object) -> float:
    """Return the number that a JSON value or a header is; 0, which is never more than what was seen, for others."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) <= 19 else 0
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _next_url(response: Response, members: Mapping[str, Any]) -> str | None:
    """Find the link to the next page.

    Raises:
        ProtocolError: If it leads to another origin: the token must not go there.
    """
    target = _link_header(response.headers.get("Link", ""))
    if target is None:
        target = _link_member(members)
    if target is None:
        return None
    try:
        # Bytes that have no place in a URL are encoded, so that nothing below takes them for something else.
        url = quote(urldefrag(urljoin(response.url, target)).url, safe="%/:?#[]@!$&'()*+,;=~")
        same = same_origin(url, response.url)
    except ValueError:
        same = False
    if not same:
        raise as_protocol_error(f"the next page is at another origin ({quote_value(target)}): not followed", response)
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
    for block in _blocks(members):
        for following in _next_links(block):
            href = following.get("href") if isinstance(following, dict) else following
            if isinstance(href, str) and href:
                return href
    return None


def _next_links(block: Mapping[str, Any]) -> Iterator[Any]:
    """Iterate over what `links` says of the next page: `{"next": ...}`, or `[{"rel": "next", ...}]`."""
    for links in (block.get("links"), block.get("_links")):
        if isinstance(links, dict):
            yield links.get("next")
        elif isinstance(links, list):
            yield from (link for link in links if isinstance(link, dict) and link.get("rel") == "next")
