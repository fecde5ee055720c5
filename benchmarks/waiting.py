"""How each side of `benchmarks.peers` waits for a thousand backups: the code of the comparison, in one process a side.

Every side gets the same: base URL, token, and by how much the world runs faster than life (`speed`), by which it
divides every duration of its schedule. Once it is prepared the backups are created, star system by star system, and it
waits for those of each from then on. It notes on the machine's monotonic clock when it knew of each.
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
    """What to wait for.

    Attributes:
        base_url: Of the service.
        token: The bearer token.
        tenant: The tenant.
        warm: Star system and id of a backup to get once before, which nobody waits for.
        speed: By how much the world is faster than life.
        every: For the plain loop: seconds of the world from poll to poll.
        spread: Seconds of the world over which the waits begin.
        began: When the wait for each backup began, by id.
        heard: When it was known that it had ended.
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

    def scaled(self, of_the_world: float) -> float:
        """Return how long something takes here."""
        return of_the_world / self.speed

    def path(self, star_system: str, backup_id: int) -> str:
        """Return the path of a backup."""
        return f"/api/v1/tenants/{self.tenant}/starsystems/{star_system}/backups/{backup_id}"

    def url(self, star_system: str, backup_id: int) -> str:
        """Return the URL of a backup."""
        return self.base_url + self.path(star_system, backup_id)

    async def wait_in_waves(self, wait: Callable[[Refs], Coroutine[Any, Any, None]]) -> None:
        """Wait for the backups of each star system as soon as they have been created; they come by stdin."""
        async with asyncio.TaskGroup() as tasks:
            while refs := json.loads(await asyncio.to_thread(sys.stdin.readline)):
                tasks.create_task(wait([(star_system, backup_id) for star_system, backup_id in refs]))

    async def start_staggered(self, refs: Refs, begin: Callable[[str, int], object]) -> None:
        """Begin to wait for one backup after the other: waits that begin in one instant would poll in bursts."""
        start, order = time.monotonic(), list(refs)
        random.Random(3).shuffle(order)
        for place, (star_system, backup_id) in enumerate(order):
            await asyncio.sleep(start + self.scaled(self.spread) * place / len(order) - time.monotonic())
            self.started[backup_id] = time.monotonic()
            begin(star_system, backup_id)

    async def one_task_each(self, wait: Callable[[str, int], Awaitable[object]]) -> None:
        """Run a task for each backup, that returns once it has succeeded."""

        async def run(star_system: str, backup_id: int) -> None:
            await wait(star_system, backup_id)
            self.detected[backup_id] = time.monotonic()

        async def run_all(refs: Refs) -> None:
            async with asyncio.TaskGroup() as tasks:
                await self.start_staggered(refs, lambda *ref: tasks.create_task(run(*ref)))

        await self.wait_in_waves(run_all)


Ready = Callable[[], None]
"""What a side calls between what it prepares, which is not counted, and the wait: then the backups are created."""


async def ours(job: Job, go: Ready) -> None:
    """A watch for each star system; the policy's defaults, every duration divided by the speed."""
    async with _client(job) as client:
        go()

        async def wait(refs: Refs) -> None:
            job.started.update(dict.fromkeys((backup_id for _, backup_id in refs), time.monotonic()))
            async with client.watch(refs) as watch:
                await _record_events(job, watch)

        await job.wait_in_waves(wait)


async def one_by_one(job: Job, go: Ready) -> None:
    """One watch, to which backups are added when the others begin to wait for them, nothing known of their age."""
    async with _client(job) as client:
        go()
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
        # Everybody's first get is before, and lazy imports (the engine and what it runs in): the connections are there.
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
    async with session.get(url) as answer:
        answer.raise_for_status()
        return await answer.json()


async def loop(job: Job, go: Ready) -> None:
    """The hand-written loop: a task for each backup gets it, sleeps, gets it again; at most 200 times for planet."""
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        go()

        async def wait(star_system: str, backup_id: int) -> None:
            url = job.url(star_system, backup_id)
            while (await _get(session, url))["status"] != "succeeded":  # noqa: ASYNC110 - that is what it does
                await asyncio.sleep(job.scaled(job.every))

        await job.one_task_each(wait)


async def azure(job: Job, go: Ready) -> None:
    """azure-core: `AsyncLROPoller` with `AsyncLROBasePolling` and an own `LongRunningOperation`, as it documents.

    The first answer that a poller starts from would be the create's; here that to one get stands in for all of them.
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
        answered: Any = await client.send_request(request, _return_pipeline_response=True)
        go()

        async def wait(star_system: str, backup_id: int) -> None:
            method: Any = AsyncLROBasePolling(timeout=job.scaled(30), lro_algorithms=[ByStatus()])
            request = HttpRequest("GET", job.url(star_system, backup_id))
            answer = PipelineResponse(request, answered.http_response, answered.context)
            await AsyncLROPoller(client, answer, lambda response: response.http_response.json(), method).result()

        await job.one_task_each(wait)


async def google(job: Job, go: Ready) -> None:
    """google-api-core: `operation_async.AsyncOperation.result()`; its default retry, durations over the speed."""
    from google.api_core import operation_async, retry_async  # noqa: PLC0415
    from google.api_core.future.async_future import RETRY_PREDICATE  # noqa: PLC0415
    from google.longrunning import operations_pb2  # noqa: PLC0415
    from google.protobuf import empty_pb2  # noqa: PLC0415

    retry = retry_async.AsyncRetry(
        predicate=RETRY_PREDICATE, initial=job.scaled(1), maximum=job.scaled(60), multiplier=2, timeout=None
    )
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        go()

        async def wait(star_system: str, backup_id: int) -> None:
            url = job.url(star_system, backup_id)

            async def refresh(retry: object = None) -> Any:  # noqa: ARG001 - google-api-core's interface
                answer = await _get(session, url)
                operation = operations_pb2.Operation(name=str(backup_id), done=answer["status"] == "succeeded")
                if operation.done:
                    operation.response.Pack(empty_pb2.Empty())
                return operation

            async def cancel() -> None:
                raise NotImplementedError

            first = operations_pb2.Operation(name=str(backup_id))
            operation = operation_async.AsyncOperation(first, refresh, cancel, empty_pb2.Empty, retry=retry)
            await operation.result()

        await job.one_task_each(wait)


async def botocore(job: Job, go: Ready) -> None:
    """aiobotocore: its own `AIOWaiter`, 15 s and at most 40 attempts; the operation is a get with aiohttp."""
    from aiobotocore.waiter import AIOWaiter  # noqa: PLC0415
    from botocore.waiter import SingleWaiterConfig  # noqa: PLC0415

    succeeded = {"state": "success", "matcher": "path", "argument": "status", "expected": "succeeded"}
    config = SingleWaiterConfig(
        {"operation": "GetBackup", "delay": job.scaled(15), "maxAttempts": 40, "acceptors": [succeeded]}
    )
    async with _session(job) as session:
        await _get(session, job.url(*job.warm))
        go()

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


async def run(side: str, job: Job) -> dict[str, Any]:
    used: dict[str, float] = {}

    def go() -> None:
        print("prepared", flush=True)
        used.update(cpu=time.process_time(), memory=float(memory()))

    await SIDES[side](job, go)
    return {
        "cpu": time.process_time() - used["cpu"],
        "peak": peak_memory(),
        "above": peak_memory() - used["memory"],
        "began": job.started,
        "heard": job.detected,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Wait as one side does, told by `benchmarks.peers` over stdin."""
    side = (sys.argv[1:] if argv is None else argv)[0]
    job = Job(**json.loads(sys.stdin.readline()))
    print(json.dumps(asyncio.run(run(side, job))), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
