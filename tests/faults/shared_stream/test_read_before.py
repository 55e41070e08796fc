"""A leader that was deposed while it held what it had read: on the pipeline's shared stream nothing else stops it."""

from __future__ import annotations

import asyncio

import psycopg

from tests.faults.relay.test_old_servers import assert_same_as_outbox, ours
from tests.faults.shared_stream.test_zombies import SETTINGS
from tests.support.proxy import Direction, nats_proxy
from tests.support.world import World

EVENT = b"HPUB bloodbank.evt."


async def test_a_leader_that_was_frozen_sends_nothing_that_it_had_only_read(shared: World) -> None:
    sent = bytearray()

    def remember(direction: Direction, data: bytes) -> bool:
        if direction == "to_server":
            sent.extend(data)
        return False

    async with nats_proxy(shared.nats_url) as (proxy, through):
        with shared.at(nats_url=through).process(**SETTINGS, batch_size=1) as zombie:
            # given: one event under way, unanswered, and the next one read; the leader is frozen and another one leads
            await zombie.ready()
            await proxy.quiet()
            proxy.swallow = remember
            proxy.black_hole("to_client")
            with psycopg.connect(shared.database) as conn:
                conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
                conn.execute("SELECT register_project('q', 'git@github.com:owner/q.git')")
            async with asyncio.timeout(10):
                while EVENT not in sent:
                    await asyncio.sleep(0.005)
            await proxy.quiet()
            zombie.freeze()
            sent.clear()
            with shared.process(**SETTINGS) as standby:
                await standby.until_logged("leading")
                await shared.drained()

                # when
                proxy.go_on()
                proxy.swallow = remember
                zombie.thaw()
                await zombie.until_logged("standing by")

                # then
                assert EVENT not in sent
                assert_same_as_outbox(shared.database, await ours(shared))
