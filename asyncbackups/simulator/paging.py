"""How a list is cut into pages, in each of the ways that an API might do it. Pure."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec
from attrs import frozen

from asyncbackups.simulator.shape import ApiShape, Paging

__all__ = ["Page", "page_asked_for", "wrap_list"]


@frozen
class Page:
    """One page of a list: its encoded array, its number from 1 on, and how many backups and pages there are."""

    array: bytes
    number: int = 1
    last: bool = True
    total: int = 0
    pages: int = 1


def page_asked_for(query: str) -> int:
    """Read the page's number from a query; anything not understood is the first page."""
    values = parse_qs(query).get("page") or parse_qs(query).get("pageToken") or ["1"]
    text = values[0]
    return max(int(text), 1) if len(text) < 10 and text.isascii() and text.isdigit() else 1


def wrap_list(page: Page, shape: ApiShape, url: str) -> tuple[bytes, dict[str, str]]:
    """Put a page into its envelope.

    Args:
        page: The page.
        shape: The settings that choose envelope and paging.
        url: URL of the list, without query.

    Returns:
        The body, and the headers that it needs.
    """
    following = f"{url}?page={page.number + 1}"
    headers = {}
    if shape.paging is Paging.LINK_HEADER and not page.last:
        headers["Link"] = f'<{following}>; rel="next"'
    if shape.envelope is None:
        return page.array, headers
    members = {shape.envelope: msgspec.Raw(page.array), **shape.envelope_extra, **_markers(page, shape, following)}
    return msgspec.json.encode(members), headers


def _markers(page: Page, shape: ApiShape, following: str) -> dict[str, object]:
    match shape.paging:
        case Paging.LINKS_NEXT:
            return {} if page.last else {"links": {"next": {"href": following}}}
        case Paging.TOTAL_PAGES:
            return {"totalPages": page.pages, "totalElements": page.total, "number": page.number - 1}
        case Paging.LAST_FALSE:
            return {"last": page.last}
        case Paging.NEXT_PAGE_TOKEN:
            return {} if page.last else {"nextPageToken": str(page.number + 1)}
        case _:
            return {}
