"""Caches: what is forgotten while it is being read does not come back."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from messaging.journal.sharing import LoopCache, ThreadCache
from tests.support.waiting import eventually

SOON = 10  # seconds


async def test_a_read_that_began_before_a_change_is_not_kept_by_the_cache_of_a_loop() -> None:
    answers: list[asyncio.Future[str]] = []

    async def read() -> str:
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    cache = LoopCache(read, 2.0, lambda: 0.0)
    before = asyncio.create_task(cache.value())
    await eventually(lambda: len(answers) == 1, "a read is under way")
    cache.forget()
    after = asyncio.create_task(cache.value())
    await eventually(lambda: len(answers) == 2, "so is another one")
    answers[1].set_result("new")
    assert await after == "new"
    answers[0].set_result("old")
    assert await before == "old"
    assert await cache.value() == "new"


def test_a_read_that_began_before_a_change_is_not_kept_by_the_cache_of_threads() -> None:
    has_begun, go_on = Event(), Event()
    answers = iter(["old", "new"])

    def read() -> str:
        answer = next(answers)
        if answer == "old":
            has_begun.set()
            assert go_on.wait(SOON)
        return answer

    cache = ThreadCache(read)
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(cache.value)
        assert has_begun.wait(SOON)
        cache.forget()
        assert cache.value() == "new"
        go_on.set()
        assert before.result(SOON) == "old"
    assert cache.value() == "new"
