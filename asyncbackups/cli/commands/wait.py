"""`asyncbackups wait`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from asyncbackups import BackupClient, BackupRef
from asyncbackups.cli.arguments import Deadline, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.tally import Tally
from asyncbackups.cli.text import counted, parse_duration
from asyncbackups.cli.views import View, views_for

__all__ = ["wait"]

_Backups = Annotated[
    list[str], typer.Argument(metavar="BACKUP", help="Written star_system/backup_id.", show_default=False)
]


@command
async def wait(
    backups: _Backups,
    where: Where,
    deadline: Deadline = "24h",
    json: Json = False,
) -> ExitStatus:
    """Wait until each of the backups has succeeded or failed."""
    refs = [BackupRef.parse(backup) for backup in dict.fromkeys(backups)]
    seconds = parse_duration(deadline, "--deadline")
    tally = Tally(refs)
    async with where.client() as client:
        task, began, interrupted = asyncio.current_task(), time.monotonic(), False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            if task is not None:
                task.cancel()

        title = f"waiting for {counted(len(refs), 'backup')}"
        requests = lambda: client.requests  # noqa: E731 - read anew each time
        view = views_for(tally, json=json, title=title, begun="watched", requests=requests, unread=interrupt)
        try:
            with on_interrupt(interrupt), view:
                await _follow(client, refs, seconds, tally, view)
        except asyncio.CancelledError:
            if task is None or not interrupted:
                raise
            task.uncancel()
        ending = Ending(
            tally=tally, requests=client.requests, seconds=time.monotonic() - began, interrupted=interrupted
        )
    view.end(ending.as_json(), ending.as_lines())
    return ending.status


async def _follow(client: BackupClient, refs: Sequence[BackupRef], deadline: float, tally: Tally, view: View) -> None:
    async with client.watch(refs, deadline=deadline) as watch:
        async for event in watch:
            tally.note(event)
            view.tell(event)
