"""Decide which of the listed backups a create with a lost response has made, if any. Pure.

Absence proves nothing until presence has been observed, and a mismatch is not absence: every backup that is new since
the baseline is explained, or nothing is sent again.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import attrs

from asyncbackups._api.marker import Marker, has_marker, normalize_text
from asyncbackups.events import Adoption
from asyncbackups.models import Backup, BackupId, BackupRef, BackupSpec, BackupType, Mechanism, PlanetRef, id_key

MOST_DETAILS = 20
"""At most this many GETs for the details of candidates, between two lists: the newest candidates first."""
_OLD = timedelta(days=1)
"""A backup that ended this long ago is old where no baseline says so: no clock or time zone is wrong by more."""
_DOCUMENTED_TYPES = frozenset(BackupType)
_DOCUMENTED_MECHANISMS = frozenset(Mechanism)


class Visibility(enum.IntEnum):
    """Evidence that lists show what is created here, weakest first."""

    NONE = 0
    PLANET = 1
    """The list shows backups of this planet at all."""
    NEW = 2
    """A backup has appeared since the baseline."""
    OWN = 3
    """Another create of this client has appeared."""


Scope = Literal["planet", "star_system"]
"""The list that a baseline was taken from."""


@attrs.frozen(eq=False)
class Baseline:
    """The backups that existed before a create was sent.

    Attributes:
        scope: The list that showed them.
        keys: Their ids, as `id_key` compares them.
    """

    scope: Scope
    keys: frozenset[BackupId]

    @classmethod
    def from_ids(cls, scope: Scope, ids: Iterable[BackupId]) -> Baseline:
        """Build a baseline from the ids of a list."""
        return cls(scope, frozenset(map(id_key, ids)))


@attrs.frozen(kw_only=True)
class CreateRequest:
    """The create to reconcile.

    Attributes:
        planet: The planet.
        spec: The spec as the caller gave it, without the marker.
        marker: The marker that is sent, or None.
    """

    planet: PlanetRef
    spec: BackupSpec
    marker: Marker | None

    @property
    def marked_spec(self) -> BackupSpec:
        """The spec to send."""
        return self.spec if self.marker is None else self.marker.add_to(self.spec)

    @property
    def caller_text(self) -> str:
        """The caller's own name and description."""
        return f"{self.spec.metadata.name} {self.spec.metadata.description}"


class PlanetNames:
    """Whether `environment.name` is a planet id, which is not documented: used only once it was seen to be.

    The guide's example shows `testbackup`, so a name that differs from every planet id contradicts nothing.
    """

    def __init__(self) -> None:
        self._equal = False
        self._different = False
        self._planets: set[str] = set()

    @property
    def usable(self) -> bool:
        """Whether names are planet ids here, as far as was seen."""
        return self._equal and not self._different

    def record_planet(self, planet: str) -> None:
        """Record that a planet of this id exists."""
        self._planets.add(planet.casefold())

    def record_backup(self, planet: str, backup: Backup, *, proven: bool) -> None:
        """Record the name that a backup of a planet shows.

        Args:
            planet: The planet's id.
            backup: A backup that was created for it.
            proven: Whether it is certainly that planet's (it shows the create's marker).
        """
        name = environment_name(backup)
        if name is None:
            return
        if name == planet.casefold():
            self._equal = True
        elif proven:
            self._different = True

    def is_other(self, planet: str, backup: Backup, *, certain: bool = False) -> bool:
        """Return True if a backup shows the name of another planet.

        Args:
            planet: The planet's id.
            backup: The backup.
            certain: Whether names must have been seen to be planet ids; otherwise a known planet's id is enough.
        """
        name = environment_name(backup)
        if name is None or name == planet.casefold() or self._different:
            return False
        return self._equal or (not certain and name in self._planets)


def environment_name(backup: Backup) -> str | None:
    """Return the `environment.name` that a backup shows, in lower case, or None."""
    name = None if backup.environment is None else backup.environment.name
    return name.strip().casefold() or None if name is not None else None


def find_contradiction(request: CreateRequest, backup: Backup, names: PlanetNames) -> str | None:
    """Return the reason why a create cannot have made a backup; None if nothing contradicts it.

    Args:
        request: The create.
        backup: The backup as a response shows it.
        names: What is known about `environment.name`.
    """
    if request.marker is not None:
        if request.marker.is_shown_by(backup):
            return None
        if request.marker.is_contradicted_by(backup, sent=request.caller_text):
            return "it shows the marker of another create"
    if names.is_other(request.planet.planet, backup):
        return f"it belongs to the planet {environment_name(backup)}"
    mechanism = (backup.mechanism or "").casefold()
    if mechanism in _DOCUMENTED_MECHANISMS and request.spec.mechanism in _DOCUMENTED_MECHANISMS:
        return None if mechanism == request.spec.mechanism else f"its mechanism is {mechanism}"
    return None


@attrs.frozen
class Adopt:
    """The create has made this backup.

    Attributes:
        backup: The backup.
        by: How it was recognized; None if a response gave its id.
        duplicates: Other backups that show the same marker.
    """

    backup: Backup
    by: Adoption | None
    duplicates: tuple[Backup, ...] = ()


@attrs.frozen
class FetchDetails:
    """A GET of each of these may show metadata that the list does not."""

    ids: tuple[BackupId, ...]


@attrs.frozen
class FetchPlanetList:
    """The list of another planet with a create of this client may prove that such lists show new backups."""

    planet: PlanetRef


@attrs.frozen
class FetchStarSystemList:
    """The star system's list is needed, too."""


@attrs.frozen
class Wait:
    """Nothing is decided yet; list again later."""


@attrs.frozen
class Absent:
    """The lists give the required evidence of visibility, and show no backup of this create."""


@attrs.frozen
class Ambiguous:
    """Nothing can be concluded.

    Attributes:
        reason: The reason, for the error message.
        candidates: Backups that this create may have made, newest first.
    """

    reason: str
    candidates: tuple[Backup, ...] = ()


Decision = Adopt | FetchDetails | FetchPlanetList | FetchStarSystemList | Wait | Absent | Ambiguous


@attrs.frozen(kw_only=True)
class ListView:
    """The result of lists and GETs at one moment. A 404 is an empty list, a refused star system list too.

    Attributes:
        planet: The planet's list.
        is_missing: Whether the planet's list was a 404, as an empty one is on some services: it is no evidence.
        sibling: The list of another planet (see `FetchPlanetList`); None where it was not fetched.
        star_system: The star system's list; None where it was not fetched.
        details: What GETs have shown, also for an earlier view, by `id_key`.
        fetched: The number of GETs that were sent for this view.
        at_server: The server's time (aware); None if no response had a `Date`.
    """

    planet: tuple[Backup, ...]
    is_missing: bool = False
    sibling: tuple[Backup, ...] | None = None
    star_system: tuple[Backup, ...] | None = None
    details: Mapping[BackupId, Backup] = attrs.field(factory=dict)
    fetched: int = 0
    at_server: datetime | None = None


@attrs.frozen(kw_only=True)
class Reconciliation:
    """One create with a lost response, and what the client knows about other backups.

    Attributes:
        request: The create.
        baseline: The backups that existed before it was sent; None if they are not known.
        owners: The planet of each backup that this client has created, by reference.
        names: What is known about `environment.name`.
        provisional_id: The id in the response, which may be that of a job; None if it had none.
        adopt_by_time: Whether the only unexplained backup is adopted.
        required: The evidence of visibility that a resend requires, at least.
    """

    request: CreateRequest
    baseline: Baseline | None
    owners: Mapping[BackupRef, PlanetRef]
    names: PlanetNames
    provisional_id: BackupId | None = None
    adopt_by_time: bool = True
    required: Visibility = Visibility.PLANET

    def decide(self, view: ListView, *, settled: bool) -> Decision:
        """Decide what to do, from what lists and GETs show.

        Args:
            view: What lists and GETs show now.
            settled: Whether `CreatePolicy.settle` has passed: a new backup would be listed by now.
        """
        listed = [view.details.get(id_key(backup.id), backup) for backup in self._planet_backups(view)]
        recognized = self._recognize(listed)
        if recognized is not None:
            return recognized
        candidates = [backup for backup in listed if self._is_unexplained(backup, view)]
        missing = sort_newest_first([backup for backup in candidates if id_key(backup.id) not in view.details])
        if missing and view.fetched < MOST_DETAILS:
            return FetchDetails(tuple(backup.id for backup in missing[: MOST_DETAILS - view.fetched]))
        if not settled:
            return Wait()
        return self._conclude_presence(candidates, view) if candidates else self._conclude_absence(view)

    def _planet_backups(self, view: ListView) -> list[Backup]:
        """Return the planet's list, and the star system's backups that show this planet's name or the marker.

        Each backup is returned once: a list shows one twice if its pages shift meanwhile.
        """
        listed = {id_key(backup.id): backup for backup in view.planet}
        for backup in view.star_system or ():
            if self._shows_planet_name(backup) or self._is_marked(backup):
                listed.setdefault(id_key(backup.id), backup)
        return list(listed.values())

    def _shows_planet_name(self, backup: Backup) -> bool:
        return environment_name(backup) == self.request.planet.planet.casefold()

    def _is_marked(self, backup: Backup) -> bool:
        return self.request.marker is not None and self.request.marker.is_shown_by(backup)

    def _recognize(self, listed: list[Backup]) -> Adopt | None:
        """Recognize the backup by its marker, before any rule about who owns an id: ids may be reused."""
        marked = [backup for backup in listed if self._is_marked(backup)]
        if marked:
            newest, *duplicates = sort_newest_first(marked)
            return Adopt(newest, "marker", tuple(duplicates))
        if self.provisional_id is None:
            return None
        key = id_key(self.provisional_id)
        backup = next((backup for backup in listed if id_key(backup.id) == key), None)
        if backup is None or self._is_old(backup) or not self._is_free(backup):
            return None
        return None if find_contradiction(self.request, backup, self.names) else Adopt(backup, None)

    def _is_free(self, backup: Backup) -> bool:
        """Return True unless the backup is known to belong to another create."""
        request = self.request
        owner = self.owners.get(BackupRef(request.planet.star_system, backup.id))
        # An id that another planet's backup had, and that now shows this planet's name, was reused.
        is_reused = owner != request.planet and self.names.usable and self._shows_planet_name(backup)
        if owner is not None and not is_reused:
            return False
        if self.names.is_other(request.planet.planet, backup, certain=True):
            return False
        if request.marker is None:
            return not has_marker(backup, ignoring=request.caller_text)
        return not request.marker.is_contradicted_by(backup, sent=request.caller_text)

    def _is_old(self, backup: Backup) -> bool:
        return self.baseline is not None and id_key(backup.id) in self.baseline.keys

    def _is_unexplained(self, backup: Backup, view: ListView) -> bool:
        if self._is_old(backup) or not self._is_free(backup):
            return False
        if self.baseline is not None:
            return True
        return not (_ended_long_before(backup, view.at_server) or shows_other_metadata(self.request, backup))

    def _conclude_presence(self, candidates: list[Backup], view: ListView) -> Decision:
        if self._covers_star_system and view.star_system is None:
            return FetchStarSystemList()
        if len(candidates) == 1 and self.adopt_by_time and self._may_adopt(candidates[0], view):
            return Adopt(candidates[0], "time")
        if self.baseline is None:
            reason = "no list from before the create is known, so each backup of the planet may be new"
        elif len(candidates) > 1:
            reason = f"{len(candidates)} backups have appeared that this client cannot explain"
        else:
            reason = "a backup has appeared that may be another one"
        return Ambiguous(reason, sort_newest_first(candidates))

    @property
    def _covers_star_system(self) -> bool:
        return self.baseline is not None and self.baseline.scope == "star_system"

    def _may_adopt(self, backup: Backup, view: ListView) -> bool:
        """Return True if the only unexplained backup is certainly new, and nothing contradicts it."""
        if self.baseline is None or self._differs_from_request(backup):
            return False
        # A baseline of the star system's list is comparable with what that list shows, and with nothing else.
        if self._covers_star_system and not _contains(view.star_system or (), backup):
            return False
        # A list that shows other planets' backups, too, does not show to which planet a new one belongs.
        is_named = self.names.usable and self._shows_planet_name(backup)
        return is_named or not any(self._is_of_other_planet(listed) for listed in view.planet)

    def _is_of_other_planet(self, backup: Backup) -> bool:
        owner = self.owners.get(BackupRef(self.request.planet.star_system, backup.id))
        return owner is not None and owner != self.request.planet

    def _conclude_absence(self, view: ListView) -> Decision:
        """Conclude from an absence only if such a backup would have been listed."""
        if view.star_system is None:
            # One of the two lists may lag, or not show what is new.
            return FetchStarSystemList()
        evidence = Visibility.NONE if view.is_missing else self._planet_list_evidence(view)
        if evidence >= max(self.required, Visibility.NEW):
            return Absent()
        sibling = self._find_sibling()
        if sibling is not None and view.sibling is None and not view.is_missing:
            return FetchPlanetList(sibling)
        unattributed = self._find_unattributed(view)
        if unattributed:
            reason = "backups have appeared in the star system of which the service does not show the planet"
            return Ambiguous(reason, sort_newest_first(unattributed))
        evidence = max(evidence, self._star_system_evidence(view))
        if evidence >= max(self.required, Visibility.PLANET):
            return Absent()
        return Ambiguous("no list has been seen to show new backups of this planet, so its absence proves nothing")

    def _planet_list_evidence(self, view: ListView) -> Visibility:
        if any(self._is_owned(backup) for backup in (*view.planet, *(view.sibling or ()))):
            return Visibility.OWN
        comparable = view.star_system if self._covers_star_system else view.planet
        new = [backup for backup in view.planet if self.baseline is not None and not self._is_old(backup)]
        if any(_contains(comparable or (), backup) for backup in new):
            return Visibility.NEW
        return Visibility.PLANET if view.planet else Visibility.NONE

    def _star_system_evidence(self, view: ListView) -> Visibility:
        listed = view.star_system or ()
        if any(map(self._is_owned, listed)):
            return Visibility.OWN
        if self._covers_star_system and any(not self._is_old(backup) for backup in listed):
            return Visibility.NEW
        return Visibility.PLANET if any(map(self._shows_planet_name, listed)) else Visibility.NONE

    def _is_owned(self, backup: Backup) -> bool:
        return BackupRef(self.request.planet.star_system, backup.id) in self.owners

    def _find_sibling(self) -> PlanetRef | None:
        """Return another planet of the star system in which this client has created a backup since the baseline."""
        here = self.request.planet
        return next(
            (
                planet
                for ref, planet in self.owners.items()
                if ref.star_system == here.star_system
                and planet != here
                and (self.baseline is None or id_key(ref.backup_id) not in self.baseline.keys)
            ),
            None,
        )

    def _find_unattributed(self, view: ListView) -> list[Backup]:
        """Return new backups of the star system that cannot be attributed to a planet or create."""
        return [
            backup
            for backup in view.star_system or ()
            if not _contains(view.planet, backup)
            and not (self._covers_star_system and self._is_old(backup))
            and self._is_free(backup)
            and not _ended_long_before(backup, view.at_server)
        ]

    def _differs_from_request(self, backup: Backup) -> bool:
        """Return True if a backup shows other metadata, or another documented type or mechanism, than was sent.

        That is no proof of absence: such a backup is not adopted, but it blocks a resend all the same.
        """
        kind = (backup.type or "").casefold()
        expected = BackupType.TEMPORARY if self.request.spec.temporary else BackupType.PERMANENT
        other_type = kind in _DOCUMENTED_TYPES and kind != expected
        unlike = any(_unlike_texts(self.request, backup))
        return unlike or other_type or find_contradiction(self.request, backup, self.names) is not None


def shows_other_metadata(request: CreateRequest, backup: Backup) -> bool:
    """Return True if a backup shows a name and a description, and neither can come from what was sent."""
    return all(_unlike_texts(request, backup))


def _unlike_texts(request: CreateRequest, backup: Backup) -> tuple[bool, bool]:
    """Return whether the name and the description that a backup shows cannot come from those that were sent."""
    sent, shown = request.marked_spec.metadata, backup.extra.get("metadata")
    metadata = shown if isinstance(shown, dict) else {}
    return (
        _is_unrelated(metadata.get("name"), sent.name),
        _is_unrelated(metadata.get("description"), sent.description),
    )


def _contains(backups: Iterable[Backup], backup: Backup) -> bool:
    key = id_key(backup.id)
    return any(id_key(other.id) == key for other in backups)


def sort_newest_first(backups: Collection[Backup]) -> tuple[Backup, ...]:
    """Return backups by start time and id, newest first."""

    def age(backup: Backup) -> tuple[str, str]:
        started = backup.started_at
        return ("" if started is None else started.isoformat(), str(backup.id).zfill(20))

    return tuple(sorted(backups, key=age, reverse=True))


def _is_unrelated(shown: object, sent: str) -> bool:
    """Return True if a text is shown that cannot come from the one that was sent by cutting or adding to it."""
    if not isinstance(shown, str):
        return False
    here, there = normalize_text(shown), normalize_text(sent)
    if not here or not there:
        return False
    return not (there.startswith(here) or here in there or there in here)


def _ended_long_before(backup: Backup, at_server: datetime | None) -> bool:
    ended = backup.completed_at
    return ended is not None and at_server is not None and ended.year > 1970 and ended < at_server - _OLD
