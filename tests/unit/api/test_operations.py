"""The five operations, over a door to the network that is scripted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
import pytest
from multidict import CIMultiDict

from asyncbackups._api.operations import Operations
from asyncbackups._api.requests import Requests
from asyncbackups._http.messages import Request, Response
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    ApiError,
    AuthenticationError,
    BackupsError,
    ConnectError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    TransportError,
)
from asyncbackups.models import Backup, BackupRef, BackupSpec, PlanetRef

NOW = datetime(2024, 1, 29, 10, 0, tzinfo=UTC)
REF, PLANET = BackupRef("sun", 7), PlanetRef("sun", "earth")
RAW = {"id": 7, "status": "running", "mechanism": "logical"}


@attrs.define
class Script:
    """Gives one answer after the other; an error is raised.

    Attributes:
        answers: What is left to give.
        asked: What was asked, and how many attempts were allowed.
    """

    answers: list[Any]
    asked: list[tuple[Request, int | None]] = attrs.field(factory=list)

    async def send(self, request: Request, *, attempts: int | None = None) -> Response:
        self.asked.append((request, attempts))
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, BackupsError):
            raise answer
        url = request.path if request.path.startswith("http") else f"http://service{request.path}"
        return msgspec.structs.replace(answer, url=url, method=request.method)


def answer(content: Any = b"", status: int = 200, **headers: str) -> Response:
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, headers=named, body=body, method="GET", url="", seconds=0.5)


def scripted(*answers: Any) -> tuple[Operations, Script]:
    script = Script(list(answers))
    return Operations(script, Requests("example"), utcnow=lambda: NOW), script


# -- get, delete, health


async def test_get_retrieves_a_backup() -> None:
    """With as many attempts as the policy allows."""
    operations, script = scripted(answer(RAW))
    assert (await operations.get(REF)).status == "running"
    assert script.asked[0][1] is None
    assert script.asked[0][0].path == "/api/v1/tenants/example/starsystems/sun/backups/7"


@pytest.mark.parametrize("missing_ok", [False, True])
async def test_delete_of_what_is_not_there(missing_ok: bool) -> None:
    """It is an error, unless that is fine."""
    operations, _ = scripted(NotFoundError(status=404))
    if missing_ok:
        await operations.delete(REF, missing_ok=True)
    else:
        with pytest.raises(NotFoundError):
            await operations.delete(REF)


async def test_delete_that_was_sent_again_has_done_its_work() -> None:
    """The first attempt deleted it, though its answer was lost."""
    operations, _ = scripted(NotFoundError(status=404, attempt=2, repeated=True))
    await operations.delete(REF)


async def test_delete_that_was_sent_again_after_a_refusal_tells_what_is_missing() -> None:
    """The first attempt was never processed (429, not connected): nothing was deleted."""
    operations, _ = scripted(NotFoundError(status=404, attempt=2))
    with pytest.raises(NotFoundError):
        await operations.delete(REF)


async def test_health_is_asked_for() -> None:
    """The service's own word."""
    operations, _ = scripted(answer({"status": "UP"}))
    assert (await operations.health()).status == "UP"


# -- list


async def test_list_follows_its_pages() -> None:
    """Over all pages, in order."""
    first = answer([{"id": 1}], Link='<http://service/next>; rel="next"')
    operations, script = scripted(first, answer([{"id": 2}, {"id": 3}]))
    assert [backup.id for backup in await operations.list("sun", "earth")] == [1, 2, 3]
    assert script.asked[1][0].path == "http://service/next"


async def test_pages_without_an_end_are_an_error() -> None:
    """A link back to a page that was read is not followed."""
    around = answer([{"id": 1}], Link='<http://service/a>; rel="next"')
    operations, script = scripted(around, around)
    with pytest.raises(ProtocolError, match="have no end"):
        await operations.list("sun")
    assert len(script.asked) == 2


async def test_list_that_is_not_complete_is_an_error() -> None:
    """A marker of more pages that is not understood never truncates in silence."""
    operations, _ = scripted(answer({"backups": [{"id": 1}], "totalPages": 2}))
    with pytest.raises(ProtocolError, match="more pages"):
        await operations.list("sun")


async def test_nothing_has_changed_is_no_answer_where_no_tag_was_sent() -> None:
    """A 304 out of nowhere is not taken for an empty list, nor for a backup."""
    operations, _ = scripted(*[answer(status=304)] * 3)
    for call in (operations.list("sun"), operations.get(REF), operations.poll_get(REF)):
        with pytest.raises(ProtocolError):
            await call


async def test_long_list_gives_way_to_other_tasks() -> None:
    """Decoding ten thousand backups is spread over turns of the event loop."""
    operations, _ = scripted(answer([{"id": number} for number in range(10_000)]))
    listing = asyncio.ensure_future(operations.list("sun"))
    turns = 0
    while not listing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50
    assert len(listing.result()) == 10_000


# -- polls


async def test_poll_is_sent_once() -> None:
    """The schedule asks again, not the transport."""
    operations, script = scripted(answer(RAW, ETag='"a"', Retry_After="9", Date="Mon, 29 Jan 2024 10:00:00 GMT"))
    backup, came = await operations.poll_get(REF)
    assert backup == Backup(id=7, status="running", mechanism="logical")
    assert (came.etag, came.retry_after, came.date, came.seconds) == ('"a"', 9.0, NOW, 0.5)
    assert script.asked[0][1] == 1


async def test_poll_with_a_tag_may_find_nothing_new() -> None:
    """A 304 is told as None, and what it says beside that."""
    operations, script = scripted(answer(status=304, Retry_After="9"))
    backup, came = await operations.poll_get(REF, etag='"a"')
    assert backup is None
    assert came.retry_after == 9.0
    assert script.asked[0][0].etag == '"a"'


async def test_poll_of_a_list_decodes_what_is_wanted() -> None:
    """Of all entries the glance, of those wanted the whole, over all pages."""
    first = answer({"backups": [RAW, {"id": 8}], "links": {"next": {"href": "/more"}}}, ETag='"a"')
    operations, script = scripted(first, answer({"backups": [{"id": 9, "status": "failed"}]}))
    listing = await operations.poll_list("sun", None, etag=None, wanted=lambda entries: {7, 9, 1_000})
    assert listing.entries is not None
    assert [entry.id for entry in listing.entries] == [7, 8, 9]
    assert {number: backup.status for number, backup in listing.backups.items()} == {7: "running", 9: "failed"}
    assert listing.info.etag is None, "the tag of one page is not that of the list"
    assert listing.info.seconds == 1.0
    assert [attempts for _, attempts in script.asked] == [1, 1]


async def test_poll_of_a_list_may_find_nothing_new() -> None:
    """A 304 to a tag that was sent."""
    operations, _ = scripted(answer(status=304, ETag='"a"'))
    listing = await operations.poll_list("sun", None, etag='"a"', wanted=lambda entries: set())
    assert listing.entries is None
    assert listing.info.etag == '"a"'


async def test_poll_of_a_list_that_is_not_complete_is_an_error() -> None:
    """The watcher falls back to gets rather than to believe a part."""
    operations, _ = scripted(answer({"backups": [RAW], "last": False}))
    with pytest.raises(ProtocolError):
        await operations.poll_list("sun", None, etag=None, wanted=lambda entries: set())


# -- create


@pytest.mark.parametrize(
    "created",
    [answer(RAW), answer({"backup": RAW}, status=201), answer([RAW], status=202)],
    ids=["object", "wrapped", "array"],
)
async def test_create_returns_the_backup(created: Response) -> None:
    """However the answer is shaped; it is sent once."""
    operations, script = scripted(created)
    assert (await operations.create(PLANET, BackupSpec())).id == 7
    assert len(script.asked) == 1


async def test_backup_of_which_only_the_location_came_is_retrieved() -> None:
    """Where that fails, its id at least is not lost."""
    location = answer(status=201, Location="/api/v1/tenants/example/starsystems/sun/backups/7")
    operations, _ = scripted(location, answer(RAW))
    assert (await operations.create(PLANET, BackupSpec())).status == "running"
    operations, _ = scripted(location, TransportError("reset"))
    assert await operations.create(PLANET, BackupSpec()) == Backup(id=7)


@pytest.mark.parametrize(
    "lost",
    [
        AnswerTimeoutError("slow"),
        TransportError("reset"),
        ProtocolError("garbage"),
        *[ApiError.class_for(status)(status=status) for status in (408, 500, 502, 503, 504, 520, 524)],
    ],
    ids=lambda error: f"{type(error).__name__}",
)
async def test_create_whose_outcome_is_unknown_is_ambiguous(lost: BackupsError) -> None:
    """It may have happened; the fault is chained."""
    operations, _ = scripted(lost)
    with pytest.raises(AmbiguousCreateError) as caught:
        await operations.create(PLANET, BackupSpec())
    assert caught.value.__cause__ is lost
    assert caught.value.planet == PLANET


@pytest.mark.parametrize("content", [b"", {"status": "accepted"}, {"a": {"id": 1}, "b": {"id": 2}}])
async def test_create_that_names_no_backup_is_ambiguous(content: Any) -> None:
    """It did happen, but which one it is has to be found out."""
    operations, _ = scripted(answer(content))
    with pytest.raises(AmbiguousCreateError, match="names no backup"):
        await operations.create(PLANET, BackupSpec())


@pytest.mark.parametrize(
    "refused",
    [
        ConnectError("refused"),
        TransportError("no token could be had", sent=False),
        AuthenticationError(status=None, reason="no token"),
        RateLimitedError(status=429),
        *[ApiError.class_for(status)(status=status) for status in (400, 401, 403, 404, 405, 409, 422, 424)],
    ],
    ids=lambda error: f"{type(error).__name__}",
)
async def test_create_that_surely_did_not_happen_is_no_riddle(refused: BackupsError) -> None:
    """What was refused, or never sent, is told as it is: also where it was only the token that could not be had."""
    operations, _ = scripted(refused)
    with pytest.raises(type(refused)):
        await operations.create(PLANET, BackupSpec())
