"""Places are taken in turn, none is lost and none is given twice, whoever gives up when."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.concurrency import turns
from registry.concurrency.turns import Turns
from registry.errors import Busy

NO_END = 600.0


async def test_one_of_each_lane_goes_before_the_second_of_any() -> None:
    place, served = Turns(1), list[str]()

    async def want(lane: str) -> None:
        async with place.turn(lane, NO_END):
            served.append(lane)
            await asyncio.sleep(0)

    await asyncio.gather(*map(want, ["flood"] * 50 + ["late"] * 3))

    assert served[:7] == ["flood", "late", "flood", "late", "flood", "late", "flood"]
    assert len(served) == 53


@settings(deadline=None)
@given(
    places=st.integers(1, 3),
    wants=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.booleans()), max_size=20),
)
def test_whoever_gives_up_no_place_is_lost_or_given_twice(places: int, wants: list[tuple[str, int, bool]]) -> None:
    async def check() -> None:
        place, now = Turns(places), Counter[str]()
        most, most_of_one = 0, 0

        async def want(lane: str, steps: int) -> None:
            nonlocal most, most_of_one
            async with place.turn(lane, NO_END):
                now[lane] += 1
                most, most_of_one = max(most, now.total()), max(most_of_one, now[lane])
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                finally:
                    now[lane] -= 1

        tasks = [asyncio.create_task(want(lane, steps)) for lane, steps, _ in wants]
        for task, (_, steps, gives_up) in zip(tasks, wants, strict=True):
            for _ in range(steps):
                await asyncio.sleep(0)
            if gives_up:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= places
        assert most_of_one <= max(places - 1, 1)
        async with asyncio.timeout(NO_END):
            async with place.turn("x", 0), asyncio.TaskGroup():
                pass
        assert place._free == places
        assert {**place._waiting, **place._own, **place._here} == {}

    asyncio.run(check())


async def test_who_holds_on_to_all_that_he_gets_leaves_one_to_the_others() -> None:
    place, is_over = Turns(8), asyncio.Event()

    async def hold() -> None:
        async with place.turn("a", NO_END):
            await is_over.wait()

    held = [asyncio.create_task(hold()) for _ in range(50)]
    for _ in range(3):
        async with place.turn("b", 1):
            await asyncio.sleep(0)
    is_over.set()
    await asyncio.gather(*held)


async def test_who_gets_no_place_in_time_is_told_so_and_takes_none() -> None:
    place = Turns(1)

    async with place.turn("a", NO_END):
        with pytest.raises(Busy, match="no turn came within 0 s"):
            async with place.turn("b", 0):
                pass

    async with place.turn("b", 0):
        pass


async def test_of_one_so_many_may_wait_and_others_have_their_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 4)
    place, served = Turns(1), list[str]()

    async def want(lane: str) -> None:
        async with place.turn(lane, NO_END):
            served.append(lane)

    async with place.turn("first", NO_END):
        flood = [asyncio.create_task(want("flood")) for _ in range(6)]
        late = [asyncio.create_task(want("late")) for _ in range(3)]
        await asyncio.sleep(0)
    done = await asyncio.gather(*flood, *late, return_exceptions=True)

    assert [isinstance(one, Busy) for one in done] == [False] * 4 + [True] * 2 + [False] * 2 + [True]
    assert (served.count("flood"), served.count("late")) == (4, 2)
