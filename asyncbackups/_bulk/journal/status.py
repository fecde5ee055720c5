"""Where a journaled run stands, read from its file; also while it runs."""

from __future__ import annotations

import collections
import os
from collections.abc import Mapping
from datetime import datetime

import attrs

from asyncbackups._base.validation import check_file_path
from asyncbackups._bulk.journal.lock import Holder, holder_of
from asyncbackups._bulk.journal.run_state import RunState, TargetState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef, BackupSpec


@attrs.frozen(kw_only=True)
class JournalStatus:
    """Where a journaled run stands.

    Attributes:
        path: The journal's file.
        tenant: The tenant's id.
        base_url: Where the service is.
        spec: What is created.
        started: When the run began (aware, UTC).
        changed: When the journal was last written.
        targets: How many targets it has.
        listed: Whether these are all; targets that come from an iterable are written as they are taken.
        states: How many targets are in each state; each state is in it.
        star_systems: The same per star system.
        created: The backups that were created.
        last_event: The id of the last entry; events of later processes have greater ones.
        acknowledged: The id of the last event that the consumer has dealt with.
        holder: Which process runs it now, or None.
    """

    path: str
    tenant: str
    base_url: str
    spec: BackupSpec
    started: datetime
    changed: datetime
    targets: int
    listed: bool
    states: Mapping[TargetState, int] = attrs.field(hash=False)
    star_systems: Mapping[str, Mapping[TargetState, int]] = attrs.field(hash=False)
    created: tuple[BackupRef, ...]
    last_event: int
    acknowledged: int
    holder: Holder | None

    @property
    def finished(self) -> bool:
        """Whether every target is known and has its outcome."""
        return self.listed and all(state.final for state, number in self.states.items() if number)


def read_status(path: str | os.PathLike[str]) -> JournalStatus:
    """Say where a journaled run stands. It reads the file, so call it in a thread where an event loop must go on.

    Args:
        path: The journal's file.

    Raises:
        ConfigurationError: If that is no path of a file.
        JournalError: If there is no such journal, or it cannot be read.
    """
    from asyncbackups._bulk.journal.database import read, state_of  # noqa: PLC0415 - imports sqlite3

    file = check_file_path(path, "path")
    state = state_of(read(file), file)
    if state.header is None or state.started is None or state.changed is None:
        raise JournalError(f"the journal {file} is empty: its run has not begun", path=str(file))
    return JournalStatus(
        path=str(file),
        tenant=state.header.tenant,
        base_url=state.header.base_url,
        spec=state.header.spec,
        started=state.started,
        changed=state.changed,
        targets=len(state.places),
        listed=state.listed,
        states=_every(state.counts()),
        star_systems=_by_star_system(state),
        created=state.refs(),
        last_event=state.last_id,
        acknowledged=state.acknowledged,
        holder=holder_of(file),
    )


def _by_star_system(state: RunState) -> dict[str, dict[TargetState, int]]:
    counts: dict[str, collections.Counter[TargetState]] = {}
    for place in state.places:
        counts.setdefault(place.planet.star_system, collections.Counter())[place.state] += 1
    return {name: _every(counts[name]) for name in sorted(counts)}


def _every(counts: collections.Counter[TargetState]) -> dict[TargetState, int]:
    return {state: counts[state] for state in TargetState}
