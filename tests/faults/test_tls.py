"""Real TLS with real certificates, and real proxies: a server that cannot be verified receives nothing."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trustme

from asyncbackups import (
    BackupClient,
    BackupSpec,
    CertificateError,
    ClientCredentials,
    ConfigurationError,
    ConnectError,
    PollingPolicy,
    RetryPolicy,
)
from asyncbackups.simulator import Fixed, Simulator, Workload
from tests.faults.connect_proxy import ConnectProxy
from tests.faults.harness import ACCESS
from tests.faults.secret_scan import error_texts, find_secrets
from tests.raw_server import RawServer, http_response, respond_with

SPEC = BackupSpec(retention_period_in_days=2)
SHORT = RetryPolicy(attempts=2, initial=0.001)
FAST = PollingPolicy(initial=0.01, maximum=0.05)


@attrs.frozen
class Authority:
    """A certificate authority, and a client context that trusts it."""

    ca: trustme.CA
    trusting: ssl.SSLContext

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    ca = trustme.CA()
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return Authority(ca, context)


@pytest.fixture
async def sim(authority: Authority) -> AsyncIterator[Simulator]:
    workload = Workload(duration=Fixed(0.0))
    async with Simulator(ssl_context=authority.server("127.0.0.1"), access=ACCESS, workload=workload) as simulator:
        yield simulator


async def create_and_wait(client: BackupClient) -> None:
    async with client:
        backup = await client.create("solar", "earth", SPEC)
        assert (await client.wait("solar", backup.id)).id == backup.id


async def test_ssl_context_is_used(sim: Simulator, authority: Authority):
    """The caller's `ssl` context verifies the service and the token endpoint."""
    auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
    await create_and_wait(BackupClient(sim.base_url, sim.tenant, auth=auth, ssl=authority.trusting, polling=FAST))
    assert sim.creates.total() == 1


async def test_ssl_cert_file_is_honored(
    sim: Simulator, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A context created after `SSL_CERT_FILE` was set trusts that authority."""
    authority.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    await create_and_wait(
        BackupClient(sim.base_url, sim.tenant, auth=sim.token, ssl=ssl.create_default_context(), polling=FAST)
    )
    assert sim.creates.total() == 1


@pytest.mark.parametrize("why", ["another host", "an unknown authority"])
async def test_unverified_server_receives_no_request(authority: Authority, why: str):
    """A certificate for another host or from an unknown authority raises `CertificateError` before any request."""
    issuer = authority if why == "another host" else Authority(trustme.CA(), authority.trusting)
    context = issuer.server("elsewhere.example" if why == "another host" else "127.0.0.1")
    async with RawServer(respond_with(http_response()), context=context) as server:
        client = BackupClient(server.url, "t", auth=ACCESS.token, ssl=authority.trusting, retry=SHORT)
        async with client:
            for send in (lambda: client.create("s", "p", SPEC), lambda: client.get("s", 1)):
                with pytest.raises(CertificateError) as caught:
                    await send()
                assert not caught.value.sent
                assert not find_secrets({ACCESS.token}, error_texts(caught.value))
    assert server.requests == []


async def test_unverified_token_endpoint_receives_no_secret(sim: Simulator, authority: Authority):
    """The client secret is not sent, and neither is a request without a token."""
    unknown = Authority(trustme.CA(), authority.trusting)
    async with RawServer(respond_with(http_response()), context=unknown.server("127.0.0.1")) as hub:
        auth = ClientCredentials(f"{hub.url}/token", ACCESS.client_id, ACCESS.client_secret, scopes=sim.scopes)
        client = BackupClient(sim.base_url, sim.tenant, auth=auth, ssl=authority.trusting, retry=SHORT)
        async with client:
            with pytest.raises(CertificateError) as caught:
                await client.create("solar", "earth", SPEC)
            assert not find_secrets({ACCESS.client_secret}, error_texts(caught.value))
    assert hub.requests == []
    assert sim.counts.total == 0


async def test_proxy_cannot_read_https(sim: Simulator, authority: Authority):
    """HTTPS uses a tunnel: the proxy sees the host, but neither the token nor a path."""
    async with ConnectProxy() as proxy:
        client = BackupClient(
            sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, polling=FAST, proxy=proxy.url
        )
        await create_and_wait(client)
        assert {head.split(" ", 2)[0] for head in proxy.heads} == {"CONNECT"}
        assert not find_secrets({sim.token}, proxy.heads)
        assert "tenants" not in "".join(proxy.heads)
    assert sim.creates.total() == 1


async def test_proxy_with_a_password(sim: Simulator, authority: Authority):
    """The correct password opens the tunnel; a wrong one raises `ConnectError`, which does not show it."""
    password = "pass/word+of=a~proxy"
    async with ConnectProxy(login=("user", password)) as proxy:
        for given, works in ((password, True), ("another+wrong/password", False)):
            escaped = given.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
            url = proxy.url.replace("//", f"//user:{escaped}@")
            client = BackupClient(
                sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, polling=FAST, proxy=url, retry=SHORT
            )
            if works:
                await create_and_wait(client)
                continue
            async with client:
                with pytest.raises(ConnectError) as caught:
                    await client.create("solar", "earth", SPEC)
                assert not find_secrets({given, sim.token}, error_texts(caught.value))
    assert sim.creates.total() == 1


async def test_proxy_that_refuses_connections(sim: Simulator, authority: Authority):
    """A 503 of the proxy is not the service's: the create was not sent, so its outcome is not ambiguous."""
    async with ConnectProxy(refuses="503 Service Unavailable") as proxy:
        client = BackupClient(
            sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, polling=FAST, proxy=proxy.url, retry=SHORT
        )
        async with client:
            with pytest.raises(ConnectError):
                await client.create("solar", "earth", SPEC)
    assert sim.counts.total == 0


def test_plain_http_through_a_proxy_is_refused():
    """The proxy could read the token."""
    with pytest.raises(ConfigurationError, match="proxy"):
        BackupClient("http://127.0.0.1:1", "t", auth=ACCESS.token, proxy="http://127.0.0.1:2")
