"""How a run ended: as a report for programs, as lines for people. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import attrs

from asyncbackups import BackupsError
from asyncbackups.cli.events import error_json
from asyncbackups.cli.exits import ExitStatus, exit_status
from asyncbackups.cli.tally import Counts, Tally
from asyncbackups.cli.text import counted, took

__all__ = ["Ending", "requests_text"]


@attrs.frozen(kw_only=True)
class Ending:
    """What a run of creating or watching has come to.

    Attributes:
        tally: Everything counted.
        requests: Requests sent, by kind.
        seconds: How long it took.
        targets: How many planets were to get a backup; None where nothing was to be created.
        interrupted: Whether it was left before its end.
        outlived: Whether backups go on after the command; those of a simulator that ends with it do not.
        journal: The file that remembers the run, or None.
        options: The connection's options as they were given: the command that goes on needs them, too.
        error: Why nothing more was begun: the journal cannot be written any more; None where all is well.
    """

    tally: Tally
    requests: Mapping[str, int]
    seconds: float
    targets: int | None = None
    interrupted: bool = False
    outlived: bool = True
    journal: str | None = None
    options: tuple[str, ...] = ()
    error: BackupsError | None = None

    @property
    def status(self) -> ExitStatus:
        """The exit status."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        return self.tally.status if self.error is None else max(self.tally.status, exit_status([self.error]))

    def as_json(self) -> dict[str, Any]:
        """Return the report, the last line of a run."""
        total = self.tally.total
        creating: dict[str, Any] = {}
        if self.targets is not None:
            creating = {"planets": self.targets, "not_started": self._not_started(total)}
        if self.journal is not None:
            creating["journal"] = self.journal
        return {
            "event": "report",
            **creating,
            **attrs.asdict(total),
            "in_flight": total.in_flight,
            "final_events": total.final_events,
            "still_running": [str(ref) for ref in self.tally.in_flight],
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            **({} if self.error is None else {"error": error_json(self.error)}),
            "exit_status": int(self.status),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        return [self._counts(), *self._left()]

    def _counts(self) -> str:
        total = self.tally.total
        begun = "watched" if self.targets is None else "created"
        others = {
            "not created": total.create_failed - self.tally.unknown,
            "perhaps created": self.tally.unknown,
            "succeeded": total.succeeded,
            "failed": total.failed,
            "gone": total.gone,
            "past the deadline": total.expired,
            "could not be checked": total.unchecked,
        }
        told = [f"{counted(total.created, 'backup')} {begun}", *(f"{n} {what}" for what, n in others.items() if n)]
        return f"{', '.join(told)}; {took(self.seconds)}; {requests_text(self.requests)}"

    def _left(self) -> list[str]:
        lines = [] if self.error is None else [str(self.error)]
        if self.interrupted:
            lines.append(f"interrupted: {self._running()}")
        if not lines:
            return []
        if left := self._not_started(self.tally.total):
            lines.append(f"{counted(left, 'planet was', 'planets were')} not begun with")
        if self.journal is not None:
            lines.append(f"to go on: {self._command('resume', self.journal)}")
        return lines

    def _running(self) -> str:
        running = list(self.tally.in_flight)
        if not running:
            return "no backup that we know of is still running"
        # One that is only watched may never have been seen.
        made = "watched and still in flight" if self.targets is None else "created and still running"
        still = f"{counted(len(running), 'backup')} {made}"
        if self.journal is not None or not self.outlived:
            return still
        # All are named: on a terminal nothing else has named them.
        return f"{still}; to go on waiting: {self._command('wait', *map(str, running))}"

    def _command(self, *words: str) -> str:
        return shlex.join(("asyncbackups", *words, *self.options))

    def _not_started(self, total: Counts) -> int:
        return max(0, (self.targets or 0) - total.created - total.create_failed)


def requests_text(requests: Mapping[str, int]) -> str:
    """Return numbers of requests: "61 requests (create 50, list 11)"."""
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(requests.items()) if number)
    return counted(sum(requests.values()), "request") + (f" ({kinds})" if kinds else "")
