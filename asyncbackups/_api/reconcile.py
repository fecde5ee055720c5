"""Whether a backup that a list shows is the one that a create of ours made, when the create's answer was lost.

Pure: what is looked at is passed in, what to do is returned. The rules, in order: a marker in the metadata that the
service echoes settles it; metadata that cannot be what was sent is somebody else's; where too little of it is echoed to
tell, mechanism, type and start time among backups that are not known otherwise.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import attrs

from asyncbackups.events import Adoption
from asyncbackups.models import (
    Backup,
    BackupMetadata,
    BackupRef,
    BackupSpec,
    BackupType,
    PlanetRef,
    progress_of,
    real_instant,
)

_SLACK = timedelta(seconds=3)
"""`startedAt` and `Date` have whole seconds, and the server's clock is known to about one."""
_MOST_EXAMINED = 20
"""With more candidates than this, getting each of them would settle nothing in a reasonable time."""
_DEPTH = 6
_CUT = " .…"
"""What a text that was cut short may end in."""


def marker_of(planet: PlanetRef, key: str) -> str:
    """Return the marker for a create: always the same for the same planet and key."""
    text = f"{planet.star_system}\0{planet.planet}\0{key}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:10]
    return f"[asyncbackups:{base64.b32encode(digest).decode().lower()}]"


class MetadataMatch(enum.Enum):
    """What the metadata that the service shows of a backup says."""

    OURS = "ours"
    OTHER = "somebody else's"
    SILENT = "too little shown to tell"


@attrs.frozen
class AdoptBackup:
    """It is this one."""

    backup: Backup
    by: Adoption


@attrs.frozen
class ExamineCandidates:
    """These may be it; a get may show metadata that the list does not."""

    backups: tuple[Backup, ...]


@attrs.frozen
class SeveralCandidates:
    """It cannot be told: any of these may be it, newest first."""

    backups: tuple[Backup, ...]


@attrs.frozen
class NotListed:
    """It is not there, or not yet."""


Verdict = AdoptBackup | ExamineCandidates | SeveralCandidates | NotListed


@attrs.frozen(kw_only=True)
class ExpectedBackup:
    """What the backup that is looked for is like.

    Attributes:
        spec: As the caller gave it, without the marker.
        marker: What is put into its metadata, or None for no marker.
        by_time: Whether kind and start time alone may settle it.
    """

    spec: BackupSpec
    marker: str | None
    by_time: bool

    @property
    def marked(self) -> BackupSpec:
        """What to send: the marker at the end of the description."""
        if self.marker is None:
            return self.spec
        metadata = self.spec.metadata
        description = f"{metadata.description} {self.marker}".lstrip()
        return attrs.evolve(self.spec, metadata=BackupMetadata(metadata.name, description))

    def echo(self, backup: Backup) -> MetadataMatch:
        """Say what a backup's metadata tells."""
        if self.marker is not None and any(self.marker in text for text in _texts(backup.extra)):
            return MetadataMatch.OURS
        shown = backup.extra.get("metadata")
        return MetadataMatch.OTHER if isinstance(shown, dict) and self._contradicted(shown) else MetadataMatch.SILENT

    def _contradicted(self, shown: dict[str, Any]) -> bool:
        """Whether what is shown cannot be what was sent, even if the description was left out or cut short."""
        name, description = shown.get("name"), shown.get("description")
        if isinstance(name, str) and name and name != self.spec.metadata.name:
            return True
        if not isinstance(description, str) or not description:
            return False
        sent = self.marked.metadata.description
        # Cut just before the marker it would be the caller's own text: that is rather somebody who sent no marker.
        unmarked = self.marker is not None and description == self.spec.metadata.description
        return unmarked or not sent.startswith(description.rstrip(_CUT))

    def judge(
        self,
        backups: Iterable[Backup],
        *,
        star_system: str,
        since: datetime | None,
        surely: datetime | None = None,
        until: datetime | None = None,
        owned: Collection[BackupRef],
        examined: bool,
    ) -> Verdict:
        """Decide which backup it is, if any.

        Args:
            backups: What a list showed, or what gets have shown of those to examine.
            star_system: Where.
            since: When the create was sent at the earliest, by the server's clock; None where that is not known.
            surely: When it was sent at the latest, where clocks disagree; None for `since`. What began before that may
                be ours, but time does not prove it.
            until: When it was over at the latest, sent again and all; None for now. What began later may be ours if the
                service let it wait, but time does not prove that either.
            owned: Backups that belong to another create of ours: never candidates.
            examined: Whether `backups` come from gets, so that metadata not shown is not shown at all.
        """
        free = [backup for backup in backups if BackupRef(star_system, backup.id) not in owned]
        ours = [backup for backup in free if self.echo(backup) is MetadataMatch.OURS]
        if ours:
            return AdoptBackup(ours[0], "marker") if len(ours) == 1 else _several(ours)
        silent = [backup for backup in free if self.echo(backup) is MetadataMatch.SILENT and self._fits(backup, since)]
        if not silent:
            return NotListed()
        if not examined and len(silent) <= _MOST_EXAMINED:
            return ExamineCandidates(tuple(silent))
        if len(silent) == 1 and self.by_time and self._proven(silent[0], surely or since, until):
            return AdoptBackup(silent[0], "time")
        return _several(silent)

    def _fits(self, backup: Backup, since: datetime | None) -> bool:
        kind = BackupType.TEMPORARY if self.spec.temporary else BackupType.PERMANENT
        if backup.mechanism not in {None, self.spec.mechanism} or backup.type not in {None, kind}:
            return False
        if since is None:
            return True
        known = real_instant(backup.started_at) or real_instant(backup.completed_at)
        return known is None or known >= since - _SLACK

    def _proven(self, backup: Backup, since: datetime | None, until: datetime | None) -> bool:
        """Whether the only candidate is ours by its time: it began when we did, or waits for its turn."""
        shown = backup.extra.get("metadata")
        if isinstance(shown, dict) and shown.get("description") == "" != self.marked.metadata.description:
            return False  # either the service blanks it, or somebody sent none
        began = real_instant(backup.started_at)
        if began is None:
            return not progress_of(backup).final
        return (since is None or began >= since - _SLACK) and (until is None or began <= until + _SLACK)


def _several(backups: Iterable[Backup]) -> SeveralCandidates:
    return SeveralCandidates(tuple(sorted(backups, key=lambda backup: backup.id, reverse=True)))


def _texts(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """Yield every text in a JSON value, as deep as metadata may reasonably be."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member, depth - 1)
