"""The operations, over a fake sender with scripted responses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
import pytest
from multidict import CIMultiDict

from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import RequestBuilder
from asyncbackups._http.messages import Request, Response
from asyncbackups.errors import (
    AnswerTimeoutError,
    ApiError,
    AuthenticationError,
    BackupsError,
    ConnectError,
    NotFoundError,
    ProtocolError,
    TransportError,
)
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef

NOW = datetime(2024, 1, 29, 10, 0, tzinfo=UTC)
REF, PLANET = BackupRef("sun", 7), PlanetRef("sun", "earth")
RAW = {"id": 7, "status": "running", "mechanism": "logical"}


@attrs.define
class ScriptedSender:
    """Returns one response after the other; an error is raised instead.

    Attributes:
        responses: The responses to come.
        sent: The requests sent, and their maximum number of attempts.
    """

    responses: list[Any]
    sent: list[tuple[Request, int | None]] = attrs.field(factory=list)

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        self.sent.append((request, attempts))
        await asyncio.sleep(0)
        response = self.responses.pop(0)
        if isinstance(response, BackupsError):
            raise response
        url = request.path if request.path.startswith("http") else f"http://service{request.path}"
        return msgspec.structs.replace(response, url=url, method=request.method)


def response(content: Any = b"", status: int = 200, **headers: str) -> Response:
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, headers=named, body=body, method="GET", url="", seconds=0.5)


def scripted(*responses: Any) -> tuple[Operations, ScriptedSender]:
    sender = ScriptedSender(list(responses))
    return Operations(sender, RequestBuilder("example"), utcnow=lambda: NOW), sender


# -- get, delete, health


async def test_get_retrieves_a_backup() -> None:
    """A get is sent with as many attempts as the policy allows."""
    operations, sender = scripted(response(RAW))
    assert (await operations.get(REF)).status == "running"
    assert sender.sent[0][1] is None
    assert sender.sent[0][0].path == "/api/v1/tenants/example/starsystems/sun/backups/7"


@pytest.mark.parametrize("missing_ok", [False, True])
async def test_delete_of_a_missing_backup(missing_ok: bool) -> None:
    """It raises, unless missing_ok."""
    operations, _ = scripted(NotFoundError(status=404))
    if missing_ok:
        await operations.delete(REF, missing_ok=True)
    else:
        with pytest.raises(NotFoundError):
            await operations.delete(REF)


async def test_repeated_delete_that_finds_nothing_has_succeeded() -> None:
    """The first attempt deleted the backup and lost its response."""
    operations, _ = scripted(NotFoundError(status=404, attempt=2, repeated=True))
    await operations.delete(REF)


async def test_repeated_delete_after_a_refusal_raises() -> None:
    """The first attempt was not processed (429, no connection), so nothing was deleted."""
    operations, _ = scripted(NotFoundError(status=404, attempt=2))
    with pytest.raises(NotFoundError):
        await operations.delete(REF)


async def test_health_is_parsed() -> None:
    """The status is returned unchanged."""
    operations, _ = scripted(response({"status": "UP"}))
    assert (await operations.health()).status == "UP"


# -- list


async def test_list_follows_its_pages() -> None:
    """All pages are read, in order."""
    first = response([{"id": 1}], Link='<http://service/next>; rel="next"')
    operations, sender = scripted(first, response([{"id": 2}, {"id": 3}]))
    assert [backup.id for backup in await operations.list("sun", "earth")] == [1, 2, 3]
    assert sender.sent[1][0].path == "http://service/next"


async def test_endless_pages_are_an_error() -> None:
    """A link back to a page already read is not followed."""
    around = response([{"id": 1}], Link='<http://service/a>; rel="next"')
    operations, sender = scripted(around, around)
    with pytest.raises(ProtocolError, match="never end"):
        await operations.list("sun")
    assert len(sender.sent) == 2


async def test_incomplete_list_is_an_error() -> None:
    """A signal of further pages without a known link never truncates the list silently."""
    operations, _ = scripted(response({"backups": [{"id": 1}], "totalPages": 2}))
    with pytest.raises(ProtocolError, match="more pages"):
        await operations.list("sun")


async def test_304_without_an_entity_tag_is_an_error() -> None:
    """It is taken neither for an empty list nor for a backup."""
    operations, _ = scripted(*[response(status=304)] * 3)
    for call in (operations.list("sun"), operations.get(REF), operations.poll_get(REF)):
        with pytest.raises(ProtocolError):
            await call


async def test_long_list_yields_to_other_tasks() -> None:
    """Decoding ten thousand backups is spread over many turns of the event loop."""
    operations, _ = scripted(response([{"id": number} for number in range(10_000)]))
    listing = asyncio.ensure_future(operations.list("sun"))
    turns = 0
    while not listing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50
    assert len(listing.result()) == 10_000


# -- polls


async def test_poll_has_one_attempt() -> None:
    """The polling schedule repeats it, not the transport."""
    operations, sender = scripted(response(RAW, ETag='"a"', Retry_After="9", Date="Mon, 29 Jan 2024 10:00:00 GMT"))
    backup, info = await operations.poll_get(REF)
    assert backup == Backup(id=7, status="running", mechanism="logical")
    assert (info.etag, info.retry_after, info.date, info.seconds) == ('"a"', 9.0, NOW, 0.5)
    assert sender.sent[0][1] == 1


async def test_unchanged_backup_is_none() -> None:
    """A 304 still returns the headers."""
    operations, sender = scripted(response(status=304, Retry_After="9"))
    backup, info = await operations.poll_get(REF, etag='"a"')
    assert backup is None
    assert info.retry_after == 9.0
    assert sender.sent[0][0].etag == '"a"'


async def test_list_poll_decodes_the_wanted_backups() -> None:
    """All entries are returned, the wanted ones in full, over all pages."""
    first = response({"backups": [RAW, {"id": 8}], "links": {"next": {"href": "/more"}}}, ETag='"a"')
    operations, sender = scripted(first, response({"backups": [{"id": 9, "status": "failed"}]}))
    listing = await operations.poll_list("sun", None, etag=None, wanted=lambda entries: {7, 9, 1_000})
    assert listing.entries is not None
    assert [entry.id for entry in listing.entries] == [7, 8, 9]
    assert {number: backup.status for number, backup in listing.backups.items()} == {7: "running", 9: "failed"}
    assert listing.info.etag is None, "one page's entity tag is not the list's"
    assert listing.info.seconds == 1.0
    assert [attempts for _, attempts in sender.sent] == [1, 1]


async def test_unchanged_list_has_no_entries() -> None:
    """A 304 in response to an entity tag."""
    operations, _ = scripted(response(status=304, ETag='"a"'))
    listing = await operations.poll_list("sun", None, etag='"a"', wanted=lambda entries: set())
    assert listing.entries is None
    assert listing.info.etag == '"a"'


async def test_incomplete_list_poll_is_an_error() -> None:
    """Polling falls back to gets instead of trusting a part."""
    operations, _ = scripted(response({"backups": [RAW], "last": False}))
    with pytest.raises(ProtocolError):
        await operations.poll_list("sun", None, etag=None, wanted=lambda entries: set())


# -- create


@pytest.mark.parametrize(
    "created",
    [response(RAW), response({"backup": RAW}, status=201), response([RAW], status=202)],
    ids=["object", "wrapped", "array"],
)
async def test_create_returns_the_parsed_response(created: Response) -> None:
    """The response may have any supported form; the create is sent once, and the caller evaluates it."""
    operations, sender = scripted(created)
    parsed = await operations.create(PLANET, BackupSpec())
    assert (parsed.backup_id, parsed.is_certain) == (7, True)
    assert parsed.backup is not None
    assert parsed.backup.status == "running"
    assert [(request.method, attempts) for request, attempts in sender.sent] == [("POST", None)]


@pytest.mark.parametrize(
    "error",
    [
        AnswerTimeoutError("slow"),
        TransportError("reset"),
        ProtocolError("garbage"),
        ConnectError("refused"),
        AuthenticationError(status=None, reason="no token"),
        *[ApiError.class_for(status)(status=status) for status in (400, 401, 403, 404, 408, 409, 429, 500, 503, 520)],
    ],
    ids=lambda error: f"{type(error).__name__}",
)
async def test_error_of_a_create_is_raised_unchanged(error: BackupsError) -> None:
    """Whether it was processed is for the caller to decide, by the table of meanings; nothing is sent again here."""
    operations, sender = scripted(error)
    with pytest.raises(BackupsError) as caught:
        await operations.create(PLANET, BackupSpec())
    assert caught.value is error
    assert len(sender.sent) == 1


async def test_list_has_the_date_of_its_last_page() -> None:
    """It is the server's clock; None if no page has one. The number of attempts can be limited."""
    first = response([{"id": 1}], Link='<http://service/next>; rel="next"')
    operations, sender = scripted(first, response([{"id": 2}], Date="Mon, 29 Jan 2024 10:00:00 GMT"), response([]))
    backups, date = await operations.list_with_date("sun", "earth", attempts=1)
    assert ([backup.id for backup in backups], date) == ([1, 2], NOW)
    assert await operations.list_with_date("sun") == ([], None)
    assert [attempts for _, attempts in sender.sent] == [1, 1, None]
