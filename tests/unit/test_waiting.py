"""`wait_until` and `eventually`, the two functions that wait for a condition."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import eventually, wait_until


def waited(condition: Callable[[], Any], *arguments: Any, **options: Any) -> Any:
    return asyncio.run(eventually(condition, *arguments, **options))


def awaited(condition: Callable[[], Any], *arguments: Any, **options: Any) -> Any:
    async def look() -> Any:
        return condition()

    return asyncio.run(eventually(look, *arguments, **options))


both = pytest.mark.parametrize("wait", [waited, awaited, wait_until])


@both
def test_what_became_true_is_returned(wait: Callable[..., Any]) -> None:
    looks = iter(["", "", "here", "gone"])
    assert wait(lambda: next(looks), "it is here") == "here"


@both
def test_what_counts_as_true_may_be_said(wait: Callable[..., Any]) -> None:
    looks = iter([2, 1, 0, 1])
    assert wait(lambda: next(looks), "none is left", until=lambda left: left == 0) == 0


@both
def test_it_says_what_was_waited_for_and_how_it_was_last(wait: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match=r"^not within 0\.1 s: all are here \(last: \['one'\]\)$"):
        wait(lambda: ["one"], "all are here", 0.1, until=lambda found: len(found) == 2)


@both
def test_what_a_condition_raises_is_not_taken_for_the_end_of_patience(wait: Callable[..., Any]) -> None:
    def refuse() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        wait(refuse, "it answers")


async def test_a_condition_that_hangs_is_not_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"^not within 0\.1 s: it answers \(last: None\)$"):
        await eventually(asyncio.Event().wait, "it answers", 0.1)
