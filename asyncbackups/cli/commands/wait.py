"""`asyncbackups wait`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from asyncbackups import BackupClient, BackupRef
from asyncbackups.cli.arguments import Backups, Deadline, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.interrupts import on_interrupt
from asyncbackups.cli.tally import Tally
from asyncbackups.cli.targets import read_refs_once
from asyncbackups.cli.text import counted, parse_duration
from asyncbackups.cli.views import views_for

__all__ = ["wait"]


@command
async def wait(
    backups: Backups,
    where: Where,
    deadline: Deadline = "24h",
    json: Json = False,
) -> ExitStatus:
    """Wait until each of the backups has succeeded or failed."""
    seconds = parse_duration(deadline, "--deadline")
    refs = read_refs_once(backups)
    async with where.client() as client:
        following = _Following(client, refs, deadline=seconds, json=json, options=where.options)
        ending = await following.run()
    following.view.end(ending.as_json(), ending.as_lines())
    return ending.status


class _Following:
    """Watches backups, until all have ended or it is interrupted, and shows what comes."""

    def __init__(
        self, client: BackupClient, refs: Sequence[BackupRef], *, deadline: float, json: bool, options: tuple[str, ...]
    ) -> None:
        self._client = client
        self._refs = refs
        self._deadline = deadline
        self._options = options
        self._tally = Tally(refs)
        self._interrupted = False
        self._task = asyncio.current_task()
        self.view = views_for(
            self._tally,
            json=json,
            title=f"waiting for {counted(len(refs), 'backup')}",
            begun="watched",
            requests=lambda: client.requests,
            unread=self.interrupt,
        )

    def interrupt(self) -> None:
        self._interrupted = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def run(self) -> Ending:
        began = time.monotonic()
        try:
            with on_interrupt(self.interrupt), self.view:
                await self._follow()
        except asyncio.CancelledError:
            if self._task is None or not self._interrupted:
                raise
            self._task.uncancel()
        return Ending(
            tally=self._tally,
            requests=self._client.requests,
            seconds=time.monotonic() - began,
            interrupted=self._interrupted,
            options=self._options,
        )

    async def _follow(self) -> None:
        async with self._client.watch(self._refs, deadline=self._deadline) as watch:
            async for event in watch:
                self._tally.note(event)
                self.view.tell(event)
                if self._interrupted:
                    break
