"""A request and a response, as plain data: all that the layers above the transport know of HTTP."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["Kind", "Request", "Response"]


class Kind(enum.StrEnum):
    """What a request is for; requests are counted by it."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    HEALTH = "health"
    TOKEN = "token"  # noqa: S105 - a kind of request


@attrs.frozen(kw_only=True)
class Request:
    """What to ask.

    Attributes:
        kind: What it is for.
        method: HTTP method.
        path: Below the base URL, percent-encoded, beginning with "/". A link that was followed is a whole URL.
        body: The JSON body (of a token request: a form, with the secret in it, hence never shown), or None.
        etag: An entity tag known from an earlier answer; the server may then answer 304.
        authorized: Whether the token goes along.
    """

    kind: Kind
    method: str
    path: str
    body: bytes | None = attrs.field(default=None, repr=False)
    etag: str | None = None
    authorized: bool = True

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does what sending it once does. A POST is not: it would make two backups."""
        return self.method != "POST"


@attrs.frozen(kw_only=True)
class Response:
    """A complete answer.

    Attributes:
        status: HTTP status.
        headers: Case-insensitive; one that came several times is joined with ", ".
        body: The whole body; never shown, because a token may be in it.
        method: Of the request.
        url: That was asked.
        attempt: Which attempt this answers, counted from 1.
        seconds: How long the answer took, from the request's leaving to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    method: str
    url: str
    attempt: int = 1
    seconds: float = 0.0
