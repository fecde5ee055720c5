"""Shell completion: the script of each shell, and the values that options and arguments complete to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from asyncbackups.cli.command import Command, argument
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem  # imported when a value is completed

# A star system is completed to "name/", after which bash must not add a space.
_BASH_WITHOUT_SPACE = """\
{function}_in_bash() {{
    {function} "$@"
    [[ ${{COMPREPLY[0]-}} == */ ]] && compopt -o nospace
    return 0
}}
complete -o nosort -F {function}_in_bash {program}
"""


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

    from asyncbackups.cli.main import COMPLETION_VARIABLE, PROGRAM, program  # noqa: PLC0415 - it imports this module

    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click has the three
    completer = script(program, {}, PROGRAM, COMPLETION_VARIABLE)
    # Not its own method: that of bash starts a bash to find out its version.
    print_line(ShellComplete.source(completer))
    if shell == "bash":
        print_line(_BASH_WITHOUT_SPACE.format(function=completer.func_name, program=PROGRAM))
    return ExitStatus.OK


def complete_region(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the regions whose name begins with a text, in any case."""
    from asyncbackups import REGIONS  # noqa: PLC0415 - only completion and the option's value need it

    return [name for name in REGIONS if name.startswith(incomplete.upper())]


def complete_target(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the star systems in the file that is the first target; the first target itself is completed as a file."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

    from asyncbackups.cli.targets import list_star_systems  # noqa: PLC0415 - it imports the models

    given = ctx.params.get(parameter.name or "") or ()
    if not given:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(f"{name}/") for name in list_star_systems(given[0]) if name.startswith(incomplete)]
