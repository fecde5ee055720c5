"""A request and a response, as plain data: all that the layers above the transport know of HTTP."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec


class RequestKind(enum.StrEnum):
    """What a request is for; requests are counted by it."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - a kind of request


class _Message(msgspec.Struct, frozen=True):
    """A message of HTTP, made for each call: a struct, which is made in a tenth of the time of a frozen attrs class.

    No repr shows the body, neither Python's nor rich's, which prints the locals of tracebacks: a secret may be in it.
    """

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "body"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Request(_Message, frozen=True, kw_only=True):
    """What to ask.

    Attributes:
        kind: What it is for.
        method: HTTP method.
        path: Below the base URL, percent-encoded, beginning with "/". A link that was followed is a whole URL.
        body: The JSON body (of a token request: a form, with the secret in it, hence never shown), or None.
        etag: An entity tag known from an earlier answer; the server may then answer 304.
        authorized: Whether the token goes along.
    """

    kind: RequestKind
    method: str
    path: str
    body: bytes | None = None
    etag: str | None = None
    authorized: bool = True

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does what sending it once does. A POST is not: it would make two backups."""
        return self.method != "POST"


class Response(_Message, frozen=True, kw_only=True):
    """A complete answer.

    Attributes:
        status: HTTP status.
        headers: Case-insensitive; one that came several times is joined with ", ".
        body: The whole body; never shown, because a token may be in it.
        method: Of the request.
        url: That was asked.
        attempt: Which attempt this answers, counted from 1.
        repeated: Whether an earlier attempt may have been acted upon, its answer lost.
        seconds: How long the answer took, from the request's leaving to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str
    url: str
    attempt: int = 1
    repeated: bool = False
    seconds: float = 0.0
