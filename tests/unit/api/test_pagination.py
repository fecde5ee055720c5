"""Lists: the array is found in any envelope or the response is refused; a part never passes for the whole list."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._api.pagination import (
    LazyBackups,
    ListEntry,
    ParsedPage,
    check_complete,
    decode_backups,
    decode_entries,
    parse_page,
)
from asyncbackups._http.messages import Response
from asyncbackups.errors import ProtocolError
from asyncbackups.models import id_key

URL = "https://host.example/api/v1/tenants/acme/starsystems/alpha/backup"
ONE = {"id": 362, "status": "succeeded", "completedAt": "2024-01-29T09:55:20Z"}
TWO = {"id": 363, "status": "running"}
prop = settings(max_examples=100)


def response(body: Any, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=200, headers=named, body=raw, method="GET", url=URL)


def ids(body: Any) -> list[int]:
    page = parse_page(response(body))
    found = [entry.id for entry in decode_entries(page)]
    assert [backup.id for backup in decode_backups(page)] == found
    return found


def checked(body: Any, *, pages: int = 1, entries: int | None = None, **headers: str) -> None:
    page = parse_page(response(body, **headers))
    assert page.next_url is None
    check_complete(page, pages=pages, entries=len(decode_entries(page)) if entries is None else entries)


@pytest.mark.parametrize(
    "body",
    [
        [ONE, TWO],
        {"backups": [ONE, TWO]},
        {"items": [ONE, TWO], "errors": []},
        {"content": [ONE, TWO], "sort": [{"field": "x"}], "pageable": {"sort": []}},
        {"data": [ONE, TWO], "status": "ok"},
        {"whatever": [ONE, TWO]},
        {"whatever": [ONE, TWO], "warnings": [], "names": ["x"], "mixed": [TWO, {}]},
        {"backups": [ONE, TWO], "planets": [{"id": 9}]},
        {"items": [ONE, TWO], "data": []},
        {"_embedded": {"backups": [ONE, TWO]}, "page": {"size": 2}},
        {"data": {"items": [ONE, TWO]}},
        [{"backups": [ONE, TWO], "totalRecords": None}],
        b' \n{ "backups" :\t[{"id":362} , {"id":363}] } ',
        b' \r\n[{"id":362},{"id":363}]',
    ],
    ids=lambda body: str(body)[:40],
)
def test_list_is_found_in_its_envelope(body: Any) -> None:
    """A bare array, a common name, or the only array of objects with an id; other members do not matter."""
    assert ids(body) == [362, 363]


EMPTY_LISTS = [
    *([], {"backups": []}, {"whatever": []}, {"x": [], "y": []}, {"items": [], "n": None}),
    *({"backups": None}, {"data": {"items": None}}, [{"backups": None, "totalRecords": None}]),
]


@pytest.mark.parametrize("body", EMPTY_LISTS, ids=str)
def test_empty_list_is_a_list(body: Any) -> None:
    """No backups is a valid list."""
    assert ids(body) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": 362},
        {"names": None},
        {"backups": {"362": ONE}},
        {"a": {"backups": [ONE]}, "b": {"backups": [TWO]}},
        {"a": {"b": {"backups": [ONE]}}},
        {"a": [ONE], "b": [TWO]},
        {"items": [ONE], "data": [TWO]},
        {"names": ["x", "y"]},
        {"names": ["x"], "empty": []},
    ],
    ids=str,
)
def test_response_without_a_list_is_refused(body: Any) -> None:
    """No array, or no unique one, is a protocol error that quotes the response."""
    with pytest.raises(ProtocolError, match=r"the response has no list of backups, or more than one") as caught:
        parse_page(response(body))
    assert caught.value.excerpt == json.dumps(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b'"x"',
        b"362",
        b"null",
        b'{"backups": [',
        b'{"\xff": []}',
        b'{"backups": [], "x": "\xff"}',
        b'{"backups": [], "x": NaN}',
        b'{"backups": [], "x": 1e999}',
        b'{"backups": [], "x": ' + b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"backups": []} more',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_invalid_json_is_refused(body: bytes) -> None:
    """Truncated, malformed, too deep: one typed error with a bounded excerpt."""
    with pytest.raises(ProtocolError, match=r"the response is not a JSON object or array") as caught:
        parse_page(response(body))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (b'"x"', "Expected `object`, got `str`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "Object missing required field `id`"),
        (b'{"status": "x"}', "Object missing required field `id`"),
        (b'{"id": null}', "got `null`"),
        (b'{"id": true}', "got `bool`"),
        (b'{"id": 1.5}', "got `float`"),
        (b'{"id": 362.0}', "got `float`"),
        (b'{"id": ""}', "id must not be blank"),
        (b'{"id": ".."}', "id must not be"),
        (b'{"id": "a\\u0007"}', "id must be at most 200 printable characters"),
        (b'{"id": 18446744073709551616}', "id must be a 64-bit integer or a string"),
        (b'{"id": -9223372036854775809}', "id must be a 64-bit integer or a string"),
        (b'{"id": ' + b"9" * 5000 + b"}", "Integer value out of range"),
        (b'{"id": "' + b"9" * 5000 + b'"}', "id must be at most 200 printable characters"),
        (b'{"id": 1, "status": "\xff"}', "'utf-8' codec"),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("before", [0, 1, 300])
def test_an_entry_that_is_not_a_backup_is_named(entry: bytes, why: str, before: int) -> None:
    """Both decoders refuse the list: the error has the entry's position over all pages, and why it is not a backup."""
    entries = b",".join([b'{"id": "a"}'] * before + [entry, b'{"id": 1}'])
    page = parse_page(response(b"[" + entries + b"]"))
    for start in (0, 1000):
        named = f"entry {start + before + 1} of the list is not a backup"
        with pytest.raises(ProtocolError, match=rf"{named} \(.*{re.escape(why)}") as caught:
            decode_entries(page, start=start)
        assert len(str(caught.value)) < 1000
        with pytest.raises(ProtocolError, match=named):
            list(decode_backups(page, start=start))


@pytest.mark.parametrize(
    "entries",
    [
        b'[{"id": 1, "status": NaN}]',
        b'[{"id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b'[{"id": 1}',
        b'[{"id": 1}] more',
    ],
    ids=lambda entries: repr(entries[:30]),
)
def test_entries_that_are_not_json_are_refused(entries: bytes) -> None:
    """Both decoders refuse the list: nothing is skipped silently."""
    page = parse_page(response(entries))
    for decode in (decode_entries, decode_backups):
        with pytest.raises(ProtocolError, match=r"the list is not JSON \(") as caught:
            list(decode(page))
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "shown",
    [[362], ["362"], [1, "x"], ["00362", "362"], [str(uuid.UUID(int=7))], [-5, 2**63, 2**64 - 1, -(2**63)], [0, "-0"]],
    ids=repr,
)
def test_ids_are_of_any_type(shown: list[int | str]) -> None:
    """Entries have the key of each id, backups the id as it came."""
    page = parse_page(response([{"id": backup_id, "status": "x", "completedAt": 5} for backup_id in shown]))
    entries = decode_entries(page)
    assert [entry.id for entry in entries] == list(map(id_key, shown))
    assert all((entry.status, entry.completedAt) == ("x", 5) for entry in entries)
    lazy = LazyBackups([(page, entries)], {entry.id for entry in entries})
    assert list(lazy) == list(map(id_key, shown))
    backups = list(decode_backups(page))
    assert backups == list(lazy.values())
    assert [(backup.id, type(backup.id)) for backup in backups] == [(one, type(one)) for one in shown]


def test_entry_has_id_status_and_completion() -> None:
    """The values are as sent, of any type; other members are dropped."""
    (one, two) = decode_entries(parse_page(response([{**ONE, "size": 5}, {"id": 363, "status": {"code": 1}}])))
    assert (one.id, one.status, one.completedAt) == (362, "succeeded", "2024-01-29T09:55:20Z")
    assert (two.id, two.status, two.completedAt) == (363, {"code": 1}, None)


def test_backups_are_decoded_one_at_a_time() -> None:
    """The entries before an invalid one are returned."""
    backups = decode_backups(parse_page(response([ONE, {"status": "x"}])))
    assert next(backups).id == 362
    with pytest.raises(ProtocolError):
        next(backups)


@pytest.mark.parametrize(("wanted", "expected"), [(set(), []), ({363}, [363]), ({363, 362, 9}, [362, 363])])
def test_lazy_backups_are_the_wanted_ones(wanted: set[int], expected: list[int]) -> None:
    """Only the wanted backups are included, over all pages, in the list's order."""
    pages = [parse_page(response([one])) for one in (ONE, TWO)]
    backups = LazyBackups([(page, decode_entries(page)) for page in pages], wanted)
    assert [backup.id for backup in backups.values()] == list(backups) == expected
    assert len(backups) == len(expected)
    assert all(number in backups for number in expected)
    assert backups.get(9) is None


def test_lazy_backups_are_decoded_on_access() -> None:
    """An invalid entry does not prevent access to the others."""
    page = parse_page(response([ONE, {"id": 7}, {"id": True}]))
    backups = LazyBackups([(page, [ListEntry(362), ListEntry(7), ListEntry(8)])], {362, 7, 8})
    assert backups[362].id == 362
    assert backups[7] is not backups[7]
    with pytest.raises(ProtocolError, match="not a backup"):
        backups[8]


def test_ten_thousand_entries_are_decoded() -> None:
    """A long list is read as a whole, in order."""
    entries = [{**ONE, "id": number, "metadata": {"name": "x" * 100}} for number in range(10_000)]
    page = parse_page(response({"backups": entries}))
    assert [entry.id for entry in decode_entries(page)] == list(range(10_000))
    assert len(repr(page)) < 1000


def test_entries_may_be_any_view_of_bytes() -> None:
    """The entries of a page are bytes, a memoryview or a msgspec.Raw."""
    page = ParsedPage(memoryview(b'[{"id": 1}]'), None, {}, response([]))
    assert [entry.id for entry in decode_entries(page)] == [1]


@prop
@given(
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "backups", "items", "x", "links", "next", "page", "total"]), inner)
        ),
        max_leaves=14,
    ).map(lambda value: json.dumps(value).encode()),
    link=st.text(max_size=20) | st.text(alphabet='<>/;,"= relnxt', max_size=30),
)
def test_any_response_is_a_list_or_a_protocol_error(body: bytes, link: str) -> None:
    """No body and no header cause another exception, with either decoder."""
    try:
        page = parse_page(response(body, Link=link))
        read = decode_entries(page)
        assert [backup.id for backup in decode_backups(page)] == [entry.id for entry in read]
        check_complete(page, pages=1, entries=len(read))
    except ProtocolError:
        return


@prop
@given(
    name=st.sampled_from(["backups", "items", "results", "x"]),
    entries=st.lists(st.integers(0, 2**63 - 1).map(lambda number: {"id": number, "status": "x"}), max_size=5),
    others=st.dictionaries(
        st.sampled_from(["status", "requestId", "n", "tags"]),
        st.none()
        | st.integers()
        | st.text()
        | st.lists(st.text(min_size=1), min_size=1)
        | st.dictionaries(st.text(), st.integers()),
    ),
)
def test_envelopes_lose_and_add_nothing(name: str, entries: list[Any], others: dict[str, Any]) -> None:
    """Under any name and beside any members, exactly the entries are found; members are kept."""
    if not entries and any(isinstance(other, list) for other in others.values()):
        name = "backups"  # an empty list under an unusual name beside another array could be either
    page = parse_page(response({**others, name: entries}))
    assert [entry.id for entry in decode_entries(page)] == [entry["id"] for entry in entries]
    assert page.members == others
    check_complete(page, pages=1, entries=len(entries))


# -- the next page -----------------------------------------------------------------------------------------------------

NEXT = "https://host.example/api/v1/tenants/acme/starsystems/alpha/backup?page=2"


@pytest.mark.parametrize(
    "link",
    [
        f'<{NEXT}>; rel="next"',
        f"<{NEXT}>; rel=next",
        f"<{NEXT}>;REL=Next",
        f'<{NEXT}> ; title="a;b" ; rel="last next"',
        f'<{URL}?page=1>; rel="prev", <{NEXT}>; rel="next", <{URL}?page=9>; rel="last"',
        f'<{URL}?a=1,2>; rel="first",<{NEXT}>; rel="next"',
        '<?page=2>; rel="next"',
        '<backup?page=2>; rel="next"',
        '</api/v1/tenants/acme/starsystems/alpha/backup?page=2>; rel="next"',
        '<//host.example/api/v1/tenants/acme/starsystems/alpha/backup?page=2>; rel="next"',
        f'<{NEXT}#top>; rel="next"',
        f'<{NEXT.replace("host.example", "host.example:443")}>; rel="next"',
        f'<{NEXT.replace("host.example", "HOST.example")}>; rel="next"',
    ],
)
@pytest.mark.parametrize("body", [[ONE], {"backups": [ONE]}])
def test_link_header_leads_to_the_next_page(link: str, body: Any) -> None:
    """A `Link` with `rel="next"` is resolved against the request URL, whatever else the header contains."""
    url = parse_page(response(body, Link=link)).next_url
    assert url is not None
    assert url.replace(":443", "").replace("HOST", "host") == NEXT


@pytest.mark.parametrize(
    "members",
    [
        {"links": {"next": {"href": NEXT}}},
        {"links": {"next": NEXT, "prev": None}},
        {"_links": {"self": {"href": URL}, "next": {"href": "?page=2"}}},
        {"links": [{"rel": "self", "href": URL}, {"rel": "next", "href": NEXT}]},
        {"meta": {"links": {"next": NEXT}}},
        {"links": None, "_links": {"next": {"href": NEXT}}},
    ],
    ids=str,
)
def test_link_member_leads_to_the_next_page(members: Any) -> None:
    """`links.next.href` is followed, in each of the common forms."""
    assert parse_page(response({"backups": [ONE], **members})).next_url == NEXT


@pytest.mark.parametrize(
    ("link", "members"),
    [
        ("", {}),
        ("rubbish", {}),
        (f'<{NEXT}; rel="next"', {}),
        (f'<{NEXT}>; rel="nextish"', {}),
        (f'<{NEXT}>; title="next"', {}),
        (f'<{URL}>; rel="last"', {}),
        ("", {"links": {"next": None}}),
        ("", {"links": {"next": {"href": None}}}),
        ("", {"links": {"next": ""}}),
        ("", {"links": [{"rel": "prev", "href": NEXT}, "x"]}),
        ("", {"links": "x", "_links": 5}),
    ],
    ids=str,
)
def test_other_links_are_no_next_page(link: str, members: Any) -> None:
    """Other relations and empty links neither lead to a page nor signal one."""
    checked({"backups": [ONE], **members}, Link=link)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/x",
        "http://host.example/x",
        "//evil.example/x",
        "https://host.example:8443/x",
        "https://host.example@evil.example/x",
        "https://me:pw@host.example/x",
        "https://evil.example\\@host.example/x",
        "https://host.example.evil.example/x",
        "https://[::1/x",
        "https://host.example:99999/x",
        "javascript:alert(1)",
        "ftp://host.example/x",
    ],
)
def test_next_page_at_another_origin_is_refused(target: str) -> None:
    """The token is never sent to another origin, nor with other credentials."""
    for page in (response([ONE], Link=f'<{target}>; rel="next"'), response({"a": [ONE], "links": {"next": target}})):
        with pytest.raises(ProtocolError, match=r"the next page is at another origin \('.*'\): not followed"):
            parse_page(page)


def test_next_url_is_encoded() -> None:
    """Spaces, line ends and non-ASCII characters are encoded; encoded ones stay as they are."""
    url = parse_page(response({"a": [ONE], "links": {"next": "?q=a b\r\né%20\u2028"}})).next_url
    assert url == f"{URL}?q=a%20b%C3%A9%20%E2%80%A8"


# -- signals of further pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"last": False},
        {"isLast": False},
        {"hasMore": True},
        {"has_more": True},
        {"isTruncated": True},
        {"next": "https://elsewhere.example/"},
        {"nextPageToken": "abc"},
        {"next_page_token": "abc"},
        {"next-token": "abc"},
        {"nextPage": 2},
        {"@odata.nextLink": "x"},
        {"continuationToken": "abc"},
        {"next": {"offset": 25}},
        {"totalPages": 2},
        {"total_pages": "2"},
        {"pages": 2.0},
        {"totalElements": 2},
        {"total": 2},
        {"count": "2"},
        {"page": {"size": 1, "totalElements": 2, "totalPages": 2, "number": 0}},
        {"meta": {"pagination": {"total_pages": 2}}},
        {"pageInfo": {"hasNextPage": True}},
        {"paging": {"next": "x"}},
        {"links": {"next": {"url": "x"}}},
        {"links": {"next": 7}},
        {"links": [{"rel": "next", "uri": "x"}]},
    ],
    ids=str,
)
def test_signal_of_further_pages_is_an_error(members: Any) -> None:
    """Further pages without a known link are an error that names the signal, not a shorter list."""
    with pytest.raises(ProtocolError, match=r"the list has more pages \(.+\), but no known link to them"):
        checked({"backups": [ONE], **members})


@pytest.mark.parametrize(
    "headers",
    [{"X_Next_Page": "2"}, {"X_Total_Pages": "2"}, {"X_Total_Count": "2"}, {"Content_Range": "items 0-0/2"}],
    ids=str,
)
def test_header_signalling_further_pages_is_an_error(headers: dict[str, str]) -> None:
    """Headers may signal further pages, too, also of a bare array."""
    with pytest.raises(ProtocolError, match=r"the list has more pages \(the header X-|Content-Range"):
        checked([ONE], **headers)


@pytest.mark.parametrize(
    "members",
    [
        {"last": True, "first": True},
        {"last": "x", "hasMore": False, "has_more": None, "more": "?"},
        {"next": None, "nextPageToken": "", "nextCursor": None, "next_url": {}},
        {"next": {"href": None}},
        {"totalPages": 1, "total": 1, "count": 1, "totalElements": "1"},
        {"total": True, "pages": [1, 2], "count": "many", "totalCount": None},
        {"total": "9" * 5000},
        {"page": {"size": 50, "totalElements": 1, "totalPages": 1, "number": 0}},
        {"page": 1, "size": 50, "sort": {"total": 99}},
        {"links": {"self": URL}},
        {"meta": {"meta": {"meta": {"total": 99}}}},
    ],
    ids=lambda members: str(members)[:40],
)
def test_complete_list_is_accepted(members: Any) -> None:
    """Members that signal the last page, or have no usable value, are no error."""
    checked({"backups": [ONE], **members})


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Next_Page": " "},
        {"X_Total_Pages": "1", "X_Total_Count": "1"},
        {"X_Total_Count": "9" * 5000},
        {"X_Total_Count": "many"},
        {"Content_Range": "items 0-0/*"},
        {"Content_Range": "items 0-0/1"},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_headers_of_a_complete_list_are_accepted(headers: dict[str, str]) -> None:
    """Headers that signal the last page, or have no usable value, are no error."""
    checked([ONE], **headers)


@pytest.mark.parametrize("total", ["totalElements", "total"])
def test_totals_count_all_pages(total: str) -> None:
    """The entries of earlier pages count."""
    checked({"backups": [ONE], "totalPages": 3, total: 21}, pages=3, entries=21)
    with pytest.raises(ProtocolError, match="totalPages"):
        checked({"backups": [ONE], "totalPages": 3, total: 21}, pages=2, entries=21)
    with pytest.raises(ProtocolError, match=total):
        checked({"backups": [ONE], "totalPages": 3, total: 21}, pages=3, entries=20)


def test_nested_paging_objects_do_not_exhaust_the_stack() -> None:
    """Hundreds of nested objects are searched only two levels deep."""
    members: dict[str, Any] = {"last": False}
    for name in itertools.islice(itertools.cycle(["page", "meta"]), 300):
        members = {name: members}
    checked({"backups": [ONE], **members})
