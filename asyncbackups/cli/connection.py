"""Where the service is and who we are: options, and the environment for what they leave out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from asyncbackups import REGIONS, BackupClient, ConfigurationError, CreatePolicy
from asyncbackups.cli.arguments import file_path
from asyncbackups.cli.command import Options

__all__ = ["Connection", "TokenFile", "Where", "connection"]

# Typer cuts a title that is longer than the terminal is wide; which variables there are is said by each option.
_PANEL = "Connection (what is left out comes from the environment)"

CLIENT: dict[str, Any] = {"trust_env": True, "creating": CreatePolicy()}
"""What each command's client is made with. A proxy is found where other programs find it, too; what is done about a
create whose answer was lost is the default, which an interrupt tells of."""


class TokenFile:
    """A token that is kept in a file, where something else may renew it.

    Args:
        path: The file; it holds the token and nothing else.

    Raises:
        ConfigurationError: If it cannot be read now, or holds no token; the message names the file, and quotes nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = self._read()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    async def token(self) -> str:
        """Return the token as it was last read."""
        return self._token

    async def renewed(self, refused: str) -> str:
        """Read the file again: a token lives for an hour, a backup may take longer.

        Args:
            refused: The token that the service did not take.

        Raises:
            ConfigurationError: If it cannot be read now, or holds no token.
        """
        if self._token == refused:
            self._token = self._read()
        return self._token

    def _read(self) -> str:
        try:
            token = self._path.read_text("utf-8").strip()
        except OSError as exc:
            raise ConfigurationError(f"--token-file {self._path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigurationError(f"--token-file {self._path}: it is no text") from exc
        if flaw := _flaw_of(token):
            raise ConfigurationError(f"--token-file {self._path}: {flaw}")
        return token


def _flaw_of(token: str) -> str:
    """Return what is wrong with a token, without quoting it; empty for nothing."""
    if not token:
        return "it is empty"
    if len(token.split()) > 1:
        return "there is white space in it: it must hold the token alone, without `Bearer`"
    if not token.isascii() or not token.isprintable():
        return "there are characters in it that no token has"
    return ""


@attrs.frozen
class Connection:
    """How to reach the service.

    Attributes:
        settings: Arguments of the client; the rest comes from the environment.
        options: The options that say so, as they were given: another command needs them, too.
    """

    settings: dict[str, Any] = attrs.field(repr=False)
    options: tuple[str, ...] = ()

    def client(self) -> BackupClient:
        """Make a client; nothing is sent yet.

        Raises:
            ConfigurationError: If something is missing or wrong.
        """
        return BackupClient.from_env(**self.settings, **CLIENT)


def connection(
    base_url: Annotated[
        str | None,
        typer.Option(help="The service's address, else ASYNCBACKUPS_BASE_URL.", metavar="URL", rich_help_panel=_PANEL),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(REGIONS)}, else ASYNCBACKUPS_REGION.", metavar="NAME", rich_help_panel=_PANEL
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="The tenant's id, else ASYNCBACKUPS_TENANT.", metavar="ID", rich_help_panel=_PANEL),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file that holds the token, else ASYNCBACKUPS_TOKEN, or _CLIENT_ID and _CLIENT_SECRET.",
            metavar="PATH",
            rich_help_panel=_PANEL,
            parser=file_path,
        ),
    ] = None,
) -> Connection:
    """Gather what the options say.

    Raises:
        ConfigurationError: If they contradict each other, or the token file cannot be read.
    """
    if base_url is not None and region is not None:
        raise ConfigurationError("give --base-url or --region, not both")
    settings: dict[str, Any] = {"base_url": base_url, "tenant": tenant}
    if region is not None:
        if region.upper() not in REGIONS:
            raise ConfigurationError(f"--region must be one of {', '.join(REGIONS)}, not {region!r}")
        settings["base_url"] = REGIONS[region.upper()].base_url
    if token_file is not None:
        settings["auth"] = TokenFile(token_file)
    given = {"--base-url": base_url, "--region": region, "--tenant": tenant, "--token-file": token_file}
    options = [(option, str(value)) for option, value in given.items() if value is not None]
    return Connection(settings, tuple(itertools.chain(*options)))


Where = Annotated[Connection, Options(connection)]
"""A command's parameter: the options above."""
