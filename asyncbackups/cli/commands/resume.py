"""`asyncbackups resume`."""

from __future__ import annotations

from asyncbackups import ConfigurationError, JournalStatus
from asyncbackups.cli.arguments import Concurrency, Deadline, JournalFile, Json
from asyncbackups.cli.command import command
from asyncbackups.cli.connection import Where
from asyncbackups.cli.creating import BulkShow
from asyncbackups.cli.earlier import status_of
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.text import counted, parse_duration

__all__ = ["resume"]


@command
async def resume(
    journal: JournalFile,
    where: Where,
    deadline: Deadline = "24h",
    concurrency: Concurrency = 8,
    json: Json = False,
) -> ExitStatus:
    """Go on with a bulk run from its journal, however its process ended.

    The report and the exit status are those of the whole run; events that were told before are not told again.
    """
    seconds = parse_duration(deadline, "--deadline")
    earlier = await status_of(journal)
    show = BulkShow(
        earlier.targets,
        title=f"backups of {counted(earlier.targets, 'planet')}, from {journal}",
        json=json,
        journal=journal,
        earlier=earlier,
        options=where.options,
        caution=_caution(earlier),
    )
    async with where.client() as client:
        # From the beginning, because what earlier processes have told counts, too.
        run = client.resume(journal, concurrency=concurrency, deadline=seconds, since=0)
        ending, view = await show.run(run)
    view.end(ending.as_json(), ending.as_lines())
    return ending.status


def _caution(earlier: JournalStatus) -> str:
    """Return what to know of the targets, where there may be more.

    Raises:
        ConfigurationError: If there are none.
    """
    if earlier.listed:
        return ""
    if not earlier.targets:
        raise ConfigurationError(
            f"the journal {earlier.path} has no targets yet: its process ended before it wrote them down. Nothing was "
            "created: run `asyncbackups bulk --journal` with the same targets again"
        )
    # Only a program can have written this: the command line writes all targets at once.
    return f"the targets in {earlier.path} may not be all: it goes on with those that were written down"
