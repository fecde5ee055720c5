"""Models: bad input is refused by name, open sets stay open, and a status means what it should."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups.errors import ConfigurationError
from asyncbackups.models import (
    Backup,
    BackupMetadata,
    BackupRef,
    BackupSpec,
    BackupType,
    Environment,
    Health,
    Mechanism,
    PlanetClass,
    PlanetRef,
    Progress,
    Status,
    progress_of,
)

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)


@pytest.mark.parametrize("name", ["../../x", "a/b", "é", "...", "a b", "%2F", "?x#y"])
def test_planets_may_have_any_name(name: str) -> None:
    """Odd names are the planet's business: they are encoded, not refused."""
    planet = PlanetRef("alpha", name)
    assert (planet.planet, str(planet)) == (name, f"alpha/{name}")


@pytest.mark.parametrize("name", ["", "  ", ".", "..", None, 7, "\ud800x"])
@pytest.mark.parametrize("field", ["star_system", "planet"])
def test_planets_need_a_name_that_makes_a_path(field: str, name: Any) -> None:
    """Blank names, dots, and what is no sendable text are refused, and the message names the field."""
    values: dict[str, Any] = {"star_system": "alpha", "planet": "p1", field: name}
    with pytest.raises(ConfigurationError, match=f"^{field} must "):
        PlanetRef(**values)


@pytest.mark.parametrize(
    ("written", "planet"), [("alpha/p1", PlanetRef("alpha", "p1")), (" alpha / p 1\n", PlanetRef("alpha", "p 1"))]
)
def test_planet_is_read_as_it_is_written(written: str, planet: PlanetRef) -> None:
    """`star_system/planet`, white space around the names aside."""
    assert PlanetRef.parse(written) == planet
    assert PlanetRef.parse(str(planet)) == planet


@pytest.mark.parametrize("written", ["", "alpha", "alpha/", "/p1", " / ", "alpha/p1/x", "a//b", 5, None, b"a/b"])
def test_planet_of_another_form_is_refused(written: Any) -> None:
    """Anything but two names with one slash between them is refused, quoting it."""
    with pytest.raises(ConfigurationError, match=r"^a planet is written star_system/planet, not "):
        PlanetRef.parse(written)


def test_backup_is_read_as_it_is_written() -> None:
    """`star_system/backup_id`."""
    assert BackupRef.parse(" alpha / 362 ") == BackupRef("alpha", 362)
    assert str(BackupRef("alpha", 362)) == "alpha/362"


@pytest.mark.parametrize(
    "written",
    ["", "362", "/362", "alpha/", "alpha/x", "alpha/-1", "a/b/3", "a/1_0", "a/٣", "a/1.0", 362, None, b"a/1"],
)
def test_backup_of_another_form_is_refused(written: Any) -> None:
    """Only a name, a slash and decimal digits will do."""
    with pytest.raises(
        ConfigurationError, match=r"^a backup is written star_system/backup_id, with a whole number, not "
    ):
        BackupRef.parse(written)


@pytest.mark.parametrize("written", ["a/" + "9" * 19, "a/" + "9" * 5000])
def test_backup_id_beyond_64_bits_is_refused_as_such(written: str) -> None:
    """Numbers that nothing can hold end in the same error as other nonsense."""
    with pytest.raises(ConfigurationError):
        BackupRef.parse(written)


@pytest.mark.parametrize("backup_id", [-1, 2**63, "362", 362.0, None, True])
def test_backup_id_is_a_whole_number(backup_id: Any) -> None:
    """The field, the value and what is allowed are in the message."""
    with pytest.raises(ConfigurationError, match=r"^backup_id must be a whole number of at (least|most) [0-9]+, not "):
        BackupRef("alpha", backup_id)


def test_refs_sort_and_serve_as_keys() -> None:
    """References are ordered by star system first, and hash by value."""
    assert min(BackupRef("b", 1), BackupRef("a", 10), BackupRef("a", 9)) == BackupRef("a", 9)
    assert min(PlanetRef("b", "a"), PlanetRef("a", "b")) == PlanetRef("a", "b")
    assert len({PlanetRef("a", "b"), PlanetRef("a", "b"), BackupRef("a", 1)}) == 2


@settings(max_examples=60)
@given(written=st.text(alphabet="a/. 19\n"))
def test_parsing_a_ref_yields_a_ref_or_a_clear_error(written: str) -> None:
    """Whatever is written, reading ends in a reference that reads the same again, or in one typed error."""
    for cls in (PlanetRef, BackupRef):
        try:
            ref = cls.parse(written)
        except ConfigurationError:
            continue
        assert cls.parse(str(ref)) == ref


def test_spec_defaults_to_the_guides_example() -> None:
    """Without arguments: a logical, temporary backup of a dev planet, kept for 10 days."""
    spec = BackupSpec()
    assert (spec.mechanism, spec.planet_class, spec.temporary) == (Mechanism.LOGICAL, PlanetClass.DEV, True)
    assert spec.retention_period_in_days == 10
    assert BackupSpec(temporary=False).retention_period_in_days is None
    assert hash(spec) == hash(BackupSpec())


def test_spec_takes_words_that_are_not_known_yet() -> None:
    """Mechanism and planet class are open sets."""
    spec = BackupSpec(mechanism="quantum", planet_class="lab", retention_period_in_days=90)
    assert (spec.mechanism, spec.planet_class, spec.retention_period_in_days) == ("quantum", "lab", 90)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mechanism": " "}, "mechanism must not be blank: give a non-empty text, not ' '"),
        ({"mechanism": 5}, "mechanism must be a text, not 5"),
        ({"planet_class": ""}, "planet_class must not be blank: give a non-empty text, not ''"),
        ({"temporary": "yes"}, "temporary must be True or False, not 'yes'"),
        ({"temporary": 1}, "temporary must be True or False, not 1"),
        (
            {"retention_period_in_days": 0},
            "retention_period_in_days (of a temporary backup) must be a whole number of at least 1, not 0",
        ),
        (
            {"retention_period_in_days": None},
            "retention_period_in_days (of a temporary backup) must be a whole number of at least 1, not None",
        ),
        (
            {"temporary": False, "retention_period_in_days": 5},
            (
                "retention_period_in_days must be None for a permanent backup (temporary=False): "
                "it is kept until it is deleted, not for 5 days"
            ),
        ),
        ({"metadata": {"name": "x"}}, "metadata must be a BackupMetadata, not {'name': 'x'}"),
    ],
)
def test_spec_refuses_what_the_service_would(values: dict[str, Any], message: str) -> None:
    """The message names the field, the value and what is allowed, before anything is sent."""
    with pytest.raises(ConfigurationError) as caught:
        BackupSpec(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize("days", [2.5, True, "10", 10**30])
def test_spec_retention_is_a_whole_number(days: Any) -> None:
    """No part days, no texts, nothing beyond 64 bits."""
    with pytest.raises(ConfigurationError, match=r"^retention_period_in_days .*must be a whole number of at "):
        BackupSpec(retention_period_in_days=days)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "name must not be blank"),
        ({"name": None}, "name must be a text, not None"),
        ({"name": "x", "description": None}, "description must be a text, not None"),
        ({"name": "x", "description": "\ud800"}, "description must be valid Unicode"),
        ({"name": "x\ud800"}, "name must be valid Unicode"),
    ],
)
def test_metadata_is_text_that_can_be_sent(values: dict[str, Any], message: str) -> None:
    """A name is needed, a description is not; lone surrogates cannot be sent."""
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        BackupMetadata(**values)


def test_metadata_description_may_be_empty() -> None:
    """Only the name is needed."""
    assert BackupMetadata("nightly").description == ""


MODELS = [
    Backup(id=1, started_at=NOW, environment=Environment(name="p", extra={"x": [1]}), extra={"more": {"a": 1}}),
    Environment(tenant="t"),
    Health(status="UP", extra={"db": "UP"}),
    BackupSpec(metadata=BackupMetadata("n", "d")),
    BackupRef("a", 1),
    PlanetRef("a", "b"),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_are_frozen_slotted_hashable_and_pickle(model: Any) -> None:
    """Models are values: not changed, small, usable as keys, and able to go to another process."""
    assert not hasattr(model, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(type(model))[0].name, "x")
    assert pickle.loads(pickle.dumps(model)) == model
    assert hash(copy.deepcopy(model)) == hash(model)


@pytest.mark.parametrize("status", ["succeeded", "Succeeded", "SUCCEEDED", Status.SUCCEEDED])
def test_succeeded_is_success(status: str) -> None:
    """The one documented status, in any case, completed or not."""
    assert progress_of(Backup(id=1, status=status)) is Progress.SUCCEEDED
    assert progress_of(Backup(id=1, status=status, completed_at=NOW)) is Progress.SUCCEEDED


@pytest.mark.parametrize(
    "status", ["failed", "error", "cancelled", "canceled", "aborted", "expired", "deleted", "FAILED", "Error"]
)
def test_words_of_failure_are_failure(status: str) -> None:
    """Words that speak of failure are one, in any case, completed or not."""
    assert progress_of(Backup(id=1, status=status)) is Progress.FAILED


@pytest.mark.parametrize("status", ["running", "creating", "pending", "", None, "failing", "succeeded?"])
def test_other_words_are_in_progress_until_completed(status: str | None) -> None:
    """A word that nobody knows is in progress; once the backup is completed, it is a failure."""
    assert progress_of(Backup(id=1, status=status)) is Progress.IN_PROGRESS
    assert progress_of(Backup(id=1, status=status, completed_at=NOW)) is Progress.FAILED


@pytest.mark.parametrize(
    ("completed", "progress"),
    [
        (1706522120, Progress.FAILED),
        ("29/01/2024", Progress.FAILED),
        (None, Progress.IN_PROGRESS),
        ("", Progress.IN_PROGRESS),
    ],
)
def test_completion_in_an_unknown_form_is_completion(completed: object, progress: Progress) -> None:
    """A `completedAt` that is no instant that we can read still says that the backup is over."""
    assert progress_of(Backup(id=1, status="stopped", extra={"completedAt": completed})) is progress


@pytest.mark.parametrize("year", [1, 1970])
def test_completion_of_no_year_is_none(year: int) -> None:
    """How some languages write that there is no time yet does not make a running backup a failed one."""
    assert progress_of(Backup(id=1, status="running", completed_at=datetime(year, 1, 1, tzinfo=UTC))) is (
        Progress.IN_PROGRESS
    )


def test_final_progress_is_what_ends_a_wait() -> None:
    """All but "in progress" is final."""
    assert [progress for progress in Progress if progress.final] == [Progress.SUCCEEDED, Progress.FAILED]


def test_known_words_are_the_apis_own() -> None:
    """Named constants are the plain texts of the API."""
    assert [*Mechanism] == ["logical", "snapshot"]
    assert [*BackupType] == ["permanent", "temporary", "scheduled"]
    assert f"{PlanetClass.DEV}" == "dev"
