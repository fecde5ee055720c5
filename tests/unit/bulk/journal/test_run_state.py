"""Where a run stands: what entries add up to."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from asyncbackups._bulk.journal import entries
from asyncbackups._bulk.journal import run_state as state
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header
from asyncbackups._bulk.journal.run_state import InconsistentEntryError, RunState, TargetState
from asyncbackups.models import BackupRef, BackupSpec

NOW = datetime(2024, 1, 29, tzinfo=UTC)
BEGUN = (EntryKind.STARTED, None, Header(tenant="t", base_url="https://x", spec=BackupSpec()).json_text)
TARGET = (EntryKind.TARGET, 0, '["s","p"]')
INTENT = (EntryKind.INTENT, 0, '{"key":"k"}')
CREATED = (EntryKind.CREATED, 0, '{"named":["s",362],"backup":{}}')
SUCCEEDED = (EntryKind.SUCCEEDED, 0, "{}")
LISTED = (EntryKind.LISTED, None, "")
Said = tuple[EntryKind, "int | None", str]


def added(*said: Said) -> RunState:
    run = RunState()
    for number, (kind, target, data) in enumerate(said, 1):
        run.apply_entry(Entry(number, kind, target, NOW, data))
    return run


def test_a_target_goes_its_way() -> None:
    """Waiting, creating with a key, running with a backup, ended; finished once all is listed."""
    way = (BEGUN, TARGET, INTENT, CREATED, SUCCEEDED)
    states = [added(*way[:length]).targets[0].state for length in range(2, 6)]
    assert states == [TargetState.WAITING, TargetState.CREATING, TargetState.RUNNING, TargetState.SUCCEEDED]
    run = added(*way)
    assert (run.targets[0].key, run.targets[0].ref, run.list_created_refs()) == (
        "k",
        BackupRef("s", 362),
        (BackupRef("s", 362),),
    )
    assert not run.is_finished
    assert added(*way, LISTED).is_finished


def test_acknowledging_never_goes_back() -> None:
    """The greatest acknowledgement counts."""
    acknowledged = [(EntryKind.ACKNOWLEDGED, None, number) for number in ("3", "7", "5")]
    assert added(BEGUN, *acknowledged).acknowledged == 7


@pytest.mark.parametrize(
    "said",
    [
        [TARGET],
        [BEGUN, BEGUN],
        [BEGUN, INTENT],
        [BEGUN, TARGET, CREATED],
        [BEGUN, TARGET, INTENT, INTENT],
        [BEGUN, TARGET, INTENT, SUCCEEDED],
        [BEGUN, TARGET, INTENT, CREATED, CREATED],
        [BEGUN, TARGET, INTENT, CREATED, SUCCEEDED, SUCCEEDED],
        [BEGUN, TARGET, TARGET],
        [BEGUN, LISTED, TARGET],
        [BEGUN, (EntryKind.INTENT, None, "")],
        [BEGUN, TARGET, (EntryKind.LISTED, 0, "")],
    ],
)
def test_what_does_not_add_up_is_damage(said: list[Said]) -> None:
    """An entry that cannot follow those before it is refused."""
    added(*said[:-1])
    with pytest.raises(InconsistentEntryError):
        added(*said)


def test_ids_ascend() -> None:
    """An id that was there before is refused."""
    run = added(BEGUN)
    with pytest.raises(InconsistentEntryError, match="entry 1 follows entry 1"):
        run.apply_entry(Entry(1, EntryKind.LISTED, None, NOW, ""))


@pytest.mark.parametrize("module", [entries, state], ids=lambda module: module.__name__)
def test_decisions_know_no_database_and_no_clock(module: object) -> None:
    """What decides imports nothing that does I/O."""
    source = Path(module.__file__).read_text("utf-8")  # type: ignore[attr-defined]
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {"sqlite3", "aiosqlite", "asyncio", "anyio", "time", "random", "os"}
