"""Who asks without end keeps nobody else waiting, and is told so instead of hearing nothing."""

from __future__ import annotations

import psycopg
import pytest

from publisher.query_service.side_by_side import MOST_WAITING
from registry.client import RegistryClient
from tests.support.client.flood import flood
from tests.support.world import World

FLOOD, FEW = 1200, 4
"""More than may wait of one who asks."""
SLOW = """
CREATE OR REPLACE FUNCTION get_registry_stats()
RETURNS TABLE (
    total_projects bigint, active_projects bigint, total_worktrees bigint, active_worktrees bigint,
    in_flight_worktrees bigint, total_activities bigint, activities_last_24h bigint
)
LANGUAGE sql AS $$ SELECT 0, 0, 0, 0, 0, 0, 0 FROM pg_sleep(0.02) $$
"""


@pytest.mark.usefixtures("service")
async def test_who_floods_a_query_is_busy_and_others_are_answered_in_turn(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute(SLOW)

    async with (
        flood(world.nats_url, f"{world.prefix}.qry.v1.stats", b"", FLOOD) as flooding,
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as late,
    ):
        for _ in range(FEW):
            assert await late.queries.stats() is not None
        served_before = flooding.served
        await flooding.over()

    assert served_before < FLOOD / 10
    assert set(flooding.answers) == {"", "503"}


@pytest.mark.usefixtures("service")
async def test_who_asks_the_service_about_itself_without_end_is_not_answered_each_time(world: World) -> None:
    """An answer has tens of kB: all of them at once took 2 GB."""
    async with (
        flood(world.nats_url, f"$SRV.INFO.{world.names.query_service}", b"", FLOOD * 4) as flooding,
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as late,
    ):
        assert await late.queries.stats() is not None
        told = await world.nats.request(f"$SRV.INFO.{world.names.query_service}", b"", timeout=60)
        assert len(told.data) > 10_000
        assert MOST_WAITING <= flooding.served < FLOOD * 2
