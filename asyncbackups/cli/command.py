"""How a command runs (event loop, signals, errors, exit status), and how its help page looks."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import click

from asyncbackups.cli.exits import ExitStatus, exit_status, print_error
from asyncbackups.cli.output import flush_output, print_line, print_message, render_sections

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Adds a parameter to the function of a command."""
FLAG: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
"""Settings of an option whose callback prints something and ends the program."""
_GARBAGE_COLLECTION_DELAY = 0.5


class Option(click.Option):
    """An option that is shown in a section of the help page, with its default if it has one."""

    def __init__(self, *args: Any, section: str = "Options", **settings: Any) -> None:
        super().__init__(*args, **{"show_default": "default" in settings, **settings})
        self.section: str = section


class Argument(click.Argument):
    """An argument with a help text."""

    section: str = "Arguments"

    def __init__(self, *args: Any, help: str, **settings: Any) -> None:  # noqa: A002 - as options call it
        super().__init__(*args, **settings)
        self.summary: str = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the row on the help page."""
        return self.make_metavar(ctx), self.summary


def option(*names: str, **settings: Any) -> Decorator:
    """Return a decorator that adds an option; the settings are those of `Option`."""
    return click.option(*names, cls=Option, **settings)


def argument(name: str, **settings: Any) -> Decorator:
    """Return a decorator that adds an argument; the settings are those of `Argument`."""
    return click.argument(name, cls=Argument, **settings)


def _print_help(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        print_line(ctx.get_help())
        ctx.exit()


def _set_verbosity(ctx: click.Context, parameter: click.Parameter, value: int) -> None:  # noqa: ARG001
    if not ctx.resilient_parsing:
        from asyncbackups.cli.logs import show_logs  # noqa: PLC0415 - help pages need no logging

        show_logs(value)


class HelpPage(click.Command):
    """A command with the options that every command has, and a help page made with rich."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["add_help_option"] = False
        super().__init__(*args, **settings)
        verbose: dict[str, Any] = {"count": True, "callback": _set_verbosity, "expose_value": False}
        self.params.extend(
            [
                Option(["-v", "--verbose"], help="Log to stderr; -vv logs more.", **verbose),
                Option(["-h", "--help"], help="Show this page and exit.", callback=_print_help, **FLAG),
            ]
        )

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        if isinstance(self, click.Group):
            sections["Commands"] = self.list_summaries(ctx)
        usage = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])
        paragraphs = [" ".join(text.split()) for text in inspect.cleandoc(self.help or "").split("\n\n")]
        formatter.write(render_sections(usage, paragraphs, sections, self.epilog or ""))

    def list_summaries(self, ctx: click.Context) -> list[tuple[str, str]]:  # noqa: ARG002 - for groups
        """Return the commands of a group with their summaries."""
        return []


class Command(HelpPage):
    """A command whose function may be async; it returns the exit status."""

    def invoke(self, ctx: click.Context) -> ExitStatus:
        """Run the function; an error of this package ends it with one line on stderr and the matching status."""
        from asyncbackups import BackupsError  # noqa: PLC0415 - a command that runs needs it, a help page does not

        try:
            status = _run_to_end(super().invoke(ctx))
            flush_output()
        except BackupsError as exc:
            print_error(exc)
            return exit_status([exc])
        return status


def _run_to_end(result: ExitStatus | Coroutine[Any, Any, ExitStatus]) -> ExitStatus:
    """Return the status that a command's function returned, or that its coroutine returns."""
    if isinstance(result, ExitStatus):
        return result
    import asyncio  # noqa: PLC0415 - help pages need no event loop

    from asyncbackups.cli.interrupts import on_interrupt  # noqa: PLC0415 - it imports asyncio

    async def run() -> ExitStatus:
        # The program starts without it; by then the modules that the command needs are imported.
        asyncio.get_running_loop().call_later(_GARBAGE_COLLECTION_DELAY, gc.enable)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made it
        with on_interrupt(task.cancel):
            return await result

    try:
        return asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print_message("asyncbackups: interrupted")
        return ExitStatus.INTERRUPTED
