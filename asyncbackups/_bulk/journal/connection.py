"""The connection that a running journal writes through: SQLite on aiosqlite's thread, off the event loop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asyncbackups._bulk.journal.entries import Row

if TYPE_CHECKING:
    import aiosqlite


_MAX_STATEMENT_ROWS = 199
"""Five values each: older SQLites take 999 in a statement."""


async def open_connection(path: Path) -> aiosqlite.Connection:
    """Connect to a journal that `database.prepare` has prepared."""
    import aiosqlite  # noqa: PLC0415 - an extra

    from asyncbackups._bulk.journal.database import PRAGMAS  # noqa: PLC0415 - imports sqlite3

    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        for pragma in PRAGMAS:
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


async def insert_rows(connection: aiosqlite.Connection, rows: Sequence[Row]) -> None:
    """Write entries in one transaction: all of them, or none.

    A single statement is a transaction of its own, and one way to the thread and back instead of three: it halves what
    a small batch costs.
    """
    if len(rows) <= _MAX_STATEMENT_ROWS:
        await connection.execute_fetchall(_insert_statement(len(rows)), [value for row in rows for value in row])
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        await connection.executemany(_insert_statement(1), rows)
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        if connection.in_transaction:
            await connection.execute_fetchall("ROLLBACK")
        raise


@functools.cache
def _insert_statement(rows: int) -> str:
    return f"INSERT INTO log (id, target, kind, at, data) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * rows)}"  # noqa: S608
