"""One transaction of many events, and publishers that are killed in its midst."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import psycopg
import pytest

from tests.faults.relay.test_connections import log_activities
from tests.support.relay_process import RelayProcess
from tests.support.world import World

SECONDS_FOR_EACH = 0.002
"""At most, for each event; a quiet machine takes a tenth of a millisecond."""


@pytest.mark.parametrize(("events", "kills"), [(8_000, 1), pytest.param(1_000_000, 3, marks=pytest.mark.long)])
async def test_events_of_one_transaction_are_told_once_and_in_order_though_each_leader_is_killed(
    world: World, events: int, kills: int
) -> None:
    patience_seconds = 60 + events * SECONDS_FOR_EACH

    def leader() -> RelayProcess | None:
        (name,) = world.rows("SELECT max(leader) FROM publisher_cursor")[0]
        found = [relay for relay in relays if str(name).endswith(f" {relay.pid}")]
        return found[0] if found else None

    with ExitStack() as stack:
        relays = [stack.enter_context(world.process()) for _ in range(kills + 1)]
        for relay in relays:
            await relay.ready()

        await asyncio.to_thread(write, world, events)

        for kill in range(1, kills + 1):
            async with asyncio.timeout(patience_seconds):
                while await told(world) < events * kill // (kills + 1) or (leads := leader()) is None:
                    await asyncio.sleep(0.005)
            leads.kill()
            relays.remove(leads)
        await world.drained(patience_seconds)
        found = await world.audit()
    # More than a batch holds goes in several, and the killed ones end where they ended.
    found._replace(split=[]).assert_clean(at_least=events)


def write(world: World, events: int) -> None:
    with psycopg.connect(world.database) as conn:
        log_activities(conn, events)


async def told(world: World) -> int:
    """How many messages the stream has."""
    return int((await world.nats.jetstream().stream_info(world.stream)).state.messages)
