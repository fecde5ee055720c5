"""Judges a universe that has ended, from the truth of the service alone."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from asyncbackups.models import PlanetRef

from .client import Exchange
from .service import EARLIER, TrueBackup, alter_text
from .universe import DEADLINE, Outcome, Universe, Work
from .variables import Variables, explain_impossible, explain_unclear

#: Seconds after which lists show a new backup for certain, so that a create that was not found did nothing.
_SETTLE: Final = 60.0
_MARKER: Final = re.compile(r"\[asyncbackups:([a-z2-7]{16})\]$")
_LOSSES: Final = frozenset(
    {"post_response_lost", "post_request_lost", "post_late_effect", "post_error_after", "post_error_before"}
    | {"post_other_response", "post_used_id", "post_truncated", "post_slow", "outage", "reused_reset"}
)
_READABLE_PAGING: Final = frozenset({"none", "link", "body", "relative"})


@attrs.frozen
class Violation:
    """A promise that was broken: a short name to group by, and the details."""

    kind: str
    text: str


@attrs.define
class Verdict:
    """The result for one universe.

    Attributes:
        violations: What was broken.
        counts: Counted over all seeds: lost creates that must or should be resolved, and how many were.
    """

    violations: list[Violation] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)


def judge(universe: Universe) -> Verdict:
    """Judge a universe."""
    return _Judge(universe).judge()


class _Judge:
    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._variables = universe.variables
        self._impossible = explain_impossible(universe.variables)
        self._unclear = explain_unclear(universe.variables)
        self._verdict = Verdict()
        self._ours: dict[tuple[int, PlanetRef], list[TrueBackup]] = {key: [] for key in universe.work}
        for backup in universe.service.truth:
            client = _client_of(backup)
            if client is not None:
                self._ours[client, PlanetRef(backup.star_system, backup.planet)].append(backup)
        self._exchanges = {exchange.origin: exchange for exchange in universe.exchanges}

    def judge(self) -> Verdict:
        """Check every invariant."""
        universe = self._universe
        if universe.hang:
            self._report("hang", universe.hang)
        for crash in universe.crashes:
            self._report("crash", crash)
        for leftover in universe.leftovers:
            self._report("task-left-behind", leftover)
        for key, work in universe.work.items():
            ours = self._ours[key]
            self._judge_duplicates(work, ours)
            self._judge_resends(work, ours)
            self._judge_creations(work)
            if work.client in universe.completed and not universe.hang:
                self._judge_outcome(work, ours)
                self._count_resolved(work, ours)
        self._judge_requests()
        return self._verdict

    def _report(self, kind: str, text: str) -> None:
        self._verdict.violations.append(Violation(kind, text))

    # Duplicates

    def _judge_duplicates(self, work: Work, ours: list[TrueBackup]) -> None:
        if not _coexist(ours):
            return
        if work.told:
            self._verdict.counts["duplicates that somebody was told of"] += 1
            return
        if self._impossible or work.client not in self._universe.completed:
            self._verdict.counts["duplicates that could not be avoided, or whose process was cancelled"] += 1
            return
        made = ", ".join(f"{backup.id} at {backup.created:.3f} by {backup.origin}" for backup in ours)
        self._report("silent-duplicate", f"{work.planet}: {made}")

    def _judge_resends(self, work: Work, ours: list[TrueBackup]) -> None:
        """Nothing is sent again while a list shows what was created: telling of a duplicate is no excuse."""
        if self._impossible or not self._can_read_lists() or self._variables.stale_share:
            return
        for number, later in enumerate(ours):
            sent = self._exchanges[later.origin].started
            for earlier in ours[:number]:
                if earlier.origin != later.origin and self._is_listed(earlier, sent - 5.0):
                    text = (
                        f"{work.planet}: {later.origin} at {sent:.3f}; {_tell(earlier)} listed {earlier.list_time:.3f}"
                    )
                    self._report("resent-though-visible", text)

    # Identity

    def _judge_creations(self, work: Work) -> None:
        for _, time, creation in work.creations:
            backup = self._find(work.planet, creation.backup.id, time, work.client)
            if backup is not None and _client_of(backup) == work.client and backup.planet == work.planet.planet:
                continue
            if self._impossible:
                self._verdict.counts["wrong backups in universes where that cannot be avoided"] += 1
                continue
            name = f"{work.planet}: {creation.backup.id} (adopted={creation.adopted})"
            if backup is None:
                self._report("no-such-backup", name)
            elif creation.adopted != "time":
                owner = "stranger" if _client_of(backup) is None else "other"
                self._report(f"{owner}-taken-as-ours", f"{name} of {backup.origin} for {backup.planet}")
            else:
                self._judge_adoption(work, time, backup, name)

    def _judge_adoption(self, work: Work, time: float, adopted: TrueBackup, name: str) -> None:
        """A stranger's backup may be adopted by time only if it was the only unexplained one."""
        self._verdict.counts["strangers adopted by time"] += 1
        if adopted.planet != work.planet.planet:
            self._report("adopted-of-other-planet", f"{name} of {adopted.planet}")
            return
        # A journal keeps the baseline of the first process.
        started = min(process.started for process in self._universe.processes if process.client == work.client)
        if adopted.origin == EARLIER or adopted.created < started:
            self._report("adopted-old", f"{name}, created at {adopted.created:.3f}")
            return
        others = [
            other
            for other in self._universe.service.truth
            if (other.star_system, other.planet) == (work.planet.star_system, work.planet.planet)
            and other is not adopted
            and other.created >= started
            and self._is_listed(other, time - 1.0)
            and not self._shows_marker(other)
        ]
        if others:
            self._report("adopted-one-of-several", f"{name}, but also {[other.id for other in others]}")

    def _is_listed(self, backup: TrueBackup, time: float) -> bool:
        return backup.list_time <= time < min(backup.deleted, backup.vanished)

    def _shows_marker(self, backup: TrueBackup) -> bool:
        return _shows_digest(self._variables, backup)

    def _find(self, planet: PlanetRef, backup_id: int | str, time: float, client: int) -> TrueBackup | None:
        """Return the backup of an id at a time; ids may come again, and then the client's own is meant."""
        found = [
            backup
            for backup in self._universe.service.truth
            if backup.star_system == planet.star_system and str(backup.id) == str(backup_id) and backup.created <= time
        ]
        own = [backup for backup in found if _client_of(backup) == client and backup.planet == planet.planet]
        return (own or found or [None])[-1]

    # Outcomes

    def _judge_outcome(self, work: Work, ours: list[TrueBackup]) -> None:
        if len(work.outcomes) != 1:
            kind = "no-outcome" if not work.outcomes else "two-outcomes"
            self._report(kind, f"{work.planet}: {[outcome.kind for outcome in work.outcomes]}")
            return
        outcome = work.outcomes[0]
        self._verdict.counts[f"outcome {outcome.kind}"] += 1
        if outcome.backup_id is None:
            self._judge_refusal(work, outcome, ours)
            return
        backup = self._find(work.planet, outcome.backup_id, outcome.time, work.client)
        if backup is None or (_client_of(backup), backup.planet) != (work.client, work.planet.planet):
            return  # the creation was judged
        reason = self._find_untruth(outcome, backup)
        if reason:
            self._report(reason, f"{work.planet}: {backup.id} is {outcome.kind} at {outcome.time:.3f}; {_tell(backup)}")

    def _judge_refusal(self, work: Work, outcome: Outcome, ours: list[TrueBackup]) -> None:
        alive = [backup for backup in ours if backup.created <= outcome.time < min(backup.deleted, backup.vanished)]
        if outcome.kind == "refused" and alive and not self._impossible:
            self._report("refused-but-created", f"{work.planet}: {outcome.error!r}; {_tell(alive[0])}")

    def _find_untruth(self, outcome: Outcome, backup: TrueBackup) -> str:
        """Return the name of what is untrue about an outcome; empty if nothing is."""
        variables, time = self._variables, outcome.time
        ended = backup.ends <= time
        match outcome.kind:
            case "succeeded" if not (ended and backup.succeeds):
                return "" if self._unclear else "false-success"
            case "failed" if not (ended and not backup.succeeds):
                deleted = variables.after_deletion == "status" and backup.deleted <= time
                return "" if deleted or self._unclear else "false-failure"
            case "gone" if min(backup.deleted, backup.vanished) > time:
                return "false-gone"
            case "expired":
                # Half of the deadline is enough to notice.
                return "missed-end" if backup.end_time() < time - DEADLINE / 2 and not self._unclear else ""
            case "unchecked":
                return "" if self._may_be_refused() else "given-up"
        return ""

    def _may_be_refused(self) -> bool:
        variables = self._variables
        without_tokens = self._universe.plan.renews_tokens and variables.blip_kind != "none"
        return variables.blip_kind in {"401", "403"} or variables.token_error > 0.0 or without_tokens

    # Lost creates

    def _count_resolved(self, work: Work, ours: list[TrueBackup]) -> None:
        lost = [exchange for exchange in self._posts(work) if self._is_lost(exchange)]
        if not lost:
            return
        backups = [backup for backup in ours if backup.origin in {exchange.origin for exchange in lost}]
        resolved = bool(work.creations) and work.outcomes[0].kind not in {"ambiguous", "refused"}
        if not self._can_read_lists() or any(_ended_early(backup) for backup in ours):
            return
        if not backups:
            self._count_share("never arrived", resolved, work)
        elif self._shows_markers() and all(self._shows_marker(backup) for backup in backups):
            self._count_share("lost, marker shown", resolved, work)
            if not resolved:
                self._report("marker-not-recognized", f"{work.planet}: {work.outcomes[0].error!r}")
        elif self._is_alone() and self._variables.planet_list_scope == "planet" and self._has_visible(work.planet):
            self._count_share("lost, nothing shown", resolved, work)

    def _count_share(self, name: str, resolved: bool, work: Work) -> None:
        counts = self._verdict.counts
        counts[name] += 1
        counts[f"{name}: resolved"] += resolved
        if not resolved:
            reason = re.sub(r"\d+", "N", str(getattr(work.outcomes[0].error, "reason", work.outcomes[0].error)))
            counts[f"{name}: unresolved, {reason[:60]} ... {reason[-80:]}"] += 1

    def _posts(self, work: Work) -> Iterator[Exchange]:
        path = f"/starsystems/{work.planet.star_system}/planets/{work.planet.planet}/backups"
        for exchange in self._universe.exchanges:
            if (
                exchange.method == "POST"
                and exchange.path.endswith(path)
                and _client_number(exchange.origin) == work.client
            ):
                yield exchange

    def _is_lost(self, exchange: Exchange) -> bool:
        if not exchange.result.isdigit() or int(exchange.result) >= 300:
            return exchange.result not in {"NotConnected", "429", "401"}
        if self._variables.create_shape in {"job", "empty"}:
            return True
        return any(
            fault.path == exchange.path and exchange.started <= fault.time <= exchange.ended and fault.kind in _LOSSES
            for fault in self._universe.gateway.faults
        )

    def _can_read_lists(self) -> bool:
        """Return True if planet lists show everything within the time that the client gives them."""
        variables = self._variables
        lag = variables.planet_list_lag + variables.stale_lag * (variables.stale_share > 0.0)
        late = variables.late_effect_delay if variables.post_late_effect else 0.0
        return (
            not variables.planet_list_refusal
            and variables.planet_list_omits == "nothing"
            and variables.paging in _READABLE_PAGING
            and lag + late + variables.create_time < _SETTLE - 5.0
            and variables.blip_kind == "none"
            and variables.outage_kind == "none"
            and not variables.restore_time
            and not variables.id_reuse
            and not variables.post_repeated
            and not any((variables.read_lost, variables.read_not_connected, variables.read_error))
            and not any((variables.read_truncated, variables.read_other_response, variables.read_html))
            and not variables.read_slow
            and not variables.token_error
            and not variables.rate_limit
        )

    def _shows_markers(self) -> bool:
        variables = self._variables
        in_lists = variables.list_metadata == "all" and variables.missing_fields not in {"lists", "all"}
        in_gets = variables.get_metadata == "all" and variables.missing_fields != "all"
        return in_lists or (in_gets and variables.get_lag < _SETTLE - 5.0)

    def _is_alone(self) -> bool:
        variables = self._variables
        return (
            variables.stranger_moment == "never"
            and not variables.stranger_rate
            and not variables.scheduled_time
            and variables.client_count == 1
            and not variables.kill_moments
        )

    def _has_visible(self, planet: PlanetRef) -> bool:
        """Return True if the planet's list showed a backup from the start."""
        return any(
            backup.origin == EARLIER and (backup.star_system, backup.planet) == (planet.star_system, planet.planet)
            for backup in self._universe.service.truth
        )

    # Requests

    def _judge_requests(self) -> None:
        universe = self._universe
        targets = len(universe.work)
        processes = len(universe.processes)
        creates = sum(
            exchange.method == "POST" and exchange.path.endswith("/backups") for exchange in universe.exchanges
        )
        if creates > 12 * targets * processes:
            self._report("too-many-creates", f"{creates} for {targets} planets")
        # A poll a minute for each backup in flight, and as many again; more while durations are learned and lists fail.
        seconds = universe.ended or 1.0
        pages = 20 if self._variables.paging != "none" else 1
        allowed = (200.0 + 80.0 * targets * processes + targets * seconds / 25.0) * pages
        if len(universe.exchanges) > allowed:
            self._report("too-many-requests", f"{len(universe.exchanges)} for {targets} planets in {seconds:.0f} s")


def _client_number(origin: str) -> int | None:
    match = re.match(r"client-(\d+)\.", origin)
    return int(match[1]) if match else None


def _client_of(backup: TrueBackup) -> int | None:
    return _client_number(backup.origin)


def _coexist(backups: list[TrueBackup]) -> bool:
    """Return True if two backups existed at the same time."""
    ordered = sorted(backups, key=lambda backup: backup.created)
    latest = -1.0
    for backup in ordered:
        if backup.created < latest:
            return True
        latest = max(latest, min(backup.deleted, backup.vanished))
    return False


def _shows_digest(variables: Variables, backup: TrueBackup) -> bool:
    """Return True if the text of a backup's description, as it is altered here, still has our whole digest."""
    description = str((backup.body.get("metadata") or {}).get("description", ""))
    match = _MARKER.search(description)
    if match is None:
        return False
    return match[1] in "".join(filter(str.isalnum, alter_text(description, variables).casefold()))


def _ended_early(backup: TrueBackup) -> bool:
    """Return True if a backup did not exist long enough to be found."""
    return min(backup.deleted, backup.vanished) < backup.created + 600.0


def _tell(backup: TrueBackup) -> str:
    result = "succeeds" if backup.succeeds else "fails"
    return (
        f"{backup.origin} created {backup.created:.3f} {result} at {backup.ends:.3f}"
        f" deleted {backup.deleted:.3f} vanished {backup.vanished:.3f}"
    )
