"""The journal of a bulk run: what it did, in a SQLite file that survives the process."""

from asyncbackups._bulk.journal.lock import Holder
from asyncbackups._bulk.journal.run_state import TargetState
from asyncbackups._bulk.journal.status import JournalStatus, read_status

__all__ = ["Holder", "JournalStatus", "TargetState", "read_status"]
