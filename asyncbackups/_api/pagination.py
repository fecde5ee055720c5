"""Parse lists: find the array in its envelope, follow the pages, decode entries only as far as needed.

Envelope and paging are not documented, so both are detected in each response. A response that may be only part of a
list is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote, urldefrag, urljoin

import attrs
import msgspec
from yarl import URL

from asyncbackups._api.codec import backup_from_json
from asyncbackups._base.validation import check_backup_id, quote_value
from asyncbackups._http.messages import JSON_FAULTS, Response, as_protocol_error
from asyncbackups._http.urls import same_origin
from asyncbackups.errors import ConfigurationError, ProtocolError
from asyncbackups.models import Backup, BackupId, id_key


class ListEntry(msgspec.Struct, frozen=True, gc=False):
    """Id, status and completion of a listed backup: enough to see whether it has changed.

    Attributes:
        id: The id, as `id_key` returns it.
        status: The status.
        completedAt: When it was completed.
    """

    id: BackupId
    status: Any = None
    completedAt: Any = None  # noqa: N815 - the API's own name


class _DocumentedEntry(ListEntry, frozen=True, gc=False):
    """An entry whose id is its own key, and which needs no further check."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _EntryWithId(msgspec.Struct, gc=False):
    id: int | str


_DOCUMENTED_ENTRIES = msgspec.json.Decoder(list[_DocumentedEntry])
_ENTRY = msgspec.json.Decoder(ListEntry)
_ENTRIES_WITH_ID = msgspec.json.Decoder(list[_EntryWithId])
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_ONLY_ELEMENT = msgspec.json.Decoder(tuple[msgspec.Raw])  # fails at the second element

_LIST_NAMES = ("backups", "items", "content", "data")

# Names that APIs commonly use for paging, as `_normalize_name` returns them: lower case, letters only.
_PAGING_OBJECTS = frozenset({"meta", "metadata", "page", "pageinfo", "pagemetadata", "paging", "pagination"})
_LAST_PAGE_FLAGS = frozenset({"islast", "islastpage", "last", "lastpage"})
_MORE_PAGES_FLAGS = frozenset(
    {"hasmore", "hasnext", "hasnextpage", "istruncated", "more", "moreavailable", "truncated"}
)
_NEXT_PAGE_TOKENS = frozenset(
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
class ParsedPage:
    """One page of a list.

    Attributes:
        entries: The JSON array of backups, not yet decoded.
        next_url: URL of the next page; None on the last page.
        members: The other members of the envelope, decoded.
        response: The response.
    """

    entries: bytes | memoryview | msgspec.Raw = attrs.field(repr=False)
    next_url: str | None
    members: Mapping[str, Any]
    response: Response


def parse_page(response: Response) -> ParsedPage:
    """Find the list of backups and the link to the next page in a response.

    Raises:
        ProtocolError: If it has no list or more than one, or the link leads to another origin.
    """
    try:
        found = _find_list(response.body) if response.status != 204 else (b"[]", {})
        if found is None:
            raise as_protocol_error("the response has no list of backups, or more than one", response)
        entries, raw = found
        members = {key: msgspec.json.decode(value) for key, value in raw.items()}
    except JSON_FAULTS as exc:
        raise as_protocol_error("the response is not a JSON object or array", response) from exc
    return ParsedPage(entries, _find_next_url(response, members), members, response)


_Entries = bytes | memoryview | msgspec.Raw
_Members = dict[str, msgspec.Raw]


def _find_list(body: bytes | memoryview | msgspec.Raw, *, depth: int = 1) -> tuple[_Entries, _Members] | None:
    """Find the list in an array, an object, an array around one object, or an object in an object."""
    if bytes(memoryview(body)[:64]).lstrip()[:1] == b"[":
        envelope = _find_only_object(body) if depth else None
        inner = None if envelope is None else _find_list(envelope, depth=depth - 1)
        return (body, {}) if inner is None else inner
    raw = _RAW_MEMBERS.decode(body)
    name = _find_list_name(raw)
    if name is not None:
        entries: _Entries = raw.pop(name)
        return entries, raw
    if _has_array(raw):
        return None
    nested = {name: found for name, value in raw.items() if depth and (found := _find_nested_list(value, depth - 1))}
    if len(nested) == 1:
        ((name, (entries, members)),) = nested.items()
        return entries, {**members, **{key: value for key, value in raw.items() if key != name}}
    empty = next((name for name in _LIST_NAMES if name in raw and bytes(raw[name]) == b"null"), None)
    return None if nested or empty is None else (b"[]", raw)


def _find_nested_list(raw: msgspec.Raw, depth: int) -> tuple[_Entries, _Members] | None:
    return _find_list(raw, depth=depth) if bytes(memoryview(raw)[:1]) == b"{" else None


def _find_only_object(body: bytes | memoryview | msgspec.Raw) -> msgspec.Raw | None:
    """Return the only element of an array if it is an object without an id: an envelope, and no backup."""
    try:
        (element,) = _ONLY_ELEMENT.decode(body)
        return None if "id" in _RAW_MEMBERS.decode(element) else element
    except JSON_FAULTS:
        return None  # several elements, or no object; what is no JSON at all is refused later


def _has_array(raw: Mapping[str, msgspec.Raw]) -> bool:
    return any(bytes(memoryview(value)[:1]) == b"[" for value in raw.values())


def _find_list_name(raw: Mapping[str, msgspec.Raw]) -> str | None:
    arrays = [name for name, value in raw.items() if bytes(memoryview(value)[:1]) == b"["]
    common = [name for name in arrays if name in _LIST_NAMES]
    if len(common) == 1:
        return common[0]
    with_ids = [name for name in arrays if _has_ids(raw[name])]
    if len(with_ids) == 1:
        return with_ids[0]
    # If all arrays are empty, it does not matter which one is the list.
    return next(iter(arrays), None) if all(_is_empty(raw[name]) for name in arrays) else None


def _has_ids(raw: msgspec.Raw) -> bool:
    try:
        return len(_ENTRIES_WITH_ID.decode(raw)) > 0
    except msgspec.ValidationError:
        return False


def _is_empty(raw: msgspec.Raw) -> bool:
    return not _RAW_ENTRIES.decode(raw)


def decode_entries(page: ParsedPage, *, start: int = 0) -> Sequence[ListEntry]:
    """Decode the entries of a page as far as polling needs them.

    Args:
        page: The page.
        start: The number of entries on the pages before it.

    Raises:
        ProtocolError: If an entry has no valid id; the message has its position in the list.
    """
    try:
        return _DOCUMENTED_ENTRIES.decode(page.entries)
    except JSON_FAULTS:  # ids of another type; or an entry is invalid
        raws = _split_entries(page)
        return [_decode_entry(raw, number, page.response) for number, raw in enumerate(raws, start + 1)]


def _decode_entry(raw: msgspec.Raw, number: int, response: Response) -> ListEntry:
    try:
        entry = _ENTRY.decode(raw)
        return ListEntry(id_key(check_backup_id(entry.id, "id")), entry.status, entry.completedAt)
    except (*JSON_FAULTS, ConfigurationError) as exc:
        raise as_protocol_error(f"entry {number} of the list is not a backup ({exc})", response) from exc


def decode_backups(page: ParsedPage, *, start: int = 0) -> Iterator[Backup]:
    """Decode the entries of a page in full, one at a time, so that the caller may yield to other tasks in between.

    Args:
        page: The page.
        start: The number of entries on the pages before it.

    Raises:
        ProtocolError: If an entry is not a backup; the message has its position in the list.
    """
    for number, raw in enumerate(_split_entries(page), start + 1):
        yield _decode_backup(raw, f"entry {number}", page.response)


class LazyBackups(Mapping[BackupId, Backup]):
    """Some backups of a list, by `id_key`. Each is decoded on access, so that few are in memory at a time.

    Access raises `ProtocolError` if the entry is not a backup.

    Args:
        pages: The list's pages, and the decoded entries of each.
        ids: The ids of the backups to include.
    """

    def __init__(self, pages: Iterable[tuple[ParsedPage, Sequence[ListEntry]]], ids: Collection[BackupId]) -> None:
        # Two dictionaries instead of one of tuples: the garbage collector would have to visit each tuple.
        self._raw: dict[BackupId, msgspec.Raw] = {}
        self._responses: dict[BackupId, Response] = {}
        for page, entries in pages if ids else ():
            for entry, raw in zip(entries, _split_entries(page), strict=True):
                if entry.id in ids:
                    self._raw[entry.id], self._responses[entry.id] = raw, page.response

    def __getitem__(self, backup_id: BackupId) -> Backup:
        return _decode_backup(self._raw[backup_id], f"the entry of backup {backup_id}", self._responses[backup_id])

    def __iter__(self) -> Iterator[BackupId]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, backup_id: object) -> bool:
        return backup_id in self._raw


def _split_entries(page: ParsedPage) -> list[msgspec.Raw]:
    try:
        return _RAW_ENTRIES.decode(page.entries)
    except JSON_FAULTS as exc:
        raise as_protocol_error(f"the list is not JSON ({exc})", page.response) from exc


def _decode_backup(raw: msgspec.Raw, entry: str, response: Response) -> Backup:
    try:
        return backup_from_json(msgspec.json.decode(raw))
    except (*JSON_FAULTS, ProtocolError) as exc:
        raise as_protocol_error(f"{entry} of the list is not a backup ({exc})", response) from exc


def check_complete(page: ParsedPage, *, pages: int, entries: int) -> None:
    """Check that a page without a next link is the last one, by all common signals of further pages.

    Args:
        page: The last page read.
        pages: The number of pages read.
        entries: The number of entries on those pages.

    Raises:
        ProtocolError: If there seem to be more pages, but no link to them.
    """
    signal = next(_continuation_signals(page, pages, entries), None)
    if signal is not None:
        raise as_protocol_error(f"the list has more pages ({signal}), but no known link to them", page.response)


def _continuation_signals(page: ParsedPage, pages: int, entries: int) -> Iterator[str]:
    for paging in _paging_objects(page.members):
        for name, value in paging.items():
            if _is_continuation(_normalize_name(name), value, pages, entries):
                yield f"{quote_value(name)} is {quote_value(value)}"
        if any(map(_has_value, _next_links(paging))):
            yield "a next link without a URL"
    yield from _continuation_headers(page.response.headers, pages, entries)


def _continuation_headers(headers: Mapping[str, str], pages: int, entries: int) -> Iterator[str]:
    if headers.get("X-Next-Page", "").strip():
        yield "the header X-Next-Page"
    if _parse_count(headers.get("X-Total-Pages")) > pages:
        yield "the header X-Total-Pages"
    total = _parse_count(headers.get("X-Total-Count"))
    range_total = _parse_count(headers.get("Content-Range", "").rpartition("/")[2])  # RFC 9110, 14.4: "items 0-49/319"
    if max(total, range_total) > entries:
        yield "the header X-Total-Count or Content-Range"


def _paging_objects(members: Mapping[str, Any], depth: int = 2) -> Iterator[Mapping[str, Any]]:
    """Iterate over the objects that may describe paging: the envelope, and in it `page`, `meta.pagination`, ..."""
    yield members
    for name, value in members.items():
        if depth and isinstance(value, dict) and _normalize_name(name) in _PAGING_OBJECTS:
            yield from _paging_objects(value, depth - 1)


def _is_continuation(name: str, value: object, pages: int, entries: int) -> bool:
    return (
        (name in _LAST_PAGE_FLAGS and value is False)
        or (name in _MORE_PAGES_FLAGS and value is True)
        or (name in _NEXT_PAGE_TOKENS and _has_value(value))
        or (name in _PAGE_COUNTS and _parse_count(value) > pages)
        or (name in _ENTRY_COUNTS and _parse_count(value) > entries)
    )


def _normalize_name(name: str) -> str:
    return "".join(filter(str.isalpha, name.casefold()))


def _has_value(value: object) -> bool:
    return any(value.values()) if isinstance(value, dict) else bool(value)


def _parse_count(value: object) -> float:
    """Return a JSON value or header as a number; 0, which never signals more pages, if it is not one."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) <= 19 else 0
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _find_next_url(response: Response, members: Mapping[str, Any]) -> str | None:
    """Return the URL of the next page; None if there is no link to one.

    Raises:
        ProtocolError: If it leads to another origin, which must not get the token.
    """
    target = _parse_link_header(response.headers.get("Link", ""))
    if target is None:
        target = _find_next_href(members)
    if target is None:
        return None
    try:
        # Characters that are invalid in a URL are encoded first, so that every parser reads the same URL.
        url = quote(urldefrag(urljoin(response.url, target)).url, safe="%/:?#[]@!$&'()*+,;=~")
        if same_origin(URL(url, encoded=True), URL(response.url, encoded=True)):
            return url
    except ValueError:
        pass  # not a URL
    raise as_protocol_error(f"the next page is at another origin ({quote_value(target)}): not followed", response)


def _parse_link_header(text: str) -> str | None:
    """Return the target of `rel="next"` in a `Link` header (RFC 8288); None if there is none."""
    for part in text.split("<")[1:]:  # not at commas: a target may contain some
        target, closed, parameters = part.partition(">")
        relations = [
            value.strip(' \t",').casefold().split()
            for name, _, value in (parameter.partition("=") for parameter in parameters.split(";"))
            if name.strip().casefold() == "rel"
        ]
        if closed and any("next" in relation for relation in relations):
            return target.strip()
    return None


def _find_next_href(members: Mapping[str, Any]) -> str | None:
    for paging in _paging_objects(members):
        for link in _next_links(paging):
            href = link.get("href") if isinstance(link, dict) else link
            if isinstance(href, str) and href:
                return href
    return None


def _next_links(paging: Mapping[str, Any]) -> Iterator[Any]:
    """Iterate over the links to a next page: `{"next": ...}`, or `[{"rel": "next", ...}]`."""
    for links in (paging.get("links"), paging.get("_links")):
        if isinstance(links, dict):
            yield links.get("next")
        elif isinstance(links, list):
            yield from (link for link in links if isinstance(link, dict) and link.get("rel") == "next")
