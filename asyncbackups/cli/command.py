"""From an async function to a command: groups of options, logging, one line for each error, an exit status."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Annotated, Any

import attrs
import typer

from asyncbackups import BackupsError, JournalError
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.logs import show_logs
from asyncbackups.cli.output import OutputError, flush_output
from asyncbackups.cli.text import say
from asyncbackups.cli.wording import in_our_words

__all__ = ["Options", "command", "say_error"]

_NAMED = 20
_Main = Callable[..., Coroutine[Any, Any, ExitStatus]]
_VERBOSE = inspect.Parameter(
    "verbose",
    inspect.Parameter.KEYWORD_ONLY,
    default=0,
    annotation=Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Log to stderr; -vv logs more.")
    ],
)


@attrs.frozen
class Options:
    """Stands in the `Annotated` type of a command's parameter that is made of several options.

    Attributes:
        build: Takes the options, as typer would have them, and returns the argument.
    """

    build: Callable[..., Any]


def command(main: _Main) -> Callable[..., None]:
    """Make an async function a function for typer, which runs it and exits with the status that it returns.

    Whatever this package raises ends in one line on stderr and the status that stands for it.

    Args:
        main: Its parameters are those of the command; one whose type is annotated with `Options` stands for several.
    """
    signature = inspect.signature(main, eval_str=True)
    groups = {p.name: group.build for p in signature.parameters.values() if (group := _group(p))}

    def invoke(**values: Any) -> None:
        show_logs(values.pop("verbose"))
        raise typer.Exit(_run(main, groups, values))

    parameters = [*_flat(signature), _VERBOSE]
    # What typer reads; typer before 0.16 takes the annotations, later ones the signature.
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    invoke.__doc__ = main.__doc__
    invoke.__name__ = main.__name__
    return invoke


def _group(parameter: inspect.Parameter) -> Options | None:
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return next((one for one in metadata if isinstance(one, Options)), None)


def _flat(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    for parameter in signature.parameters.values():
        group = _group(parameter)
        if group is not None:
            yield from _flat(inspect.signature(group.build, eval_str=True))
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _run(main: _Main, groups: Mapping[str, Callable[..., Any]], values: dict[str, Any]) -> ExitStatus:
    try:
        for name, build in groups.items():
            own = inspect.signature(build).parameters
            values[name] = build(**{option: values.pop(option) for option in own})
        status = asyncio.run(main(**values))
        flush_output()
    except OutputError as exc:
        if not exc.unread:
            say_error(exc)
        return ExitStatus.INTERRUPTED
    except (KeyboardInterrupt, asyncio.CancelledError) as exc:
        say("asyncbackups: interrupted")
        return exit_status([exc])
    except BackupsError as exc:
        say_error(exc)
        return exit_status([exc])
    return status


def say_error(error: BackupsError | OutputError) -> None:
    """Say what went wrong, and which backups nothing else may know of."""
    say(f"asyncbackups: {in_our_words(error)}")
    if isinstance(error, JournalError) and error.created:
        say(_named(error))


def _named(error: JournalError) -> str:
    """Name backups of a journal that cannot be gone on with: nothing else may know of them."""
    names = " ".join(map(str, error.created[:_NAMED]))
    more = len(error.created) - _NAMED
    return f"created: {names}" + (f", and {more} more, which `asyncbackups status --json` lists" if more > 0 else "")
