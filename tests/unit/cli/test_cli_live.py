"""The live table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from asyncbackups import Backup, BackupCreated, BackupGone, BackupRef, WatchExpired
from asyncbackups.cli.live import LiveTable
from asyncbackups.cli.reports import RunReport

BACKUP = Backup(id=1)


def new_report(*refs: BackupRef) -> RunReport:
    """Return the report of a run that creates backups, or that watches some."""
    report = RunReport(targets=None if refs else 9)
    report.add_watched(refs)
    return report


def new_table(report: RunReport, *, width: int = 100, height: int = 40) -> tuple[LiveTable, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    return LiveTable(report, title="a [b]title", requests=lambda: {"get": 3}, console=console), out


def draw(report: RunReport, *, width: int = 100, height: int = 40) -> list[str]:
    table, out = new_table(report, width=width, height=height)
    Console(file=out, width=width).print(table.render())
    return out.getvalue().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").split("│") if cell.strip()]


def test_one_line_per_star_system() -> None:
    """Star systems are sorted; totals and requests follow; markup in names has no effect."""
    report = new_report()
    for star_system in ("beta", "beta", "[red]alpha"):
        report.record_event(BackupCreated(ref=BackupRef(star_system, len(report.in_flight)), backup=BACKUP))
    report.record_event(BackupGone(ref=BackupRef("beta", 0)))
    lines = draw(report)
    assert lines[0] == "a [b]title"
    assert cells(lines[2]) == ["star system", "created", "in flight", "succeeded", "failed"]
    assert cells(lines[4]) == ["[red]alpha", "1", "1", "0", "0"]
    assert cells(lines[5]) == ["beta", "2", "1", "0", "1"]
    assert cells(lines[7]) == ["all", "3", "2", "0", "1"]
    assert lines[9].endswith(" · 3 requests (get 3)")


def test_column_for_other_outcomes() -> None:
    """Backups that passed their deadline have a column once there are any."""
    report = new_report(BackupRef("a", 1))
    report.record_event(WatchExpired(ref=BackupRef("a", 1)))
    lines = draw(report)
    assert cells(lines[2]) == ["star system", "watched", "in flight", "succeeded", "failed", "other"]
    assert cells(lines[4]) == ["a", "1", "0", "0", "0", "1"]


def test_more_star_systems_than_lines() -> None:
    """Star systems that do not fit on the terminal are counted."""
    lines = draw(new_report(*(BackupRef(f"s{number:02}", 1) for number in range(30))), height=15)
    assert cells(lines[8]) == ["s04", "1", "1", "0", "0"]
    assert cells(lines[9]) == ["… and 25 more"]
    assert cells(lines[11])[:2] == ["all", "30"]


@pytest.mark.parametrize("width", [40, 59])
def test_a_narrow_terminal_keeps_the_numbers(width: int) -> None:
    """Only the names of star systems are shortened, and the table has no frame."""
    report = new_report(*(BackupRef("a-very-long-name-of-a-star-system", number) for number in range(12_345)))
    report.record_event(WatchExpired(ref=BackupRef("a-very-long-name-of-a-star-system", 1)))
    lines = draw(report, width=width)
    assert max(map(len, lines)) <= width
    assert lines[1].split()[-5:] == ["watched", "running", "ok", "failed", "other"]
    assert lines[2].split()[-5:] == ["12345", "12344", "0", "0", "1"]
    assert lines[2].startswith("a-")


def test_an_ascii_terminal_gets_ascii() -> None:
    """Frame, separators and ellipses are ASCII if the terminal cannot show anything else."""
    memory = io.BytesIO()
    console = Console(file=io.TextIOWrapper(memory, "ascii"), width=70, height=12, force_terminal=True)
    report = new_report(*(BackupRef(f"star-system-{'x' * number}", 1) for number in range(60)))
    console.print(LiveTable(report, title="title", requests=lambda: {"get": 3}, console=console).render())
    assert b"... and " in memory.getvalue()
    assert b" s, 3 requests (get 3)" in memory.getvalue()


async def test_the_last_state_stays() -> None:
    """Leaving draws the last state and shows the cursor again."""
    report = new_report()
    table, out = new_table(report)
    with table:
        report.record_event(BackupCreated(ref=BackupRef("alpha", 1), backup=BACKUP))
    assert "alpha" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")
