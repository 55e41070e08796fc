"""Two relays, one leads and one stands by, and a random one of them is killed over and over under load."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import World


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.long)])
async def test_random_kills_of_two_relays_under_load_lose_double_and_reorder_nothing(world: World, kills: int) -> None:
    rng = random.Random(f"kills/{kills}")
    leaders_killed = 0
    with ExitStack() as stack:

        def start() -> RelayProcess:
            return stack.enter_context(world.process(heartbeat_seconds=0.5))

        relays = [start(), start()]
        async with writing(world.database, writers=8, seed=kills) as load:
            for relay in relays:
                await relay.ready()
            for _ in range(kills):
                await load.reach(commits=rng.randrange(1, 60))
                at = rng.randrange(2)
                leaders_killed += bool(relays[at].logged("leading"))
                relays[at].kill()
                await relays[at].exit_code()
                relays[at] = start()
                if rng.random() < 0.7:  # else the next kill may hit a process that is still starting
                    await relays[at].ready()
        await world.drained(120)
        found = await world.audit()
        # Under a backlog a transaction's ids may be spread over more than the relay looks ahead.
        found._replace(split=[]).assert_clean()
    assert leaders_killed > kills / 5
    print(
        f"\n{kills} kills, {leaders_killed} of the leader, 8 writers: {load.commits} commits, "
        f"{load.rollbacks} rollbacks, "
        f"{found.events} events; lost {len(found.lost)}, doubled {len(found.duplicated)}, "
        f"out of order {len(found.out_of_order)}"
    )
