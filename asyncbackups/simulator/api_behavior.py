"""The behavior that the documentation leaves open: a setting for each unknown, and the bodies that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import msgspec
from attrs import define, field, frozen

from asyncbackups.simulator import settings
from asyncbackups.simulator.state import BackupList, CreateBody, Phase, SimulatedBackup

_RETENTION_LIMIT = 36_500
"""Days; `datetime` could not represent the expiration date of a much longer retention."""
_DOCUMENTED_MEMBERS = ("mechanism", "planetClass", "temporary", "retentionPeriodInDays", "metadata")


_create_status = settings.must_be("one of 200, 201, 202", lambda status: status in (200, 201, 202))
_optional_texts = settings.optional(settings.texts)


class CreateAnswer(StrEnum):
    """The body of the response to a create."""

    OBJECT = "object"
    WRAPPED = "wrapped"
    LOCATION = "location"
    WITHOUT_ID = "without_id"
    EMPTY = "empty"


class Paging(StrEnum):
    """How a page of a list refers to the next one; no standard defines `TOTAL_PAGES` and the forms after it."""

    NONE = "none"
    LINK_HEADER = "link_header"
    LINKS_NEXT = "links_next"
    TOTAL_PAGES = "total_pages"
    LAST_FALSE = "last_false"
    NEXT_PAGE_TOKEN = "next_page_token"  # noqa: S105 - the name of a paging style


class ErrorBody(StrEnum):
    """The body of an error response."""

    JSON = "json"
    TEXT = "text"
    EMPTY = "empty"


class MetadataEcho(StrEnum):
    """The responses that contain the metadata of the create request."""

    NONE = "none"
    GET = "get"
    LIST = "list"
    BOTH = "both"


@frozen(kw_only=True)
class StatusWords:
    """The values of `status` and, with `display_`, of `displayStatus`; only `succeeded` and `ready` are documented."""

    queued: str = field(default="queued", validator=settings.text)
    in_progress: str = field(default="in_progress", validator=settings.text)
    succeeded: str = field(default="succeeded", validator=settings.text)
    failed: str = field(default="failed", validator=settings.text)
    display_queued: str = field(default="queued", validator=settings.text)
    display_in_progress: str = field(default="creating", validator=settings.text)
    display_succeeded: str = field(default="ready", validator=settings.text)
    display_failed: str = field(default="failed", validator=settings.text)

    def words_by_phase(self) -> dict[Phase, tuple[str, str]]:
        """Return status and display status of each phase."""
        return {
            Phase.QUEUED: (self.queued, self.display_queued),
            Phase.RUNNING: (self.in_progress, self.display_in_progress),
            Phase.SUCCEEDED: (self.succeeded, self.display_succeeded),
            Phase.FAILED: (self.failed, self.display_failed),
        }


@frozen(kw_only=True)
class ApiBehavior:
    """How the simulated API behaves where the documentation is silent.

    Args:
        envelope: Key of the array in a list response; None for a bare array.
        envelope_extra: Additional members beside the array.
        words: The values of `status` and `displayStatus`.
        create_answer: The body of the response to a create.
        create_status: Status code of a successful create.
        create_wrapper: Key of the backup object with `CreateAnswer.WRAPPED`.
        echo_metadata: Which responses contain the metadata; the response to a create counts as a get.
        plural_list_path: Whether the path of a star system's list ends in `/backups`, not the documented `/backup`.
        paging: How a list continues after `page_size` backups.
        page_size: Maximum number of backups on a page; ignored without `paging`.
        absolute_links: Whether links include the origin.
        etag: Whether gets and lists have an `ETag`, and a matching `If-None-Match` gets a 304.
        in_progress_retry_after: `Retry-After` in seconds on gets of unfinished backups; None for no such header.
        list_lag: Seconds after its creation until a backup appears in lists.
        list_stale: Seconds by which the statuses in lists are behind.
        fractional_seconds: Whether timestamps have microseconds; None for only if the simulator's speed is not 1.
        extra_members: Additional members of every backup object, beyond the documented ones.
        required_members: Members that a create body must have.
        temporary_needs_retention: Whether a temporary backup must have a retention period, or else never expires.
        reject_unknown_members: Whether a create body with undocumented members is an error.
        mechanisms: Mechanisms that a create accepts; None for any.
        planet_classes: Planet classes that a create accepts; None for any.
        max_retention_days: Longest retention period that a create accepts; None for any.
        error_body: The body of an error response.
        health_status: The `status` in the health response.
        health_needs_token: Whether health requires a bearer token.
    """

    envelope: str | None = field(default="backups", validator=settings.optional(settings.text))
    envelope_extra: Mapping[str, Any] = field(factory=dict, validator=settings.instance_of(Mapping))
    words: StatusWords = field(default=StatusWords(), validator=settings.instance_of(StatusWords))
    create_answer: CreateAnswer = field(default=CreateAnswer.OBJECT, converter=CreateAnswer)
    create_status: int = field(default=200, validator=_create_status)
    create_wrapper: str = field(default="backup", validator=settings.text)
    echo_metadata: MetadataEcho = field(default=MetadataEcho.BOTH, converter=MetadataEcho)
    plural_list_path: bool = field(default=False, validator=settings.flag)
    paging: Paging = field(default=Paging.NONE, converter=Paging)
    page_size: int = field(default=50, validator=settings.whole_from(1))
    absolute_links: bool = field(default=True, validator=settings.flag)
    etag: bool = field(default=False, validator=settings.flag)
    in_progress_retry_after: int | None = field(default=None, validator=settings.optional(settings.whole_from(0)))
    list_lag: float = field(default=0.0, validator=settings.not_negative)
    list_stale: float = field(default=0.0, validator=settings.not_negative)
    fractional_seconds: bool | None = field(default=None, validator=settings.optional(settings.flag))
    extra_members: Mapping[str, Any] = field(factory=dict, validator=settings.instance_of(Mapping))
    required_members: Sequence[str] = field(default=("mechanism", "planetClass", "temporary"), validator=settings.texts)
    temporary_needs_retention: bool = field(default=True, validator=settings.flag)
    reject_unknown_members: bool = field(default=False, validator=settings.flag)
    mechanisms: Sequence[str] | None = field(default=("logical", "snapshot"), validator=_optional_texts)
    planet_classes: Sequence[str] | None = field(default=None, validator=_optional_texts)
    max_retention_days: int | None = field(default=14, validator=settings.optional(settings.whole_from(1)))
    error_body: ErrorBody = field(default=ErrorBody.JSON, converter=ErrorBody)
    health_status: str = field(default="UP", validator=settings.text)
    health_needs_token: bool = field(default=True, validator=settings.flag)

    def __attrs_post_init__(self) -> None:
        if self.envelope is None and self.envelope_extra:
            raise ValueError("envelope_extra needs an envelope: a bare array has no other members")
        if self.envelope is None and self.paging not in (Paging.NONE, Paging.LINK_HEADER):
            raise ValueError(f"paging {self.paging.value!r} needs an envelope: a bare array has no other members")

    @property
    def list_segment(self) -> str:
        """Last path segment of a star system's list."""
        return "backups" if self.plural_list_path else "backup"


@define
class _EncodedPrefix:
    """The encoded beginning of a list: `count` backups that will not change any more."""

    removals: int
    count: int = 0
    block: bytearray = field(factory=bytearray)


@frozen
class _ListPage:
    """A page of a list: its encoded array, its number from 1 on, the number of backups in the list and of pages."""

    array: bytes
    number: int = 1
    total: int = 0
    pages: int = 1

    @property
    def is_last(self) -> bool:
        return self.number >= self.pages

    def paging_members(self, paging: Paging, next_url: str) -> dict[str, Any]:
        """Return the members of a list response that refer to other pages."""
        match paging:
            case Paging.TOTAL_PAGES:
                return {"totalPages": self.pages, "totalElements": self.total, "number": self.number - 1}
            case Paging.LAST_FALSE:
                return {"last": self.is_last}
            case Paging.LINKS_NEXT if not self.is_last:
                return {"links": {"next": {"href": next_url}}}
            case Paging.NEXT_PAGE_TOKEN if not self.is_last:
                return {"nextPageToken": str(self.number + 1)}
            case _:
                return {}


def _parse_page_number(query: str) -> int:
    """Return the requested page number; 1 if the query has none or it is not a number."""
    members = parse_qs(query)
    value = (members.get("page") or members.get("pageToken") or ["1"])[0]
    return max(int(value), 1) if len(value) < 10 and value.isascii() and value.isdigit() else 1


_EncodedBackups: TypeAlias = "WeakKeyDictionary[SimulatedBackup, tuple[Phase, bytes]]"


class BackupRenderer:
    """Encodes backups and lists of backups as the API's behavior describes them.

    Lists of ten thousand backups must be cheap: each backup is encoded once per phase, and the finished backups at the
    beginning of a list, which no longer change, are kept as one encoded block.
    """

    def __init__(self, behavior: ApiBehavior, *, tenant: str, fractional_seconds: bool) -> None:
        self._behavior = behavior
        self._tenant = tenant
        self._time_precision = "microseconds" if fractional_seconds else "seconds"
        self._words = behavior.words.words_by_phase()
        # Weak references: a deleted backup is not kept, however long the simulator runs.
        self._encoded: _EncodedBackups = WeakKeyDictionary()
        is_same_in_lists = behavior.echo_metadata in (MetadataEcho.NONE, MetadataEcho.BOTH)
        self._encoded_for_lists: _EncodedBackups = self._encoded if is_same_in_lists else WeakKeyDictionary()
        self._prefixes: WeakKeyDictionary[BackupList, _EncodedPrefix] = WeakKeyDictionary()

    def encode_backup(self, backup: SimulatedBackup, phase: Phase, *, in_list: bool = False) -> bytes:
        """Return the JSON of a backup, which is encoded once per phase; metadata may be omitted in lists."""
        cache = self._encoded_for_lists if in_list else self._encoded
        cached = cache.get(backup)
        if cached is not None and cached[0] is phase:
            return cached[1]
        encoded = msgspec.json.encode(self.backup_members(backup, phase, in_list=in_list))
        cache[backup] = (phase, encoded)
        return encoded

    def backup_members(self, backup: SimulatedBackup, phase: Phase, *, in_list: bool = False) -> dict[str, Any]:
        """Return the members of the documented backup object."""
        body = backup.create_body
        status, display_status = self._words[phase]
        stage = {"tenant": self._tenant, "project": backup.star_system, "stage": body.planet_class}
        members: dict[str, Any] = {
            "id": backup.id,
            "mechanism": body.mechanism,
            "type": body.type,
            "environment": {**stage, "name": backup.planet},
            "status": status,
            "displayStatus": display_status,
            "errorMessage": backup.outcome.error_message if phase is Phase.FAILED else None,
            "startedAt": None if phase is Phase.QUEUED else self.format_time(backup.started),
            "completedAt": self.format_time(backup.completed) if phase.final else None,
            "expirationDate": None if backup.expires is None else self.format_time(backup.expires),
            "databaseToApplicationBuilds": {},
        }
        shown_in = (MetadataEcho.BOTH, MetadataEcho.LIST if in_list else MetadataEcho.GET)
        if body.metadata is not None and self._behavior.echo_metadata in shown_in:
            members["metadata"] = body.metadata
        members.update(self._behavior.extra_members)
        return members

    def format_time(self, time: datetime) -> str:
        """Format a timestamp as documented: UTC with a `Z`."""
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=self._time_precision) + "Z"

    def render_list(self, shown: BackupList, now: float, query: str, url: str) -> tuple[bytes, dict[str, str]]:
        """Return the body and additional headers of a list at `now`, in monotonic seconds; `url` is without `query`."""
        paging, page = self._behavior.paging, self._encode_page(shown, now, query)
        next_url = f"{url}?page={page.number + 1}"
        is_linked = paging is Paging.LINK_HEADER and not page.is_last
        headers = {"Link": f'<{next_url}>; rel="next"'} if is_linked else {}
        if self._behavior.envelope is None:
            return page.array, headers
        members = {self._behavior.envelope: msgspec.Raw(page.array), **self._behavior.envelope_extra}
        return msgspec.json.encode(members | page.paging_members(paging, next_url)), headers

    def _encode_page(self, shown: BackupList, now: float, query: str) -> _ListPage:
        if self._behavior.paging is Paging.NONE:
            prefix = self._extend_prefix(shown, now)
            items = self._encode_items(list(shown.backups.values())[prefix.count :], now)
            return _ListPage(b"[%b]" % b",".join([prefix.block, *items] if prefix.count else items))
        number, size = _parse_page_number(query), self._behavior.page_size
        visible = [backup for backup in shown.backups.values() if self._is_visible(backup, now)]
        items = self._encode_items(visible[(number - 1) * size : number * size], now)
        return _ListPage(b"[%b]" % b",".join(items), number, len(visible), -(-len(visible) // size))

    def _is_visible(self, backup: SimulatedBackup, now: float) -> bool:
        return now - backup.created_at >= self._behavior.list_lag

    def _encode_items(self, backups: Sequence[SimulatedBackup], now: float) -> list[bytes]:
        status_time = now - self._behavior.list_stale
        return [
            self.encode_backup(backup, backup.phase(status_time), in_list=True)
            for backup in backups
            if self._is_visible(backup, now)
        ]

    def _extend_prefix(self, shown: BackupList, now: float) -> _EncodedPrefix:
        prefix = self._prefixes.get(shown)
        if prefix is None or prefix.removals != shown.removals:
            prefix = self._prefixes[shown] = _EncodedPrefix(shown.removals)
        status_time = now - self._behavior.list_stale
        for backup in list(shown.backups.values())[prefix.count :]:
            phase = backup.phase(status_time)
            if not (phase.final and self._is_visible(backup, now)):
                break
            if prefix.count:
                prefix.block += b","
            prefix.block += self.encode_backup(backup, phase, in_list=True)
            prefix.count += 1
        return prefix


class CreateBodyError(Exception):
    """The body does not follow the schema."""


def parse_create_body(body: bytes, behavior: ApiBehavior) -> CreateBody:
    """Parse the body of a create request; a `CreateBodyError` says what does not follow the schema."""
    members = _decode_members(body, behavior)
    mechanism = _parse_text(members, "mechanism", "logical", behavior.mechanisms)
    planet_class = _parse_text(members, "planetClass", "dev", behavior.planet_classes)
    temporary = members.get("temporary", False)
    if not isinstance(temporary, bool):
        raise CreateBodyError("temporary must be true or false")
    return CreateBody(
        mechanism=mechanism,
        planet_class=planet_class,
        temporary=temporary,
        retention_days=_parse_retention(members, temporary, behavior),
        metadata=_parse_metadata(members),
        type="temporary" if temporary else "permanent",
    )


def _decode_members(body: bytes, behavior: ApiBehavior) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise CreateBodyError(f"the body is not JSON: {exc}") from exc
    if not isinstance(members, dict):
        raise CreateBodyError("the body must be a JSON object")
    missing = [name for name in behavior.required_members if name not in members]
    if missing:
        raise CreateBodyError(f"missing: {', '.join(missing)}")
    unknown = [name for name in members if name not in _DOCUMENTED_MEMBERS]
    if unknown and behavior.reject_unknown_members:
        raise CreateBodyError(f"unknown: {', '.join(unknown)}")
    return members


def _parse_text(members: Mapping[str, Any], name: str, default: str, accepted: Collection[str] | None) -> str:
    value = members.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise CreateBodyError(f"{name} must be a string that is not blank")
    if accepted is not None and value not in accepted:
        raise CreateBodyError(f"{name} must be one of {', '.join(accepted)}")
    return value


def _parse_retention(members: Mapping[str, Any], temporary: bool, behavior: ApiBehavior) -> int | None:
    if "retentionPeriodInDays" not in members:
        if temporary and behavior.temporary_needs_retention:
            raise CreateBodyError("a temporary backup needs retentionPeriodInDays")
        return None
    days = members["retentionPeriodInDays"]
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise CreateBodyError("retentionPeriodInDays must be a positive integer")
    maximum = _RETENTION_LIMIT if behavior.max_retention_days is None else behavior.max_retention_days
    if days > maximum:
        raise CreateBodyError(f"retentionPeriodInDays must be at most {maximum}")
    return days if temporary else None


def _parse_metadata(members: Mapping[str, Any]) -> dict[str, Any] | None:
    if "metadata" not in members:
        return None
    metadata = members["metadata"]
    if not isinstance(metadata, dict):
        raise CreateBodyError("metadata must be an object")
    if any(not isinstance(metadata.get(name, ""), str) for name in ("name", "description")):
        raise CreateBodyError("metadata's name and description must be strings")
    return metadata
