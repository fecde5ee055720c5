"""What is sent back, before any web server sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import field, frozen

from asyncbackups.simulator.shape import ErrorBody

__all__ = ["Answer", "Incoming", "json_answer", "refusal"]

JSON_TYPE = {"Content-Type": "application/json"}


@frozen
class Answer:
    """A status, headers and a whole body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default=JSON_TYPE)


@frozen
class Incoming:
    """What the API looks at of a request, beside its route: the headers (any case), the body, the URL's origin."""

    headers: Mapping[str, str]
    body: bytes
    origin: str


def json_answer(status: int, content: Any, **headers: str) -> Answer:
    """Answer with a JSON body.

    Args:
        status: The HTTP status.
        content: What is encoded.
        headers: More headers, with underscores for hyphens.
    """
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, msgspec.json.encode(content), {**JSON_TYPE, **more})


def refusal(kind: ErrorBody, status: int, message: str, **headers: str) -> Answer:
    """Answer with an error.

    Args:
        kind: What the body is.
        status: The HTTP status.
        message: What a person may read.
        headers: More headers, with underscores for hyphens.
    """
    if kind is ErrorBody.JSON:
        return json_answer(status, {"status": status, "message": message}, **headers)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind is ErrorBody.TEXT:
        return Answer(status, message.encode(), {"Content-Type": "text/plain; charset=utf-8", **more})
    return Answer(status, b"", more)
