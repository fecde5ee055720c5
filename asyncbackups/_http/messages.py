"""Requests and responses as plain data: the layers above the transport use nothing else of HTTP."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec


class RequestKind(enum.StrEnum):
    """The kind of a request; requests are counted by kind."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - a kind of request


class _Message(msgspec.Struct, frozen=True):
    """An HTTP message. A struct, because creating one takes a tenth of the time of a frozen attrs class.

    No repr shows the body, which may contain a secret: neither Python's nor that of rich, which prints local variables.
    """

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "body"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Request(_Message, frozen=True, kw_only=True):
    """An HTTP request.

    Attributes:
        path: The percent-encoded path below the base URL, starting with "/"; or a complete URL (the link to a page).
        body: The JSON body (a token request has a form, with the client secret), or None.
        etag: The entity tag of an earlier response, or None; with it the server may respond 304.
        authorized: Whether to send the token.
    """

    kind: RequestKind
    method: str
    path: str
    body: bytes | None = None
    etag: str | None = None
    authorized: bool = True

    @property
    def is_idempotent(self) -> bool:
        """Whether the request may be sent twice. A POST may not: it would create two backups."""
        return self.method != "POST"


class Response(_Message, frozen=True, kw_only=True):
    """A complete HTTP response.

    Attributes:
        headers: Case-insensitive headers; repeated ones are joined with ", ".
        attempt: The number of the attempt, counted from 1.
        repeated: Whether an earlier attempt with a lost response may have been processed.
        seconds: Time from sending the request to the last byte of the response.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str
    url: str
    attempt: int = 1
    repeated: bool = False
    seconds: float = 0.0
