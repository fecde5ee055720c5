"""Real TLS with real certificates, and real proxies: who is not who it says to be is told nothing."""

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
    RetryPolicy,
)
from asyncbackups.simulator import Fixed, Simulator, Workload
from tests.faults.connect_proxy import ConnectProxy
from tests.faults.harness import ACCESS
from tests.faults.secret_scan import error_texts, find_secrets
from tests.raw_server import RawServer, http_response, respond_with

SPEC = BackupSpec(retention_period_in_days=2)
SHORT = RetryPolicy(attempts=2, initial=0.001)


@attrs.frozen
class Authority:
    """A certificate authority of our own, and a client's context that trusts it."""

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


async def test_a_context_of_the_callers_verifies(sim: Simulator, authority: Authority):
    """With the authority in `ssl`, for the service and the token endpoint alike."""
    auth = ClientCredentials(sim.token_url, sim.client_id, sim.client_secret, scopes=sim.scopes)
    await create_and_wait(BackupClient(sim.base_url, sim.tenant, auth=auth, ssl=authority.trusting))
    assert sim.creates.total() == 1


async def test_ssl_cert_file_verifies(
    sim: Simulator, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The variable that OpenSSL knows is honoured by a context that is made after it was set."""
    authority.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    await create_and_wait(BackupClient(sim.base_url, sim.tenant, auth=sim.token, ssl=ssl.create_default_context()))
    assert sim.creates.total() == 1


@pytest.mark.parametrize("why", ["another host", "an unknown authority"])
async def test_a_server_that_cannot_be_verified_is_told_nothing(authority: Authority, why: str):
    """A certificate for another host, or from nobody known: CertificateError, and not one byte of a request."""
    known = authority if why == "another host" else Authority(trustme.CA(), authority.trusting)
    context = known.server("elsewhere.example" if why == "another host" else "127.0.0.1")
    async with RawServer(respond_with(http_response()), context=context) as server:
        client = BackupClient(server.url, "t", auth=ACCESS.token, ssl=authority.trusting, retry=SHORT)
        async with client:
            for ask in (lambda: client.create("s", "p", SPEC), lambda: client.get("s", 1)):
                with pytest.raises(CertificateError) as caught:
                    await ask()
                assert not caught.value.sent
                assert not find_secrets({ACCESS.token}, error_texts(caught.value))
    assert server.requests == []


async def test_a_token_endpoint_that_cannot_be_verified_gets_no_secret(sim: Simulator, authority: Authority):
    """The client secret stays here, and the service is not asked without a token."""
    strange = Authority(trustme.CA(), authority.trusting)
    async with RawServer(respond_with(http_response()), context=strange.server("127.0.0.1")) as hub:
        auth = ClientCredentials(f"{hub.url}/token", ACCESS.client_id, ACCESS.client_secret, scopes=sim.scopes)
        client = BackupClient(sim.base_url, sim.tenant, auth=auth, ssl=authority.trusting, retry=SHORT)
        async with client:
            with pytest.raises(CertificateError) as caught:
                await client.create("solar", "earth", SPEC)
            assert not find_secrets({ACCESS.client_secret}, error_texts(caught.value))
    assert hub.requests == []
    assert sim.counts.total == 0


async def test_through_a_proxy_nothing_is_readable(sim: Simulator, authority: Authority):
    """Https goes through a tunnel; the proxy sees where to, and neither the token nor a path."""
    async with ConnectProxy() as proxy:
        client = BackupClient(sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, proxy=proxy.url)
        await create_and_wait(client)
        assert {head.split(" ", 2)[0] for head in proxy.heads} == {"CONNECT"}
        assert not find_secrets({sim.token}, proxy.heads)
        assert "tenants" not in "".join(proxy.heads)
    assert sim.creates.total() == 1


async def test_a_proxy_with_a_password(sim: Simulator, authority: Authority):
    """The right one opens the tunnel; the wrong one ends in ConnectError, and neither is shown."""
    password = "pass/word+of=a~proxy"
    async with ConnectProxy(login=("user", password)) as proxy:
        for given, works in ((password, True), ("another+wrong/password", False)):
            escaped = given.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
            url = proxy.url.replace("//", f"//user:{escaped}@")
            client = BackupClient(
                sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, proxy=url, retry=SHORT
            )
            if works:
                await create_and_wait(client)
                continue
            async with client:
                with pytest.raises(ConnectError) as caught:
                    await client.create("solar", "earth", SPEC)
                assert not find_secrets({given, sim.token}, error_texts(caught.value))
    assert sim.creates.total() == 1


async def test_a_proxy_that_refuses(sim: Simulator, authority: Authority):
    """Its 503 is not the service's: the create was surely not sent, and is no riddle."""
    async with ConnectProxy(refuses="503 Service Unavailable") as proxy:
        client = BackupClient(
            sim.base_url, sim.tenant, auth=sim.token, ssl=authority.trusting, proxy=proxy.url, retry=SHORT
        )
        async with client:
            with pytest.raises(ConnectError):
                await client.create("solar", "earth", SPEC)
    assert sim.counts.total == 0


def test_plain_http_through_a_proxy_is_refused():
    """It would show the token to the proxy."""
    with pytest.raises(ConfigurationError, match="proxy"):
        BackupClient("http://127.0.0.1:1", "t", auth=ACCESS.token, proxy="http://127.0.0.1:2")
