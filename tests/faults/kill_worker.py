"""One process of a journaled bulk run that a test kills: python kill_worker.py SETTINGS_AS_JSON.

It prints each event as a line of JSON before it requests the next one, and the report at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from asyncbackups import BackupClient, BackupSpec, BulkRun, CreatePolicy, PollingPolicy
from asyncbackups.events import CreateFailed


def print_json(**members: Any) -> None:
    sys.stdout.write(json.dumps(members) + "\n")
    sys.stdout.flush()


def open_run(client: BackupClient, settings: dict[str, Any]) -> BulkRun:
    journal, targets = settings["journal"], settings["targets"]
    if settings["start"] == "resume":
        return client.resume(journal, concurrency=settings["concurrency"])
    planets = targets if settings["start"] == "list" else iter(targets)
    return client.bulk_create(planets, BackupSpec(), journal=journal, concurrency=settings["concurrency"])


async def main(settings: dict[str, Any]) -> None:
    client = BackupClient(
        settings["base_url"],
        settings["tenant"],
        auth=settings["token"],
        polling=PollingPolicy(initial=0.05, maximum=0.2),
        creating=CreatePolicy(settle=settings["settle"]),
    )
    async with client, open_run(client, settings) as run:
        async for event in run:
            name = type(event).__name__
            ref = None if isinstance(event, CreateFailed) else event.ref.backup_id
            print_json(event=name, id=event.id, planet=str(event.planet), backup=ref)
    report = run.report
    counts = {name: getattr(report, name) for name in ("planets", "created", "succeeded", "failed", "create_failed")}
    print_json(report=counts, outcomes=len(report.outcomes))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
