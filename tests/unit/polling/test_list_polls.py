"""The lists of one star system: when they are due, and whether they can be trusted."""

from __future__ import annotations

import math
import sys

from asyncbackups._polling.list_polls import ListPolls, end_time
from asyncbackups._polling.tracked import NEVER, TrackedBackup
from tests.unit.polling.scenario import START, observation, shared_state


def test_end_time_is_known_from_age_and_duration() -> None:
    """An end in the future counts as now; without age and duration the end is unknown."""
    assert end_time(observation(1, "succeeded", age=100.0, duration=60.0), 1000.0) == 960.0
    assert end_time(observation(1, "succeeded", age=100.0, duration=1e9), 1000.0) == 1000.0
    assert end_time(observation(1, "succeeded", age=100.0), 1000.0) == -math.inf
    assert end_time(observation(1, "succeeded", duration=60.0), 1000.0) == -math.inf


def test_list_in_flight_is_not_scheduled_again() -> None:
    """The response schedules the next one; nothing is due until then."""
    tracked = {number: TrackedBackup("sun", number) for number in range(20)}
    lists = ListPolls("sun", tracked, shared_state())
    lists.replan(START)
    state = lists.find_for(tracked[0])
    assert state is not None
    lists.schedule_at(state, START)
    poll = lists.take_next(START)
    lists.schedule_by(state, START + 1.0)
    assert lists.next_due() == NEVER
    assert lists.is_needed(poll)
    assert lists.finish_poll(poll) is state
    lists.schedule_by(state, START + 1.0)
    assert lists.next_due() == START + 1.0
    assert lists.finish_poll(poll) is None, "it has been finished"


def test_paused_list_is_queued_once_however_many_backups_join() -> None:
    """Memory stays in proportion to the lists."""
    tracked = {number: TrackedBackup("sun", number) for number in range(2_000)}
    shared = shared_state()
    lists = ListPolls("sun", tracked, shared)
    lists.replan(START)
    state = lists.find_for(tracked[0])
    assert state is not None
    shared.list_pauses.store(("sun", None), START + 90.0)
    for backup in tracked.values():
        lists.add_backup(backup, state, START, since=START)
    assert lists.next_due() == START + 90.0
    assert sys.getrefcount(state) < 100
