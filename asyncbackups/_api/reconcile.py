"""Decide which listed backup was made by a create with a lost response.

In this order: our marker proves it; metadata that differs from the request excludes it; otherwise mechanism, type and
start time decide.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

import attrs

from asyncbackups._api.marker import has_marker
from asyncbackups.events import Adoption
from asyncbackups.models import (
    Backup,
    BackupMetadata,
    BackupRef,
    BackupSpec,
    BackupType,
    Progress,
    StatusRule,
    real_instant,
)

_log = logging.getLogger(__name__)

_TIME_TOLERANCE = timedelta(seconds=3)
"""`startedAt` and `Date` have whole seconds, and the server's clock is known to about one second."""
_MAX_FETCHED = 20
"""With more candidates, one GET for each would take too long and decide nothing."""
_TRUNCATION_MARKS = " .…"
"""Characters at the end of a text that the service may have cut short."""


class MetadataMatch(enum.Enum):
    """Result of comparing a backup's metadata with the request."""

    OURS = "ours"
    OTHER = "another create's"
    UNKNOWN = "too little shown"


@attrs.frozen
class AdoptBackup:
    """Verdict: the create made this backup."""

    backup: Backup
    by: Adoption


@attrs.frozen
class FetchCandidates:
    """Verdict: fetch these candidates, because a GET may show metadata that a LIST does not."""

    backups: tuple[Backup, ...]


@attrs.frozen
class SeveralCandidates:
    """Verdict: the create may have made any of these backups, newest first."""

    backups: tuple[Backup, ...]


@attrs.frozen
class NotListed:
    """Verdict: no listed backup matches, or none yet."""


Verdict = AdoptBackup | FetchCandidates | SeveralCandidates | NotListed


@attrs.frozen(kw_only=True)
class ExpectedBackup:
    """The backup that a create is expected to make.

    Attributes:
        spec: The caller's spec, without the marker.
        marker: The marker to put into its metadata; None for no marker.
        adopt_by_time: Whether mechanism, type and start time alone may identify it.
        status_rule: The client's status rule.
    """

    spec: BackupSpec
    marker: str | None
    adopt_by_time: bool
    status_rule: StatusRule

    @property
    def spec_with_marker(self) -> BackupSpec:
        """The spec to send: its description ends with the marker."""
        if self.marker is None:
            return self.spec
        metadata = self.spec.metadata
        description = f"{metadata.description} {self.marker}".lstrip()
        return attrs.evolve(self.spec, metadata=BackupMetadata(metadata.name, description))

    def match_metadata(self, backup: Backup) -> MetadataMatch:
        """Compare a backup's metadata with the request."""
        if self.marker is not None and has_marker(backup.extra, self.marker):
            return MetadataMatch.OURS
        shown = backup.extra.get("metadata")
        return (
            MetadataMatch.OTHER
            if isinstance(shown, dict) and self._contradicts_request(shown)
            else MetadataMatch.UNKNOWN
        )

    def _contradicts_request(self, shown: dict[str, Any]) -> bool:
        """Return True if the metadata differs from the request by more than a missing or truncated description."""
        name, description = shown.get("name"), shown.get("description")
        if isinstance(name, str) and name and name != self.spec.metadata.name:
            return True
        if not isinstance(description, str) or not description:
            return False
        sent = self.spec_with_marker.metadata.description
        # A description that lacks exactly the marker was more likely sent without one than cut at that place.
        without_marker = self.marker is not None and description == self.spec.metadata.description
        return without_marker or not sent.startswith(description.rstrip(_TRUNCATION_MARKS))

    def match_backups(
        self,
        backups: Iterable[Backup],
        *,
        star_system: str,
        earliest_send: datetime | None,
        latest_send: datetime | None = None,
        latest_end: datetime | None = None,
        claimed: Collection[BackupRef],
        fetched: bool,
    ) -> Verdict:
        """Decide which backup the create made, if any.

        Args:
            backups: The listed backups, or the candidates as fetched.
            star_system: The star system's id.
            earliest_send: Earliest time, by the server's clock, at which the create was sent; None if unknown.
            latest_send: Latest time at which it was sent, if clocks disagree; None if equal to `earliest_send`. A
                backup that started earlier may be ours, but its time does not prove it.
            latest_end: Latest time at which the create, resends included, was over; None for now. A backup that
                started later may be ours if the service queued it, but its time does not prove it.
            claimed: Backups of other creates of this client: never candidates.
            fetched: Whether `backups` come from GETs, so that metadata they lack is not shown anywhere.
        """
        unclaimed = [backup for backup in backups if BackupRef(star_system, backup.id) not in claimed]
        matches = [(backup, self.match_metadata(backup)) for backup in unclaimed]
        ours = [backup for backup, match in matches if match is MetadataMatch.OURS]
        if ours:
            return AdoptBackup(ours[0], "marker") if len(ours) == 1 else _newest_first(ours)
        unknown = [backup for backup, match in matches if match is MetadataMatch.UNKNOWN]
        candidates = [backup for backup in unknown if self._is_candidate(backup, earliest_send)]
        if not candidates:
            return NotListed()
        if not fetched and len(candidates) <= _MAX_FETCHED:
            return FetchCandidates(tuple(candidates))
        is_only = self.adopt_by_time and len(candidates) == 1
        if is_only and self._matches_by_time(candidates[0], latest_send or earliest_send, latest_end):
            return AdoptBackup(candidates[0], "time")
        return _newest_first(candidates)

    def _is_candidate(self, backup: Backup, earliest_send: datetime | None) -> bool:
        backup_type = BackupType.TEMPORARY if self.spec.temporary else BackupType.PERMANENT
        if backup.mechanism not in {None, self.spec.mechanism} or backup.type not in {None, backup_type}:
            return False
        if earliest_send is None:
            return True
        started = real_instant(backup.started_at) or real_instant(backup.completed_at)
        return started is None or started >= earliest_send - _TIME_TOLERANCE

    def _matches_by_time(self, backup: Backup, earliest: datetime | None, latest: datetime | None) -> bool:
        """Return True if the only candidate started while the create was running, or has not started yet."""
        shown = backup.extra.get("metadata")
        if isinstance(shown, dict) and shown.get("description") == "" != self.spec_with_marker.metadata.description:
            return False  # the service blanks descriptions, or another client sent an empty one
        started = real_instant(backup.started_at)
        if started is None:
            return self._is_in_progress(backup)
        after = earliest is None or started >= earliest - _TIME_TOLERANCE
        return after and (latest is None or started <= latest + _TIME_TOLERANCE)

    def _is_in_progress(self, backup: Backup) -> bool:
        try:
            return self.status_rule(backup) is Progress.IN_PROGRESS
        except Exception:  # noqa: BLE001 - the caller's function: an error of its own proves nothing about the backup
            _log.exception("status_rule failed for backup %d: not adopted by time", backup.id)
            return False


def _newest_first(backups: Iterable[Backup]) -> SeveralCandidates:
    return SeveralCandidates(tuple(sorted(backups, key=lambda backup: backup.id, reverse=True)))
