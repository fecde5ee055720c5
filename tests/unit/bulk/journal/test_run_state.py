"""The state of a run: the sum of its entries, and how it differs from the requested run."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header
from asyncbackups._bulk.journal.run_state import (
    InconsistentEntryError,
    RunState,
    TargetState,
    describe_header_difference,
    describe_target_difference,
)
from asyncbackups.models import BackupMetadata, BackupRef, BackupSpec, PlanetRef

NOW = datetime(2024, 1, 29, tzinfo=UTC)
STARTED = (EntryKind.STARTED, None, Header(tenant="t", base_url="https://x", spec=BackupSpec()).json_text)
TARGET = (EntryKind.TARGET, 0, '["s","p"]')
INTENT = (EntryKind.INTENT, 0, '{"key":"k"}')
CREATED = (EntryKind.CREATED, 0, '{"named":["s",362],"backup":{}}')
SUCCEEDED = (EntryKind.SUCCEEDED, 0, "{}")
BASELINE = (EntryKind.BASELINE, None, '{"star_system":"s","scope":"planet","ids":[1,"a"]}')
LISTED = (EntryKind.LISTED, None, "")
HEADER = Header(tenant="t", base_url="https://x", spec=BackupSpec())
A, B, C, D, E = (PlanetRef("s", name) for name in "abcde")
EntryData = tuple[EntryKind, "int | None", str]


def add_up(*data: EntryData) -> RunState:
    run = RunState()
    for number, (kind, target, text) in enumerate(data, 1):
        run.apply_entry(Entry(number, kind, target, NOW, text))
    return run


def test_target_passes_through_its_states() -> None:
    """Waiting, creating with a key, running with a backup, final; the run is finished once all targets are listed."""
    way = (STARTED, TARGET, INTENT, CREATED, SUCCEEDED)
    states = [add_up(*way[:length]).targets[0].state for length in range(2, 6)]
    assert states == [TargetState.WAITING, TargetState.CREATING, TargetState.RUNNING, TargetState.SUCCEEDED]
    run = add_up(*way)
    assert (run.targets[0].key, run.targets[0].ref, run.list_created_refs()) == (
        "k",
        BackupRef("s", 362),
        (BackupRef("s", 362),),
    )
    assert not run.is_finished
    assert add_up(*way, LISTED).is_finished


def test_intent_has_the_baseline_that_it_names() -> None:
    """An intent of an earlier version has none; one without a baseline, neither."""
    run = add_up(STARTED, TARGET, BASELINE, (EntryKind.INTENT, 0, '{"key":"k","baseline":3}'))
    intent = run.resend_intent(0)
    assert (intent.key, intent.may_exist, intent.since) == ("k", True, NOW)
    assert intent.baseline is not None
    assert (intent.baseline.scope, intent.baseline.keys) == ("planet", {1, "a"})
    assert add_up(STARTED, TARGET, BASELINE, INTENT).resend_intent(0).baseline is None


def test_greatest_acknowledgement_counts() -> None:
    """An older acknowledgement changes nothing."""
    acknowledged = [(EntryKind.ACKNOWLEDGED, None, number) for number in ("3", "7", "5")]
    assert add_up(STARTED, *acknowledged).acknowledged == 7


@pytest.mark.parametrize(
    "entries_data",
    [
        [TARGET],
        [STARTED, STARTED],
        [STARTED, INTENT],
        [STARTED, TARGET, CREATED],
        [STARTED, TARGET, INTENT, INTENT],
        [STARTED, TARGET, INTENT, SUCCEEDED],
        [STARTED, TARGET, INTENT, CREATED, CREATED],
        [STARTED, TARGET, INTENT, CREATED, SUCCEEDED, SUCCEEDED],
        [STARTED, TARGET, TARGET],
        [STARTED, LISTED, TARGET],
        [STARTED, (EntryKind.INTENT, None, "")],
        [STARTED, TARGET, BASELINE, (EntryKind.INTENT, 0, '{"key":"k","baseline":2}')],
        [STARTED, TARGET, (EntryKind.INTENT, 0, '{"key":"k","baseline":4}')],
        [STARTED, TARGET, (EntryKind.BASELINE, 0, BASELINE[2])],
        [STARTED, TARGET, (EntryKind.LISTED, 0, "")],
    ],
)
def test_inconsistent_entries_are_refused(entries_data: list[EntryData]) -> None:
    """An entry that cannot follow the entries before it is damage."""
    add_up(*entries_data[:-1])
    with pytest.raises(InconsistentEntryError):
        add_up(*entries_data)


def test_ids_must_ascend() -> None:
    """An id that was there before is refused."""
    run = add_up(STARTED)
    with pytest.raises(InconsistentEntryError, match="entry 1 follows entry 1"):
        run.apply_entry(Entry(1, EntryKind.LISTED, None, NOW, ""))


def test_same_run_has_no_difference() -> None:
    """Equal headers and targets agree; so do more targets, if the journal's list is not complete."""
    assert describe_header_difference(HEADER, attrs.evolve(HEADER, spec=BackupSpec())) is None
    assert describe_target_difference([A, B], [A, B], listed=True) is None
    assert describe_target_difference([A, B], [A, B, C], listed=False) is None
    assert describe_target_difference([], [], listed=False) is None


def test_header_difference_names_the_members() -> None:
    """Each member that differs is shown with both values; others are not."""
    here = Header(tenant="u", base_url="https://x", spec=BackupSpec(temporary=False, metadata=BackupMetadata("n")))
    difference = describe_header_difference(HEADER, here)
    assert difference is not None
    assert "tenant is 't' in the journal and 'u' here" in difference
    assert "spec.retentionPeriodInDays is 10 in the journal and not given here" in difference
    assert "spec.metadata.name is 'asyncbackups' in the journal and 'n' here" in difference
    assert "base_url" not in difference


@pytest.mark.parametrize(
    ("journal", "here", "listed", "difference"),
    [
        ([A, B], [A, C], True, "target 2 is s/b in the journal and s/c here; only in the journal: s/b; only here: s/c"),
        ([A, B], [A], True, "there are 2 targets in the journal and 1 here; only in the journal: s/b"),
        ([A, B], [A], False, "there are 2 targets in the journal and 1 here; only in the journal: s/b"),
        ([A], [A, B], True, "there are 1 targets in the journal and more here; only here: s/b"),
        ([A, B], [B, A], True, "target 1 is s/a in the journal and s/b here"),
        (
            [A, B, C, D, E],
            [],
            True,
            "there are 5 targets in the journal and 0 here; only in the journal: s/a, s/b, s/c, 2 more",
        ),
    ],
)
def test_target_difference_names_the_targets(
    journal: list[PlanetRef], here: list[PlanetRef], listed: bool, difference: str
) -> None:
    """It has the first position that differs, the lengths, and the planets missing on each side."""
    assert describe_target_difference(journal, here, listed=listed) == difference
