"""Who asks without end keeps nobody else waiting, and is told so instead of hearing nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest
from nats import connect
from nats.aio.msg import Msg

from registry.client import RegistryClient
from tests.support.world import World

FLOOD = 1200
"""More than may wait of one who asks."""
FEW = 4
SLOW = """
CREATE OR REPLACE FUNCTION get_registry_stats()
RETURNS TABLE (
    total_projects bigint, active_projects bigint, total_worktrees bigint, active_worktrees bigint,
    in_flight_worktrees bigint, total_activities bigint, activities_last_24h bigint
)
LANGUAGE sql AS $$ SELECT 0, 0, 0, 0, 0, 0, 0 FROM pg_sleep(0.02) $$
"""
ERROR = "Nats-Service-Error-Code"


@pytest.mark.usefixtures("service")
async def test_who_floods_a_query_is_busy_and_others_are_answered_in_turn(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute(SLOW)
    subject = f"{world.prefix}.qry.v1.stats"
    answers: list[str] = []
    all_there = asyncio.Event()

    async def hear(message: Msg) -> None:
        answers.append((message.headers or {}).get(ERROR, ""))
        if len(answers) == FLOOD:
            all_there.set()

    flood = await connect(world.nats_url)
    inbox = flood.new_inbox()
    await flood.subscribe(inbox, cb=hear)
    for _ in range(FLOOD):
        await flood.publish(subject, b"", reply=inbox)
    await flood.flush()

    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as late:
        for _ in range(FEW):
            assert await late.queries.stats() is not None
    served_before = answers.count("")

    await all_there.wait()
    await flood.close()
    assert served_before < FLOOD / 10
    assert set(Counter(answers)) == {"", "503"}
