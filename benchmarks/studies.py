"""What `benchmarks.schedules` finds out about one world with one backup in flight: the peers, ours, and the best."""

from __future__ import annotations

import attrs
import numpy as np

from asyncbackups.policies import PollingPolicy
from benchmarks.virtual_time import (
    BACKOFF,
    PEERS,
    Outcome,
    World,
    at_requests,
    of_peer,
    of_us,
    optimal,
    scaled,
    undominated,
)

HISTORIES = (0, 3, 10, 30, 300)
CADENCES = tuple(np.geomspace(0.1, 4, 12))  # scales of a whole policy, for comparison at equal requests
COMPARED = (2, 12)  # requests for each backup between which the distance from the optimum is stated
POLICY = PollingPolicy()


@attrs.frozen
class Study:
    """Everything measured about one world with one backup in flight."""

    world: World
    peers: dict[str, Outcome]
    ours: dict[int, list[Outcome]]  # by history, one for each cadence; none where the history lies
    default: dict[int, Outcome]  # by history, as the policy is
    backoffs: list[Outcome]  # 1 s x2 cap 60, the cadences that none beats
    best: list[Outcome]  # the optimum, one for each worth of a request

    def distance(self, seen: int) -> list[float]:
        """Return the delay over the optimal one at equal requests, for each cadence."""
        inside = [point for point in self.ours[seen] if COMPARED[0] <= point.requests <= COMPARED[1]]
        return [point.delay / at_requests(self.best, point.requests) for point in inside]

    def against(self, peer: str, seen: int) -> float:
        """Return our delay over a peer's at the peer's requests."""
        return at_requests(self.ours[seen], self.peers[peer].requests) / self.peers[peer].delay

    @classmethod
    def of(cls, world: World, draws: int) -> Study:
        """Study a world."""
        policies = [] if world.lies else [scaled(POLICY, float(cadence)) for cadence in CADENCES]
        # A history is drawn anew for each; of no history and of a long one few draws say enough.
        enough = {seen: draws if 0 < seen < 300 else max(4, draws // 4) for seen in HISTORIES}
        return cls(
            world,
            peers={name: of_peer(name, world, 4 * draws) for name in PEERS},
            ours={seen: [of_us(policy, world, seen, enough[seen]) for policy in policies] for seen in HISTORIES},
            default={seen: of_us(POLICY, world, seen, 4 * enough[seen]) for seen in HISTORIES},
            backoffs=undominated([of_peer(BACKOFF, world, 1, float(s)) for s in np.geomspace(0.05, 300, 300)]),
            best=[optimal(world, float(worth)) for worth in np.geomspace(0.05, 150, 16)],
        )
