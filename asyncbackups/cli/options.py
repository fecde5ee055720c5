"""The options and arguments that several commands share, what they make, and the values that they complete to."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from asyncbackups import REGIONS, BackupMetadata, BackupSpec, ConfigurationError, CreatePolicy, Mechanism, PlanetClass
from asyncbackups.cli.command import Decorator, argument, option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem  # imported when a value is completed

    from asyncbackups import BackupClient  # imported when a client is made: completion does not need aiohttp

_REGIONS = ", ".join(REGIONS)
_connection_option = functools.partial(option, section="Connection (default: environment variables)")
_spec_option = functools.partial(option, section="Backup")

CLIENT_SETTINGS: dict[str, Any] = {"trust_env": True, "creating": CreatePolicy()}
"""Further arguments of each command's client. A proxy is found where other programs find it; how creates with a lost
response are reconciled is the default, which the message after an interrupt describes."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration(text: str) -> float:
    """Return the seconds of a positive duration such as 90s, 15m, 24h or 2d."""
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"must be a positive duration such as 90s, 15m, 24h or 2d, not {text!r}")
    return seconds


class FileType(click.Path):
    """The path of a file. A blank one is refused: it would be the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        if not str(value).strip():
            self.fail("must not be blank", param, ctx)
        return Path(value)


def _complete_region(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    return [name for name in REGIONS if name.startswith(incomplete.upper())]


def _complete_target(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the star systems in the file that is the first target; the first target itself is completed as a file."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

    from asyncbackups.cli.targets import list_star_systems  # noqa: PLC0415 - most commands have no list of targets

    given = ctx.params.get(parameter.name or "") or ()
    if not given:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(f"{name}/") for name in list_star_systems(given[0]) if name.startswith(incomplete)]


def _targets_argument(name: str, kind: str, form: str) -> Decorator:
    text = f"First a file with one {form} per line, or - for standard input, or a {kind}; then {kind}s."
    several: dict[str, Any] = {"nargs": -1, "required": True, "shell_complete": _complete_target}
    return argument(name, metavar=f"FILE|-|{kind.upper()}...", help=text, **several)


planets_argument: Decorator = _targets_argument("targets", "planet", "star_system/planet")
backups_argument: Decorator = _targets_argument("backups", "backup", "star_system/backup_id")
planet_argument: Decorator = argument("planet", metavar="PLANET", help="Written star_system/planet.")
backup_argument: Decorator = argument("backup", metavar="BACKUP", help="Written star_system/backup_id.")
journal_argument: Decorator = argument(
    "journal", metavar="JOURNAL", type=FileType(), help="The file of `bulk --journal`."
)
json_option: Decorator = option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line on stdout, and nothing else there."
)
_DEADLINE = "How long to wait for each backup: 90s, 15m, 24h or 2d."
deadline_option: Decorator = option("--deadline", type=parse_duration, metavar="TIME", default="24h", help=_DEADLINE)


def concurrency_option(requests: str) -> Decorator:
    """Return the option that limits how many requests of a kind ("creates") are in flight."""
    text = f"Maximum number of {requests} in flight."
    return option("--concurrency", type=click.IntRange(min=1), default=8, help=text)


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the connection; the function gets a `Connection` as `connection`."""

    @_connection_option("--base-url", metavar="URL", help="Service address, or ASYNCBACKUPS_BASE_URL.")
    @_connection_option(
        "--region", metavar="NAME", shell_complete=_complete_region, help=f"One of {_REGIONS}; or ASYNCBACKUPS_REGION."
    )
    @_connection_option("--tenant", metavar="ID", help="Tenant id, or ASYNCBACKUPS_TENANT.")
    @_connection_option(
        "--token-file",
        type=FileType(),
        metavar="PATH",
        help="File with the token, or ASYNCBACKUPS_TOKEN, or _CLIENT_ID and _CLIENT_SECRET.",
    )
    @functools.wraps(function)
    def with_connection(
        *, base_url: str | None, region: str | None, tenant: str | None, token_file: Path | None, **others: Any
    ) -> Any:
        return function(connection=create_connection(base_url, region, tenant, token_file), **others)

    return with_connection


def spec_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a backup; the function gets a `BackupSpec` as `spec`."""

    @_spec_option("--name", default="asyncbackups", help="Name, for people.")
    @_spec_option("--description", default="", show_default=False, help="Description, for people.")
    @_spec_option(
        "--mechanism", default=str(Mechanism.LOGICAL), help="logical, snapshot, or another one that the service knows."
    )
    @_spec_option("--planet-class", default=str(PlanetClass.DEV), help="Class of the planet.")
    @_spec_option(
        "--temporary/--permanent",
        default=True,
        help="Remove the backup after its retention, or keep it until it is deleted.",
    )
    @_spec_option("--retention-days", type=int, metavar="DAYS", help="Days to keep a temporary backup. [default: 10]")
    @functools.wraps(function)
    def with_spec(*, retention_days: int | None, name: str, description: str, **others: Any) -> Any:
        mechanism, planet_class, temporary = (others.pop(key) for key in ("mechanism", "planet_class", "temporary"))
        metadata = BackupMetadata(name, description)
        # Not given is not None: a temporary backup has a default.
        retention = {} if retention_days is None else {"retention_period_in_days": retention_days}
        spec = BackupSpec(mechanism, planet_class, temporary=temporary, metadata=metadata, **retention)
        return function(spec=spec, **others)

    return with_spec


class Connection(NamedTuple):
    """How to reach the service."""

    settings: dict[str, Any]
    """Arguments of the client; the rest comes from the environment."""
    options: tuple[str, ...] = ()
    """The options as given: a command that continues this one needs them, too."""

    def create_client(self) -> BackupClient:
        """Return a client; nothing is sent yet."""
        from asyncbackups import BackupClient  # noqa: PLC0415 - imports aiohttp

        return BackupClient.from_env(**self.settings, **CLIENT_SETTINGS)


def create_connection(
    base_url: str | None = None, region: str | None = None, tenant: str | None = None, token_file: Path | None = None
) -> Connection:
    """Return the connection that the options describe; None means that an option is not given."""
    if base_url is not None and region is not None:
        raise ConfigurationError("--base-url cannot be combined with --region")
    settings: dict[str, Any] = {"base_url": base_url, "tenant": tenant}
    if region is not None:
        if region.upper() not in REGIONS:
            raise ConfigurationError(f"--region must be one of {_REGIONS}, not {region!r}")
        settings["base_url"] = REGIONS[region.upper()].base_url
    if token_file is not None:
        settings["auth"] = TokenFile(token_file)
    given = {"--base-url": base_url, "--region": region, "--tenant": tenant, "--token-file": token_file}
    options = [(name, str(value)) for name, value in given.items() if value is not None]
    return Connection(settings, tuple(itertools.chain(*options)))


class TokenFile:
    """A token in a file, alone, which another program may renew. Errors do not quote the file's content."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = self._load_token()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    async def token(self) -> str:
        """Return the token that was last read."""
        return self._token

    async def renewed(self, refused: str) -> str:
        """Return the token after reading the file again: a token lives for an hour, a backup may take longer."""
        if self._token == refused:
            self._token = self._load_token()
        return self._token

    def _load_token(self) -> str:
        try:
            token = self._path.read_text("utf-8").strip()
        except OSError as exc:
            raise ConfigurationError(f"--token-file {self._path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigurationError(f"--token-file {self._path}: not a text file") from exc
        if flaw := _find_flaw(token):
            raise ConfigurationError(f"--token-file {self._path}: {flaw}")
        return token


def _find_flaw(token: str) -> str:
    """Return what is wrong with a token, without quoting it; empty for nothing."""
    if not token:
        return "the file is empty"
    if len(token.split()) > 1:
        return "the file contains white space; it must contain the token alone, without `Bearer`"
    if not token.isascii() or not token.isprintable():
        return "the file contains characters that are not allowed in a token"
    return ""
