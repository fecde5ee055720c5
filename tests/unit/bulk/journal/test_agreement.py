"""In what a run differs from its journal."""

from __future__ import annotations

import attrs
import pytest

from asyncbackups._bulk.journal.agreement import describe_header_difference, describe_target_difference
from asyncbackups._bulk.journal.entries import Header
from asyncbackups.models import BackupMetadata, BackupSpec, PlanetRef

HEADER = Header(tenant="t", base_url="https://x", spec=BackupSpec())
A, B, C, D, E = (PlanetRef("s", name) for name in "abcde")


def test_the_same_is_no_difference() -> None:
    """The same header and the same targets agree; of an unfinished list, more targets do, too."""
    assert describe_header_difference(HEADER, attrs.evolve(HEADER, spec=BackupSpec())) is None
    assert describe_target_difference([A, B], [A, B], listed=True) is None
    assert describe_target_difference([A, B], [A, B, C], listed=False) is None
    assert describe_target_difference([], [], listed=False) is None


def test_headers_name_what_differs() -> None:
    """Only what differs is shown, as it is in the journal and here."""
    here = Header(tenant="u", base_url="https://x", spec=BackupSpec(temporary=False, metadata=BackupMetadata("n")))
    difference = describe_header_difference(HEADER, here)
    assert difference is not None
    assert "tenant is 't' in the journal and 'u' here" in difference
    assert "spec.retentionPeriodInDays is 10 in the journal and not given here" in difference
    assert "spec.metadata.name is 'asyncbackups' in the journal and 'n' here" in difference
    assert "base_url" not in difference


@pytest.mark.parametrize(
    ("journal", "here", "listed", "said"),
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
def test_lists_name_what_differs(journal: list[PlanetRef], here: list[PlanetRef], listed: bool, said: str) -> None:
    """The first place that differs, the lengths, and who is missing where."""
    assert describe_target_difference(journal, here, listed=listed) == said
