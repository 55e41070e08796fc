"""Leaders that do not know that they lead no more, on the pipeline's shared stream, which has no fence.

Nothing refuses what they send. The server stores it once, since it knows the ids of messages, within the stream's
duplicate window: docs/adr/0012-shared-stream.md.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import psycopg
import pytest

from tests.faults.relay.test_old_servers import assert_same_as_outbox, other_producer, ours
from tests.support.proxy import Direction, Proxy, nats_proxy
from tests.support.workload import register_with_activities, writing
from tests.support.world import World

SETTINGS = {"profile": "bloodbank", "bloodbank_proposed": "true", "heartbeat_seconds": 0.2, "stale_seconds": 1.0}
WINDOW_OVER_SECONDS = 150
MESSAGE = re.compile(rb"HPUB \S+ \S+ \d+ (\d+)\r\n")
ANSWER = re.compile(rb'"stream":[^\r]*\}\r\n')
"""The end of one, whole."""
SUBJECT = "bloodbank.evt.artifact.build.created"


def write(database: str, activities: int) -> None:
    """One transaction, of so many events more than three; the last is of a row that has one before."""
    with psycopg.connect(database) as conn:
        register_with_activities(conn, activities)
        conn.execute("UPDATE worktrees SET agent_id = 'before'")


async def until_written(proxy: Proxy, count: int) -> None:
    """Wait until so many messages, each to its end, are held on their way to the server."""
    async with asyncio.timeout(20):
        while True:
            held = proxy.held
            ends = [found.end() + int(found[1]) + len("\r\n") for found in MESSAGE.finditer(held)]
            if sum(end <= len(held) for end in ends) >= count:
                assert len(ends) == count
                return
            await asyncio.sleep(0.005)


class Late:
    """A leader whose messages are on their way, and arrive when they are let."""

    def __init__(self) -> None:
        self.answers = b""

    def remember(self, direction: Direction, data: bytes) -> bool:
        """Let it pass, and keep what the server answers."""
        if direction == "to_client":
            self.answers += data
        return False

    async def until_answered(self, count: int) -> int:
        """Wait until the server has answered so many; returns how many of them it had already."""
        async with asyncio.timeout(20):
            while len(whole := ANSWER.findall(self.answers)) < count:
                await asyncio.sleep(0.005)
        return sum(b'"duplicate":' in answer for answer in whole)


async def until_forgotten(world: World, message_id: str) -> None:
    """Wait until the server would store a message of this id, which somebody else sent first, once more."""
    async with asyncio.timeout(WINDOW_OVER_SECONDS):
        while (await world.nats.jetstream().publish(SUBJECT, b"{}", headers={"Nats-Msg-Id": message_id})).duplicate:
            await asyncio.sleep(1)


@pytest.mark.parametrize("activities", [0, 300], ids=["few", "many"])
@pytest.mark.parametrize("is_within", [True, pytest.param(False, marks=pytest.mark.long)], ids=["within", "beyond"])
async def test_late_messages_of_a_leader_that_was_frozen_and_deposed_are_stored_once_within_the_window(
    shared: World, activities: int, is_within: bool
) -> None:
    late = Late()
    async with nats_proxy(shared.nats_url) as (proxy, through):
        with shared.at(nats_url=through).process(**SETTINGS) as zombie:
            # given: messages that do not arrive, of a leader that is frozen; another one leads and has published them
            await zombie.ready()
            await proxy.quiet()
            proxy.swallow = late.remember
            proxy.black_hole("to_client")
            proxy.hold()
            write(shared.database, activities)
            under_way = 2 + activities  # all but the last one, which waits for the one of its row before
            await until_written(proxy, under_way)
            zombie.freeze()
            with shared.process(**SETTINGS) as standby:
                await standby.until_logged("leading")
                await shared.drained()
                before = await ours(shared)
                assert_same_as_outbox(shared.database, before)
                if not is_within:
                    await shared.nats.jetstream().publish(SUBJECT, b"{}", headers={"Nats-Msg-Id": "forgotten"})
                    await until_forgotten(shared, "forgotten")

                # when
                assert late.answers == b""
                proxy.go_on()
                proxy.swallow = late.remember
                known = await late.until_answered(under_way)
                zombie.thaw()
                await zombie.until_logged("standing by")
                with psycopg.connect(shared.database) as conn:
                    conn.execute("UPDATE worktrees SET agent_id = 'after'")
                await shared.drained()

                # then
                messages = await ours(shared)
                assert known == (under_way if is_within else 0)
                if is_within:
                    assert_same_as_outbox(shared.database, messages)
                    assert len(messages) == len(before) + 1
                else:  # as docs/bloodbank.md tells
                    repeated = Counter(one.envelope["id"] for one in messages)
                    assert Counter(repeated.values()) == {2: under_way, 1: 2}
                    assert [one.envelope for one in messages[len(before) : -1]] == [
                        one.envelope for one in before if repeated[one.envelope["id"]] == 2
                    ]


@pytest.mark.parametrize("freezes", [2, pytest.param(25, marks=pytest.mark.long)])
async def test_leaders_frozen_at_random_and_woken_after_they_were_deposed_double_and_reorder_nothing(
    shared: World, freezes: int
) -> None:
    with shared.process(**SETTINGS) as one, shared.process(**SETTINGS) as other:
        async with other_producer(shared.nats), writing(shared.database, writers=4) as load:
            await one.ready()
            await other.ready()
            for _ in range(freezes):
                await load.reach(commits=15)
                ((holder,),) = shared.rows("SELECT leader FROM publisher_cursor")
                leader, standby = (one, other) if holder.endswith(f" {one.pid}") else (other, one)
                led = len(standby.logged("leading"))
                leader.freeze()
                async with asyncio.timeout(20):
                    while len(standby.logged("leading")) == led:
                        await asyncio.sleep(0.01)
                await load.reach(commits=15)
                leader.thaw()
        await shared.drained()
    messages = await ours(shared)
    assert len(messages) >= 30 * freezes
    assert_same_as_outbox(shared.database, messages)
