"""The program `asyncbackups`: its commands, each imported when it runs, shell completion, and usage errors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click

from asyncbackups.cli.command import FLAG, Command, HelpPage, Option, argument
from asyncbackups.cli.exits import ExitStatus, print_error
from asyncbackups.cli.output import OutputError, print_line, print_message

PROGRAM = "asyncbackups"
COMPLETION_VARIABLE = "_ASYNCBACKUPS_COMPLETE"  # set by the shell's completion script when it runs the program

# The module and function of each command, and its summary.
COMMANDS = {
    "demo": ("demo:run_demo", "Run a bulk run against a simulated service on this machine."),
    "simulate": ("demo:run_simulator", "Serve a simulated Database API on this machine until Ctrl-C."),
    "create": ("single:create_backup", "Create a backup of a planet and print its name."),
    "get": ("single:get_backup", "Show a backup."),
    "list": ("single:list_backups", "List the backups of a star system or a planet."),
    "delete": ("bulk:delete_backups", "Delete backups."),
    "wait": ("bulk:wait_for_backups", "Wait until every backup has succeeded or failed."),
    "bulk": ("bulk:run_bulk", "Create a backup of each planet and wait for all of them."),
    "resume": ("bulk:resume_run", "Resume a bulk run from its journal."),
    "status": ("bulk:show_status", "Show the state of a bulk run from its journal."),
    "health": ("single:check_health", "Check service health and print its status."),
    "completion": ("main:print_completion", "Print the completion script for a shell."),
}

# A star system is completed to "name/", after which bash must not add a space.
_BASH_WITHOUT_SPACE = """\
{function}_in_bash() {{
    {function} "$@"
    [[ ${{COMPREPLY[0]-}} == */ ]] && compopt -o nospace
    return 0
}}
complete -o nosort -F {function}_in_bash {program}
"""


class LazyGroup(HelpPage, click.Group):
    """The program: lists and completes its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names of all commands."""
        return list(COMMANDS)

    def list_summaries(self, ctx: click.Context) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the names and summaries of all commands."""
        return [(name, summary) for name, (_, summary) in COMMANDS.items()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is no command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"asyncbackups.cli.{module}"), function)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the name of a command or an option."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

        found = [CompletionItem(name, help=text) for name, text in self.list_summaries(ctx)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(item for item in found if item.value.startswith(incomplete)), *options]


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        from importlib import metadata  # noqa: PLC0415 - costs as much as click

        try:
            version = metadata.version(PROGRAM)
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print_line(f"{PROGRAM} {version}")
        ctx.exit()


def _show_usage() -> ExitStatus | None:
    """Print the help page on stderr if there is no command."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        return None
    for line in ctx.get_help().splitlines():
        click.echo(line, err=True)
    return ExitStatus.USAGE


program: LazyGroup = LazyGroup(
    PROGRAM,
    invoke_without_command=True,
    callback=_show_usage,
    help="Create database backups through the Database API and wait for them.",
    epilog="Exit status: 0 all succeeded; 1 a backup failed or could not be created; 2 wrong usage or configuration; "
    "3 a deadline passed; 4 the result could not be checked (service or credentials); 130 interrupted. "
    "The highest of 1, 3 and 4 that applies.",
    params=[Option(["--version"], callback=_print_version, help="Print the version and exit.", **FLAG)],
)


@click.command("completion", cls=Command)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]), help="The shell: bash, zsh or fish.")
def print_completion(shell: str) -> ExitStatus:
    """Print the completion script for a shell.

    It completes commands, options, region names, and the star systems of the file of targets that is given.

    bash: eval "$(asyncbackups completion bash)" in ~/.bashrc.

    zsh: eval "$(asyncbackups completion zsh)" in ~/.zshrc, after compinit.

    fish: asyncbackups completion fish > ~/.config/fish/completions/asyncbackups.fish.
    """
    from click.shell_completion import ShellComplete, get_completion_class  # noqa: PLC0415 - only this command needs it

    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click has the three
    completer = script(program, {}, PROGRAM, COMPLETION_VARIABLE)
    # Not its own method: that of bash starts a bash to find out its version.
    print_line(ShellComplete.source(completer))
    if shell == "bash":
        print_line(_BASH_WITHOUT_SPACE.format(function=completer.func_name, program=PROGRAM))
    return ExitStatus.OK


def run_program(arguments: Sequence[str] | None = None) -> int:
    """Run the program with arguments (None for those of the process) and return the exit status."""
    args = None if arguments is None else list(arguments)
    try:
        status = program.main(args=args, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, standalone_mode=False)
    except click.UsageError as exc:
        command = exc.ctx.command_path if exc.ctx else PROGRAM
        print_message(f"{PROGRAM}: {exc.format_message()} (see {command} --help)")
        return ExitStatus.USAGE
    except OutputError as exc:
        if not exc.is_unread:
            print_error(exc)
        return ExitStatus.INTERRUPTED
    except click.Abort:
        return ExitStatus.INTERRUPTED
    return int(status or ExitStatus.OK)
