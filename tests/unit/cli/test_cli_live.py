"""The live table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from asyncbackups import Backup, BackupCreated, BackupGone, BackupRef, WatchExpired
from asyncbackups.cli.live import LiveView
from asyncbackups.cli.tally import Tally

BACKUP = Backup(id=1)


def view(tally: Tally, *, height: int = 40) -> tuple[LiveView, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=100, height=height, force_terminal=True, color_system=None)
    live = LiveView(tally, title="a [b]title", begun="created", requests=lambda: {"get": 3}, began=0, console=console)
    return live, out


def drawn(tally: Tally, **size: int) -> list[str]:
    live, out = view(tally, **size)
    Console(file=out, width=100).print(live.render())
    return out.getvalue().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").split("│") if cell.strip()]


def test_one_line_for_each_star_system() -> None:
    """Star systems are sorted, totals follow, and the requests stand below; markup in names does nothing."""
    tally = Tally()
    for star_system in ("beta", "beta", "[red]alpha"):
        tally.note(BackupCreated(ref=BackupRef(star_system, len(tally.in_flight)), backup=BACKUP))
    tally.note(BackupGone(ref=BackupRef("beta", 0)))
    lines = drawn(tally)
    assert lines[0] == "a [b]title"
    assert cells(lines[2]) == ["star system", "created", "in flight", "succeeded", "failed"]
    assert cells(lines[4]) == ["[red]alpha", "1", "1", "0", "0"]
    assert cells(lines[5]) == ["beta", "2", "1", "0", "1"]
    assert cells(lines[7]) == ["all", "3", "2", "0", "1"]
    assert lines[9].endswith("3 requests (get 3)")


def test_a_column_for_what_is_neither() -> None:
    """Backups whose deadline passed get a column once there are any."""
    tally = Tally([BackupRef("a", 1)])
    tally.note(WatchExpired(ref=BackupRef("a", 1)))
    assert cells(drawn(tally)[2])[-1] == "other"
    assert cells(drawn(tally)[4]) == ["a", "1", "0", "0", "0", "1"]


def test_more_star_systems_than_lines() -> None:
    """What does not fit on the terminal is counted."""
    tally = Tally(BackupRef(f"s{number:02}", 1) for number in range(30))
    lines = drawn(tally, height=15)
    assert cells(lines[8]) == ["s04", "1", "1", "0", "0"]
    assert cells(lines[9]) == ["… and 25 more"]
    assert cells(lines[11])[:2] == ["all", "30"]


async def test_it_stays_when_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving draws the last state and gives the terminal back."""
    tally = Tally()
    live, out = view(tally)
    with live:
        tally.note(BackupCreated(ref=BackupRef("alpha", 1), backup=BACKUP))
    assert "alpha" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
