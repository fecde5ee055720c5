"""Which backup a create with a lost response has made: decided from what is known and shown, without a clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbackups._api.marker import has_marker, marker_for
from asyncbackups._api.reconcile import (
    MOST_DETAILS,
    Absent,
    Adopt,
    Ambiguous,
    Baseline,
    CreateRequest,
    Decision,
    FetchDetails,
    FetchPlanetList,
    FetchStarSystemList,
    ListView,
    PlanetNames,
    Reconciliation,
    Visibility,
    Wait,
    find_contradiction,
    sort_newest_first,
)
from asyncbackups.models import Backup, BackupMetadata, BackupRef, BackupSpec, Environment, PlanetRef
from tests.unit.api.alterations import ALTERATIONS

PLANET, MARS = PlanetRef("solar", "earth"), PlanetRef("solar", "mars")
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly", "before the release"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MARKER, OTHER = marker_for(PLANET, "key"), marker_for(PLANET, "other key")
REQUEST = CreateRequest(planet=PLANET, spec=SPEC, marker=MARKER)
UNMARKED = CreateRequest(planet=PLANET, spec=SPEC, marker=None)
SENT = MARKER.add_to(SPEC).metadata.description
NONE_BEFORE = Baseline.from_ids("planet", [])


def backup(number: int = 1, *, description: str | None = None, name: str | None = None, **changes: Any) -> Backup:
    """Build a backup as a service shows it; `name` is its `environment.name`."""
    fields: dict[str, Any] = {"mechanism": "logical", "type": "temporary", "started_at": NOW}
    if description is not None:
        fields["extra"] = {"metadata": {"name": "nightly", "description": description}}
    if name is not None:
        fields["environment"] = Environment(name=name)
    return Backup(id=number, **{**fields, **changes})


def names_seen(*, equal: bool = False, different: bool = False, planets: Iterable[str] = ("earth",)) -> PlanetNames:
    names = PlanetNames()
    for planet in planets:
        names.record_planet(planet)
    if equal:
        names.record_backup("earth", backup(name="Earth"), proven=False)
    if different:
        names.record_backup("earth", backup(name="testbackup"), proven=True)
    return names


@attrs.frozen(kw_only=True)
class Scenario:
    """All that is known before, and all that lists and GETs show; `decide` supplies the lists that decisions request.

    Attributes:
        refused: Whether the lists of the star system and of other planets show nothing.
    """

    planet: Sequence[Backup] = ()
    star_system: Sequence[Backup] = ()
    siblings: Mapping[PlanetRef, Sequence[Backup]] = attrs.field(factory=dict)
    details: Mapping[Any, Backup] = attrs.field(factory=dict)
    request: CreateRequest = REQUEST
    baseline: Baseline | None = NONE_BEFORE
    owners: Mapping[BackupRef, PlanetRef] = attrs.field(factory=dict)
    names: PlanetNames = attrs.field(factory=PlanetNames)
    provisional_id: int | None = None
    adopt_by_time: bool = True
    required: Visibility = Visibility.PLANET
    at_server: datetime | None = NOW
    is_missing: bool = False

    def decide(self, *, settled: bool = True) -> Decision:
        return self.trace(settled=settled)[-1]

    def trace(self, *, settled: bool = True) -> list[Decision]:
        """Return all decisions up to the one that requests nothing more."""
        case = Reconciliation(
            request=self.request,
            baseline=self.baseline,
            owners=self.owners,
            names=self.names,
            provisional_id=self.provisional_id,
            adopt_by_time=self.adopt_by_time,
            required=self.required,
        )
        view = ListView(planet=tuple(self.planet), is_missing=self.is_missing, at_server=self.at_server)
        listed = {one.id: one for one in (*self.star_system, *self.planet)}
        decisions: list[Decision] = []
        for _ in range(20):
            decision = case.decide(view, settled=settled)
            decisions.append(decision)
            match decision:
                case FetchDetails():
                    shown = {number: self.details.get(number, listed[number]) for number in decision.ids}
                    view = attrs.evolve(
                        view, details={**view.details, **shown}, fetched=view.fetched + len(decision.ids)
                    )
                case FetchPlanetList():
                    view = attrs.evolve(view, sibling=tuple(self.siblings.get(decision.planet, ())))
                case FetchStarSystemList():
                    view = attrs.evolve(view, star_system=tuple(self.star_system))
                case _:
                    return decisions
        raise AssertionError(f"no end: {decisions}")


def owned(planet: PlanetRef, *ids: int) -> dict[BackupRef, PlanetRef]:
    return {BackupRef("solar", number): planet for number in ids}


# -- by the marker


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
@pytest.mark.parametrize("where", ["list", "get"])
def test_case_1_altered_marker_is_adopted(alter: Callable[[str], str], where: str) -> None:
    """However a service alters the text: at once, beside other new backups, and whatever else the backup shows."""
    shown = backup(2, description=alter(SENT), mechanism="pg_dump", type="x", started_at=NOW - timedelta(hours=1))
    listed = shown if where == "list" else backup(2, mechanism="pg_dump")
    scenario = Scenario(planet=[backup(1), listed, backup(3)], details={2: shown})
    assert scenario.decide(settled=False) == Adopt(shown, "marker")


@pytest.mark.parametrize(
    "baseline",
    [None, NONE_BEFORE, Baseline.from_ids("planet", [1]), Baseline.from_ids("star_system", [1, 2])],
    ids=["none", "empty", "planet", "star system"],
)
@pytest.mark.parametrize("owner", [None, PLANET, MARS])
def test_case_4_marker_counts_before_who_owned_an_id(baseline: Baseline | None, owner: PlanetRef | None) -> None:
    """Ids come again after a restore: the marker proves whose the backup is now."""
    shown = backup(1, description=SENT)
    scenario = Scenario(planet=[shown], baseline=baseline, owners=owned(owner, 1) if owner else {})
    assert scenario.decide(settled=False) == Adopt(shown, "marker")


def test_marker_in_the_star_systems_list_is_adopted() -> None:
    """The planet's list may show too little."""
    shown = backup(1, description=SENT)
    assert Scenario(star_system=[shown]).decide() == Adopt(shown, "marker")


def test_case_12_all_backups_with_the_marker_are_reported() -> None:
    """The newest is adopted, and the others are certain duplicates."""
    one, two, three = (
        backup(number, description=SENT, started_at=NOW + timedelta(seconds=number)) for number in (1, 2, 3)
    )
    for order in itertools.permutations([one, two, three]):
        assert Scenario(planet=order).decide(settled=False) == Adopt(three, "marker", (two, one))


def test_backup_that_is_listed_twice_is_one() -> None:
    """Pages shift while they are read: it is no duplicate of itself, and one candidate."""
    marked, plain = backup(1, description=SENT), backup(2)
    assert Scenario(planet=[marked, plain, marked]).decide() == Adopt(marked, "marker")
    assert Scenario(planet=[plain, plain]).decide() == Adopt(plain, "time")


def test_backup_of_another_create_is_explained() -> None:
    """Its complete marker says so: it is neither adopted nor in the way."""
    other = backup(1, description=OTHER.text)
    assert Scenario(planet=[other]).decide() == Absent()
    assert Scenario(planet=[other, backup(2)]).decide() == Adopt(backup(2), "time")


def test_without_a_marker_of_its_own_any_marker_is_another_creates() -> None:
    """A create without a marker cannot be the one that sent it."""
    other = backup(1, description=OTHER.text)
    assert Scenario(planet=[other, backup(2)], request=UNMARKED).decide() == Adopt(backup(2), "time")


# -- by the id of the response


def test_case_6_provisional_id_is_adopted_once_it_is_listed() -> None:
    """The response had an id without a backup: a new backup of the planet's list with this id is the one."""
    assert Scenario(planet=[backup(7), backup(8)], provisional_id=7).decide(settled=False) == Adopt(backup(7), None)
    assert Scenario(planet=[backup(8)], provisional_id=900).decide() == Adopt(backup(8), "time")


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(planet=[backup(7)], provisional_id=7, owners=owned(MARS, 7)),
        Scenario(planet=[backup(7)], provisional_id=7, baseline=Baseline.from_ids("planet", [7])),
        Scenario(planet=[backup(7, description=OTHER.text)], provisional_id=7),
        Scenario(planet=[backup(7, name="mars")], provisional_id=7, names=names_seen(equal=True)),
        Scenario(planet=[backup(7, name="mars")], provisional_id=7, names=names_seen(planets=["earth", "mars"])),
        Scenario(planet=[backup(7, mechanism="snapshot")], provisional_id=7),
    ],
    ids=["owned", "old", "another create's marker", "another planet", "a planet of that name", "other mechanism"],
)
def test_provisional_id_of_another_backup_is_not_adopted(scenario: Scenario) -> None:
    """A job's id may be the id of some backup, too."""
    assert not isinstance(scenario.decide(), Adopt)


# -- by time


def test_only_unexplained_backup_is_adopted_after_the_settle_time() -> None:
    """It is new and belongs to no other create: its times do not matter. Before that, another one may still appear."""
    for hours in (-24, -1, 0, 1):
        one = backup(1, started_at=NOW + timedelta(hours=hours))
        assert Scenario(planet=[one]).decide() == Adopt(one, "time")
        assert Scenario(planet=[one]).decide(settled=False) == Wait()


@pytest.mark.parametrize("mechanism", [None, "LOGICAL", "Logical", "pg_dump", "dump"])
def test_case_2_other_words_for_the_mechanism_do_not_exclude(mechanism: str | None) -> None:
    """Only the other documented mechanism speaks against a backup."""
    one = backup(1, mechanism=mechanism, type=None)
    assert Scenario(planet=[one]).decide() == Adopt(one, "time")


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanism": "snapshot"},
        {"mechanism": "SNAPSHOT"},
        {"type": "permanent"},
        {"type": "Scheduled"},
        {"description": "something else"},
        {"description": "x: before the rel…"},
        {"extra": {"metadata": {"name": "weekly"}}},
    ],
    ids=str,
)
def test_unlike_backup_is_not_adopted_but_blocks_a_resend(changes: dict[str, Any]) -> None:
    """A mismatch is not absence: such a backup blocks a resend."""
    unlike = backup(1, **changes)
    decision = Scenario(planet=[unlike]).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (unlike,)


@pytest.mark.parametrize(
    "description",
    [
        "",
        "before the rel…",
        "before the",
        "release",
        SPEC.metadata.description,
    ],
)
def test_case_1_cut_metadata_does_not_exclude(description: str) -> None:
    """A part of the text that was sent speaks neither for nor against the backup."""
    one = backup(1, description=description)
    assert Scenario(planet=[one]).decide() == Adopt(one, "time")


@pytest.mark.parametrize("name", ["nightly", " NIGHTLY ", "night", "prod-nightly", "nightly\u200b", "\uff4eightly"])
def test_case_1_only_the_name_shown_does_not_exclude(name: str) -> None:
    """Trimmed, cut, normalized or with a prefix."""
    one = backup(1, extra={"metadata": {"name": name}})
    assert Scenario(planet=[one]).decide() == Adopt(one, "time")


def test_adoption_by_time_can_be_switched_off() -> None:
    """The only candidate is then reported."""
    decision = Scenario(planet=[backup(1)], adopt_by_time=False).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (backup(1),)


def test_several_unexplained_backups_are_reported() -> None:
    """Nothing decides between two: newest first."""
    one, two = backup(1), backup(2, started_at=NOW + timedelta(seconds=1))
    decision = Scenario(planet=[one, two]).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (two, one)
    assert decision.reason == "2 backups have appeared that this client cannot explain"


def test_backups_of_the_baseline_are_no_candidates() -> None:
    """They existed before, whatever they show but the marker."""
    scenario = Scenario(planet=[backup(1), backup(2), backup(3)], baseline=Baseline.from_ids("planet", [1, 3]))
    assert scenario.decide() == Adopt(backup(2), "time")


def test_own_backups_are_no_candidates() -> None:
    """This client has created them, for this planet or another one."""
    assert Scenario(planet=[backup(1), backup(2)], owners=owned(PLANET, 1)).decide() == Adopt(backup(2), "time")
    for owner in (PLANET, MARS):
        assert Scenario(planet=[backup(1)], owners=owned(owner, 1)).decide() == Absent()


def test_list_of_several_planets_proves_nothing_about_a_new_backup() -> None:
    """A "planet's list" that shows another planet's backup, too: the new one may be of any planet."""
    decision = Scenario(planet=[backup(1), backup(2)], owners=owned(MARS, 1)).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (backup(2),)


def test_name_proves_whose_a_new_backup_of_such_a_list_is() -> None:
    """The new backup shows this planet's name, and names are known to be planets' ids."""
    listed = [backup(1, name="mars"), backup(2, name="earth")]
    scenario = Scenario(planet=listed, owners=owned(MARS, 1))
    assert isinstance(scenario.decide(), Ambiguous)
    assert attrs.evolve(scenario, names=names_seen(equal=True)).decide() == Adopt(listed[1], "time")


def test_case_4_id_of_another_planet_that_came_again_is_a_candidate() -> None:
    """The id belonged to a backup of mars, and now the backup shows this planet's name."""
    scenario = Scenario(planet=[backup(1, name="earth")], owners=owned(MARS, 1), names=names_seen(equal=True))
    assert scenario.decide() == Adopt(backup(1, name="earth"), "time")


def test_backup_of_another_planet_is_explained_once_names_are_known_to_be_planets() -> None:
    """The planet's list may show too much."""
    listed = [backup(1, name="mars"), backup(2, name="earth")]
    assert Scenario(planet=listed, names=names_seen(equal=True)).decide() == Adopt(listed[1], "time")


@pytest.mark.parametrize(
    "names",
    [PlanetNames(), names_seen(planets=["earth", "mars"]), names_seen(equal=True, different=True)],
    ids=["nothing known", "a planet of that name", "contradicted"],
)
def test_name_excludes_nothing_while_it_may_mean_something_else(names: PlanetNames) -> None:
    """That `environment.name` is a planet's id is not documented: until it was seen to be, the backup is unexplained.

    It is not adopted either if its name is that of another planet of this client.
    """
    decision = Scenario(planet=[backup(1, name="mars")], names=names).decide()
    assert isinstance(decision, Adopt | Ambiguous)
    if names.is_other("earth", backup(1, name="mars")):
        assert isinstance(decision, Ambiguous)


def test_star_systems_baseline_is_compared_with_that_list() -> None:
    """A planet's list may show backups that the star system's list does not: it is unknown whether they are new."""
    baseline = Baseline.from_ids("star_system", [5])
    listed = [backup(1)]
    assert Scenario(planet=listed, star_system=listed, baseline=baseline).decide() == Adopt(backup(1), "time")
    decision = Scenario(planet=listed, star_system=[backup(5)], baseline=baseline).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (backup(1),)


def test_star_systems_list_may_show_what_the_planets_list_does_not() -> None:
    """A new backup there with this planet's name is a candidate."""
    one = backup(1, name="earth")
    scenario = Scenario(star_system=[one], baseline=Baseline.from_ids("star_system", []), names=names_seen(equal=True))
    assert scenario.decide() == Adopt(one, "time")


# -- without a baseline


def test_nothing_is_adopted_by_time_without_a_baseline() -> None:
    """It is unknown which ones are new: a backup that may be the one is reported."""
    decision = Scenario(planet=[backup(1)], baseline=None).decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (backup(1),)
    assert "no list from before the create" in decision.reason


@pytest.mark.parametrize(
    "old",
    [
        backup(1, completed_at=NOW - timedelta(days=2)),
        backup(1, extra={"metadata": {"name": "weekly", "description": "something else"}}),
        backup(1, description=OTHER.text),
    ],
    ids=["ended two days ago", "other name and description", "another create's marker"],
)
def test_certainly_other_backups_do_not_block_without_a_baseline(old: Backup) -> None:
    """Only what no clock and no alteration explains away."""
    assert Scenario(planet=[old], star_system=[old], baseline=None).decide() == Absent()


@pytest.mark.parametrize(
    "one",
    [
        backup(1, completed_at=NOW - timedelta(hours=23)),
        backup(1, completed_at=datetime(1970, 1, 1, tzinfo=UTC)),
        backup(1, description="something else"),
        backup(1, started_at=NOW - timedelta(days=30)),
    ],
)
def test_all_other_backups_block_without_a_baseline(one: Backup) -> None:
    """A time zone may be wrong by hours, a queued backup may have started long ago, a description may be replaced."""
    assert isinstance(Scenario(planet=[one], star_system=[one], baseline=None).decide(), Ambiguous)


# -- absence


def test_absence_waits_for_the_settle_time() -> None:
    """A service may take a while to list a new backup."""
    assert Scenario().decide(settled=False) == Wait()


def test_empty_lists_prove_nothing() -> None:
    """The error says why: nothing was ever seen in them."""
    decision = Scenario().decide()
    assert isinstance(decision, Ambiguous)
    assert "has been seen to show" in decision.reason
    assert decision.candidates == ()


OLD, NEW = backup(1), backup(2, description=OTHER.text)
STAR = Baseline.from_ids("star_system", [1, 9])
VISIBILITY_CASES = {
    "old backup of the planet": (Scenario(planet=[OLD], baseline=Baseline.from_ids("planet", [1])), Visibility.PLANET),
    "new backup of the planet": (
        Scenario(planet=[OLD, NEW], baseline=Baseline.from_ids("planet", [1])),
        Visibility.NEW,
    ),
    "own backup of the planet": (Scenario(planet=[OLD], owners=owned(PLANET, 1)), Visibility.OWN),
    "own backup in another planet's list": (
        Scenario(siblings={MARS: [backup(3)]}, owners=owned(MARS, 3)),
        Visibility.OWN,
    ),
    "own backup in the star system's list": (Scenario(star_system=[backup(3)], owners=owned(MARS, 3)), Visibility.OWN),
    "new backup in the star system's list": (
        Scenario(star_system=[OLD, NEW], baseline=STAR),
        Visibility.NEW,
    ),
    "old backup with this planet's name": (
        Scenario(star_system=[backup(9, name="earth")], baseline=STAR),
        Visibility.PLANET,
    ),
    "old backup of another planet": (Scenario(star_system=[backup(9, name="mars")], baseline=STAR), Visibility.NONE),
    "nothing": (Scenario(baseline=STAR), Visibility.NONE),
}


@pytest.mark.parametrize("required", Visibility)
@pytest.mark.parametrize("name", VISIBILITY_CASES)
def test_absence_requires_evidence_of_visibility(name: str, required: Visibility) -> None:
    """A create is sent again only if lists were seen to show such backups, as much as the policy requires."""
    scenario, evidence = VISIBILITY_CASES[name]
    decision = attrs.evolve(scenario, required=required).decide()
    if evidence >= max(required, Visibility.PLANET):
        assert decision == Absent()
    else:
        assert isinstance(decision, Ambiguous)
        assert decision.candidates == ()


def test_case_7_list_that_is_404_is_no_evidence() -> None:
    """It may be an empty list, a wrong path or a gateway without its service: the star system's list decides.

    Other planets' lists are not requested, because they say nothing about this one.
    """
    sibling = attrs.evolve(VISIBILITY_CASES["own backup in another planet's list"][0], is_missing=True)
    decisions = sibling.trace()
    assert decisions[:-1] == [FetchStarSystemList()]
    assert isinstance(decisions[-1], Ambiguous)
    for star_system, expected in (([backup(3)], Absent()), ([backup(3), backup(4, description=SENT)], "adopt")):
        decision = attrs.evolve(sibling, star_system=star_system).decide()
        assert decision == (expected if expected != "adopt" else Adopt(star_system[-1], "marker"))
    unknown = attrs.evolve(sibling, star_system=[backup(3), backup(4)]).decide()
    assert isinstance(unknown, Ambiguous)
    assert unknown.candidates == (backup(4),)


def test_new_backups_without_a_planet_block_a_resend() -> None:
    """The planet's list shows old backups only; a new one in the star system's list may be this planet's."""
    scenario = Scenario(planet=[OLD], star_system=[OLD, backup(2)], baseline=Baseline.from_ids("star_system", [1]))
    decision = scenario.decide()
    assert isinstance(decision, Ambiguous)
    assert decision.candidates == (backup(2),)
    assert attrs.evolve(scenario, owners=owned(MARS, 2)).decide() == Absent()
    named = attrs.evolve(scenario, star_system=[OLD, backup(2, name="mars")], names=names_seen(equal=True))
    assert named.decide() == Absent()


def test_absence_needs_both_lists() -> None:
    """One of them may lag, or not show new backups; the list of another planet is fetched only for evidence."""
    assert VISIBILITY_CASES["new backup of the planet"][0].trace() == [FetchStarSystemList(), Absent()]
    for case in ("own backup in another planet's list", "own backup in the star system's list"):
        assert VISIBILITY_CASES[case][0].trace() == [FetchStarSystemList(), FetchPlanetList(MARS), Absent()]


def test_sibling_is_a_planet_with_a_backup_since_the_baseline() -> None:
    """Backups that the baseline has, other star systems and this planet prove nothing about new ones."""
    owners = owned(MARS, 1) | {BackupRef("lunar", 5): PlanetRef("lunar", "base")} | owned(PLANET, 8)
    scenario = Scenario(owners=owners, baseline=Baseline.from_ids("star_system", [1]))
    assert FetchPlanetList(MARS) not in scenario.trace()
    later = attrs.evolve(scenario, owners=owners | owned(MARS, 2))
    assert FetchPlanetList(MARS) in later.trace()


# -- details


def test_details_of_each_candidate_are_fetched_once() -> None:
    """A GET may show metadata that a list does not."""
    scenario = Scenario(planet=[backup(1), backup(2)], details={2: backup(2, description=OTHER.text)})
    assert scenario.trace() == [FetchDetails((2, 1)), Adopt(backup(1), "time")]


def test_details_of_the_newest_of_many_candidates_are_fetched() -> None:
    """Dozens of GETs would take too long: each look gets the details of some, and the rest is reported."""
    scenario = Scenario(planet=[backup(number) for number in range(MOST_DETAILS + 1)])
    fetch, decision = scenario.trace()
    assert fetch == FetchDetails(tuple(range(MOST_DETAILS, 0, -1)))
    assert isinstance(decision, Ambiguous)
    assert len(decision.candidates) == MOST_DETAILS + 1
    assert scenario.trace(settled=False)[1:] == [Wait()]


# -- whatever is known and shown

IDS = st.integers(0, 6)
TEXTS = st.sampled_from(
    [
        None,
        "",
        "something else",
        SPEC.metadata.description,
        SENT[:-6],
        OTHER.text,
        OTHER.text[:-6],
        *(alter(SENT) for alter in ALTERATIONS.values()),
        *(alter(f"x {OTHER.text}") for alter in ALTERATIONS.values()),
    ]
)
MANY_TEXTS = st.one_of(st.sampled_from([None, None, None, "", OTHER.text]), TEXTS)
TIMES = st.sampled_from([None, NOW, NOW - timedelta(hours=1), NOW - timedelta(days=3), NOW + timedelta(hours=1)])
BACKUPS = st.builds(
    backup,
    IDS,
    description=MANY_TEXTS,
    name=st.sampled_from([None, None, "earth", "mars", "testbackup"]),
    mechanism=st.sampled_from([None, "logical", "LOGICAL", "snapshot", "pg_dump"]),
    type=st.sampled_from([None, "temporary", "permanent"]),
    started_at=TIMES,
    completed_at=TIMES,
)
LISTS = st.lists(BACKUPS, max_size=4, unique_by=lambda one: one.id)
NAMES = st.builds(
    names_seen,
    equal=st.booleans(),
    different=st.booleans(),
    planets=st.sampled_from([[], ["earth"], ["earth", "mars"]]),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Draw a situation in which each list shows some of the same backups."""
    known = draw(LISTS)
    showing = [draw(st.lists(st.sampled_from(known), unique_by=lambda one: one.id)) if known else [] for _ in range(3)]
    details = {one.id: attrs.evolve(draw(BACKUPS), id=one.id) for one in known if draw(st.booleans())}
    ids = draw(st.frozensets(IDS, max_size=3))
    scope = draw(st.sampled_from(["planet", "star_system", None]))
    return Scenario(
        planet=showing[0],
        star_system=showing[1],
        siblings={MARS: showing[2]},
        details=details,
        request=draw(st.sampled_from([REQUEST, REQUEST, UNMARKED])),
        baseline=None if scope is None else Baseline.from_ids(scope, ids),
        owners=draw(
            st.dictionaries(st.builds(BackupRef, st.just("solar"), IDS), st.sampled_from([PLANET, MARS]), max_size=2)
        ),
        names=draw(NAMES),
        provisional_id=draw(st.one_of(st.none(), IDS)),
        adopt_by_time=draw(st.booleans()),
        required=draw(st.sampled_from(Visibility)),
    )


any_scenario = settings(max_examples=300)


def shown_in(scenario: Scenario, one: Backup) -> Backup:
    return scenario.details.get(one.id, one)


def is_unexplained(scenario: Scenario, one: Backup) -> bool:
    """Return True if nothing proves that a backup of the planet's list is not this create's: the promise, in short."""
    is_new = scenario.baseline is not None and one.id not in scenario.baseline.keys
    fields = shown_in(scenario, one)
    return (
        is_new
        and BackupRef("solar", one.id) not in scenario.owners
        and not any(has_marker(shown) for shown in (one, fields))
        and not any(
            shown.environment is not None and shown.environment.name not in {None, "earth"} and scenario.names.usable
            for shown in (one, fields)
        )
    )


@any_scenario
@given(scenarios(), st.booleans())
def test_no_other_creates_backup_is_adopted(scenario: Scenario, settled: bool) -> None:
    """Never one that shows another create's complete marker and not this one's, whatever else speaks for it."""
    decision = scenario.decide(settled=settled)
    if isinstance(decision, Adopt):
        marker = scenario.request.marker
        assert (marker is not None and marker.is_shown_by(decision.backup)) or not has_marker(decision.backup)
        assert (decision.by == "marker") == (marker is not None and marker.is_shown_by(decision.backup))


@any_scenario
@given(scenarios(), st.booleans())
def test_nothing_is_sent_again_while_anything_new_is_unexplained(scenario: Scenario, settled: bool) -> None:
    """Absent is said only after the settle time, of a planet whose new backups are all explained."""
    if scenario.decide(settled=settled) == Absent():
        assert settled
        assert not [one for one in scenario.planet if is_unexplained(scenario, one)]
        marker = scenario.request.marker
        assert marker is None or not any(map(marker.is_shown_by, scenario.planet))


@any_scenario
@given(scenarios(), st.booleans())
def test_adoption_by_time_is_of_exactly_one_unexplained_backup(scenario: Scenario, settled: bool) -> None:
    """With a baseline, after the settle time, unless it is switched off."""
    decision = scenario.decide(settled=settled)
    if isinstance(decision, Adopt) and decision.by == "time":
        assert settled
        assert scenario.adopt_by_time
        assert scenario.baseline is not None
        assert decision.backup.id not in scenario.baseline.keys
        assert {one.id for one in scenario.planet if is_unexplained(scenario, one)} <= {decision.backup.id}
        assert decision.duplicates == ()


@any_scenario
@given(scenarios())
def test_marker_in_the_planets_list_is_always_adopted(scenario: Scenario) -> None:
    """At once, with all other backups that show it as duplicates."""
    marker = MARKER
    marked = {one.id for one in scenario.planet if marker.is_shown_by(one)}
    decision = attrs.evolve(scenario, request=REQUEST).decide(settled=False)
    if marked:
        assert isinstance(decision, Adopt)
        assert decision.by == "marker"
        assert {decision.backup.id, *(one.id for one in decision.duplicates)} == marked


@any_scenario
@given(scenarios(), st.booleans(), st.randoms(use_true_random=False))
def test_decisions_do_not_depend_on_the_order_of_lists(scenario: Scenario, settled: bool, chance: Any) -> None:
    """Services list in any order, which may change from list to list."""
    shuffled = attrs.evolve(
        scenario,
        planet=chance.sample(scenario.planet, len(scenario.planet)),
        star_system=chance.sample(scenario.star_system, len(scenario.star_system)),
        siblings={MARS: chance.sample(scenario.siblings[MARS], len(scenario.siblings[MARS]))},
    )
    assert shuffled.decide(settled=settled) == scenario.decide(settled=settled)


@any_scenario
@given(scenarios(), st.booleans(), st.lists(st.integers(-(10**6), 10**6), min_size=7, max_size=7))
def test_start_times_decide_nothing(scenario: Scenario, settled: bool, shifts: list[int]) -> None:
    """No clock has to agree with another: start times only order what is reported."""

    def shifted(backups: Sequence[Backup]) -> list[Backup]:
        return [
            one
            if one.started_at is None
            else attrs.evolve(one, started_at=one.started_at + timedelta(seconds=shifts[one.id]))
            for one in backups
        ]

    other = attrs.evolve(
        scenario,
        planet=shifted(scenario.planet),
        star_system=shifted(scenario.star_system),
        siblings={MARS: shifted(scenario.siblings[MARS])},
        details={number: shifted([one])[0] for number, one in scenario.details.items()},
    )
    assert without_order(other.decide(settled=settled)) == without_order(scenario.decide(settled=settled))


def without_order(decision: Decision) -> Any:
    match decision:
        case Adopt():
            return "adopt", decision.by, {decision.backup.id, *(one.id for one in decision.duplicates)}
        case Ambiguous():
            return "ambiguous", decision.reason, {one.id for one in decision.candidates}
        case _:
            return decision


@any_scenario
@given(scenarios())
def test_candidates_are_distinct_and_newest_first(scenario: Scenario) -> None:
    """An error names each backup once."""
    decision = scenario.decide()
    if isinstance(decision, Ambiguous):
        ids = [one.id for one in decision.candidates]
        assert len(ids) == len(set(ids))
        assert decision.candidates == sort_newest_first(decision.candidates)


# -- names of planets


@pytest.mark.parametrize(
    ("names", "name", "other"),
    [
        (PlanetNames(), "mars", False),
        (PlanetNames(), None, False),
        (names_seen(planets=["mars"]), "mars", True),
        (names_seen(planets=["mars"]), "MARS ", True),
        (names_seen(planets=["mars"]), "venus", False),
        (names_seen(equal=True), "venus", True),
        (names_seen(equal=True), " EARTH", False),
        (names_seen(equal=True), "", False),
        (names_seen(equal=True), " ", False),
        (names_seen(equal=True, different=True), "venus", False),
        (names_seen(planets=["mars"], different=True), "mars", False),
    ],
)
def test_name_of_another_planet(names: PlanetNames, name: str | None, other: bool) -> None:
    """A name contradicts once names were seen to be planets' ids, or if it is the id of a planet of this client."""
    assert names.is_other("earth", backup(name=name)) is other


def test_names_are_usable_once_seen_and_never_contradicted() -> None:
    """A name that differs counts only of a backup that is proven to be the planet's."""
    names = PlanetNames()
    assert not names.usable
    names.record_backup("earth", backup(name="testbackup"), proven=False)
    names.record_backup("earth", backup(), proven=True)
    names.record_backup("earth", Backup(id=1), proven=True)
    assert not names.usable
    names.record_backup("Earth", backup(name="earth "), proven=False)
    assert names.usable
    names.record_backup("earth", backup(name="testbackup"), proven=False)
    assert names.usable
    names.record_backup("earth", backup(name="testbackup"), proven=True)
    assert not names.usable


# -- a response against its request


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (backup(), None),
        (Backup(id=1), None),
        (backup(description=SENT, mechanism="snapshot", name="mars"), None),
        (backup(description=OTHER.text), "it shows the marker of another create"),
        (backup(description=OTHER.text[:-6]), None),
        (backup(description="something else"), None),
        (backup(name="earth"), None),
        (backup(name="mars"), "it belongs to the planet mars"),
        (backup(name="Venus"), "it belongs to the planet venus"),
        (backup(mechanism="snapshot"), "its mechanism is snapshot"),
        (backup(mechanism="SnapShot"), "its mechanism is snapshot"),
        (backup(mechanism="pg_dump"), None),
        (backup(mechanism="LOGICAL"), None),
        (backup(mechanism=None), None),
    ],
    ids=repr,
)
def test_contradiction(shown: Backup, reason: str | None) -> None:
    """Marker, planet and mechanism are compared, in this order; what is not shown contradicts nothing."""
    assert find_contradiction(REQUEST, shown, names_seen(equal=True)) == reason


def test_mechanism_that_is_not_documented_is_not_compared() -> None:
    """The service may name it differently."""
    request = attrs.evolve(REQUEST, spec=attrs.evolve(SPEC, mechanism="fast"))
    assert find_contradiction(request, backup(mechanism="snapshot"), PlanetNames()) is None


@given(scenarios())
def test_backup_with_the_marker_contradicts_nothing(scenario: Scenario) -> None:
    """The marker is the strongest sign there is."""
    for one in scenario.planet:
        if MARKER.is_shown_by(one):
            assert find_contradiction(REQUEST, one, scenario.names) is None


# -- order


@given(st.lists(st.builds(Backup, id=st.one_of(st.integers(0, 99)), started_at=TIMES), max_size=6), st.randoms())
def test_newest_first_is_a_total_order(backups: list[Backup], chance: Any) -> None:
    """By start time, then id; a backup without a start time comes last."""
    ordered = sort_newest_first(backups)
    assert sorted(map(repr, ordered)) == sorted(map(repr, backups))
    assert sort_newest_first(chance.sample(backups, len(backups))) == ordered
    times = [one.started_at for one in ordered if one.started_at is not None]
    assert times == sorted(times, reverse=True)
    assert all(one.started_at is None for one in ordered[len(times) :])


def test_ids_are_ordered_as_numbers() -> None:
    """10 is newer than 9."""
    assert [one.id for one in sort_newest_first([backup(9), backup(10), backup(2)])] == [10, 9, 2]


def test_request_is_sent_with_its_marker() -> None:
    """Or unchanged without one; the caller's own text has none."""
    assert REQUEST.marked_spec == MARKER.add_to(SPEC)
    assert UNMARKED.marked_spec is SPEC
    assert REQUEST.caller_text == "nightly before the release"
