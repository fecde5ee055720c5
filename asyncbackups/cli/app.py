"""The program: its commands, and what goes wrong before one of them begins."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from asyncbackups.cli.command import say_error
from asyncbackups.cli.commands.bulk import bulk
from asyncbackups.cli.commands.create import create
from asyncbackups.cli.commands.delete import delete
from asyncbackups.cli.commands.demo import demo
from asyncbackups.cli.commands.get import get
from asyncbackups.cli.commands.health import health
from asyncbackups.cli.commands.list_ import list_
from asyncbackups.cli.commands.resume import resume
from asyncbackups.cli.commands.simulate import simulate
from asyncbackups.cli.commands.status import status
from asyncbackups.cli.commands.wait import wait
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.logs import show_logs
from asyncbackups.cli.output import OutputError, print_line
from asyncbackups.cli.text import say

__all__ = ["app", "main"]

_NAME = "asyncbackups"
# typer shows this class of click's, which it has bundled since 0.22 or so, but not its base.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app: typer.Typer = typer.Typer(
    name=_NAME,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all succeeded; 1 a backup failed or could not be created; 2 wrong usage or configuration; "
    "3 a deadline passed; 4 we could not check (service or credentials); 130 interrupted. Of 1, 3 and 4 the highest.",
)


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Log to stderr; -vv logs more.")
    ] = 0,
) -> None:
    """Create database backups through the Database API, and wait for them."""
    show_logs(verbose)
    if version:
        print_line(f"{_NAME} {_version()}")
        raise typer.Exit(ExitStatus.OK)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitStatus.USAGE)


for _command in (demo, simulate, create, get, list_, delete, wait, bulk, resume, status, health):
    app.command(_command.__name__.rstrip("_"))(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    program = typer.main.get_command(app)
    given = None if arguments is None else list(arguments)
    try:
        ended = program.main(args=given, prog_name=_NAME, standalone_mode=False)
    except _UsageError as exc:
        wrong = cast(typer.BadParameter, exc)
        command = wrong.ctx.command_path if wrong.ctx else _NAME
        say(f"{_NAME}: {wrong.format_message()} (see {command} --help)")
        return ExitStatus.USAGE
    except OutputError as exc:
        say_error(exc)
        return ExitStatus.INTERRUPTED
    except (typer.Abort, KeyboardInterrupt):
        return ExitStatus.INTERRUPTED
    return int(ended or ExitStatus.OK)


def _version() -> str:
    try:
        return importlib.metadata.version(_NAME)
    except importlib.metadata.PackageNotFoundError:
        return "(run from its sources)"
