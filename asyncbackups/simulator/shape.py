"""What the guide leaves open about the Database API, each unknown as a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from asyncbackups.simulator.settings import (
    flag,
    instance_of,
    natural,
    not_negative,
    one_of,
    optional,
    text,
    texts,
)

__all__ = ["ApiShape", "CreateAnswer", "Echo", "ErrorBody", "Paging", "StatusWords"]


class CreateAnswer(StrEnum):
    """What a create answers with."""

    OBJECT = "object"
    WRAPPED = "wrapped"
    LOCATION = "location"
    WITHOUT_ID = "without_id"
    EMPTY = "empty"


class Paging(StrEnum):
    """How a list says that it goes on; from `TOTAL_PAGES` on, ways that no guide or standard explains."""

    NONE = "none"
    LINK_HEADER = "link_header"
    LINKS_NEXT = "links_next"
    TOTAL_PAGES = "total_pages"
    LAST_FALSE = "last_false"
    NEXT_PAGE_TOKEN = "next_page_token"  # noqa: S105 - a name of a paging style


class ErrorBody(StrEnum):
    """What the body of an error answer is."""

    JSON = "json"
    TEXT = "text"
    EMPTY = "empty"


class Echo(StrEnum):
    """Which answers carry the metadata that a create sent."""

    NONE = "none"
    GET = "get"
    LIST = "list"
    BOTH = "both"


@frozen(kw_only=True)
class StatusWords:
    """The words of `status` and `displayStatus`; documented are only `succeeded` and, beside it, `ready`.

    Args:
        queued: Status before the backup starts.
        in_progress: Status while it runs.
        succeeded: Status after success.
        failed: Status after failure.
        display_queued: Display status before the backup starts.
        display_in_progress: Display status while it runs.
        display_succeeded: Display status after success.
        display_failed: Display status after failure.
    """

    queued: str = field(default="queued", validator=text)
    in_progress: str = field(default="in_progress", validator=text)
    succeeded: str = field(default="succeeded", validator=text)
    failed: str = field(default="failed", validator=text)
    display_queued: str = field(default="queued", validator=text)
    display_in_progress: str = field(default="creating", validator=text)
    display_succeeded: str = field(default="ready", validator=text)
    display_failed: str = field(default="failed", validator=text)


@frozen(kw_only=True)
class ApiShape:
    """How the Database API turns out where its guide is silent.

    Args:
        envelope: Key under which an answer's list sits, or `None` for a bare array.
        envelope_extra: Further members beside the list.
        words: The words of `status` and `displayStatus`.
        create_answer: What a create answers with.
        create_status: Status code of a successful create.
        create_wrapper: Key around the object for `CreateAnswer.WRAPPED`.
        echo_metadata: Which answers carry the metadata: `"none"`, `"get"`, `"list"` or `"both"` (a create's answer
            goes with get).
        plural_list_path: Whether a star system's list lives at `…/backups` instead of the documented `…/backup`.
        paging: How a list goes on after `page_size` backups.
        page_size: Backups on one page; without `paging` it has no meaning.
        absolute_links: Whether links to a next page name the origin, too.
        etag: Whether gets and lists carry an `ETag` and answer 304 to a matching `If-None-Match`.
        in_progress_retry_after: `Retry-After` in seconds on gets of unfinished backups; `None` for no such header.
        list_lag: Seconds after its creation until a backup appears in lists.
        list_stale: Seconds by which the statuses in lists are behind.
        fractional_seconds: Whether stamps have microseconds; `None` for: only when speed is not 1.
        extra_members: Further members of every backup object, beyond the documented ones.
        required_members: Members that a create body must have.
        temporary_needs_retention: Whether a create of a temporary backup must have a retention; without one, it is
            kept for ever.
        reject_unknown_members: Whether other members of a create body than the documented ones are an error.
        mechanisms: Mechanisms that a create accepts; `None` for any.
        planet_classes: Planet classes that a create accepts; `None` for any.
        max_retention_days: Longest retention that a create accepts; `None` for any.
        error_body: What the body of an error answer is.
        health_status: The `status` that health reports.
        health_needs_token: Whether health asks for a bearer token.
    """

    envelope: str | None = field(default="backups", validator=optional(text))
    envelope_extra: Mapping[str, Any] = field(factory=dict, validator=instance_of(Mapping))
    words: StatusWords = field(default=StatusWords(), validator=instance_of(StatusWords))
    create_answer: CreateAnswer = field(default=CreateAnswer.OBJECT, converter=CreateAnswer)
    create_status: int = field(default=200, validator=one_of(200, 201, 202))
    create_wrapper: str = field(default="backup", validator=text)
    echo_metadata: Echo = field(default=Echo.BOTH, converter=Echo)
    plural_list_path: bool = field(default=False, validator=flag)
    paging: Paging = field(default=Paging.NONE, converter=Paging)
    page_size: int = field(default=50, validator=natural(1))
    absolute_links: bool = field(default=True, validator=flag)
    etag: bool = field(default=False, validator=flag)
    in_progress_retry_after: int | None = field(default=None, validator=optional(natural(0)))
    list_lag: float = field(default=0.0, validator=not_negative)
    list_stale: float = field(default=0.0, validator=not_negative)
    fractional_seconds: bool | None = field(default=None, validator=optional(flag))
    extra_members: Mapping[str, Any] = field(factory=dict, validator=instance_of(Mapping))
    required_members: Sequence[str] = field(default=("mechanism", "planetClass", "temporary"), validator=texts)
    temporary_needs_retention: bool = field(default=True, validator=flag)
    reject_unknown_members: bool = field(default=False, validator=flag)
    mechanisms: Sequence[str] | None = field(default=("logical", "snapshot"), validator=optional(texts))
    planet_classes: Sequence[str] | None = field(default=None, validator=optional(texts))
    max_retention_days: int | None = field(default=14, validator=optional(natural(1)))
    error_body: ErrorBody = field(default=ErrorBody.JSON, converter=ErrorBody)
    health_status: str = field(default="UP", validator=text)
    health_needs_token: bool = field(default=True, validator=flag)

    def __attrs_post_init__(self) -> None:
        if self.envelope is None and self.envelope_extra:
            raise ValueError("envelope_extra needs an envelope: a bare array has no other members")
        if self.envelope is None and self.paging not in (Paging.NONE, Paging.LINK_HEADER):
            raise ValueError(f"paging {self.paging.value!r} needs an envelope: a bare array has no other members")

    @property
    def list_segment(self) -> str:
        """Last path segment of a star system's list."""
        return "backups" if self.plural_list_path else "backup"
