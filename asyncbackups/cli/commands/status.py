"""`asyncbackups status`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from asyncbackups import JournalError, JournalStatus, TargetState, plain
from asyncbackups.cli.arguments import JournalFile, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.earlier import status_of
from asyncbackups.cli.events import error_json
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.output import print_json, print_line
from asyncbackups.cli.streams import is_terminal
from asyncbackups.cli.tables import print_table
from asyncbackups.cli.text import counted, printable, say, stamp

__all__ = ["status"]

_ALWAYS = frozenset({TargetState.WAITING, TargetState.RUNNING, TargetState.SUCCEEDED, TargetState.FAILED})


@command
async def status(
    journal: JournalFile,
    json: Json = False,
) -> ExitStatus:
    """Show where a bulk run stands, from its journal alone, also while it runs."""
    try:
        found = await status_of(journal)
    except JournalError as exc:
        _salvage(str(journal), exc, json=json)
        return exit_status([exc])
    if json:
        print_json(_as_json(found))
        return ExitStatus.OK
    for line in _as_lines(found):
        say(line)
    states = _columns(found)
    print_table(("star system", "planets", *map(_words, states)), list(_rows(found, states)))
    return ExitStatus.OK


def _salvage(journal: str, error: JournalError, *, json: bool) -> None:
    """Print which backups were created, as far as that can still be read: nothing else may know of them."""
    if json:
        print_json({"journal": journal, "error": error_json(error), "created": list(map(str, error.created))})
    else:
        for ref in error.created:
            print_line(printable(str(ref)))
    say(f"asyncbackups: {error}")


def _as_json(found: JournalStatus) -> dict[str, Any]:
    return {
        "journal": found.path,
        "tenant": found.tenant,
        "base_url": found.base_url,
        "spec": plain(found.spec),
        "started": found.started.isoformat(),
        "changed": found.changed.isoformat(),
        "planets": found.targets,
        "listed": found.listed,
        "finished": found.finished,
        "holder": _holder(found),
        "states": _by_name(found.states),
        "star_systems": {name: _by_name(states) for name, states in found.star_systems.items()},
        "created": list(map(str, found.created)),
        "last_event": found.last_event,
        "acknowledged": found.acknowledged,
    }


def _holder(found: JournalStatus) -> dict[str, Any] | None:
    if found.holder is None:
        return None
    return {**attrs.asdict(found.holder), "since": found.holder.since.isoformat()}


def _by_name(states: Mapping[TargetState, int]) -> dict[str, int]:
    return {state.value: number for state, number in states.items()}


def _as_lines(found: JournalStatus) -> Iterator[str]:
    planets = counted(found.targets, "planet") + ("" if found.listed else ", which may not be all")
    yield f"{found.path}: {planets}, of tenant {found.tenant} at {found.base_url}"
    yield f"begun {stamp(found.started)}, last written {stamp(found.changed)}"
    if found.holder is not None:
        yield f"it is being run by {found.holder}"
    elif found.finished:
        yield "it is finished: every planet has its outcome"
    else:
        yield f"nobody runs it now; to go on: asyncbackups resume {shlex.quote(found.path)}"


def _columns(found: JournalStatus) -> Sequence[TargetState]:
    """Choose what is shown: everything to programs, to people what there is, because a terminal is not that wide."""
    if not is_terminal(sys.stdout):
        return tuple(TargetState)
    return [state for state in TargetState if state in _ALWAYS or found.states[state]]


def _rows(found: JournalStatus, shown: Sequence[TargetState]) -> Iterator[list[str]]:
    for name, states in [*found.star_systems.items(), ("all", found.states)]:
        yield [name, str(sum(states.values())), *(str(states[state]) for state in shown)]


def _words(state: TargetState) -> str:
    return state.value.replace("_", " ")
