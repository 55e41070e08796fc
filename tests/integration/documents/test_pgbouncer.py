"""docs/pgbouncer.md: `serve` works through a pooler of sessions, and its table has the connections that it takes."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.support.pgbouncer import BINARY, pooler
from tests.support.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "pgbouncer.md").read_text()
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.mark.skipif(BINARY is None, reason="needs Debian's package pgbouncer")
async def test_a_service_works_through_a_pooler_of_sessions(world: World) -> None:
    (most,) = re.findall(r"`serve` takes up to (\d+) connections", PAGE)
    with pooler(world.database, 2 * int(most), mode="session") as pooled:
        through = world.at(database=pooled.url)
        with through.process() as service:
            await service.ready()
            with psycopg.connect(pooled.url, prepare_threshold=None) as conn:
                conn.execute("SELECT register_project('p', 'git@github.com:ada/p.git')")
            await world.assert_exactly_once()
            ((taken,),) = world.rows(CONNECTED)
            assert 0 < taken <= int(most)  # the pooler would give twice as many
            assert (await service.readyz())[0] == 200
