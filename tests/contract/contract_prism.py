"""The client against Prism, an independent mock server that implements only `docs/openapi.yaml`.

Not part of the default test run, hence the file's name. It needs node and Prism (`npm install @stoplight/prism-cli`);
the environment variable `PRISM` names its executable, "prism" by default::

    PRISM=node_modules/.bin/prism pytest tests/contract/contract_prism.py

Prism responds with 422 to a request that does not match the description, so a success shows that it does.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asyncbackups import (
    AmbiguousCreateError,
    BackupClient,
    BackupSpec,
    CreatePolicy,
    ProtocolError,
    RetryPolicy,
)

DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.yaml"
DOCUMENTED = 362
"""The id of the documented example backup."""


@pytest.fixture(scope="module")
def documented() -> Iterator[str]:
    """Serve the documented API."""
    yield from _run_prism(DESCRIPTION)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the documented API with one possible choice for everything that the documentation leaves open."""
    description = yaml.safe_load(DESCRIPTION.read_text())
    backup = {"application/json": {"schema": {"$ref": "#/components/schemas/Backup"}}}
    listed = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": backup["application/json"]["schema"]}},
    }
    description["components"]["responses"]["BackupList"]["content"] = {"application/json": {"schema": listed}}
    for path, methods in description["paths"].items():
        if "post" in methods and path.endswith("/backups"):
            methods["post"]["responses"] = {"201": {"description": "Created.", "content": backup}}
    path = tmp_path_factory.mktemp("prism") / "openapi.yaml"
    path.write_text(yaml.safe_dump(description))
    yield from _run_prism(path)


def _run_prism(description: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("PRISM", "prism"), "mock", "-h", "127.0.0.1", "-p", str(port), str(description)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line)
            if "is listening on" in line:
                break
        else:
            pytest.fail(f"Prism did not start: {''.join(output)}")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def client(base_url: str, **settings: Any) -> BackupClient:
    creating = CreatePolicy(settle=0, resends=0, patience=0)
    return BackupClient(
        base_url, "example", auth="a-token", creating=creating, retry=RetryPolicy(attempts=1), **settings
    )


async def test_get_reads_the_documented_example(documented: str) -> None:
    """The documented example backup is parsed completely."""
    async with client(documented) as backups:
        backup = await backups.get("test", DOCUMENTED)
    assert (backup.id, backup.status, backup.display_status) == (DOCUMENTED, "succeeded", "ready")
    assert backup.environment is not None
    assert backup.environment.name == "testbackup"


async def test_wait_returns_at_once_for_succeeded_backup(documented: str) -> None:
    """One get is enough."""
    async with client(documented) as backups:
        assert (await backups.wait("test", DOCUMENTED)).status == "succeeded"
        assert backups.requests == {"get": 1}


async def test_delete_is_sent_as_documented(documented: str) -> None:
    """Prism accepts the request."""
    async with client(documented) as backups:
        await backups.delete("test", DOCUMENTED)


async def test_create_is_sent_as_documented_and_response_without_id_is_ambiguous(documented: str) -> None:
    """The body follows the schema (else Prism returns 422); the response is not documented and has no id."""
    async with client(documented) as backups:
        with pytest.raises(AmbiguousCreateError):
            await backups.create("test", "earth", BackupSpec(retention_period_in_days=10))
        assert backups.requests["create"] == 1


async def test_list_response_without_list_is_an_error(documented: str) -> None:
    """For an object with undocumented members Prism returns `{}`: a protocol error, not an empty list."""
    async with client(documented) as backups:
        for planet in (None, "earth"):
            with pytest.raises(ProtocolError, match="no list"):
                await backups.list("test", planet)


async def test_all_operations_with_completed_description(completed: str) -> None:
    """With a list envelope and a create response chosen, all operations work."""
    async with client(completed) as backups:
        created = await backups.create("test", "earth", BackupSpec(retention_period_in_days=10))
        assert [backup.id for backup in await backups.list("test")] == [created.id]
        assert [backup.id for backup in await backups.list("test", "earth")] == [created.id]
        assert await backups.wait("test", created.id) == await backups.get("test", created.id)
        await backups.delete("test", created.id)
