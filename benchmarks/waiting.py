"""The sides of `benchmarks.peers`: how each library waits for a thousand backups, in a process of its own.

Each side receives the base URL, the token and the simulation speed, by which it divides every duration of its schedule.
The backups are created after it is ready, one star system after the other, and it waits for those of each from then on.
It records on the monotonic clock when it detects each completion.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from benchmarks.report import memory, peak_memory

Refs = list[tuple[str, int]]
"""Star systems and ids of backups."""


@attrs.define
class Job:
    """The settings and the results of a side.

    Attributes:
        base_url: The base URL of the service.
        token: The bearer token.
        tenant: The tenant.
        warm: Star system and id of a backup to request once before the measurement.
        speed: The simulation speed.
        every: The poll interval of the plain loop, in simulated seconds.
        spread: The time over which the waits start, in simulated seconds.
        started: The start of the wait for each backup, by id.
        detected: The time when its completion was detected, by id.
    """

    base_url: str
    token: str
    tenant: str
    warm: tuple[str, int]
    speed: float
    every: float = 30.0
    spread: float = 30.0
    started: dict[int, float] = attrs.field(factory=dict)
    detected: dict[int, float] = attrs.field(factory=dict)

    def scaled(self, seconds: float) -> float:
        """Return the real seconds of a simulated duration."""
        return seconds / self.speed

    def path(self, star_system: str, backup_id: int) -> str:
        """Return the path of a backup."""
        return f"/api/v1/tenants/{self.tenant}/starsystems/{star_system}/backups/{backup_id}"

    def url(self, star_system: str, backup_id: int) -> str:
        """Return the URL of a backup."""
        return self.base_url + self.path(star_system, backup_id)

    async def wait_in_waves(self, wait: Callable[[Refs], Coroutine[Any, Any, None]]) -> None:
        """Read the refs of created backups from stdin, star system by star system, and wait for them at once."""
        async with asyncio.TaskGroup() as tasks:
            while refs := json.loads(await asyncio.to_thread(sys.stdin.readline)):
                tasks.create_task(wait([(star_system, backup_id) for star_system, backup_id in refs]))

    async def start_staggered(self, refs: Refs, wait: Callable[[str, int], object]) -> None:
        """Start the waits one after another; waits that start at the same time would poll in bursts."""
        start, order = time.monotonic(), list(refs)
        random.Random(3).shuffle(order)
        for place, (star_system, backup_id) in enumerate(order):
            await asyncio.sleep(start + self.scaled(self.spread) * place / len(order) - time.monotonic())
            self.started[backup_id] = time.monotonic()
            wait(star_system, backup_id)

    async def one_task_each(self, wait: Callable[[str, int], Awaitable[object]]) -> None:
        """Run one task per backup that returns once the backup has succeeded."""

        async def run(star_system: str, backup_id: int) -> None:
            await wait(star_system, backup_id)
            self.detected[backup_id] = time.monotonic()

        async def run_all(refs: Refs) -> None:
            async with asyncio.TaskGroup() as tasks:
                await self.start_staggered(refs, lambda *ref: tasks.create_task(run(*ref)))

        await self.wait_in_waves(run_all)


Ready = Callable[[], None]
"""A callback for a side that is ready. The measurement starts there, and the backups are created."""


async def ours(job: Job, ready: Ready) -> None:
    """One watch per star system, with the default policy at the simulation speed."""
    async with _client(job) as client:
        ready()

        async def wait(refs: Refs) -> None:
            job.started.update(dict.fromkeys((backup_id for _, backup_id in refs), time.monotonic()))
            async with client.watch(refs) as watch:
                await _record_events(job, watch)

        await job.wait_in_waves(wait)


async def one_by_one(job: Job, ready: Ready) -> None:
    """One watch, to which backups are added at the times when the peers start their waits, without their age."""
    async with _client(job) as client:
        ready()
        async with client.watch() as watch, asyncio.TaskGroup() as tasks:

            async def add() -> None:
                await job.wait_in_waves(lambda refs: job.start_staggered(refs, watch.add))
                watch.finish()

            tasks.create_task(add())
            await _record_events(job, watch)


@asynccontextmanager
async def _client(job: Job) -> AsyncIterator[Any]:
    from asyncbackups import BackupClient, PollingPolicy  # noqa: PLC0415 - each side has its own imports

    policy = PollingPolicy().sped_up(job.speed)
    async with BackupClient(job.base_url, job.tenant, auth=job.token, polling=policy) as client:
        # The first GET is not measured on any side, nor are lazy imports: the connections are already open.
        await client.get(*job.warm)
        async with client.watch([job.warm]):
            await asyncio.sleep(0.1)
        yield client


async def _record_events(job: Job, watch: Any) -> None:
    async for event in watch:
        assert event.backup.status == "succeeded", event
        job.detected[event.ref.backup_id] = time.monotonic()


def _session(job: Job) -> Any:
    import aiohttp  # noqa: PLC0415

    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {job.token}"})


async def _get(session: Any, url: str) -> Any:
    async with session.get(url) as response:
        response.raise_for_status()
        return await response.json()


async def loop(job: Job, ready: Ready) -> None:
    """A hand-written loop: one task per backup requests it and sleeps in turn."""
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        ready()

        async def wait(star_system: str, backup_id: int) -> None:
            url = job.url(star_system, backup_id)
            while (await _get(session, url))["status"] != "succeeded":  # noqa: ASYNC110 - the loop to measure
                await asyncio.sleep(job.scaled(job.every))

        await job.one_task_each(wait)


async def azure(job: Job, ready: Ready) -> None:
    """azure-core: `AsyncLROPoller` with `AsyncLROBasePolling` and a `LongRunningOperation`, as it documents.

    A poller starts from the response to the create; here the response to one GET replaces all of them.
    """
    from azure.core import AsyncPipelineClient  # noqa: PLC0415
    from azure.core.pipeline import PipelineResponse  # noqa: PLC0415
    from azure.core.pipeline.policies import AsyncRetryPolicy, HeadersPolicy, RequestIdPolicy  # noqa: PLC0415
    from azure.core.polling import AsyncLROPoller  # noqa: PLC0415
    from azure.core.polling.async_base_polling import AsyncLROBasePolling  # noqa: PLC0415
    from azure.core.polling.base_polling import LongRunningOperation  # noqa: PLC0415
    from azure.core.rest import HttpRequest  # noqa: PLC0415

    class ByStatus(LongRunningOperation):  # type: ignore[misc]
        def can_poll(self, pipeline_response: Any) -> bool:
            self._url = pipeline_response.http_request.url
            return True

        def get_polling_url(self) -> str:
            return self._url

        def set_initial_status(self, pipeline_response: Any) -> str:  # noqa: ARG002 - azure-core's interface
            return "InProgress"

        def get_status(self, pipeline_response: Any) -> str:
            return "Succeeded" if pipeline_response.http_response.json()["status"] == "succeeded" else "InProgress"

        def get_final_get_url(self, pipeline_response: Any) -> None:  # noqa: ARG002 - azure-core's interface
            return None

    headers = HeadersPolicy({"Authorization": f"Bearer {job.token}"})
    policies = [RequestIdPolicy(), headers, AsyncRetryPolicy()]
    async with AsyncPipelineClient(job.base_url, policies=policies) as client:
        request = HttpRequest("GET", job.url(*job.warm))
        first: Any = await client.send_request(request, _return_pipeline_response=True)
        ready()

        async def wait(star_system: str, backup_id: int) -> None:
            method: Any = AsyncLROBasePolling(timeout=job.scaled(30), lro_algorithms=[ByStatus()])
            request = HttpRequest("GET", job.url(star_system, backup_id))
            initial = PipelineResponse(request, first.http_response, first.context)
            await AsyncLROPoller(client, initial, lambda response: response.http_response.json(), method).result()

        await job.one_task_each(wait)


async def google(job: Job, ready: Ready) -> None:
    """google-api-core: `operation_async.AsyncOperation.result()` with its default retry, at the simulation speed."""
    from google.api_core import operation_async, retry_async  # noqa: PLC0415
    from google.api_core.future.async_future import RETRY_PREDICATE  # noqa: PLC0415
    from google.longrunning import operations_pb2  # noqa: PLC0415
    from google.protobuf import empty_pb2  # noqa: PLC0415

    retry = retry_async.AsyncRetry(
        predicate=RETRY_PREDICATE, initial=job.scaled(1), maximum=job.scaled(60), multiplier=2, timeout=None
    )
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        ready()

        async def wait(star_system: str, backup_id: int) -> None:
            url = job.url(star_system, backup_id)

            async def refresh(retry: object = None) -> Any:  # noqa: ARG001 - google-api-core's interface
                backup = await _get(session, url)
                operation = operations_pb2.Operation(name=str(backup_id), done=backup["status"] == "succeeded")
                if operation.done:
                    operation.response.Pack(empty_pb2.Empty())
                return operation

            async def cancel() -> None:
                raise NotImplementedError

            first = operations_pb2.Operation(name=str(backup_id))
            operation = operation_async.AsyncOperation(first, refresh, cancel, empty_pb2.Empty, retry=retry)
            await operation.result()

        await job.one_task_each(wait)


async def botocore(job: Job, ready: Ready) -> None:
    """aiobotocore: its `AIOWaiter` with 15 s and at most 40 attempts; the operation is a GET with aiohttp."""
    from aiobotocore.waiter import AIOWaiter  # noqa: PLC0415
    from botocore.waiter import SingleWaiterConfig  # noqa: PLC0415

    succeeded = {"state": "success", "matcher": "path", "argument": "status", "expected": "succeeded"}
    config = SingleWaiterConfig(
        {"operation": "GetBackup", "delay": job.scaled(15), "maxAttempts": 40, "acceptors": [succeeded]}
    )
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        ready()

        async def get(*, url: str) -> Any:
            return await _get(session, url)

        async def wait(star_system: str, backup_id: int) -> None:
            await AIOWaiter("backup_succeeded", config, get).wait(url=job.url(star_system, backup_id))

        await job.one_task_each(wait)


SIDES: dict[str, Callable[[Job, Ready], Awaitable[None]]] = {
    "ours": ours,
    "one_by_one": one_by_one,
    "loop": loop,
    "azure": azure,
    "google": google,
    "botocore": botocore,
}


async def measure_side(side: str, job: Job) -> dict[str, Any]:
    before: dict[str, float] = {}

    def start() -> None:
        print("prepared", flush=True)
        before.update(cpu=time.process_time(), memory=float(memory()))

    await SIDES[side](job, start)
    return {
        "cpu": time.process_time() - before["cpu"],
        "peak": peak_memory(),
        "above": peak_memory() - before["memory"],
        "started": job.started,
        "detected": job.detected,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one side with the settings that `benchmarks.peers` sends to stdin, and print its measurements."""
    side = (sys.argv[1:] if argv is None else argv)[0]
    job = Job(**json.loads(sys.stdin.readline()))
    print(json.dumps(asyncio.run(measure_side(side, job))), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
