"""Models: invalid input is refused by name, and open sets stay open."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

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
    id_key,
    id_sort_key,
)

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)


@pytest.mark.parametrize("name", ["../../x", "a/b", "é", "...", "a b", "%2F", "?x#y"])
def test_planets_may_have_any_name(name: str) -> None:
    """Unusual names are accepted, because they are encoded when sent."""
    planet = PlanetRef("alpha", name)
    assert (planet.planet, str(planet)) == (name, f"alpha/{name}")


@pytest.mark.parametrize("name", ["", "  ", ".", "..", None, 7, "\ud800x"])
@pytest.mark.parametrize("field", ["star_system", "planet"])
def test_invalid_names_are_refused(field: str, name: Any) -> None:
    """Blank names, dots and unencodable strings are refused, and the message names the field."""
    values: dict[str, Any] = {"star_system": "alpha", "planet": "p1", field: name}
    with pytest.raises(ConfigurationError, match=f"^{field} must "):
        PlanetRef(**values)


@pytest.mark.parametrize(
    ("written", "planet"), [("alpha/p1", PlanetRef("alpha", "p1")), (" alpha / p 1\n", PlanetRef("alpha", "p 1"))]
)
def test_planet_is_parsed(written: str, planet: PlanetRef) -> None:
    """`star_system/planet`, ignoring white space around the names."""
    assert PlanetRef.parse(written) == planet
    assert PlanetRef.parse(str(planet)) == planet


@pytest.mark.parametrize("written", ["", "alpha", "alpha/", "/p1", " / ", "alpha/p1/x", "a//b", 5, None, b"a/b"])
def test_planet_of_another_form_is_refused(written: Any) -> None:
    """Anything but two names around one slash is refused; the message quotes it."""
    with pytest.raises(ConfigurationError, match=r"^a planet is written star_system/planet, not "):
        PlanetRef.parse(written)


def test_backup_is_parsed() -> None:
    """`star_system/backup_id`, ignoring white space around both."""
    assert BackupRef.parse(" alpha / 362 ") == BackupRef("alpha", 362)
    assert str(BackupRef("alpha", 362)) == "alpha/362"


@pytest.mark.parametrize("written", ["", "362", "/362", "alpha/", "a/b/3", "a//3", 362, None, b"a/1"])
def test_backup_of_another_form_is_refused(written: Any) -> None:
    """Anything but a name, a slash and an id is refused."""
    with pytest.raises(ConfigurationError, match=r"^a backup is written star_system/backup_id, not "):
        BackupRef.parse(written)


@pytest.mark.parametrize(
    ("written", "backup_id"),
    [
        ("362", 362),
        ("0", 0),
        ("-5", -5),
        (f"{2**63}", 2**63),
        (f"{2**64 - 1}", 2**64 - 1),
        (f"{-(2**63)}", -(2**63)),
        (f"{2**64}", f"{2**64}"),
        (f"{-(2**63) - 1}", f"{-(2**63) - 1}"),
        ("9" * 200, "9" * 200),
        *((text, text) for text in ("00362", "-0", "+5", "--5", "1.0", "1_0", "٣", "x", "3f2a-b", "a b")),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_id_in_canonical_decimal_form_is_an_integer(written: str, backup_id: int | str) -> None:
    """Any other text stays as it is."""
    ref = BackupRef.parse(f"alpha/{written}")
    assert (ref.backup_id, type(ref.backup_id)) == (backup_id, type(backup_id))
    assert str(ref) == f"alpha/{written}"


@pytest.mark.parametrize(
    "backup_id",
    [
        2**64,
        -(2**63) - 1,
        362.0,
        None,
        True,
        b"1",
        "",
        " ",
        ".",
        "..",
        "a\nb",
        "\ud800",
        "x" * 201,
        "9" * 5000,
        10**5000,
    ],
    ids=lambda value: repr(value)[:20] if value != 10**5000 else "huge",
)
def test_invalid_ids_are_refused(backup_id: Any) -> None:
    """The error has the field; the message says what is allowed."""
    with pytest.raises(ConfigurationError, match=r"^backup_id must ") as caught:
        BackupRef("alpha", backup_id)
    assert caught.value.field == "backup_id"
    assert len(str(caught.value)) < 400


IDS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.integers(-12, 12)
    | st.integers(-12, 12).map(str)
    | st.integers(-(2**66), 2**66).map(str)
    | st.text("0123456789-+_ abé/", min_size=1, max_size=5).filter(str.strip)
    | st.uuids().map(str)
)


@settings(max_examples=300)
@given(first=IDS, second=IDS)
def test_ids_are_the_same_if_their_paths_are(first: int | str, second: int | str) -> None:
    """Equality, hash and order of references agree with it; the ids themselves are kept."""
    one, two = BackupRef("alpha", first), BackupRef("alpha", second)
    small = all(len(str(backup_id)) < 19 for backup_id in (first, second))
    assert (one == two) == (id_key(first) == id_key(second))
    assert (one == two) == (str(one) == str(two)) or not small
    assert sum([one < two, one == two, one > two]) == 1
    assert (one <= two, one >= two) == (not one > two, not one < two)
    assert one != two or hash(one) == hash(two)
    assert (one.backup_id, type(one.backup_id)) == (first, type(first))


@given(backup_ids=st.lists(IDS))
def test_integers_are_ordered_before_strings(backup_ids: list[int | str]) -> None:
    """References with ids of both types can be sorted."""
    keys = [id_key(ref.backup_id) for ref in sorted(BackupRef("alpha", backup_id) for backup_id in backup_ids)]
    numbers = sorted(key for key in map(id_key, backup_ids) if isinstance(key, int))
    assert keys == [*numbers, *sorted(key for key in map(id_key, backup_ids) if isinstance(key, str))]
    assert keys == list(map(id_key, sorted(backup_ids, key=id_sort_key)))


@settings(max_examples=300)
@given(backup_id=IDS)
def test_the_key_of_an_id_is_canonical(backup_id: int | str) -> None:
    """A key is its own key, is written as the id is, and parsing returns it."""
    key = id_key(backup_id)
    assert id_key(key) == key
    assert type(id_key(key)) is type(key)
    assert str(key) == str(backup_id)
    ref = BackupRef("alpha", backup_id)
    if "/" not in str(backup_id) and str(backup_id).strip() == str(backup_id):
        assert BackupRef.parse(str(ref)) == ref
        assert BackupRef.parse(str(ref)).backup_id == key


def test_refs_with_ids_of_both_types_are_copied() -> None:
    """Copies and pickles keep the id as it was given."""
    for backup_id in (362, "362", "3f2a"):
        for copied in (copy.copy(ref := BackupRef("a", backup_id)), pickle.loads(pickle.dumps(ref))):
            assert (copied, copied.backup_id) == (ref, backup_id)


def test_refs_are_ordered_and_hashable() -> None:
    """References are ordered by star system first, and hash by value."""
    assert min(BackupRef("b", 1), BackupRef("a", 10), BackupRef("a", 9)) == BackupRef("a", 9)
    assert len({BackupRef("a", 362), BackupRef("a", "362"), BackupRef("a", "00362"), BackupRef("b", 362)}) == 3
    assert min(PlanetRef("b", "a"), PlanetRef("a", "b")) == PlanetRef("a", "b")
    assert len({PlanetRef("a", "b"), PlanetRef("a", "b"), BackupRef("a", 1)}) == 2


@settings(max_examples=60)
@given(written=st.text(alphabet="a/. 19\n"))
def test_parsing_a_ref_returns_a_ref_or_raises_one_error(written: str) -> None:
    """Any text is parsed to a reference that formats to an equal one, or raises `ConfigurationError`."""
    for cls in (PlanetRef, BackupRef):
        try:
            ref = cls.parse(written)
        except ConfigurationError:
            continue
        assert cls.parse(str(ref)) == ref


def test_spec_defaults_to_the_documented_example() -> None:
    """Without arguments: a logical, temporary backup of a dev planet, kept for 10 days."""
    spec = BackupSpec()
    assert (spec.mechanism, spec.planet_class, spec.temporary) == (Mechanism.LOGICAL, PlanetClass.DEV, True)
    assert spec.retention_period_in_days == 10
    assert BackupSpec(temporary=False).retention_period_in_days is None
    assert hash(spec) == hash(BackupSpec())


def test_spec_accepts_unknown_values() -> None:
    """Mechanism and planet class are open sets."""
    spec = BackupSpec(mechanism="quantum", planet_class="lab", retention_period_in_days=90)
    assert (spec.mechanism, spec.planet_class, spec.retention_period_in_days) == ("quantum", "lab", 90)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mechanism": " "}, "mechanism must not be blank, but is ' '"),
        ({"mechanism": 5}, "mechanism must be a string, not 5"),
        ({"planet_class": ""}, "planet_class must not be blank, but is ''"),
        ({"temporary": "yes"}, "temporary must be True or False, not 'yes'"),
        ({"temporary": 1}, "temporary must be True or False, not 1"),
        (
            {"retention_period_in_days": 0},
            "retention_period_in_days must be an integer of at least 1, not 0",
        ),
        (
            {"retention_period_in_days": None},
            "retention_period_in_days must be an integer of at least 1, not None",
        ),
        (
            {"temporary": False, "retention_period_in_days": 5},
            (
                "retention_period_in_days applies to temporary backups only; a permanent one is kept until it is "
                "deleted. Pass None together with temporary=False."
            ),
        ),
        ({"metadata": {"name": "x"}}, "metadata must be a BackupMetadata, not {'name': 'x'}"),
    ],
)
def test_invalid_spec_is_refused(values: dict[str, Any], message: str) -> None:
    """The message names the field, the value and what is allowed, before anything is sent."""
    with pytest.raises(ConfigurationError) as caught:
        BackupSpec(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize("days", [2.5, True, "10", 10**30])
def test_spec_retention_is_a_whole_number(days: Any) -> None:
    """Fractions, strings and numbers beyond 64 bits are refused."""
    with pytest.raises(ConfigurationError, match=r"^retention_period_in_days must be an integer of at "):
        BackupSpec(retention_period_in_days=days)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "name must not be blank"),
        ({"name": None}, "name must be a string, not None"),
        ({"name": "x", "description": None}, "description must be a string, not None"),
        ({"name": "x", "description": "\ud800"}, "description must be valid Unicode"),
        ({"name": "x\ud800"}, "name must be valid Unicode"),
    ],
)
def test_metadata_must_be_encodable(values: dict[str, Any], message: str) -> None:
    """The name is required, the description is not; lone surrogates cannot be sent."""
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        BackupMetadata(**values)


def test_metadata_description_may_be_empty() -> None:
    """Only the name is required."""
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
def test_models_are_hashable_and_pickle(model: Any) -> None:
    """Models can be keys of a dictionary and be sent to another process."""
    assert pickle.loads(pickle.dumps(model)) == model
    assert hash(copy.deepcopy(model)) == hash(model)


def test_progress_is_final_unless_in_progress() -> None:
    """Success and failure end a wait."""
    assert [progress for progress in Progress if progress.final] == [Progress.SUCCEEDED, Progress.FAILED]


def test_constants_are_the_values_of_the_api() -> None:
    """They are plain strings."""
    assert [*Mechanism] == ["logical", "snapshot"]
    assert [*BackupType] == ["permanent", "temporary", "scheduled"]
    assert f"{PlanetClass.DEV}" == "dev"
