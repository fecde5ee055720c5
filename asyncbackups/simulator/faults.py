"""Faults by rule: which requests go wrong, and how. Pure, but for `Gate`, which waits.

A `Fault` matches requests and says what becomes of them. Several may match one request: their delays add up, all of
their gates are passed, and the first with an action decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import anyio
from attrs import define, field, frozen

from asyncbackups.simulator.routing import Kind
from asyncbackups.simulator.settings import instance_of, mapping, natural, not_negative, optional, positive, share, text

if TYPE_CHECKING:
    from random import Random

__all__ = [
    "Action",
    "Drop",
    "Endless",
    "Fault",
    "FaultRules",
    "Gate",
    "GzipBomb",
    "Html",
    "Malformed",
    "Oversized",
    "Redirect",
    "Respond",
    "Slow",
    "Truncate",
    "Verdict",
    "When",
]


class When(StrEnum):
    """Whether a fault strikes before the request has had its effect, or after."""

    BEFORE = "before"
    AFTER = "after"


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


@frozen
class Respond:
    """Answer with a status of one's own.

    Args:
        status: The status.
        headers: Headers, such as `{"Retry-After": "1"}`.
        body: The body; text is encoded as UTF-8.
        when: `"after"` for a request that took effect all the same.
    """

    status: int = field(validator=natural(200, 599))
    headers: Mapping[str, str] = field(factory=dict, validator=mapping(_is_string, "strings"))
    body: bytes = field(default=b"", converter=_bytes, validator=instance_of(bytes))
    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Drop:
    """Drop the connection without an answer.

    Args:
        when: `"before"` the request has its effect, or `"after"`.
    """

    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Html:
    """Answer with an HTML error page, as gateways do.

    Args:
        status: The status.
        when: `"after"` for a request that took effect all the same.
    """

    status: int = field(default=502, validator=natural(200, 599))
    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Redirect:
    """Answer with a redirect; the request has no effect.

    Args:
        location: Where to.
        status: The status.
    """

    location: str = field(validator=text)
    status: int = field(default=302, validator=natural(300, 399))


@frozen
class Truncate:
    """Send a part of the true answer and then close; its `Content-Length` promises all of it.

    Args:
        share: The part of the body that is sent, from 0 to 1.
    """

    share: float = field(default=0.5, validator=share)


@frozen
class Malformed:
    """Send the true answer's first half as if it were all: a body that is not JSON, with the right length."""


@frozen
class Oversized:
    """Answer with a JSON body that is far too long.

    Args:
        size: Bytes of the body.
    """

    size: int = field(default=64 * 1024 * 1024, validator=natural(16))


@frozen
class Endless:
    """Begin a body that never ends, until the client goes or the simulator is stopped.

    Args:
        chunk: What is sent over and over.
        interval: Seconds between two chunks; 0 for as fast as they are taken.
    """

    chunk: bytes = field(default=b" " * 1024, converter=_bytes, validator=instance_of(bytes))
    interval: float = field(default=0.0, validator=not_negative)


@frozen
class Slow:
    """Send the true answer little by little.

    Args:
        chunk_size: Bytes at a time.
        interval: Seconds between two chunks.
    """

    chunk_size: int = field(default=16, validator=natural(1))
    interval: float = field(default=0.05, validator=positive)


@frozen
class GzipBomb:
    """Answer with a small gzip body that unpacks to a large one.

    Args:
        size: Bytes of the unpacked body.
    """

    size: int = field(default=256 * 1024 * 1024, validator=natural(1))


Action: TypeAlias = Respond | Drop | Html | Redirect | Truncate | Malformed | Oversized | Endless | Slow | GzipBomb


class Gate:
    """Holds requests up until it is opened, so that a test can order events without sleeping."""

    def __init__(self) -> None:
        self._arrived = anyio.Event()
        self._opened = anyio.Event()
        self.waiting: int = 0

    async def arrived(self) -> None:
        """Wait until a request has come to the gate."""
        await self._arrived.wait()

    def open(self) -> None:
        """Let every request pass, those to come as well."""
        self._opened.set()

    async def passing(self) -> None:
        """Wait, as a request, until the gate is open."""
        self.waiting += 1
        self._arrived.set()
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


def _kind(kind: Kind | str | None) -> Kind | None:
    return None if kind is None else Kind(kind)


@frozen(eq=False)
class Fault:
    """A rule: which requests, and what becomes of them.

    Args:
        action: What is done instead of, or to, the true answer; `None` for a mere delay or gate.
        kind: Kind of request, such as `"create"`; `None` for any.
        star_system: The star system; `None` for any.
        planet: The planet; for a get or delete, that of the backup; `None` for any.
        skip: How many matching requests go well first.
        count: How many are hit then; `None` for all.
        probability: Chance that one of those is hit at all; the draw follows the simulator's seed.
        delay: Seconds to wait before the request has its effect.
        delay_after: Seconds to wait after the effect, before the answer.
        gate: A gate to pass before the effect.
        gate_after: A gate to pass after the effect, before the answer.
    """

    action: Action | None = field(default=None, validator=optional(instance_of(Action)))
    kind: Kind | None = field(default=None, converter=_kind, kw_only=True)
    star_system: str | None = field(default=None, validator=optional(instance_of(str)), kw_only=True)
    planet: str | None = field(default=None, validator=optional(instance_of(str)), kw_only=True)
    skip: int = field(default=0, validator=natural(0), kw_only=True)
    count: int | None = field(default=None, validator=optional(natural(1)), kw_only=True)
    probability: float = field(default=1.0, validator=share, kw_only=True)
    delay: float = field(default=0.0, validator=not_negative, kw_only=True)
    delay_after: float = field(default=0.0, validator=not_negative, kw_only=True)
    gate: Gate | None = field(default=None, validator=optional(instance_of(Gate)), kw_only=True)
    gate_after: Gate | None = field(default=None, validator=optional(instance_of(Gate)), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not (self.action or self.delay or self.delay_after or self.gate or self.gate_after):
            raise ValueError("Fault needs an action, a delay or a gate: this one would do nothing")

    def matches(self, kind: Kind, star_system: str, planet: str) -> bool:
        """Say whether a request is one of those it is about, whatever its number."""
        return self.kind in (None, kind) and self.star_system in (None, star_system) and self.planet in (None, planet)


@define
class _Armed:
    """A fault and how often it has been met."""

    fault: Fault
    seen: int = 0
    hits: int = 0

    def strikes(self, rng: Random) -> bool:
        """Count a matching request and say whether it is hit."""
        self.seen += 1
        fault = self.fault
        turn = self.seen - fault.skip
        if turn < 1 or (fault.count is not None and turn > fault.count):
            return False
        if fault.probability < 1 and rng.random() >= fault.probability:
            return False
        self.hits += 1
        return True


def _arm(faults: Iterable[Fault]) -> list[_Armed]:
    given = list(faults) if isinstance(faults, Iterable) else None
    if given is None or not all(isinstance(one, Fault) for one in given):
        raise ValueError(f"Simulator.faults must be a list of Faults, not {faults if given is None else given!r}")
    return [_Armed(fault) for fault in given]


@frozen
class Verdict:
    """What all matching faults together do to one request."""

    faults: tuple[Fault, ...]

    @property
    def action(self) -> Action | None:
        """The first action among them."""
        return next((fault.action for fault in self.faults if fault.action is not None), None)

    async def hold(self, when: When) -> None:
        """Wait as long as they say, before or after the effect."""
        for fault in self.faults:
            delay, gate = fault.delay, fault.gate
            if when is When.AFTER:
                delay, gate = fault.delay_after, fault.gate_after
            if delay:
                await anyio.sleep(delay)
            if gate is not None:
                await gate.passing()


class FaultRules(MutableSequence[Fault]):
    """The faults in force, as a list that may be changed at any time.

    Args:
        faults: Those at the start.
        rng: Source of randomness for probabilities.
    """

    def __init__(self, faults: Iterable[Fault], *, rng: Random) -> None:
        self._rng = rng
        self._armed = _arm(faults)

    def seed(self, seed: int) -> None:
        """Make the draws for probabilities repeat.

        Args:
            seed: Same seed, same requests, same hits.
        """
        self._rng.seed(seed)

    def judge(self, kind: Kind, star_system: str, planet: str) -> Verdict | None:
        """Count a request, and say what hits it; `None` for nothing."""
        hit = tuple(
            armed.fault
            for armed in self._armed
            if armed.fault.matches(kind, star_system, planet) and armed.strikes(self._rng)
        )
        return Verdict(hit) if hit else None

    def hits(self, fault: Fault) -> int:
        """Tell how many requests a fault has hit.

        Args:
            fault: One of those in force.

        Raises:
            ValueError: It is not in force.
        """
        return self._armed[self.index(fault)].hits

    @overload
    def __getitem__(self, index: int) -> Fault: ...

    @overload
    def __getitem__(self, index: slice) -> list[Fault]: ...

    def __getitem__(self, index: int | slice) -> Fault | list[Fault]:
        if isinstance(index, slice):
            return [armed.fault for armed in self._armed[index]]
        return self._armed[index].fault

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._armed[index] = _arm(value)
        else:
            [self._armed[index]] = _arm([value])

    def __delitem__(self, index: int | slice) -> None:
        del self._armed[index]

    def __len__(self) -> int:
        return len(self._armed)

    def insert(self, index: int, value: Fault) -> None:
        """Put a fault before another one."""
        self._armed[index:index] = _arm([value])
