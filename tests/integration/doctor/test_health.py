"""Doctor and `registry_health()`: one tells what the other does, and neither of them twice."""

from __future__ import annotations

import psycopg
import pytest

from publisher.doctor.database import database_findings
from publisher.doctor.health import LOOKED_AT, health_findings
from publisher.outbox.connection import connect
from tests.support.world import World


async def test_doctor_tells_what_the_database_says_of_itself(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT register_project('a', 'git@github.com:o/a.git')")
        conn.execute("SELECT register_worktree(id, 'feat', n, n, '/' || n) FROM projects, unnest('{x,y}'::text[]) AS n")
        async with connect(world.database, "test") as doctor:
            assert await health_findings(doctor) == []
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("CREATE UNIQUE INDEX CONCURRENTLY mine ON worktrees (project_id)")
        conn.execute("ALTER TABLE worktrees DISABLE TRIGGER worktrees_updated_at")
    async with connect(world.database, "test") as doctor:
        (finding,) = await health_findings(doctor)
        assert (finding.is_well, finding.is_hindrance) == (False, False)
        assert finding.text.startswith("indexes: not valid: public.mine; an index that is not valid")

        # what both look at: the same trigger, by doctor in its own words
        said = [one.text for one in await database_findings(doctor, world.stream)]
    assert len(said) == 1
    assert said[0].startswith("trigger worktrees_updated_at of table worktrees is switched off")


def test_every_check_that_doctor_leaves_out_is_one(database: str) -> None:
    with psycopg.connect(database) as conn:
        names = {name for (name,) in conn.execute("SELECT name FROM registry_health()")}
    assert names > LOOKED_AT
