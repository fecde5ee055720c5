"""The marker of a create: made from planet and key, and found in whatever is left of the text that was sent."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._api.marker import has_marker, marker_for, normalize_text
from asyncbackups.models import Backup, BackupMetadata, BackupSpec, Environment, PlanetRef
from tests.unit.api.alterations import ALTERATIONS

PLANET = PlanetRef("solar", "earth")
MARKER = marker_for(PLANET, "key")
OTHER = marker_for(PLANET, "other key")
SPEC = BackupSpec(metadata=BackupMetadata("nightly", "before the  release — «Größe» ﬁ"))
KEYS = st.text(max_size=20)
ALTERED = st.sampled_from(list(ALTERATIONS.values()))


def described(text: str) -> Backup:
    return Backup(id=1, extra={"metadata": {"name": "nightly", "description": text}})


def test_marker_depends_only_on_planet_and_key() -> None:
    """The same planet and key give the same marker; another planet or key gives another one."""
    assert marker_for(PlanetRef("solar", "earth"), "key") == MARKER
    others = [OTHER, marker_for(PlanetRef("solar", "mars"), "key"), marker_for(PlanetRef("lunar", "earth"), "key")]
    assert len({MARKER, *others}) == 4


def test_marker_is_short_and_readable() -> None:
    """It names this package, and is the same in every version: journals of earlier versions rely on it."""
    assert MARKER.text == "[asyncbackups:7iixrxtl5cu5avzv]"


def test_marker_is_added_to_the_description() -> None:
    """Name and description stay readable; the marker comes last, and may be the whole description."""
    marked = MARKER.add_to(SPEC)
    assert marked.metadata == BackupMetadata("nightly", f"{SPEC.metadata.description} {MARKER.text}")
    assert attrs.evolve(marked, metadata=SPEC.metadata) == SPEC
    assert MARKER.add_to(BackupSpec()).metadata.description == MARKER.text


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_case_1_marker_is_found_in_altered_metadata(alter: Any) -> None:
    """A service may alter the text as it likes, as long as it shows the digest."""
    backup = described(alter(MARKER.add_to(SPEC).metadata.description))
    assert MARKER.is_shown_by(backup)
    assert not MARKER.is_contradicted_by(backup)
    assert not OTHER.is_shown_by(backup)


@given(KEYS, ALTERED, ALTERED)
def test_case_1_marker_is_found_after_two_alterations(key: str, first: Any, second: Any) -> None:
    """Gateway and service may both alter it. What trims a text in front is applied to an unaltered one only."""
    marker = marker_for(PLANET, key)
    trimmed = ALTERATIONS["trimmed in front"]
    if second is trimmed:
        second = ALTERATIONS["unchanged"]
    # Entities in title or upper case, or percent signs that were removed, are no encoding any more, but letters.
    backup = described(second(first(marker.add_to(SPEC).metadata.description)))
    assert marker.is_shown_by(backup)
    assert not marker.is_contradicted_by(backup)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (Backup(id=1, extra={"annotations": [{"text": MARKER.text}]}), True),
        (Backup(id=1, extra={"a": {"b": {"c": {"d": {"e": MARKER.text}}}}}), True),
        (Backup(id=1, extra={"a": {"b": {"c": {"d": {"e": {"f": {"g": MARKER.text}}}}}}}), False),
        (Backup(id=1, extra={"tags": {MARKER.text: True}}), True),
        (Backup(id=1, display_status=f"waiting: {MARKER.text}"), True),
        (Backup(id=1, error_message=f"{MARKER.text} failed"), True),
        (Backup(id=1, environment=Environment(name=f"earth {MARKER.text}")), True),
        (Backup(id=1, environment=Environment(stage=MARKER.digest)), True),
        (Backup(id=1, environment=Environment(extra={"label": MARKER.text})), True),
        (Backup(id=1, database_to_application_builds={"pc": {"build": MARKER.text}}), True),
        (Backup(id=1, extra={"size": 5, "none": None, "flag": True}), False),
        (Backup(id=1), False),
    ],
    ids=repr,
)
def test_marker_is_found_in_any_member(shown: Backup, found: bool) -> None:
    """Whichever member shows it, known to this version or not, down to a bounded depth."""
    assert MARKER.is_shown_by(shown) is found


@pytest.mark.parametrize("length", range(len(MARKER.text) - 1))
def test_marker_that_is_cut_proves_nothing(length: int) -> None:
    """It is neither this create's nor another one's."""
    backup = described(f"before the release {MARKER.text[:length]}…")
    assert not MARKER.is_shown_by(backup)
    assert not OTHER.is_contradicted_by(backup)
    assert not has_marker(backup)


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_complete_marker_of_another_create_contradicts(alter: Any) -> None:
    """In most alterations it is recognized; one that is not recognized proves nothing, which is safe."""
    backup = described(alter(OTHER.add_to(SPEC).metadata.description))
    unrecognized = {"HTML-escaped twice", "percent-encoded twice"}
    if alter not in {ALTERATIONS[name] for name in unrecognized}:
        assert has_marker(backup)
        assert MARKER.is_contradicted_by(backup)


def test_backup_with_both_markers_is_not_contradicted() -> None:
    """A description that quotes another create's marker still is this create's."""
    assert not MARKER.is_contradicted_by(described(f"again {OTHER.text} {MARKER.text}"))


def test_words_of_the_caller_are_no_marker() -> None:
    """The caller may write about this package: the same words that were sent are not another create's marker."""
    text = "made with asyncbackups responsibilities"  # 16 letters
    assert has_marker(described(text))
    assert not has_marker(described(text), ignoring=text)
    assert not MARKER.is_contradicted_by(described(text.upper()), sent=text)
    assert MARKER.is_contradicted_by(described(f"{text} {OTHER.text}"), sent=text)


@given(st.text(max_size=60))
def test_no_text_by_accident_shows_a_marker(text: str) -> None:
    """80 bits do not occur by accident; and no text raises."""
    backup = described(text)
    assert not MARKER.is_shown_by(backup)
    assert MARKER.is_contradicted_by(backup) == has_marker(backup)


@given(st.text(max_size=40))
def test_letters_are_lower_case_letters_and_digits(text: str) -> None:
    """Nothing else is left; taking them again changes nothing that a marker consists of."""
    letters = normalize_text(text)
    assert letters.isalnum() or letters == ""
    assert MARKER.digest in normalize_text(f"{text} {MARKER.text}")
