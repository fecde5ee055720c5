"""The Database API, written from its description alone, with a random variable for everything that is not described."""

import html
import json
import math
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from random import Random
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import UUID
from zlib import crc32

import attrs

from .variables import Variables

#: The time of day at virtual time 0, in seconds since 1970.
EPOCH: Final = 1706521989.0
#: Origin of the backups that existed before the start.
EARLIER: Final = "earlier"
PLATFORM: Final = "platform"
DAY: Final = 86400.0
FIRST_ID: Final = 362
FIRST_JOB: Final = 900362

JsonObject = dict[str, Any]

_HTML_PAGE: Final = b"<html><head><title>%d</title></head><body><h1>%d</h1></body></html>"
_BODY_FIELDS: Final = frozenset({"mechanism", "planetClass", "temporary", "retentionPeriodInDays", "metadata"})
_NEVER: Final = math.inf


@attrs.frozen
class HttpRequest:
    """A request as the service receives it.

    Attributes:
        method: GET, POST or DELETE.
        path: The path, with the query if there is one.
        headers: The headers, with names in any case.
        body: The body; empty without one.
        origin: Who sent it, for the truth only: no behavior depends on it.
        reused: Whether the connection was used before.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    origin: str = ""
    reused: bool = False


@attrs.frozen
class HttpResponse:
    """A response of the service or of a gateway.

    Attributes:
        status: The status.
        headers: The headers.
        body: The body.
        backup_number: Position in `Service.truth` of the created backup, or -1. For `faults` and `invariants` only.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    backup_number: int = -1


@attrs.define(eq=False)
class TrueBackup:
    """The true state of one backup, whatever responses show of it. Times are virtual.

    Attributes:
        number: Position in `Service.truth`.
        id: The id as shown.
        star_system: The star system.
        planet: The planet.
        body: The body of its create as received.
        origin: Who sent the create.
        created: When it came into existence.
        ends: When its status changes to an end; infinite for a backup that never ends.
        succeeds: Whether that end is success.
        deleted: When it was deleted; infinite if it was not.
        deleted_by: The origin of the deletion.
        vanished: When a restore of the service removed it; infinite if none did.
        kind: "temporary", "permanent" or "scheduled".
    """

    number: int
    id: int | str
    star_system: str
    planet: str
    body: JsonObject
    origin: str
    created: float
    ends: float
    succeeds: bool
    kind: str
    deleted: float = _NEVER
    deleted_by: str = ""
    vanished: float = _NEVER
    # When each kind of view shows it first.
    list_time: float = 0.0
    star_time: float = 0.0
    get_time: float = 0.0
    counter: int = 0
    # When what is shown of it changes, and what is shown from then on: status word, completedAt, startedAt.
    stage_times: list[float] = attrs.field(factory=list)
    stages: list[tuple[int, int, int]] = attrs.field(factory=list)
    started_text: str = ""
    completed_texts: tuple[str, str] = ("", "")
    rendered: dict[tuple[str, int], bytes] = attrs.field(factory=dict)

    def end_kind(self, time: float) -> str:
        """Return "running", "succeeded", "failed", "deleted" or "vanished" at a time."""
        if time >= self.vanished:
            return "vanished"
        if time >= self.deleted:
            return "deleted"
        if time < self.ends:
            return "running"
        return "succeeded" if self.succeeds else "failed"

    def end_time(self) -> float:
        """Return the time of its first end of any kind."""
        return min(self.ends, self.deleted, self.vanished)


@attrs.frozen
class RequestRecord:
    """A request as counted, with the time of its arrival.

    `kind` is create, get, planet_list, star_list, delete, health, token, refused (401 or 429) or unknown. The status of
    a request whose sender stopped waiting is 0.
    """

    time: float
    kind: str
    origin: str
    status: int


@attrs.define(eq=False)
class _StarSystem:
    planets: tuple[str, ...]
    backups: list[TrueBackup] = attrs.field(factory=list)
    by_planet: dict[str, list[TrueBackup]] = attrs.field(factory=dict)


@attrs.frozen
class _ListPage:
    version: int
    valid_until: float
    entries: list[bytes]


class Service:
    """The Database API of one tenant.

    Args:
        variables: The universe.
        now: Returns the virtual time in seconds since the start; `EPOCH` is added for the time of day.
        sleep: Waits in virtual time.
        tenant: The tenant.
        planets: The planets of each star system.
        seed: Seed of durations, ids and the like.

    Attributes:
        planets: The planets of each star system.
        truth: Every backup, in the order of creation, those of earlier days included.
        requests: Every request that arrived, in the order of completion.
        counts: Requests by kind.
        creation_observers: Called with each new backup.
    """

    def __init__(
        self,
        variables: Variables,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        tenant: str,
        planets: Mapping[str, Sequence[str]],
        seed: int,
    ) -> None:
        self.variables = variables
        self.tenant = tenant
        self.planets = {star: tuple(names) for star, names in planets.items()}
        self.truth: list[TrueBackup] = []
        self.requests: list[RequestRecord] = []
        self.counts: Counter[str] = Counter()
        self.creation_observers: list[Callable[[TrueBackup], None]] = []
        self._now = now
        self._sleep = sleep
        self._seed = seed
        self._stars = {
            star: _StarSystem(tuple(names), [], {name: [] for name in names}) for star, names in planets.items()
        }
        self._by_id: dict[str, TrueBackup] = {}
        self._next_counter = 0
        self._counter_history: list[tuple[float, int]] = []
        self._free_counters: list[int] = []
        self._next_job = FIRST_JOB
        self._list_cache: dict[tuple[str, str], _ListPage] = {}
        self._version = 0
        self._list_ordinal = 0
        self._restored = False
        self._tokens: dict[str, float] = {}
        self._allowance = max(variables.rate_limit, 1.0)
        self._allowance_time = 0.0
        self._date = (0, "")
        self._stale_draws = Random(f"{seed}/stale")
        self._prefix = f"/api/v1/tenants/{quote(tenant, safe='')}/starsystems/"
        self._start = now()
        self._create_earlier_backups()

    # Requests

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Process a request and return the response."""
        arrival = self._now()
        kind, status = "unknown", 0
        try:
            kind, response = await self._dispatch(request)
            status = response.status
        except _RefusalError as refusal:
            kind, response = refusal.kind or kind, refusal.response
            status = response.status
        finally:
            # A request whose sender stopped waiting was cancelled: it counts, with status 0.
            self.counts[kind] += 1
            self.requests.append(RequestRecord(arrival, kind, request.origin, status))
        return response

    async def _dispatch(self, request: HttpRequest) -> tuple[str, HttpResponse]:
        path, _, query = request.path.partition("?")
        if path == "/management/health":
            return "health", self._health_response()
        if path.endswith("/v1/token"):
            return "token", self._token_response(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._check_authorization(headers)
        self._check_rate()
        if not path.startswith(self._prefix):
            foreign = path.startswith("/api/v1/tenants/")
            raise self._refusal(403 if foreign else 404)
        parts = path[len(self._prefix) :].split("/")
        star_name = unquote(parts[0])
        star = self._stars.get(star_name)
        if star is None:
            raise self._refusal(404)
        match parts[1:]:
            case ["planets", planet, "backups"]:
                return await self._handle_planet(request, headers, query, star_name, unquote(planet))
            case ["backups", backup_id] if backup_id:
                return await self._handle_backup(request, headers, star_name, unquote(backup_id))
            case [("backup" | "backups") as last]:
                return await self._handle_star_list(request, headers, query, star_name, last)
        raise self._refusal(404)

    async def _handle_planet(
        self, request: HttpRequest, headers: Mapping[str, str], query: str, star_name: str, planet: str
    ) -> tuple[str, HttpResponse]:
        variables = self.variables
        if planet not in self._stars[star_name].by_planet:
            raise self._refusal(404)
        if request.method == "POST":
            return "create", await self._handle_create(request, headers, star_name, planet)
        if request.method != "GET":
            raise self._refusal(405)
        await self._pause(variables.read_time)
        if variables.planet_list_refusal:
            raise self._refusal(variables.planet_list_refusal, "planet_list")
        scope = "" if variables.planet_list_scope == "star-system" else planet
        entries = self._list_entries("planet_list", star_name, scope)
        return "planet_list", self._list_response(request, headers, query, entries, variables.list_envelope)

    async def _handle_star_list(
        self, request: HttpRequest, headers: Mapping[str, str], query: str, star_name: str, last: str
    ) -> tuple[str, HttpResponse]:
        variables = self.variables
        if request.method != "GET":
            raise self._refusal(405)
        await self._pause(variables.read_time)
        if variables.star_list_refusal:
            raise self._refusal(variables.star_list_refusal, "star_list")
        if (last == "backup") != (variables.star_list_path == "singular"):
            raise self._refusal(404, "star_list")
        envelope = variables.list_envelope if variables.star_list_envelope == "same" else variables.star_list_envelope
        entries = self._list_entries("star_list", star_name, "")
        return "star_list", self._list_response(request, headers, query, entries, envelope)

    async def _handle_backup(
        self, request: HttpRequest, headers: Mapping[str, str], star_name: str, backup_id: str
    ) -> tuple[str, HttpResponse]:
        if request.method not in {"GET", "DELETE"}:
            raise self._refusal(405)
        kind = "get" if request.method == "GET" else "delete"
        await self._pause(self.variables.read_time)
        self._restore_if_due()
        time = self._now()
        backup = self._by_id.get(backup_id)
        if backup is None or backup.star_system != star_name or time >= backup.vanished or time < backup.get_time:
            raise self._refusal(404, kind)
        if time >= backup.deleted:
            if self.variables.after_deletion == "status" and kind == "get":
                return kind, self._conditional_response(headers, self._render_deleted(backup))
            raise self._refusal(410 if self.variables.after_deletion == "410" else 404, kind)
        if kind == "get":
            stage = bisect_right(backup.stage_times, time) - 1
            return kind, self._conditional_response(headers, self._render_backup(backup, "get", max(stage, 0)))
        self.delete_backup(backup, request.origin)
        status = self.variables.delete_status
        return kind, self._response(status, b"" if status == 204 else b"{}")

    async def _handle_create(
        self, request: HttpRequest, headers: Mapping[str, str], star_name: str, planet: str
    ) -> HttpResponse:
        variables = self.variables
        body = self._parse_create_body(request, headers)
        effect = variables.create_time * variables.effect_moment
        await self._pause(effect)
        if variables.one_at_a_time:
            time = self._now()
            if any(backup.end_time() > time for backup in self._stars[star_name].by_planet[planet]):
                raise self._refusal(409, "create")
        backup = self.create_backup(star_name, planet, body, request.origin)
        await self._pause(variables.create_time - effect)
        response = self._create_response(request, backup)
        return attrs.evolve(response, backup_number=backup.number)

    # Creation and deletion

    def create_backup(
        self, star_system: str, planet: str, body: JsonObject, origin: str, *, scheduled: bool = False
    ) -> TrueBackup:
        """Create a backup at once, as if a valid request for it had just been processed."""
        self._restore_if_due()
        created = self._now()
        draws = Random(f"{self._seed}/backup/{len(self.truth)}")
        variables = self.variables
        spread = variables.duration_spread
        duration = variables.duration_median * math.exp(max(-3.0, min(3.0, draws.gauss(0.0, 1.0))) * spread)
        failing = draws.random()
        stuck = draws.random() < variables.stuck_share
        if failing < variables.failure_share:
            duration *= 0.1 + 0.9 * draws.random()
        counter = self._take_counter(created)
        backup = TrueBackup(
            number=len(self.truth),
            id=self._make_id(counter),
            star_system=star_system,
            planet=planet,
            body=body,
            origin=origin,
            created=created,
            ends=_NEVER if stuck else created + duration,
            succeeds=failing >= variables.failure_share,
            kind="scheduled" if scheduled else "temporary" if body.get("temporary", True) else "permanent",
            counter=counter,
        )
        backup.list_time = self._first_view(backup, variables.planet_list_lag, variables.planet_list_omits, draws)
        backup.star_time = self._first_view(backup, variables.star_list_lag, variables.star_list_omits, draws)
        backup.get_time = created + variables.get_lag * draws.uniform(0.3, 1.0)
        self._plan_stages(backup, duration)
        self._add_backup(backup)
        for observer in self.creation_observers:
            observer(backup)
        return backup

    def delete_backup(self, backup: TrueBackup, origin: str) -> None:
        """Delete a backup at once; do nothing if it is gone."""
        time = self._now()
        if time >= min(backup.deleted, backup.vanished):
            return
        backup.deleted = time
        backup.deleted_by = origin
        self._version += 1
        if self.variables.id_reuse:
            self._free_counters.append(backup.counter)

    def _first_view(self, backup: TrueBackup, lag: float, omits: str, draws: Random) -> float:
        visible = backup.created + lag * draws.uniform(0.3, 1.0)
        if omits == "new":
            return _NEVER
        return max(visible, backup.ends) if omits == "running" else visible

    def _add_backup(self, backup: TrueBackup) -> None:
        self.truth.append(backup)
        star = self._stars[backup.star_system]
        star.backups.append(backup)
        star.by_planet[backup.planet].append(backup)
        self._by_id[str(backup.id)] = backup
        self._version += 1

    def _take_counter(self, time: float) -> int:
        if self._free_counters:
            return self._free_counters.pop(0)
        counter = self._next_counter
        self._next_counter += 1
        self._counter_history.append((time, counter))
        return counter

    def _make_id(self, counter: int) -> int | str:
        match self.variables.id_scheme:
            case "int":
                return FIRST_ID + counter
            case "negative":
                return -FIRST_ID - counter
            case "digits":
                return str(FIRST_ID + counter)
            case "padded":
                return f"{FIRST_ID + counter:05d}"
        draws = Random(f"{self._seed}/id/{counter}")
        match self.variables.id_scheme:
            case "random64":
                return draws.randrange(1, 2**63)
            case "unsigned":
                return draws.randrange(2**63, 2**64)
            case "uuid":
                return str(UUID(int=draws.getrandbits(128), version=4))
        raise ValueError(f"Unknown id scheme: {self.variables.id_scheme}")

    def _restore_if_due(self) -> None:
        restore_time = self.variables.restore_time
        if self._restored or not restore_time or self._now() < restore_time:
            return
        self._restored = True
        state = max(restore_time - self.variables.restore_depth, self._start)
        for backup in self.truth:
            # Earlier backups existed at the start; only what is younger than the restored state vanishes.
            if backup.created > state and backup.origin != EARLIER:
                backup.vanished = restore_time
        self._next_counter = min(
            (counter for time, counter in self._counter_history if time > state), default=self._next_counter
        )
        self._counter_history = [(time, counter) for time, counter in self._counter_history if time <= state]
        self._free_counters = [counter for counter in self._free_counters if counter < self._next_counter]
        self._version += 1

    def _create_earlier_backups(self) -> None:
        variables = self.variables
        draws = Random(f"{self._seed}/earlier")
        planned: list[tuple[float, str, str]] = []
        for star_name, star in self._stars.items():
            for planet in star.planets:
                some = draws.random() < variables.earlier_share
                count = draws.randint(1, variables.earlier_backups) if some and variables.earlier_backups else 0
                planned.extend((-draws.uniform(0.1, 9.9) * DAY, star_name, planet) for _ in range(count))
        for created, star_name, planet in sorted(planned):
            kind = draws.choice(("temporary", "permanent", "scheduled"))
            duration = variables.duration_median * math.exp(draws.gauss(0.0, variables.duration_spread))
            # Every one of them has ended before the start.
            ends = min(created + duration, self._start - 600.0)
            body: JsonObject = {
                "mechanism": "logical",
                "planetClass": "dev",
                "temporary": kind == "temporary",
                "retentionPeriodInDays": 10,
                "metadata": {"name": f"backup of {planet}", "description": "Made by hand."},
            }
            counter = self._take_counter(self._start + created)
            backup = TrueBackup(
                number=len(self.truth),
                id=self._make_id(counter),
                star_system=star_name,
                planet=planet,
                body=body,
                origin=EARLIER,
                created=self._start + created,
                ends=self._start + ends,
                succeeds=draws.random() >= variables.failure_share,
                kind=kind,
                counter=counter,
                list_time=-_NEVER,
                star_time=-_NEVER,
                get_time=-_NEVER,
            )
            self._plan_stages(backup, duration)
            self._add_backup(backup)

    # What is shown

    def _plan_stages(self, backup: TrueBackup, duration: float) -> None:
        """Plan what is shown of a backup and when: indexes of status word, completedAt text and startedAt text."""
        words = self.variables.running_words
        created, ends = backup.created, backup.ends
        changes: list[tuple[float, int, int]] = [
            (created + duration * index / len(words), 0, index) for index in range(1, len(words))
        ]
        if ends != _NEVER:
            changes.append((ends, 0, len(words) if backup.succeeds else len(words) + 1))
        first_completed = self._plan_completion(backup, duration, changes)
        first_started = self._plan_start(backup, duration, changes)
        state = [0, first_completed, first_started]
        backup.stage_times = [created]
        backup.stages = [(0, first_completed, first_started)]
        for time, place, value in sorted(changes):
            # The words of a running backup never come after its end.
            if place != 0 or value >= len(words) or time < ends:
                state[place] = value
                backup.stage_times.append(time)
                backup.stages.append((state[0], state[1], state[2]))

    def _plan_completion(self, backup: TrueBackup, duration: float, changes: list[tuple[float, int, int]]) -> int:
        """Plan completedAt: add to the changes, and return its first index (0 for unset, 1 for an early text)."""
        variables = self.variables
        created, completion = backup.created, backup.ends
        early_text = ""
        match variables.completed_at:
            case "early":
                early_text = self._time_text(created)
            case "expected":
                early_text = self._time_text(created + duration * variables.expected_factor)
            case "before":
                completion = max(created, completion - variables.completed_delay)
            case "after":
                completion += variables.completed_delay
        ended = backup.ends != _NEVER
        if ended and variables.completed_at != "missing":
            changes.append((completion, 1, 2))
        backup.completed_texts = (early_text, self._time_text(min(completion, backup.ends)) if ended else "")
        return 1 if early_text else 0

    def _plan_start(self, backup: TrueBackup, duration: float, changes: list[tuple[float, int, int]]) -> int:
        """Plan startedAt: add to the changes, and return its first index (0 for unset, 1 for its text)."""
        created = shown = backup.created
        first = 1
        match self.variables.started_at:
            case "absent":
                first = 0
            case "minute":
                shown -= self.service_time(created) % 60.0
            case "off":
                shown += self.variables.started_offset
            case "late":
                first = 0
                changes.append((created + min(3.0, 0.2 * duration), 2, 1))
        backup.started_text = self._time_text(shown)
        return first

    def _render_backup(self, backup: TrueBackup, view: str, stage: int) -> bytes:
        key = (view, stage)
        body = backup.rendered.get(key)
        if body is None:
            body = json.dumps(self.show_backup(backup, view, stage), ensure_ascii=False).encode()
            backup.rendered[key] = body
        return body

    def _render_deleted(self, backup: TrueBackup) -> bytes:
        shown = self.show_backup(backup, "get", len(backup.stages) - 1)
        shown["status"] = "deleted"
        return json.dumps(shown).encode()

    def show_backup(self, backup: TrueBackup, view: str, stage: int) -> JsonObject:
        """Return the object that a view ("create", "get" or "list") shows at a stage of a backup's life."""
        variables = self.variables
        word_index, completed_index, started_index = backup.stages[stage]
        words = variables.running_words
        finals = (variables.succeeded_word, variables.failed_word)
        status = words[word_index] if word_index < len(words) else finals[word_index - len(words)]
        shown: JsonObject = {"id": backup.id}
        minimal = variables.missing_fields
        if minimal == "all" or (minimal == "lists" and view == "list") or (minimal == "creates" and view == "create"):
            shown["status"] = status
            return shown
        mechanism = self._mechanism_word(str(backup.body.get("mechanism", "")))
        if mechanism:
            shown["mechanism"] = mechanism
        type_word = self._type_word(backup.kind)
        if type_word:
            shown["type"] = type_word
        if variables.environment_name != "no-environment":
            shown["environment"] = self._environment(backup)
        self._show_metadata(shown, backup, view)
        shown["status"] = status
        shown["displayStatus"] = (
            ("ready", "failed")[word_index - len(words)] if word_index >= len(words) else "in progress"
        )
        failed = word_index == len(words) + 1
        self._set_field(shown, "errorMessage", "pg_dump: error: the server closed the connection" if failed else "")
        self._set_field(shown, "startedAt", backup.started_text if started_index else "")
        self._set_field(shown, "completedAt", backup.completed_texts[completed_index - 1] if completed_index else "")
        days = backup.body.get("retentionPeriodInDays")
        expires = backup.kind == "temporary" and isinstance(days, int)
        self._set_field(
            shown, "expirationDate", self._time_text(backup.created + DAY * days) if expires and days else ""
        )
        shown["databaseToApplicationBuilds"] = {"pc": "10.2.3.1"}
        if variables.extra_fields:
            shown["sizeInBytes"] = 123_456_789_012
            shown["links"] = [{"rel": "self", "href": f"/backups/{backup.id}"}]
            shown["requestedBy"] = {"id": "0oa1b2c3", "kind": "serviceAccount"}
        return shown

    def _set_field(self, shown: JsonObject, name: str, text: str) -> None:
        if text:
            shown[name] = text
        elif self.variables.unset_fields == "null":
            shown[name] = None

    def _environment(self, backup: TrueBackup) -> JsonObject:
        environment: JsonObject = {"tenant": self.tenant, "project": backup.star_system, "stage": "dev"}
        match self.variables.environment_name:
            case "planet":
                environment["name"] = backup.planet
            case "display":
                environment["name"] = f"Planet {backup.planet.replace('-', ' ').title()}"
            case "constant":
                environment["name"] = "testbackup"
            case "backup":
                environment["name"] = self._metadata(backup).get("name", "testbackup")
        return environment

    def _show_metadata(self, shown: JsonObject, backup: TrueBackup, view: str) -> None:
        variables = self.variables
        visible = {
            "create": variables.create_metadata,
            "get": variables.get_metadata,
            "list": variables.list_metadata,
        }[view]
        if visible == "nothing":
            return
        metadata = self._metadata(backup)
        if visible == "name":
            metadata = {"name": metadata["name"]} if "name" in metadata else {}
        metadata = {name: alter_text(text, variables) for name, text in metadata.items()}
        match variables.metadata_place:
            case "metadata":
                shown["metadata"] = metadata
            case "top":
                shown.update(metadata)
            case "nested":
                shown["details"] = {"labels": {"values": metadata}}
            case "text":
                shown["metadata"] = json.dumps(metadata, ensure_ascii=False)

    def _metadata(self, backup: TrueBackup) -> dict[str, str]:
        metadata = backup.body.get("metadata") or {}
        return {name: text for name, text in metadata.items() if isinstance(text, str)}

    def _mechanism_word(self, word: str) -> str:
        match self.variables.mechanism_wording:
            case "upper":
                return word.upper()
            case "capital":
                return word.capitalize()
            case "console":
                return "pg_dump" if word == "logical" else "Snapshot"
            case "CONSOLE":
                return "PG_DUMP" if word == "logical" else "SNAPSHOT"
            case "absent":
                return ""
        return word

    def _type_word(self, word: str) -> str:
        match self.variables.type_wording:
            case "upper":
                return word.upper()
            case "capital":
                return word.capitalize()
            case "other":
                return {"temporary": "ADHOC_TEMPORARY", "permanent": "ADHOC"}.get(word, "AUTOMATED")
            case "absent":
                return ""
        return word

    def service_time(self, time: float) -> float:
        """Return the time of day by the service's clock at a virtual time."""
        variables = self.variables
        return EPOCH + time + variables.clock_offset + variables.clock_drift * max(time - self._start, 0.0)

    def _time_text(self, time: float) -> str:
        moment = datetime.fromtimestamp(self.service_time(time), UTC)
        match self.variables.time_format:
            case "millis":
                return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
            case "nanos":
                return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000 + 7:09d}Z"
            case "offset":
                return moment.astimezone(timezone(timedelta(hours=2))).isoformat(timespec="seconds")
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

    # Lists

    def _list_entries(self, view: str, star_name: str, planet: str) -> list[bytes]:
        self._restore_if_due()
        variables = self.variables
        time = self._now()
        self._list_ordinal += 1
        if variables.stale_share and self._stale_draws.random() < variables.stale_share:
            return self._collect_entries(view, star_name, planet, time - variables.stale_lag).entries
        cached = self._list_cache.get((view, f"{star_name}/{planet}"))
        if cached is None or cached.version != self._version or time >= cached.valid_until:
            cached = self._collect_entries(view, star_name, planet, time)
            self._list_cache[view, f"{star_name}/{planet}"] = cached
        return cached.entries

    def _collect_entries(self, view: str, star_name: str, planet: str, time: float) -> _ListPage:
        """Return the entries that a list shows at a time, and until when they stay the same."""
        variables = self.variables
        star = self._stars[star_name]
        backups = star.by_planet[planet] if planet else star.backups
        status_lag, delete_lag = variables.list_status_lag, variables.delete_lag
        valid_until = _NEVER
        visible: list[tuple[TrueBackup, bytes]] = []
        for backup in backups:
            first = backup.list_time if view == "planet_list" else backup.star_time
            last = min(backup.deleted + delete_lag, backup.vanished)
            if time < first:
                valid_until = min(valid_until, first)
                continue
            if time >= last:
                continue
            stage = bisect_right(backup.stage_times, time - status_lag)
            if stage < len(backup.stage_times):
                valid_until = min(valid_until, backup.stage_times[stage] + status_lag)
            valid_until = min(valid_until, last)
            visible.append((backup, self._render_backup(backup, "list", max(stage - 1, 0))))
        if variables.list_order == "newest":
            visible.reverse()
        elif variables.list_order == "random":
            visible.sort(key=lambda item: crc32(f"{self._seed}/{item[0].number}".encode()))
        entries = [entry for _, entry in visible]
        if variables.listed_twice:
            entries.extend(entries[::3])
        return _ListPage(self._version, valid_until, entries)

    def _list_response(
        self, request: HttpRequest, headers: Mapping[str, str], query: str, entries: list[bytes], envelope: str
    ) -> HttpResponse:
        variables = self.variables
        if not entries and variables.empty_list in {"204", "404-json", "404-empty"}:
            if variables.empty_list == "204":
                return self._response(204, b"")
            if variables.empty_list == "404-empty":
                return self._response(404, b"")
            return self._response(404, b'{"status": 404, "error": "Not Found", "message": "No backups"}')
        more: JsonObject = {}
        extra_headers: dict[str, str] = {}
        if variables.paging != "none":
            entries = self._cut_page(request, query, entries, more, extra_headers)
        body = self._wrap_entries(entries, envelope, more)
        return self._conditional_response(headers, body, extra_headers)

    def _cut_page(
        self, request: HttpRequest, query: str, entries: list[bytes], more: JsonObject, extra_headers: dict[str, str]
    ) -> list[bytes]:
        variables = self.variables
        size = variables.page_size
        match = re.search(r"(?:^|&)page=(\d+)", query)
        page = int(match[1]) if match else 0
        pages = max(1, -(-len(entries) // size))
        path = request.path.partition("?")[0]
        next_page = page + 1 if page + 1 < pages else None
        if variables.paging == "cycle" and next_page is None and pages > 1:
            next_page = 0
        if next_page is not None:
            target = f"{self._origin(request)}{path}?page={next_page}"
            match variables.paging:
                case "link" | "cycle":
                    extra_headers["Link"] = f'<{target}>; rel="next"'
                case "relative":
                    extra_headers["Link"] = f'<?page={next_page}>; rel="next", <?page=0>; rel="first"'
                case "other-origin":
                    extra_headers["Link"] = f'<https://other.example{path}?page={next_page}>; rel="next"'
                case "body":
                    more["links"] = {"next": {"href": target}}
                case "token":
                    more["nextPageToken"] = f"page-{next_page}"
        if variables.paging == "totalPages":
            more.update(totalPages=pages, number=page)
        elif variables.paging == "last":
            more.update(last=next_page is None)
        return entries[page * size : (page + 1) * size]

    def _wrap_entries(self, entries: list[bytes], envelope: str, more: JsonObject) -> bytes:
        array = b"[" + b", ".join(entries) + b"]"
        if not entries and self.variables.empty_list == "null" and envelope != "bare":
            array = b"null"
        # A marker in the body has nowhere to go in a bare array: the envelope is the documented one then.
        if envelope == "bare" and not more:
            return array
        tail = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in more.items()).encode()
        if envelope == "array":
            return b'[{"backups": ' + array + b', "totalRecords": null' + tail + b"}]"
        if "." in envelope:
            outer, inner = envelope.split(".")
            return f'{{"{outer}": {{"{inner}": '.encode() + array + b"}" + tail + b"}"
        key = "backups" if envelope == "bare" else envelope
        return f'{{"{key}": '.encode() + array + tail + b"}"

    # Responses

    def _create_response(self, request: HttpRequest, backup: TrueBackup) -> HttpResponse:
        variables = self.variables
        extra_headers: dict[str, str] = {}
        shape = variables.create_shape
        if variables.create_location or shape == "location":
            extra_headers["Location"] = self._location(request, backup)
        match shape:
            case "location" | "empty":
                body = b""
            case "id":
                body = json.dumps({"id": backup.id}).encode()
            case "job":
                extra_headers.pop("Location", None)
                body = json.dumps({"id": self._next_job, "status": "accepted", "operation": "CREATE"}).encode()
                self._next_job += 1
                return self._response(202, body, extra_headers)
            case _:
                stage = max(bisect_right(backup.stage_times, self._now()) - 1, 0)
                body = self._render_backup(backup, "create", stage)
                if shape == "array":
                    body = b"[" + body + b"]"
                elif shape != "object":
                    body = f'{{"{shape}": '.encode() + body + b"}"
        return self._response(variables.create_status, body, extra_headers)

    def _location(self, request: HttpRequest, backup: TrueBackup) -> str:
        escaped = quote(str(backup.id), safe="")
        path = f"{self._prefix}{quote(backup.star_system, safe='')}/backups/{escaped}"
        match self.variables.location_form:
            case "url":
                return self._origin(request) + path
            case "planet":
                return f"{request.path}/{escaped}"
        return path

    def _origin(self, request: HttpRequest) -> str:
        host = next((value for name, value in request.headers.items() if name.lower() == "host"), "")
        return f"https://{host}" if host else ""

    def _conditional_response(
        self, headers: Mapping[str, str], body: bytes, extra_headers: dict[str, str] | None = None
    ) -> HttpResponse:
        if not self.variables.entity_tags:
            return self._response(200, body, extra_headers)
        tag = f'"{crc32(body):08x}"'
        extra_headers = {**(extra_headers or {}), "ETag": tag}
        if headers.get("if-none-match") == tag:
            return self._response(304, b"", extra_headers)
        return self._response(200, body, extra_headers)

    def _response(self, status: int, body: bytes, extra_headers: dict[str, str] | None = None) -> HttpResponse:
        headers = self.common_headers()
        if body and self.variables.content_type:
            headers["Content-Type"] = self.variables.content_type
        if extra_headers:
            headers.update(extra_headers)
        if self.variables.header_case == "lower":
            headers = {name.lower(): value for name, value in headers.items()}
        return HttpResponse(status, headers, body)

    def common_headers(self) -> dict[str, str]:
        """Return the headers of every response: Date, if there is one."""
        variables = self.variables
        if variables.date_header == "absent":
            return {}
        time = self._now()
        by_gateway = variables.date_header == "gateway"
        second = int(EPOCH + time + variables.date_offset) if by_gateway else int(self.service_time(time))
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return {"Date": self._date[1]}

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Return a Retry-After header in the form of this universe."""
        match self.variables.retry_after:
            case "seconds":
                return {"Retry-After": str(max(1, math.ceil(seconds)))}
            case "date":
                return {"Retry-After": formatdate(math.ceil(self.service_time(self._now() + seconds)), usegmt=True)}
        return {}

    def _health_response(self) -> HttpResponse:
        status = self.variables.health_status
        body = json.dumps({"status": status, "groups": ["liveness", "readiness"]}).encode()
        return self._response(503 if status in {"DOWN", "OUT_OF_SERVICE"} else 200, body)

    def _token_response(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or b"grant_type=client_credentials" not in request.body:
            return self._response(400, b'{"error": "unsupported_grant_type"}')
        token = f"token-{len(self._tokens) + 1}"
        lifetime = self.variables.token_lifetime
        time, revoked = self._now(), self.variables.revocation_time
        self._tokens[token] = min(time + lifetime, revoked) if time < revoked else time + lifetime
        answer = {
            "token_type": "Bearer",
            "expires_in": int(lifetime),
            "access_token": token,
            "scope": f"scope=gcc.deployments.read\ntenant.{self.tenant}",
        }
        return self._response(200, json.dumps(answer).encode())

    # Checks

    def _check_authorization(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        # A token that this service did not issue was configured by hand and never expires.
        expiry = self._tokens.get(token.strip(), _NEVER)
        if scheme.lower() != "bearer" or not token.strip() or self._now() >= expiry:
            raise self._refusal(401, "refused")

    def _check_rate(self) -> None:
        limit = self.variables.rate_limit
        if not limit:
            return
        time = self._now()
        burst = max(limit, 1.0)
        self._allowance = min(burst, self._allowance + (time - self._allowance_time) * limit)
        self._allowance_time = time
        if self._allowance < 1.0:
            raise self._refusal(429, "refused", extra_headers=self.retry_headers((1.0 - self._allowance) / limit))
        self._allowance -= 1.0

    def _parse_create_body(self, request: HttpRequest, headers: Mapping[str, str]) -> JsonObject:
        if not headers.get("content-type", "").startswith("application/json"):
            raise self._refusal(400, "create", "Content-Type must be application/json")
        try:
            body = json.loads(request.body)
        except ValueError:
            raise self._refusal(400, "create", "not JSON") from None
        problem = self._find_schema_problem(body)
        if problem:
            raise self._refusal(400, "create", problem)
        checked: JsonObject = body
        return checked

    def _find_schema_problem(self, body: object) -> str:
        if not isinstance(body, dict):
            return "not an object"
        unknown = body.keys() - _BODY_FIELDS
        if unknown:
            return f"unknown: {', '.join(sorted(unknown))}"
        days = body.get("retentionPeriodInDays")
        metadata = body.get("metadata", {})
        checks = {
            "mechanism": isinstance(body.get("mechanism"), str),
            "planetClass": isinstance(body.get("planetClass"), str),
            "temporary": isinstance(body.get("temporary"), bool),
            "retentionPeriodInDays": (
                not body.get("temporary")
                if days is None
                else isinstance(days, int)
                and not isinstance(days, bool)
                and 1 <= days <= self.variables.maximum_retention
            ),
            "metadata": (
                isinstance(metadata, dict)
                and metadata.keys() <= {"name", "description"}
                and all(isinstance(value, str) for value in metadata.values())
            ),
        }
        return ", ".join(name for name, valid in checks.items() if not valid)

    def _refusal(
        self, status: int, kind: str = "", message: str = "", extra_headers: dict[str, str] | None = None
    ) -> "_RefusalError":
        if status == 404 and self.variables.not_found_body != "json":
            body = b"" if self.variables.not_found_body == "empty" else _HTML_PAGE % (status, status)
        else:
            body = json.dumps({"status": status, "error": "Error", "message": message or str(status)}).encode()
        return _RefusalError(kind, self._response(status, body, extra_headers))

    async def _pause(self, seconds: float) -> None:
        if seconds > 0.0:
            await self._sleep(seconds)


class _RefusalError(Exception):
    """A request that ends with an error response."""

    def __init__(self, kind: str, response: HttpResponse) -> None:
        super().__init__(response.status)
        self.kind = kind
        self.response = response


_BRACKETS: Final = str.maketrans("[]{}<>", "()()()")
_ALTERATIONS: Final[dict[str, Callable[[str], str]]] = {
    "none": str,
    "upper": str.upper,
    "lower": str.lower,
    "brackets": lambda text: text.translate(_BRACKETS),
    "html": html.escape,
    "no-punctuation": lambda text: re.sub(r"[^\w\s]", "", text),
    "collapse": lambda text: " ".join(text.split()),
    "no-space": lambda text: re.sub(r"\s", "", text),
    "trim": str.strip,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "prefix": lambda text: f"[dev] {text}",
}


def alter_text(text: str, variables: Variables) -> str:
    """Return a text of metadata as this universe shows it."""
    if variables.metadata_alteration == "cut":
        return text[: variables.metadata_cut]
    return _ALTERATIONS[variables.metadata_alteration](text)
