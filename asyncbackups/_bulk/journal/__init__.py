"""What must survive the process: the journal of a bulk run.

`entries`, `state` and `agreement` decide and are pure; `database`, `connection` and `lock` do the reading and writing;
`writer` gathers; `journal` puts them together as the `ledger` that a bulk run talks to.
"""

from asyncbackups._bulk.journal.lock import Holder
from asyncbackups._bulk.journal.run_state import TargetState
from asyncbackups._bulk.journal.status import JournalStatus, read_status

__all__ = ["Holder", "JournalStatus", "TargetState", "read_status"]
