"""The status of a run with a journal, read from the file, also while it runs."""

from __future__ import annotations

import collections
import os
from collections.abc import Mapping
from datetime import datetime

import attrs

from asyncbackups._base.validation import check_file_path
from asyncbackups._bulk.journal.lock import Holder, find_holder
from asyncbackups._bulk.journal.run_state import RunState, TargetState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef, BackupSpec


@attrs.frozen(kw_only=True)
class JournalStatus:
    """The status of a run with a journal.

    Attributes:
        path: The journal's file.
        tenant: The tenant's id.
        base_url: The URL of the service.
        spec: The backups to create.
        started: When the run started (aware, UTC).
        changed: When the journal was last written (aware, UTC).
        targets: Number of targets in the journal.
        listed: Whether these are all targets; targets from an iterable are written as they are read.
        states: Number of targets in each state; every state is a key.
        star_systems: The same per star system.
        created: The backups that were created.
        last_event: The id of the last entry; events of later processes have greater ids.
        acknowledged: The id of the last event that the consumer has dealt with.
        holder: The process that runs it now, or None.
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
    """Return the status of a run with a journal. It blocks: in an event loop, call it in a thread.

    Args:
        path: The journal's file.

    Raises:
        ConfigurationError: If `path` is not the path of a file.
        JournalError: If there is no such journal, or it cannot be read.
    """
    from asyncbackups._bulk.journal.database import build_run_state, load_entries  # noqa: PLC0415 - imports sqlite3

    file = check_file_path(path, "path")
    state = build_run_state(load_entries(file), file)
    if state.header is None or state.started_at is None or state.changed_at is None:
        raise JournalError(f"the journal {file} is empty: its run has not started", path=str(file))
    return JournalStatus(
        path=str(file),
        tenant=state.header.tenant,
        base_url=state.header.base_url,
        spec=state.header.spec,
        started=state.started_at,
        changed=state.changed_at,
        targets=len(state.targets),
        listed=state.listed,
        states=_with_all_states(state.count_states()),
        star_systems=_count_by_star_system(state),
        created=state.list_created_refs(),
        last_event=state.last_id,
        acknowledged=state.acknowledged,
        holder=find_holder(file),
    )


def _count_by_star_system(state: RunState) -> dict[str, dict[TargetState, int]]:
    counts: dict[str, collections.Counter[TargetState]] = {}
    for target in state.targets:
        counts.setdefault(target.planet.star_system, collections.Counter())[target.state] += 1
    return {name: _with_all_states(counts[name]) for name in sorted(counts)}


def _with_all_states(counts: collections.Counter[TargetState]) -> dict[TargetState, int]:
    return {state: counts[state] for state in TargetState}
