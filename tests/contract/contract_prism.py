"""The client against Prism, an independent mock server that knows nothing but `docs/openapi.yaml`.

Not part of the default test run, hence the file's name. It needs node and Prism (`npm install @stoplight/prism-cli`);
the environment variable `PRISM` names its program, "prism" unless given::

    PRISM=node_modules/.bin/prism pytest tests/contract/contract_prism.py

Prism answers 422 to a request that is not as described, so what succeeds here has been sent as documented.
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
"""The id of the guide's example."""


@pytest.fixture(scope="module")
def documented() -> Iterator[str]:
    """Serve what is documented."""
    yield from _prism(DESCRIPTION)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve what is documented, with one of the ways in which its unknowns may turn out."""
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
    yield from _prism(path)


def _prism(description: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("PRISM", "prism"), "mock", "-h", "127.0.0.1", "-p", str(port), str(description)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "is listening on" in line:
                break
        else:
            pytest.fail(f"Prism did not start: {''.join(said)}")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def client(base_url: str, **settings: Any) -> BackupClient:
    creating = CreatePolicy(settle=0, resends=0, patience=0)
    return BackupClient(
        base_url, "example", auth="a-token", creating=creating, retry=RetryPolicy(attempts=1), **settings
    )


async def test_get_reads_the_documented_example(documented: str) -> None:
    """The guide's own backup comes out as it is printed there."""
    async with client(documented) as backups:
        backup = await backups.get("test", DOCUMENTED)
    assert (backup.id, backup.status, backup.display_status) == (DOCUMENTED, "succeeded", "ready")
    assert backup.environment is not None
    assert backup.environment.name == "testbackup"


async def test_wait_ends_at_once_for_what_has_succeeded(documented: str) -> None:
    """One get is enough."""
    async with client(documented) as backups:
        assert (await backups.wait("test", DOCUMENTED)).status == "succeeded"
        assert backups.requests == {"get": 1}


async def test_delete_is_sent_as_documented(documented: str) -> None:
    """Prism takes it."""
    async with client(documented) as backups:
        await backups.delete("test", DOCUMENTED)


async def test_create_is_sent_as_documented_and_an_answer_without_id_is_ambiguous(documented: str) -> None:
    """The body follows the schema (else Prism says 422); no answer is documented, so the id must be looked for."""
    async with client(documented) as backups:
        with pytest.raises(AmbiguousCreateError):
            await backups.create("test", "earth", BackupSpec(retention_period_in_days=10))
        assert backups.requests["create"] == 1


async def test_a_list_without_a_list_is_told(documented: str) -> None:
    """Prism's answer to an object of unknown members is an empty one: no list, and never an empty list."""
    async with client(documented) as backups:
        for planet in (None, "earth"):
            with pytest.raises(ProtocolError, match="no list"):
                await backups.list("test", planet)


async def test_all_five_operations_where_the_unknowns_are_settled(completed: str) -> None:
    """With an envelope and a create answer chosen, everything works end to end."""
    async with client(completed) as backups:
        created = await backups.create("test", "earth", BackupSpec(retention_period_in_days=10))
        assert [backup.id for backup in await backups.list("test")] == [created.id]
        assert [backup.id for backup in await backups.list("test", "earth")] == [created.id]
        assert await backups.wait("test", created.id) == await backups.get("test", created.id)
        await backups.delete("test", created.id)
