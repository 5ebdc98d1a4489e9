"""Reads of the database whose answers are shared by several callers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save

from messaging.service.contracts import StoreUnavailable

RECENT_SECONDS = 5.0  # for which pages may show what another process has changed

K = TypeVar("K")
T = TypeVar("T")


class ThreadCache(Generic[T]):
    """A cache of one value for threads, those of page requests: the result of `read`, at most RECENT_SECONDS old.

    It is read again as soon as this process has changed a row of `models`.
    """

    def __init__(self, read: Callable[[], T], *models: type[Model]) -> None:
        self._read = read
        self._slot: list[tuple[float, T]] = []  # the value, if there is one, and until when it is used
        for model in models:
            post_save.connect(self._changed, sender=model)
            post_delete.connect(self._changed, sender=model)

    def value(self) -> T:
        slot = self._slot
        if not slot or time.monotonic() > slot[0][0]:
            until = time.monotonic() + RECENT_SECONDS
            slot[:] = [(until, self._read())]
        return slot[0][1]

    def forget(self) -> None:
        """Have the next call read the value again. A read that is under way fills a slot that nobody reads."""
        self._slot = []

    def _changed(self, using: str, **_: object) -> None:
        transaction.on_commit(self.forget, using=using)


class LoopCache(Generic[T]):
    """A cache of one value for tasks of an event loop: the result of `read`, kept for `seconds` by `clock`."""

    def __init__(self, read: Callable[[], Awaitable[T]], seconds: float, clock: Callable[[], float]) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._found: tuple[float, T] | None = None
        self._asking: asyncio.Task[T] | None = None

    async def value(self, seconds: float | None = None) -> T:
        """Return the value, at most `seconds` old (default: those of this cache)."""
        seconds = self._seconds if seconds is None else seconds
        if self._found is None or self._clock() - self._found[0] >= seconds:
            if self._asking is None or self._asking.done():  # one read for all callers, up to a thousand
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(_heard)
            return await asyncio.shield(self._asking)
        return self._found[1]

    def forget(self) -> None:
        """Have the next call read the value again: it has just changed. A read that is under way is not kept."""
        self._found = self._asking = None

    async def _ask(self) -> T:
        found = await self._read()
        if self._asking is asyncio.current_task():
            self._found = (self._clock(), found)
        return found


class Together(Generic[K, T]):
    """One `read` for all keys that are requested in one turn of the event loop, or while another read is under way.

    Otherwise 1,000 visitors who reconnect at once would cause 1,000 reads, each with a change of threads. `value`
    raises StoreUnavailable if there is no answer within `seconds`.
    """

    def __init__(self, read: Callable[[set[K]], Awaitable[Mapping[K, T]]], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._keys: set[K] = set()
        self._next: asyncio.Task[Mapping[K, T]] | None = None
        self._turn = asyncio.Lock()

    async def value(self, key: K) -> T:
        self._keys.add(key)
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._ask())
            self._next.add_done_callback(_heard)
        try:
            async with asyncio.timeout(self._seconds):
                return (await asyncio.shield(self._next))[key]
        except TimeoutError:
            raise StoreUnavailable("database did not answer in time") from None

    async def _ask(self) -> Mapping[K, T]:
        async with self._turn:
            keys, self._keys, self._next = self._keys, set(), None
            return await self._read(keys)


def _heard(read: asyncio.Task[Any]) -> None:
    """Retrieve the error of `read`, so that asyncio does not log it if all callers have timed out meanwhile."""
    if not read.cancelled():
        read.exception()
