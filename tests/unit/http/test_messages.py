"""Requests and responses as plain data."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from asyncbackups._http.messages import Request, RequestKind, Response


@pytest.mark.parametrize(("method", "idempotent"), [("GET", True), ("DELETE", True), ("PUT", True), ("POST", False)])
def test_only_post_is_not_idempotent(method: str, idempotent: bool) -> None:
    """A POST sent twice creates two backups; all other methods may be sent again."""
    assert Request(kind=RequestKind.GET, method=method, path="/x").is_idempotent is idempotent


def test_repr_hides_the_body() -> None:
    """A form with the client secret and a response with a token appear in no repr, nor in that of rich."""
    request = Request(kind=RequestKind.TOKEN, method="POST", path="/token", body=b"client_secret=s3cret")
    response = Response(status=200, headers={}, body=b'{"access_token": "s3cret"}', method="POST", url="https://h/")
    assert repr(request).startswith(
        "Request(kind=<RequestKind.TOKEN: 'token'>, method='POST', path='/token', etag=None, "
    )
    for shown in (repr(request), repr(response), pretty_repr(request), pretty_repr(response)):
        assert "s3cret" not in shown


def test_request_defaults() -> None:
    """The token is sent by default; there is no body and no entity tag."""
    request = Request(kind=RequestKind.GET, method="GET", path="/x")
    assert (request.authorized, request.body, request.etag) == (True, None, None)
