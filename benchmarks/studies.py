"""What `benchmarks.schedules` measures in one workload with one backup in progress: peers, ours, and the optimum."""

from __future__ import annotations

import attrs
import numpy as np

from asyncbackups.policies import PollingPolicy
from benchmarks.virtual_time import (
    BACKOFF,
    PEERS,
    Outcome,
    Workload,
    delay_at,
    optimal_outcome,
    our_outcome,
    pareto_front,
    peer_outcome,
    scaled,
)

HISTORIES = (0, 3, 10, 30, 300)
CADENCES = tuple(np.geomspace(0.1, 4, 12))  # scales of a whole policy, for comparison at equal requests
COMPARED = (2, 12)  # requests for each backup between which the distance from the optimum is stated
POLICY = PollingPolicy()


@attrs.frozen
class Study:
    """Everything measured in one workload with one backup in progress."""

    workload: Workload
    peers: dict[str, Outcome]
    ours: dict[int, list[Outcome]]  # by history, one for each cadence; none if the history is wrong
    default: dict[int, Outcome]  # by history, by the default policy
    backoffs: list[Outcome]  # 1 s x2 cap 60, the cadences that no other beats
    best: list[Outcome]  # the optimum, one for each worth of a request

    def distance(self, seen: int) -> list[float]:
        """Return the delay over the optimal one at equal requests, for each cadence."""
        inside = [point for point in self.ours[seen] if COMPARED[0] <= point.requests <= COMPARED[1]]
        return [point.delay / delay_at(self.best, point.requests) for point in inside]

    def against(self, peer: str, seen: int) -> float:
        """Return our delay over a peer's at the peer's requests."""
        return delay_at(self.ours[seen], self.peers[peer].requests) / self.peers[peer].delay

    @classmethod
    def measure(cls, workload: Workload, draws: int) -> Study:
        """Measure a workload."""
        policies = [] if workload.is_misleading else [scaled(POLICY, float(cadence)) for cadence in CADENCES]
        # Each draw has a history of its own; few draws are enough for no history and for a long one.
        enough = {seen: draws if 0 < seen < 300 else max(4, draws // 4) for seen in HISTORIES}
        return cls(
            workload,
            peers={name: peer_outcome(name, workload, 4 * draws) for name in PEERS},
            ours={
                seen: [our_outcome(policy, workload, seen, enough[seen]) for policy in policies] for seen in HISTORIES
            },
            default={seen: our_outcome(POLICY, workload, seen, 4 * enough[seen]) for seen in HISTORIES},
            backoffs=pareto_front([peer_outcome(BACKOFF, workload, 1, float(s)) for s in np.geomspace(0.05, 300, 300)]),
            best=[optimal_outcome(workload, float(worth)) for worth in np.geomspace(0.05, 150, 16)],
        )
