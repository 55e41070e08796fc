"""Two versions side by side: migrated before, replaced one by one under load, migrated afterwards."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from tests.faults.upgrade.versions import copied, migrated, serve
from tests.support.relay_process import RelayProcess, ServiceProcess
from tests.support.workload import writing
from tests.support.world import World

NEWEST = max(migration.version for migration in migrate.load())
ADDS = f"""-- compatible down to: {NEWEST:03}
BEGIN;
ALTER TABLE projects ADD COLUMN IF NOT EXISTS review_policy text NOT NULL DEFAULT 'none';
COMMIT;
"""
REMOVES = f"""-- phase: after
-- compatible down to: {NEWEST + 1:03}
BEGIN;
DROP VIEW IF EXISTS v_recent_agent_activity;
COMMIT;
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of the checkout that is the next version: one migration for before, one for afterwards."""
    copied(tmp_path)
    (tmp_path / "migrations" / f"{NEWEST + 1:03}_review_policy.sql").write_text(ADDS)
    (tmp_path / "migrations" / f"{NEWEST + 2:03}_without_the_view.sql").write_text(REMOVES)
    return tmp_path


async def test_processes_are_replaced_one_by_one_and_nothing_is_lost(world: World, newer: Path) -> None:
    def old() -> ServiceProcess:
        return RelayProcess(world.database, world.nats_url, world.prefix)

    def new() -> ServiceProcess:
        return serve(world, newer)

    running: list[ServiceProcess] = []
    try:
        # given: two processes of the old version, and writers
        running += [old(), old()]
        for process in running:
            await process.ready()
        async with writing(world.database, writers=4) as load:
            await load.reach(commits=20)

            # when: migrated before, an old one comes back, then each is replaced
            told = await migrated(world, newer, "up")
            assert f"applied {NEWEST + 1:03}_review_policy.sql" in told
            assert f"{NEWEST + 2:03}_without_the_view.sql waits" in told
            running[0].kill()
            running.append(old())
            await running[-1].ready()
            await load.reach(commits=20)
            for outgoing in (running[1], running[2]):
                running.append(new())
                await running[-1].ready()
                await load.reach(commits=20)
                outgoing.stop()
                assert await outgoing.exit_code() == 0
                await load.reach(commits=20)

            # and afterwards
            told = await migrated(world, newer, "up", "--afterwards")
            assert told.startswith(f"applied {NEWEST + 2:03}_without_the_view.sql")
            assert await migrated(world, newer, "up") == "nothing to apply\n"
            await load.reach(commits=20)

        # then
        await world.assert_exactly_once(at_least=100, timeout_seconds=60)
        with psycopg.connect(world.database) as conn:
            assert conn.execute("SELECT to_regclass('public.v_recent_agent_activity')").fetchone() == (None,)

        # and an old process that comes now is refused: what it needs is gone
        running.append(old())
        assert await running[-1].exit_code() == 1
        assert f"{NEWEST + 2:03}_without_the_view.sql" in running[-1].log()[-1]["event"]
    finally:
        for process in running:
            process.close()
