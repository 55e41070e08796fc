"""Who takes from a fair queue serves everybody in turn."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from registry.concurrency.fair import FairQueue
from registry.concurrency.lanes import Job, Lanes


async def taken(queue: FairQueue[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    return [await queue.get() for _ in range(count)]


async def test_one_who_comes_last_is_served_after_one_of_each_other() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(1000):
        queue.put(("flood", number), "flood")
    queue.put(("late", 0), "late")
    assert await taken(queue, 3) == [("flood", 0), ("late", 0), ("flood", 1)]


@given(st.lists(st.sampled_from("abc") | st.none(), max_size=60))
def test_each_lane_keeps_its_order_and_no_lane_waits_for_more_than_one_of_each_other(steps: list[str | None]) -> None:
    """A letter puts an item into that lane, None takes one if there is any."""

    async def run() -> None:
        queue: FairQueue[tuple[str, int]] = FairQueue()
        put: Counter[str] = Counter()
        got: Counter[str] = Counter()
        waits: dict[str, Counter[str]] = {}
        for lane in [*steps, *[None] * len(steps)]:
            if lane is not None:
                if put[lane] == got[lane]:
                    waits[lane] = Counter()
                queue.put((lane, put[lane]), lane)
                put[lane] += 1
            elif not queue.empty():
                served, number = await queue.get()
                assert number == got[served], "in order"
                got[served] += 1
                waits[served] = Counter()
                for other, seen in waits.items():
                    if other != served and put[other] > got[other]:
                        seen[served] += 1
                        assert seen[served] <= 1, "in turn"
        assert got == put

    asyncio.run(run())


async def test_a_taker_that_is_cancelled_takes_nothing() -> None:
    queue: FairQueue[int] = FairQueue()
    taker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    taker.cancel()
    queue.put(1, "a")
    assert await queue.get() == 1
    assert queue.empty()


async def test_jobs_of_one_key_keep_their_order_whoever_sends_them() -> None:
    lanes: Lanes[int] = Lanes()
    senders = ["flood", "flood", "late", "flood"]
    jobs = [Job(number, {"key"}, sender) for number, sender in enumerate(senders)]
    for job in jobs:
        lanes.add(job)
    order = []
    for _ in jobs:
        job = await lanes.next()
        order.append(job.item)
        lanes.done(job)
    assert order == [0, 1, 2, 3]


async def test_one_taker_gets_all_that_is_there_while_others_wait() -> None:
    """Many commands go into one transaction only when one worker gets many."""
    lanes: Lanes[int] = Lanes()
    takers = [asyncio.create_task(lanes.next_few(8)) for _ in range(4)]
    await asyncio.sleep(0)
    for number in range(8):
        lanes.add(Job(number, {str(number)}))
    async with asyncio.timeout(20):
        done, waiting = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
    taken = sorted(job.item for task in done for job in task.result())
    for task in waiting:
        task.cancel()
    assert taken == list(range(8)), "none is left for a taker that was woken for one of them"
    assert max(len(task.result()) for task in done) > 1
