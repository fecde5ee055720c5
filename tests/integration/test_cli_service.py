"""Services that are not what they should be: each command ends in one line, with status 4."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from asyncbackups import RetryPolicy
from asyncbackups.cli import options
from asyncbackups.simulator import Simulator
from tests.cli_program import Program, hosted, settings_for
from tests.raw_server import RawServer, http_response, respond_with


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Return what runs commands that do not retry."""
    monkeypatch.setitem(options.CLIENT_SETTINGS, "retry", RetryPolicy(attempts=1))
    return Program(capsys)


def use_service(monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    for name, value in settings_for(base_url).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Welcome</html>", "the response is not a JSON"),
        (b'{"message": "hello"}', "list"),
        (b'{"backups": [{"name": "no id"}]}', "id"),
        (b"", "JSON"),
        (b'{"backups": [', "JSON"),
    ],
)
def test_invalid_lists(run: Program, monkeypatch: pytest.MonkeyPatch, body: bytes, message: str) -> None:
    """A body that is not JSON, and JSON without a list, are quoted in one line."""
    with hosted(lambda: RawServer(respond_with(http_response(body)))) as (server, _):
        use_service(monkeypatch, server.url)
        ended = run("list", "alpha")
    assert (ended.status, ended.out) == (4, "")
    assert message in ended.error


def test_the_terminal_is_safe_from_the_service(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters that the service sends reach neither stdout nor stderr."""
    evil = b'{"backups": [{"id": 1, "status": "\\u001b[31mred\\nline"}]}'
    with hosted(lambda: RawServer(respond_with(http_response(evil)))) as (server, _):
        use_service(monkeypatch, server.url)
        people, programs = run("list", "alpha"), run("list", "alpha", "--json")
    assert "\x1b" not in people.out + programs.out
    assert len(people.out.splitlines()) == 2
    assert programs.json[0]["status"] == "\x1b[31mred\nline"


def test_create_without_an_id(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the response names no backup and no list settles it, the create's outcome is unknown.

    The first response is that to the list before the create.
    """
    with hosted(
        lambda: RawServer(
            respond_with(http_response(b"[]"), http_response(b"[]"), http_response(b"{}", status="403 Forbidden"))
        )
    ) as (server, _):
        use_service(monkeypatch, server.url)
        ended = run("create", "alpha/prod")
    assert (ended.status, ended.out) == (4, "")
    assert "alpha/prod: whether the backup was created is unknown" in ended.error


def test_refused_connection(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that the connection failed."""
    with hosted(Simulator) as (simulator, _):
        base_url = simulator.base_url
    use_service(monkeypatch, base_url)
    ended = run("health")
    assert (ended.status, "cannot connect" in ended.error) == (4, True)


def test_unknown_host(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that the host was not found."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    use_service(monkeypatch, "https://no-such-host.invalid")
    ended = run("health")
    assert (ended.status, "the host was not found" in ended.error) == (4, True)


@pytest.fixture
def untrusted() -> Iterator[Simulator]:
    """Serve over TLS with a certificate of an unknown authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with hosted(lambda: Simulator(host="localhost", ssl_context=context)) as (simulator, _):
        yield simulator


def test_a_certificate_that_does_not_verify(
    run: Program, untrusted: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to a server whose certificate does not verify."""
    use_service(monkeypatch, untrusted.base_url)
    ended = run("health")
    assert (ended.status, "certificate could not be verified" in ended.error) == (4, True)
    assert untrusted.counts.total == 0
