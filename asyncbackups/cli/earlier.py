"""What earlier processes have done of a journaled run, as far as a command that goes on with it has to know."""

from __future__ import annotations

import asyncio
from pathlib import Path

from asyncbackups import JournalError, JournalStatus, read_status
from asyncbackups.cli.text import counted, say

__all__ = ["status_if_any", "status_of", "tell_where_it_stands"]


async def status_of(journal: Path) -> JournalStatus:
    """Read where a run stands.

    Raises:
        JournalError: If there is no such journal, or it cannot be read.
    """
    return await asyncio.to_thread(read_status, journal)


async def status_if_any(journal: Path) -> JournalStatus | None:
    """Read where a run stands; None where it has not begun. What is wrong with a journal, its run will say itself."""
    try:
        return await status_of(journal)
    except JournalError:
        return None


def tell_where_it_stands(status: JournalStatus) -> None:
    """Tell people what they go on with."""
    ended = sum(number for state, number in status.states.items() if state.final)
    say(f"going on with {status.path}: {ended} of {counted(status.targets, 'planet')} had an outcome")
