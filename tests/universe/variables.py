"""Random variables of a universe: everything about the service, its users and the network that is not documented.

Every variable has a default (the documented sample, no fault, no other users) and a distribution. A seed keeps most
variables at their defaults, so that typically two to five of them deviate. Each variable draws from its own random
generator: disabling one leaves all others unchanged, which is what makes a failing seed easy to shrink.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeVar

import attrs

T = TypeVar("T")

#: A list that shows a new backup later than this (seconds) is treated as one that never shows it.
LONGEST_USEFUL_LAG: Final = 60.0


@attrs.frozen
class Distribution:
    """How the value of a deviating variable is drawn."""

    text: str
    draw: Callable[[Random], object]


def one_of(*values: object) -> Distribution:
    """Return the uniform distribution over the given values; repeat a value to give it more weight."""
    shown = ", ".join(str(value) for value in dict.fromkeys(values))
    return Distribution(f"one of {shown}", lambda random: random.choice(values))


def uniform(low: float, high: float) -> Distribution:
    """Return the uniform distribution between two numbers, rounded to milliseconds."""
    return Distribution(f"uniform {low:g} to {high:g}", lambda random: round(random.uniform(low, high), 3))


def log_uniform(low: float, high: float) -> Distribution:
    """Return the distribution whose logarithm is uniform between two positive numbers."""
    first, last = math.log(low), math.log(high)
    return Distribution(
        f"log-uniform {low:g} to {high:g}", lambda random: round(math.exp(random.uniform(first, last)), 3)
    )


def whole_number(low: int, high: int) -> Distribution:
    """Return the uniform distribution over whole numbers, both ends included."""
    return Distribution(f"integer {low} to {high}", lambda random: random.randint(low, high))


def sorted_fractions(smallest: int, largest: int) -> Distribution:
    """Return the distribution of ascending tuples of fractions between 0 and 1."""

    def draw_fractions(random: Random) -> tuple[float, ...]:
        count = random.randint(smallest, largest)
        return tuple(sorted(round(random.random(), 4) for _ in range(count)))

    return Distribution(f"{smallest} to {largest} ascending fractions", draw_fractions)


SHARE: Final = one_of(0.02, 0.1, 0.3, 0.3, 0.7, 1.0)
READ_SHARE: Final = one_of(0.01, 0.03, 0.1, 0.3)


@attrs.frozen
class VariableInfo:
    """The description of one variable.

    Attributes:
        name: The field's name in `Variables`.
        group: "service", "backups", "strangers", "client" or "faults".
        doc: One line about its meaning.
        chance: The probability that it deviates, before the seed's intensity is applied.
        distribution: What a deviating value is drawn from.
        default: The value without a deviation.
        needs: A variable without whose deviation this one has no effect.
        impossible: Why a deviation can make "no silent duplicate" impossible to keep; empty if it cannot.
        unclear: Why a deviation can make the true end of a backup impossible to recognize; empty if it cannot.
        clear_values: Deviating values to which `impossible` and `unclear` do not apply.
    """

    name: str
    group: str
    doc: str
    chance: float
    distribution: Distribution
    default: object
    needs: str
    impossible: str
    unclear: str
    clear_values: frozenset[object]


def variable(
    default: T,
    doc: str,
    chance: float,
    distribution: Distribution,
    *,
    group: str,
    needs: str = "",
    impossible: str = "",
    unclear: str = "",
    clear_values: frozenset[object] = frozenset(),
) -> T:
    """Declare a field of `Variables`."""
    metadata = {
        "group": group,
        "doc": doc,
        "chance": chance,
        "distribution": distribution,
        "needs": needs,
        "impossible": impossible,
        "unclear": unclear,
        "clear_values": clear_values,
    }
    return attrs.field(default=default, metadata=metadata)


@attrs.frozen
class Variables:
    """One universe: a value for every variable."""

    # Lists
    list_envelope: str = variable(
        "backups",
        "Envelope of lists: a key, a bare array, an array around an envelope, or keys of two levels.",
        0.12,
        one_of(
            "bare", "items", "content", "data", "results", "dbSnapshots", "array", "data.items", "_embedded.backups"
        ),
        group="service",
    )
    star_list_envelope: str = variable(
        "same",
        "Envelope of star-system lists where it differs from that of planet lists.",
        0.03,
        one_of("backups", "bare", "items", "array", "data.items"),
        group="service",
    )
    empty_list: str = variable(
        "array",
        "How an empty list is shown: an empty array, a null member, 204, or 404 with a JSON or an empty body.",
        0.08,
        one_of("null", "204", "404-json", "404-json", "404-empty"),
        group="service",
    )
    paging: str = variable(
        "none",
        "How the next page is announced: Link header, a link in the body, or a marker without a link.",
        0.07,
        one_of("link", "link", "body", "body", "relative", "totalPages", "last", "token", "cycle", "other-origin"),
        group="service",
    )
    page_size: int = variable(5, "Entries of a page.", 1.0, one_of(1, 2, 5, 10, 20), group="service", needs="paging")
    list_order: str = variable(
        "oldest", "Order of list entries.", 0.06, one_of("newest", "newest", "random"), group="service"
    )
    listed_twice: bool = variable(False, "Some entries are listed twice.", 0.02, one_of(True), group="service")
    planet_list_scope: str = variable(
        "planet",
        "Planet lists show the planet, or the whole star system.",
        0.05,
        one_of("star-system"),
        group="service",
    )
    planet_list_omits: str = variable(
        "nothing",
        "What planet lists never show: running backups, or backups created since the start of the universe.",
        0.03,
        one_of("running", "new"),
        group="service",
        impossible="planet lists never show a backup whose create was lost, at least while it runs",
    )
    star_list_omits: str = variable(
        "nothing",
        "What star-system lists never show: running backups, or backups created since the start.",
        0.03,
        one_of("running", "new"),
        group="service",
    )
    star_list_path: str = variable(
        "singular", "Path of the star-system list: as printed, or the plural.", 0.05, one_of("plural"), group="service"
    )
    star_list_refusal: int = variable(
        0, "Status with which star-system lists are refused; 0 for never.", 0.06, one_of(403, 404, 405), group="service"
    )
    planet_list_refusal: int = variable(
        0, "Status with which planet lists are refused; 0 for never.", 0.02, one_of(403, 404, 405), group="service"
    )
    planet_list_lag: float = variable(
        0.0,
        "Maximum time in seconds until a planet list shows a new backup.",
        0.1,
        log_uniform(0.2, 120.0),
        group="service",
    )
    star_list_lag: float = variable(
        0.0,
        "Maximum time in seconds until a star-system list shows a new backup.",
        0.08,
        log_uniform(0.2, 120.0),
        group="service",
    )
    get_lag: float = variable(
        0.0, "Maximum time in seconds until a GET finds a new backup.", 0.06, log_uniform(0.1, 20.0), group="service"
    )
    list_status_lag: float = variable(
        0.0,
        "Time in seconds by which lists show an older state of a backup.",
        0.05,
        log_uniform(1, 60),
        group="service",
    )
    delete_lag: float = variable(
        0.0, "Time in seconds for which lists still show a deleted backup.", 0.04, log_uniform(1, 60), group="service"
    )
    stale_share: float = variable(
        0.0,
        "Share of lists that are served by a replica that lags behind.",
        0.05,
        one_of(0.05, 0.2, 0.5),
        group="service",
    )
    stale_lag: float = variable(
        5.0, "Lag in seconds of that replica.", 1.0, log_uniform(0.5, 40.0), group="service", needs="stale_share"
    )

    # Creates
    create_status: int = variable(201, "Status of a create.", 0.1, one_of(200, 202), group="service")
    create_shape: str = variable(
        "object",
        "Body of a create response: object, wrapped object, Location only, id only, a job, or nothing.",
        0.14,
        one_of("backup", "data", "array", "location", "location", "id", "id", "job", "job", "empty"),
        group="service",
    )
    create_location: bool = variable(
        False, "Create responses carry a Location next to their body.", 0.06, one_of(True), group="service"
    )
    location_form: str = variable(
        "path",
        "Form of Location: a path, a URL, or a path below the planet.",
        0.05,
        one_of("url", "planet"),
        group="service",
    )
    one_at_a_time: bool = variable(
        False, "A create is refused with 409 while a backup of the planet runs.", 0.04, one_of(True), group="service"
    )
    maximum_retention: int = variable(
        14, "Longest retention in days; more is refused with 400.", 0.01, one_of(7, 30), group="service"
    )

    # Status and times
    running_words: tuple[str, ...] = variable(
        ("inProgress",),
        "Status words of a running backup, in the order of its life.",
        0.1,
        one_of(
            ("IN_PROGRESS",),
            ("ONGOING",),
            ("running",),
            ("pending", "running"),
            ("queued", "creating"),
            ("QUEUED", "RUNNING"),
            ("Creating",),
            ("dumping",),
            ("REQUESTED", "WORKING"),
            ("pending", "phase-2", "uploading"),
        ),
        group="service",
    )
    succeeded_word: str = variable(
        "succeeded",
        "Status word of success.",
        0.05,
        one_of("SUCCEEDED", "SUCCEEDED", "Succeeded", "SUCCESSFUL", "COMPLETED"),
        group="service",
        unclear="the word of success is not the documented one",
        clear_values=frozenset({"SUCCEEDED", "Succeeded"}),
    )
    failed_word: str = variable(
        "failed",
        "Status word of failure.",
        0.05,
        one_of("FAILED", "error", "ERROR", "cancelled", "canceled", "aborted", "Expired", "broken"),
        group="service",
        unclear="the word of failure is none of those known",
        clear_values=frozenset({"FAILED", "error", "ERROR", "cancelled", "canceled", "aborted", "Expired"}),
    )
    completed_at: str = variable(
        "final",
        "completedAt: with the end, at the start, an expected end, just before or after the status, or never.",
        0.1,
        one_of("early", "expected", "before", "after", "missing"),
        group="service",
    )
    completed_delay: float = variable(
        5.0,
        "Seconds between completedAt and the status.",
        1.0,
        log_uniform(0.5, 30),
        group="service",
        needs="completed_at",
    )
    expected_factor: float = variable(
        1.0,
        "An expected end as a multiple of the true duration.",
        1.0,
        uniform(0.3, 3.0),
        group="service",
        needs="completed_at",
    )
    started_at: str = variable(
        "exact",
        "startedAt: the time of creation, cut to the minute, seconds off, null at first, or never shown.",
        0.1,
        one_of("minute", "off", "late", "absent"),
        group="service",
    )
    started_offset: float = variable(
        -10.0,
        "Seconds by which startedAt differs from creation.",
        1.0,
        one_of(-60.0, -10.0, -10.0, -2.0, 3.0, 20.0),
        group="service",
        needs="started_at",
    )
    time_format: str = variable(
        "seconds",
        "Format of times: whole seconds, milliseconds, nanoseconds (all with Z), or with an offset.",
        0.05,
        one_of("millis", "nanos", "offset"),
        group="service",
    )
    clock_offset: float = variable(
        0.0,
        "Seconds by which the clock of the service is ahead; times in objects show it.",
        0.06,
        one_of(-3600.0, -20.0, 20.0, 3600.0),
        group="service",
    )
    clock_drift: float = variable(
        0.0,
        "Seconds per second by which that clock runs fast.",
        0.03,
        one_of(-0.01, -0.001, 0.001, 0.01),
        group="service",
    )
    date_header: str = variable(
        "service",
        "Clock of the Date header: that of the service, a gateway's, or no header.",
        0.08,
        one_of("gateway", "gateway", "absent"),
        group="service",
    )
    date_offset: float = variable(
        0.0,
        "Seconds by which the gateway's clock is ahead.",
        1.0,
        one_of(-3600.0, -20.0, 0.0, 20.0, 20.0, 3600.0),
        group="service",
        needs="date_header",
    )

    # What objects show
    create_metadata: str = variable(
        "all",
        "What of metadata a create response shows: all, the name only, or nothing.",
        0.1,
        one_of("name", "nothing", "nothing"),
        group="service",
    )
    get_metadata: str = variable(
        "all", "What of metadata a GET shows.", 0.1, one_of("name", "nothing", "nothing"), group="service"
    )
    list_metadata: str = variable(
        "all", "What of metadata lists show.", 0.2, one_of("name", "nothing", "nothing"), group="service"
    )
    metadata_place: str = variable(
        "metadata",
        "Where metadata is shown: its own object, the top level, deeper, or as JSON text.",
        0.06,
        one_of("top", "nested", "text"),
        group="service",
    )
    metadata_alteration: str = variable(
        "none",
        "How the text of metadata is altered.",
        0.15,
        one_of(
            "upper",
            "lower",
            "brackets",
            "html",
            "no-punctuation",
            "collapse",
            "no-space",
            "cut",
            "trim",
            "nfc",
            "prefix",
        ),
        group="service",
    )
    metadata_cut: int = variable(
        40,
        "Characters that are left of a cut text.",
        1.0,
        whole_number(8, 128),
        group="service",
        needs="metadata_alteration",
    )
    mechanism_wording: str = variable(
        "same",
        "Wording of mechanism in objects: as sent, upper case, capitalized, other words, or absent.",
        0.08,
        one_of("upper", "capital", "console", "CONSOLE", "absent"),
        group="service",
    )
    type_wording: str = variable(
        "same", "Wording of type in objects.", 0.05, one_of("upper", "capital", "other", "absent"), group="service"
    )
    environment_name: str = variable(
        "planet",
        "environment.name: planet id, display name, one name for all, name of the backup, or absent.",
        0.12,
        one_of("display", "display", "constant", "backup", "absent", "no-environment"),
        group="service",
    )
    extra_fields: bool = variable(False, "Objects carry unknown fields.", 0.06, one_of(True), group="service")
    missing_fields: str = variable(
        "none",
        "Which objects show only id and status: entries of lists, create responses, or all.",
        0.06,
        one_of("lists", "creates", "all"),
        group="service",
    )
    unset_fields: str = variable(
        "null", "Fields without a value: null or absent.", 0.04, one_of("absent"), group="service"
    )

    # Ids
    id_scheme: str = variable(
        "int",
        "Ids: ascending from 362, random 64-bit integers, text of digits, zero-padded text, or UUIDs.",
        0.1,
        one_of("random64", "unsigned", "negative", "digits", "padded", "uuid"),
        group="service",
    )
    id_reuse: bool = variable(False, "Ids of deleted backups are assigned again.", 0.04, one_of(True), group="service")
    restore_time: float = variable(
        0.0,
        "Time at which the service is restored from its own backup; 0 for never.",
        0.03,
        log_uniform(2.0, 400.0),
        group="service",
    )
    restore_depth: float = variable(
        30.0,
        "Age in seconds of the restored state.",
        1.0,
        log_uniform(1.0, 300.0),
        group="service",
        needs="restore_time",
    )

    # HTTP
    create_time: float = variable(
        0.15, "Seconds that a create takes.", 0.06, one_of(0.0, 0.02, 1.0, 5.0, 20.0), group="service"
    )
    effect_moment: float = variable(
        0.5,
        "Fraction of a create's time after which the backup exists.",
        0.05,
        one_of(0.0, 0.1, 0.9, 1.0),
        group="service",
    )
    read_time: float = variable(
        0.05, "Seconds that a GET, a LIST or a DELETE takes.", 0.05, one_of(0.0, 0.3, 2.0), group="service"
    )
    delete_status: int = variable(200, "Status of a DELETE.", 0.03, one_of(202, 204), group="service")
    after_deletion: str = variable(
        "404",
        "A GET of a deleted backup: 404, 410, or an object that says so.",
        0.04,
        one_of("410", "status"),
        group="service",
    )
    not_found_body: str = variable(
        "json", "Body of a 404 of the service.", 0.04, one_of("empty", "html"), group="service"
    )
    entity_tags: bool = variable(
        False,
        "GETs and LISTs carry an ETag, and If-None-Match is honored with 304.",
        0.05,
        one_of(True),
        group="service",
    )
    header_case: str = variable("title", "Case of header names.", 0.03, one_of("lower"), group="service")
    content_type: str = variable(
        "application/json",
        "Content-Type of responses.",
        0.03,
        one_of("application/json; charset=utf-8", "application/hal+json", "text/plain", ""),
        group="service",
    )
    rate_limit: float = variable(
        0.0,
        "Requests per second beyond which 429 is sent; 0 for no limit.",
        0.05,
        one_of(1.0, 3.0, 10.0),
        group="service",
    )
    retry_after: str = variable(
        "seconds",
        "Retry-After of 429 and of blips: seconds, a date, or absent.",
        0.05,
        one_of("date", "absent"),
        group="service",
    )
    health_status: str = variable(
        "UP", "Status of the health endpoint.", 0.01, one_of("DOWN", "OUT_OF_SERVICE", "UNKNOWN"), group="service"
    )
    token_lifetime: float = variable(
        3600.0, "Seconds for which a token is accepted.", 0.04, one_of(30.0, 300.0, 900.0), group="service"
    )
    revocation_time: float = variable(
        math.inf,
        "Time at which the tokens issued so far are revoked; infinite for never.",
        0.03,
        log_uniform(1.0, 400.0),
        group="service",
    )

    # Backups
    duration_median: float = variable(
        131.0, "Median duration of a backup in seconds.", 0.15, log_uniform(3.0, 7200.0), group="backups"
    )
    duration_spread: float = variable(
        0.2, "Standard deviation of the logarithm of durations.", 0.08, one_of(0.0, 0.05, 0.8, 1.5), group="backups"
    )
    failure_share: float = variable(
        0.0, "Share of backups that fail.", 0.08, one_of(0.05, 0.2, 0.5, 1.0), group="backups"
    )
    stuck_share: float = variable(0.0, "Share of backups that never end.", 0.02, one_of(0.05, 0.2), group="backups")
    earlier_backups: int = variable(
        2, "Maximum number of backups of earlier days per planet.", 0.15, one_of(0, 0, 1, 6, 15), group="backups"
    )
    earlier_share: float = variable(0.5, "Share of planets that have some.", 0.05, one_of(0.1, 1.0), group="backups")

    # Strangers
    stranger_moment: str = variable(
        "never",
        "When strangers create in a planet, relative to a POST of ours: before, at the same moment, or after.",
        0.12,
        one_of("before", "same", "after"),
        group="strangers",
    )
    stranger_delay: float = variable(
        2.0,
        "Seconds after our POST.",
        1.0,
        one_of(0.0, 0.001, 0.3, 2.0, 10.0, 60.0),
        group="strangers",
        needs="stranger_moment",
    )
    stranger_share: float = variable(
        0.3,
        "Share of our POSTs that strangers join.",
        1.0,
        one_of(0.1, 0.3, 1.0),
        group="strangers",
        needs="stranger_moment",
    )
    stranger_spec: str = variable(
        "same",
        "Body of a stranger's create: as ours, another retention, or another mechanism.",
        1.0,
        one_of("same", "same", "same", "retention", "mechanism"),
        group="strangers",
        needs="stranger_moment",
    )
    stranger_metadata: str = variable(
        "own",
        "Metadata of a stranger's create: a name and a description, a name only, or none.",
        1.0,
        one_of("own", "name", "none"),
        group="strangers",
        needs="stranger_moment",
    )
    stranger_rate: float = variable(
        0.0, "Creates of strangers per minute, in random planets.", 0.06, one_of(0.2, 1.0, 6.0), group="strangers"
    )
    stranger_deletion: float = variable(
        0.0, "Share of our backups that a stranger deletes.", 0.05, one_of(0.05, 0.3, 1.0), group="strangers"
    )
    deletion_delay: float = variable(
        60.0,
        "Seconds after its creation until a stranger deletes a backup.",
        1.0,
        log_uniform(0.05, 600.0),
        group="strangers",
        needs="stranger_deletion",
    )
    earlier_deletion: float = variable(
        0.0,
        "Share of the backups of earlier days that strangers delete in the first minute.",
        0.03,
        one_of(0.2, 1.0),
        group="strangers",
    )
    scheduled_time: float = variable(
        0.0,
        "Time at which the platform backs up every planet by itself; 0 for never.",
        0.04,
        log_uniform(0.5, 300.0),
        group="strangers",
    )

    # Client
    client_clock_offset: float = variable(
        0.0,
        "Seconds by which the client's clock is ahead.",
        0.08,
        one_of(-3600.0, -3600.0, -20.0, 20.0, 3600.0, 3600.0),
        group="client",
    )
    resumed_clock_offset: float = variable(
        0.0,
        "Seconds by which the clock is ahead after a resume, in addition.",
        0.3,
        one_of(-3600.0, 3600.0),
        group="client",
        needs="kill_moments",
    )
    client_count: int = variable(1, "Clients that work at the same time.", 0.06, one_of(2, 2, 3), group="client")
    star_system_count: int = variable(2, "Star systems.", 0.15, whole_number(1, 4), group="client")
    planet_count: int = variable(3, "Planets of each star system.", 0.15, one_of(1, 2, 6, 6, 10), group="client")
    kill_moments: tuple[float, ...] = variable(
        (),
        "Fractions of a run after which the process is killed and resumed.",
        0.15,
        sorted_fractions(1, 3),
        group="client",
    )
    resume_delay: float = variable(
        1.0,
        "Seconds between a kill and the resume.",
        1.0,
        one_of(0.0, 1.0, 10.0, 300.0, 3000.0, 7200.0),
        group="client",
        needs="kill_moments",
    )
    cancel_moment: float = variable(
        0.0, "Fraction of the run after which it is cancelled; 0 for never.", 0.04, uniform(0.001, 1.0), group="client"
    )
    consumer_time: float = variable(
        0.0, "Seconds that the consumer takes for each event.", 0.04, one_of(0.1, 5.0, 60.0), group="client"
    )

    # Faults of POSTs: shares of requests
    post_response_lost: float = variable(
        0.0, "The POST is processed, its response is lost.", 0.25, SHARE, group="faults"
    )
    post_request_lost: float = variable(
        0.0, "The POST never arrives; the connection breaks all the same.", 0.12, SHARE, group="faults"
    )
    post_not_connected: float = variable(0.0, "No connection for the POST.", 0.06, SHARE, group="faults")
    post_late_effect: float = variable(
        0.0, "The response is lost, and the POST is processed later.", 0.08, SHARE, group="faults"
    )
    late_effect_delay: float = variable(
        3.0, "Seconds until it is processed.", 1.0, log_uniform(0.5, 60.0), group="faults", needs="post_late_effect"
    )
    post_error_after: float = variable(
        0.0, "The POST is processed, and a gateway sends an error or a redirect.", 0.1, SHARE, group="faults"
    )
    post_error_before: float = variable(
        0.0, "A gateway sends an error or a redirect, and the POST is not processed.", 0.06, SHARE, group="faults"
    )
    error_status: int = variable(
        502,
        "Status of those errors; 0 draws one for each request.",
        1.0,
        one_of(0, 408, 409, 425, 499, 500, 502, 503, 504, 520, 522, 524, 527, 302, 307, 308),
        group="faults",
    )
    post_other_response: float = variable(
        0.0, "The POST is processed, and answered with the response of another create.", 0.05, SHARE, group="faults"
    )
    post_used_id: float = variable(
        0.0, "The POST is processed, and answered with only an id that is used already.", 0.05, SHARE, group="faults"
    )
    post_truncated: float = variable(
        0.0, "The POST is processed, and the body of its response is truncated.", 0.05, SHARE, group="faults"
    )
    post_slow: float = variable(0.0, "The POST is processed, and its response takes long.", 0.04, SHARE, group="faults")
    post_repeated: float = variable(
        0.0,
        "A gateway sends the POST twice by itself.",
        0.03,
        SHARE,
        group="faults",
        impossible="a gateway that repeats POSTs makes a second backup for which no client sent a request",
    )
    repeat_delay: float = variable(
        0.0, "Seconds until the repeated POST.", 1.0, one_of(0.0, 0.5, 5.0), group="faults", needs="post_repeated"
    )
    reused_reset: float = variable(
        0.0,
        "A POST on a connection that was used before is reset and never arrives.",
        0.04,
        one_of(0.5, 1.0),
        group="faults",
    )
    post_budget: int = variable(
        12, "Maximum number of POSTs that each kind of fault hits.", 0.2, one_of(1, 1, 2, 100), group="faults"
    )
    loss_delay: float = variable(
        1.0, "Seconds until a lost request or response is noticed.", 0.2, one_of(0.0, 0.05, 10.0, 60.0), group="faults"
    )

    # Faults of GETs, LISTs and DELETEs: shares of requests
    read_lost: float = variable(0.0, "The response to a GET or a LIST is lost.", 0.06, READ_SHARE, group="faults")
    read_not_connected: float = variable(0.0, "No connection for a GET or a LIST.", 0.04, READ_SHARE, group="faults")
    read_error: float = variable(
        0.0, "A gateway answers a GET or a LIST with an error.", 0.06, READ_SHARE, group="faults"
    )
    read_truncated: float = variable(0.0, "The body of a GET or a LIST is truncated.", 0.04, READ_SHARE, group="faults")
    read_other_response: float = variable(
        0.0, "A GET is answered with the response of another GET.", 0.03, READ_SHARE, group="faults"
    )
    read_html: float = variable(
        0.0, "A GET or a LIST is answered with 200 and a page of HTML.", 0.03, READ_SHARE, group="faults"
    )
    read_slow: float = variable(0.0, "The response to a GET or a LIST takes long.", 0.03, READ_SHARE, group="faults")
    delete_lost: float = variable(0.0, "The DELETE is processed, its response is lost.", 0.04, SHARE, group="faults")
    slow_delay: float = variable(
        45.0, "Seconds that a slow response takes in addition.", 0.1, one_of(5.0, 120.0, 600.0), group="faults"
    )
    token_error: float = variable(0.0, "The token endpoint sends 503.", 0.02, READ_SHARE, group="faults")

    # Times at which everybody is hit
    blip_kind: str = variable(
        "none",
        "What everybody gets for a while: 401, 403, 404 with a page of HTML, or 503.",
        0.08,
        one_of("401", "403", "404", "503"),
        group="faults",
    )
    blip_start: float = variable(
        10.0, "Start of the blip in seconds.", 1.0, log_uniform(0.05, 400.0), group="faults", needs="blip_kind"
    )
    blip_length: float = variable(
        5.0, "Length of the blip in seconds.", 1.0, log_uniform(0.2, 60.0), group="faults", needs="blip_kind"
    )
    outage_kind: str = variable(
        "none",
        "An outage: connections are refused, requests hang, or responses are lost.",
        0.06,
        one_of("refused", "hanging", "lost"),
        group="faults",
    )
    outage_start: float = variable(
        10.0, "Start of the outage in seconds.", 1.0, log_uniform(0.05, 400.0), group="faults", needs="outage_kind"
    )
    outage_length: float = variable(
        30.0, "Length of the outage in seconds.", 1.0, log_uniform(0.5, 900.0), group="faults", needs="outage_kind"
    )


def _collect_variables() -> dict[str, VariableInfo]:
    collected: dict[str, VariableInfo] = {}
    for field in attrs.fields(Variables):
        details: dict[str, Any] = dict(field.metadata)
        collected[field.name] = VariableInfo(name=field.name, default=field.default, **details)
    return collected


#: Every variable by its name, in the order of the class.
CATALOG: Final[dict[str, VariableInfo]] = _collect_variables()
DEFAULTS: Final = Variables()


def draw(seed: int, *, disabled: frozenset[str] = frozenset()) -> Variables:
    """Draw the universe of a seed.

    Args:
        seed: The seed.
        disabled: Names of variables that stay at their defaults; all others are unaffected.

    Returns:
        The variables.

    Raises:
        ValueError: A disabled name is no variable.
    """
    unknown = disabled - CATALOG.keys()
    if unknown:
        raise ValueError(f"No such variable: {', '.join(sorted(unknown))}")
    # Some seeds are calm and some are wild: rare combinations of many deviations occur as well.
    intensity = Random(f"{seed}/intensity").choice((0.2, 0.5, 0.5, 0.5, 0.6, 0.7, 1.0, 1.5))
    values: dict[str, Any] = {}
    for name, info in CATALOG.items():
        if name in disabled:
            continue
        random = Random(f"{seed}/{name}")
        chance = info.chance if info.chance == 1.0 else info.chance * intensity
        if random.random() < chance:
            values[name] = info.distribution.draw(random)
    return Variables(**values)


def describe(variables: Variables) -> dict[str, object]:
    """Return the variables that deviate from their defaults and have an effect, with their values."""
    return {
        name: getattr(variables, name)
        for name, info in CATALOG.items()
        if getattr(variables, name) != info.default and _has_effect(variables, name)
    }


def explain_impossible(variables: Variables) -> dict[str, str]:
    """Return why "no silent duplicate" cannot be kept in this universe, by variable; empty if it can.

    The marks of single variables are refined by combinations of variables. Where a reason is given, the client must
    report that a duplicate is possible wherever it can know of it; nothing more can be required.
    """
    reasons = _marked_reasons(variables, "impossible")
    shortest_lag = min(
        variables.planet_list_lag + variables.stale_lag * (variables.stale_share > 0.0),
        math.inf if variables.star_list_refusal else variables.star_list_lag,
    )
    if shortest_lag > LONGEST_USEFUL_LAG:
        reasons["planet_list_lag"] = f"lists show new backups only after up to {shortest_lag:g} s"
    reasons.update(_explain_contradictions(variables))
    if variables.id_reuse or variables.restore_time:
        reasons["id_reuse" if variables.id_reuse else "restore_time"] = (
            "an id of the baseline may be assigned to a new backup, which then looks old"
        )
    return reasons


def _explain_contradictions(variables: Variables) -> dict[str, str]:
    """Return why a contradicting create response may look right."""
    reasons: dict[str, str] = {}
    hidden = variables.environment_name != "planet" or variables.missing_fields in {"creates", "all"}
    # What another client or a killed process received is not known to be used.
    unknown_ids = variables.client_count > 1 or bool(variables.kill_moments)
    if variables.post_other_response and unknown_ids and (hidden or variables.create_shape != "object"):
        reasons["post_other_response"] = "the response of another process's create, which shows no planet"
    if variables.post_used_id and unknown_ids and (hidden or variables.get_metadata != "all"):
        reasons["post_used_id"] = "the id of another process's backup, with nothing to check it against"
    unusable_list = (
        variables.planet_list_refusal
        or variables.star_list_refusal
        or variables.paging in {"totalPages", "last", "token", "cycle", "other-origin"}
        or variables.blip_kind != "none"
        or variables.outage_kind != "none"
        or any(getattr(variables, name) for name in CATALOG if name.startswith("read_") and name != "read_time")
    )
    if variables.post_used_id and hidden and unusable_list:
        reasons["post_used_id"] = "the id of an earlier backup, with no list and no planet to check it against"
    return reasons


def explain_unclear(variables: Variables) -> dict[str, str]:
    """Return why the true end of a backup cannot be recognized for certain, by variable; empty if it can."""
    reasons = _marked_reasons(variables, "unclear")
    if "failed_word" in reasons and variables.completed_at not in {"missing", "early"}:
        # An unknown word with a completedAt in the past is a failure.
        del reasons["failed_word"]
    unknown_words = {"dumping", "REQUESTED", "WORKING", "phase-2", "uploading"} & set(variables.running_words)
    if unknown_words and variables.completed_at in {"early", "expected", "before"}:
        reasons["completed_at"] = "an unknown status word of a running backup comes with a completedAt"
    if (variables.id_reuse or variables.restore_time) and variables.environment_name != "planet":
        reasons["id_reuse" if variables.id_reuse else "restore_time"] = (
            "an id may be assigned to a backup of another planet, and the planet is not shown"
        )
    return reasons


def _marked_reasons(variables: Variables, mark: str) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for name in describe(variables):
        info = CATALOG[name]
        reason: str = getattr(info, mark)
        if reason and getattr(variables, name) not in info.clear_values:
            reasons[name] = reason
    return reasons


def _has_effect(variables: Variables, name: str) -> bool:
    condition = _CONDITIONS.get(name)
    if condition is not None:
        return condition(variables)
    needs = CATALOG[name].needs
    return not needs or bool(getattr(variables, needs) != CATALOG[needs].default)


def _has_any(*names: str) -> Callable[[Variables], bool]:
    return lambda variables: any(getattr(variables, name) for name in names)


_LOSSES: Final = (
    "post_response_lost",
    "post_request_lost",
    "post_late_effect",
    "read_lost",
    "delete_lost",
)
# Where a variable has an effect, if this takes more than the deviation of one other variable.
_CONDITIONS: Final[dict[str, Callable[[Variables], bool]]] = {
    "completed_delay": lambda variables: variables.completed_at in {"before", "after"},
    "date_offset": lambda variables: variables.date_header == "gateway",
    "error_status": _has_any("post_error_after", "post_error_before", "read_error"),
    "expected_factor": lambda variables: variables.completed_at == "expected",
    "failed_word": _has_any("failure_share"),
    "location_form": lambda variables: variables.create_location or variables.create_shape == "location",
    "loss_delay": lambda variables: _has_any(*_LOSSES)(variables) or variables.outage_kind == "lost",
    "metadata_cut": lambda variables: variables.metadata_alteration == "cut",
    "post_budget": _has_any(*(name for name in CATALOG if name.startswith("post_") and name != "post_budget")),
    "resumed_clock_offset": _has_any("kill_moments"),
    "retry_after": lambda variables: bool(variables.rate_limit) or variables.blip_kind == "503",
    "slow_delay": _has_any("post_slow", "read_slow"),
    "stale_lag": _has_any("stale_share"),
    "started_offset": lambda variables: variables.started_at == "off",
}
