"""Tests of the event loop in virtual time."""

import asyncio
import threading
import time

import pytest

from .virtual_loop import Deadlock, VirtualTimeout, run_virtually


def test_hours_pass_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400.0 * 30)
        return asyncio.get_running_loop().time()

    started = time.perf_counter()
    assert run_virtually(main, limit=1e7) == pytest.approx(86_400.0 * 30, abs=1e-3)
    assert time.perf_counter() - started < 1.0


def test_timers_fire_in_order() -> None:
    order: list[float] = []

    async def wait(delay: float) -> None:
        await asyncio.sleep(delay)
        order.append(delay)

    async def main() -> None:
        await asyncio.gather(*(wait(delay) for delay in (3.0, 1.0, 2.5, 0.0, 1000.0)))

    run_virtually(main, limit=2000.0)
    assert order == [0.0, 1.0, 2.5, 3.0, 1000.0]


def test_timeout_works_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60.0):
                await asyncio.sleep(61.0)
        return asyncio.get_running_loop().time()

    assert run_virtually(main, limit=100.0) == pytest.approx(60.0, abs=1e-3)


def test_deadlock_is_reported() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run_virtually(main, limit=100.0)


def test_limit_is_reported_and_tasks_are_cancelled() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await asyncio.sleep(500.0)
        finally:
            await asyncio.sleep(1.0)
            ended.append(asyncio.get_running_loop().time())

    with pytest.raises(VirtualTimeout):
        run_virtually(main, limit=100.0)
    assert len(ended) == 1


def test_livelock_is_reported() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(VirtualTimeout, match="livelock"):
        run_virtually(main, limit=100.0, max_turns=10_000)


def test_spinning_advances_the_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < 0.01:
            await asyncio.sleep(0)

    run_virtually(main, limit=1.0)


def test_repeated_tiny_sleeps_end() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        due = 12_345.678901
        while loop.time() < due:
            await asyncio.sleep(due - loop.time())

    run_virtually(main, limit=20_000.0, max_turns=1000)


def test_error_of_the_main_task_is_raised() -> None:
    async def main() -> None:
        await asyncio.sleep(1.0)
        raise ValueError("main")

    with pytest.raises(ValueError, match="main"):
        run_virtually(main, limit=10.0)


def test_threads_run_inline() -> None:
    async def main() -> int:
        return await asyncio.to_thread(threading.get_ident)

    assert run_virtually(main, limit=1.0) == threading.get_ident()


def test_error_in_a_thread_is_raised() -> None:
    def fail() -> None:
        raise KeyError("thread")

    async def main() -> None:
        await asyncio.to_thread(fail)

    with pytest.raises(KeyError):
        run_virtually(main, limit=1.0)


def test_clock_stands_still_while_a_thread_is_busy() -> None:
    working = True

    async def main() -> float:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def work() -> None:
            nonlocal working
            time.sleep(0.02)
            working = False
            loop.call_soon_threadsafe(done.set_result, None)

        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(5.0):
            await done
        thread.join()
        return loop.time()

    assert run_virtually(main, limit=10.0, busy=lambda: working) < 1.0


def test_loop_is_about_as_fast_as_an_ordinary_one() -> None:
    async def main() -> None:
        for _ in range(5000):
            await asyncio.sleep(0.001)

    started = time.perf_counter()
    run_virtually(main, limit=100.0)
    assert time.perf_counter() - started < 2.0


def test_runs_are_deterministic() -> None:
    async def main() -> list[float]:
        times: list[float] = []

        async def note(number: int) -> None:
            for step in range(5):
                await asyncio.sleep(0.1 * number + 0.01 * step)
                times.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(note(number) for number in range(10)))
        return times

    assert run_virtually(main, limit=100.0) == run_virtually(main, limit=100.0)
