"""Faults: rules that match requests, and the actions that alter or replace their responses.

Several faults may match one request: their delays add up, all their gates are passed, and the first action applies.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, MutableSequence
from enum import StrEnum
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import anyio
from aiohttp import web
from attrs import converters, define, evolve, field, frozen

from asyncbackups.simulator import settings
from asyncbackups.simulator.api import JSON_TYPE, OperationKind, ServerResponse

if TYPE_CHECKING:
    from random import Random  # the type alone: a source of randomness is always passed in


_PAGE = b"<html>\r\n<head><title>%d</title></head>\r\n<body><center><h1>%d</h1></center></body>\r\n</html>\r\n"


class When(StrEnum):
    """Whether a fault occurs before or after the request takes effect."""

    BEFORE = "before"
    AFTER = "after"


def _encode_text(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


_strings = settings.mapping_to("strings", lambda value: isinstance(value, str))
_optional_string = settings.optional(settings.instance_of(str))


@frozen
class Respond:
    """Respond with the given status.

    Args:
        status: The status.
        headers: Headers, such as `{"Retry-After": "1"}`.
        body: The body; text is encoded as UTF-8.
        when: `"after"` if the request takes effect nevertheless.
    """

    status: int = field(validator=settings.whole_from(200, 599))
    headers: Mapping[str, str] = field(factory=dict, validator=_strings)
    body: bytes = field(default=b"", converter=_encode_text, validator=settings.instance_of(bytes))
    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Drop:
    """Drop the connection without a response, `"before"` or `"after"` the request takes effect."""

    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Html:
    """Respond with an HTML error page, as gateways do; `when` is as for `Respond`."""

    status: int = field(default=502, validator=settings.whole_from(200, 599))
    when: When = field(default=When.BEFORE, converter=When)


@frozen
class Redirect:
    """Respond with a redirect to `location`; the request has no effect."""

    location: str = field(validator=settings.text)
    status: int = field(default=302, validator=settings.whole_from(300, 399))


@frozen
class Truncate:
    """Send a `share` (0 to 1) of the correct response, whose `Content-Length` promises all, and disconnect."""

    share: float = field(default=0.5, validator=settings.share)


@frozen
class Malformed:
    """Send the first half of the correct response as if it were complete: not JSON, with the right length."""


@frozen
class Oversized:
    """Respond with a JSON body of `size` bytes, which is much too long."""

    size: int = field(default=64 * 1024 * 1024, validator=settings.whole_from(16))


@frozen
class Endless:
    """Send a `chunk` every `interval` seconds (0: as fast as possible), until the client or the simulator stops."""

    chunk: bytes = field(default=b" " * 1024, converter=_encode_text, validator=settings.instance_of(bytes))
    interval: float = field(default=0.0, validator=settings.not_negative)


@frozen
class Slow:
    """Send the correct response in pieces of `chunk_size` bytes, one every `interval` seconds."""

    chunk_size: int = field(default=16, validator=settings.whole_from(1))
    interval: float = field(default=0.05, validator=settings.positive)


@frozen
class GzipBomb:
    """Respond with a small gzip body that decompresses to one of `size` bytes."""

    size: int = field(default=256 * 1024 * 1024, validator=settings.whole_from(1))


Action: TypeAlias = Respond | Drop | Html | Redirect | Truncate | Malformed | Oversized | Endless | Slow | GzipBomb


class Gate:
    """Holds requests until it is opened, so that tests can order events; `waiting` is the number of held requests."""

    def __init__(self) -> None:
        self._arrived = anyio.Event()
        self._opened = anyio.Event()
        self.waiting: int = 0

    async def arrived(self) -> None:
        """Wait until a request has reached the gate."""
        await self._arrived.wait()

    def open(self) -> None:
        """Let all requests pass, including later ones."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Hold a request until the gate is open."""
        self.waiting += 1
        self._arrived.set()
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1

    passing: ClassVar[property] = settings.renamed_attribute("Gate.passing", "pass_through")


_optional_gate = settings.optional(settings.instance_of(Gate))


@frozen(eq=False)
class Fault:
    """A rule: which requests it matches, and what happens to them.

    Args:
        action: What replaces or alters the correct response; None for only a delay or gate.
        kind: Operation, such as `"create"`; None for any.
        star_system: The star system; None for any.
        planet: The planet; for a get or delete, the planet of the backup; None for any.
        skip: Number of matching requests that are not affected at first.
        count: Number of requests that are affected then; None for all.
        probability: Probability that each of those is affected; depends on the simulator's seed.
        delay: Seconds to wait before the request takes effect.
        delay_after: Seconds to wait after the effect, before the response.
        gate: A gate to pass before the effect.
        gate_after: A gate to pass after the effect, before the response.
    """

    action: Action | None = field(default=None, validator=settings.optional(settings.instance_of(Action)))
    kind: OperationKind | None = field(default=None, converter=converters.optional(OperationKind), kw_only=True)
    star_system: str | None = field(default=None, validator=_optional_string, kw_only=True)
    planet: str | None = field(default=None, validator=_optional_string, kw_only=True)
    skip: int = field(default=0, validator=settings.whole_from(0), kw_only=True)
    count: int | None = field(default=None, validator=settings.optional(settings.whole_from(1)), kw_only=True)
    probability: float = field(default=1.0, validator=settings.share, kw_only=True)
    delay: float = field(default=0.0, validator=settings.not_negative, kw_only=True)
    delay_after: float = field(default=0.0, validator=settings.not_negative, kw_only=True)
    gate: Gate | None = field(default=None, validator=_optional_gate, kw_only=True)
    gate_after: Gate | None = field(default=None, validator=_optional_gate, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not (self.action or self.delay or self.delay_after or self.gate or self.gate_after):
            raise ValueError("Fault needs an action, a delay or a gate: this one would do nothing")

    def matches(self, kind: OperationKind, star_system: str, planet: str) -> bool:
        """Return True if the rule applies to such requests, regardless of `skip`, `count` and `probability`."""
        return self.kind in (None, kind) and self.star_system in (None, star_system) and self.planet in (None, planet)

    async def hold_request(self, when: When) -> None:
        """Wait for the delay and the gate before or after the effect."""
        is_before = when is When.BEFORE
        delay, gate = (self.delay, self.gate) if is_before else (self.delay_after, self.gate_after)
        if delay:
            await anyio.sleep(delay)
        if gate is not None:
            await gate.pass_through()


@define
class _CountedFault:
    """A fault with the number of requests that it matched and affected."""

    fault: Fault
    matched: int = 0
    hits: int = 0

    def count_match(self, rng: Random) -> bool:
        """Count a matching request and return True if it is affected."""
        self.matched += 1
        fault = self.fault
        number = self.matched - fault.skip
        if number < 1 or (fault.count is not None and number > fault.count):
            return False
        if fault.probability < 1 and rng.random() >= fault.probability:
            return False
        self.hits += 1
        return True


def _check_faults(faults: Iterable[Fault]) -> list[_CountedFault]:
    given = list(faults) if isinstance(faults, Iterable) else None
    if given is None or not all(isinstance(fault, Fault) for fault in given):
        raise ValueError(f"Simulator.faults must be a list of Faults, not {faults if given is None else given!r}")
    return [_CountedFault(fault) for fault in given]


class FaultRules(MutableSequence[Fault]):
    """The active faults, as a list that may be changed at any time; `rng` decides on probabilities."""

    def __init__(self, faults: Iterable[Fault], *, rng: Random) -> None:
        self._rng = rng
        self._counted = _check_faults(faults)

    def seed(self, seed: int) -> None:
        """Seed the random source: with the same seed, the same requests are affected."""
        self._rng.seed(seed)

    def match_request(self, kind: OperationKind, star_system: str, planet: str) -> list[Fault]:
        """Count a request and return the faults that affect it."""
        matching = [counted for counted in self._counted if counted.fault.matches(kind, star_system, planet)]
        return [counted.fault for counted in matching if counted.count_match(self._rng)]

    judge: ClassVar[property] = settings.renamed_attribute("FaultRules.judge", "match_request")

    def hits(self, fault: Fault) -> int:
        """Return the number of requests that a fault has affected; `ValueError` if it is not in the list."""
        return self._counted[self.index(fault)].hits

    @overload
    def __getitem__(self, index: int) -> Fault: ...

    @overload
    def __getitem__(self, index: slice) -> list[Fault]: ...

    def __getitem__(self, index: int | slice) -> Fault | list[Fault]:
        if isinstance(index, slice):
            return [counted.fault for counted in self._counted[index]]
        return self._counted[index].fault

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._counted[index] = _check_faults(value)
        else:
            [self._counted[index]] = _check_faults([value])

    def __delitem__(self, index: int | slice) -> None:
        del self._counted[index]

    def __len__(self) -> int:
        return len(self._counted)

    def insert(self, index: int, value: Fault) -> None:
        """Insert a fault before another one."""
        self._counted[index:index] = _check_faults([value])


def prevents_effect(action: Action | None) -> bool:
    """Return True if an action keeps the request from taking effect."""
    if isinstance(action, Respond | Drop | Html):
        return action.when is When.BEFORE
    return isinstance(action, Redirect)


def alter_response(action: Action, correct: ServerResponse | None) -> ServerResponse | None:
    """Return the complete response that replaces the correct one; None if `send_broken` carries out the action."""
    altered = None
    match action:
        case Respond():
            media_type = {} if "Content-Type" in action.headers or not action.body else JSON_TYPE
            altered = ServerResponse(action.status, action.body, {**media_type, **action.headers})
        case Html(status=status):
            altered = ServerResponse(status, _PAGE % (status, status), {"Content-Type": "text/html"})
        case Redirect():
            altered = ServerResponse(action.status, b"", {"Location": action.location})
        case Malformed():
            whole = correct or ServerResponse(200)
            altered = evolve(whole, body=whole.body[: len(whole.body) // 2] or b"{")
        case Oversized():
            altered = ServerResponse(200, b'{"padding": "' + b"x" * (action.size - 15) + b'"}')
        case GzipBomb():
            altered = ServerResponse(200, _compress_spaces(action.size), {**JSON_TYPE, "Content-Encoding": "gzip"})
    return altered


async def send_broken(action: Action, request: web.BaseRequest, correct: ServerResponse | None) -> web.StreamResponse:
    """Send a truncated, slow or endless response, or drop the connection."""
    if isinstance(action, Drop):
        if request.transport is not None:  # pragma: no branch - the client may have disconnected already
            request.transport.abort()
        return web.Response()  # required by aiohttp, although the connection is closed
    response = ServerResponse(200) if correct is None or isinstance(action, Endless) else correct
    body, stream = response.body, web.StreamResponse(status=response.status, headers=response.headers)
    pieces: Iterable[bytes] = ()
    interval = 0.0
    match action:
        case Truncate(share=share):
            stream.content_length = max(len(body), 1)
            stream.force_close()
            # Never the whole body, not even at a share of 1, or it would be no fault.
            part = min(int(len(body) * share), len(body) - 1)
            pieces = [body[:part]] if part > 0 else []
        case Slow(chunk_size=size, interval=interval):
            stream.content_length = len(body)
            pieces = (body[start : start + size] for start in range(0, len(body), size))
        case Endless(chunk=chunk, interval=interval):
            stream.enable_chunked_encoding()
            pieces = repeat(chunk)  # until write() raises ConnectionError because the client has disconnected
    await stream.prepare(request)
    for piece in pieces:
        await stream.write(piece)
        await anyio.sleep(interval)
    if isinstance(action, Truncate) and request.transport is not None:  # pragma: no branch - as above
        request.transport.close()
    return stream


@lru_cache(maxsize=4)
def _compress_spaces(size: int) -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    block = b" " * 65536
    parts = [compressor.compress(block) for _ in range(size // len(block))]
    parts.append(compressor.compress(block[: size % len(block)]))
    return b"".join(parts) + compressor.flush()
