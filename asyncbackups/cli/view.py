"""What shows the events of a run."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from asyncbackups.cli.events import Told

__all__ = ["View"]


class View:
    """Shows events as they come, between entering and leaving."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop showing."""

    def tell(self, event: Told) -> None:
        """Show an event."""

    def end(self, report: dict[str, Any], lines: list[str]) -> None:
        """Show how it ended, after leaving."""
