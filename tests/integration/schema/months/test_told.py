"""How activities are kept is told by `registry_health()`, by doctor where it is not well, and by the gauges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from publisher.doctor.database import database_findings
from publisher.doctor.health import health_findings
from publisher.gauges.months import measure
from publisher.outbox.blocked import keepers
from publisher.outbox.connection import LOOKER, connect
from registry.database import months
from registry.database.stepping.lock import exclusive
from tests.support.schema.months import fill
from tests.support.services import wait_until

Conn = psycopg.Connection[Any]

HEALTH = "SELECT state, what FROM registry_health() WHERE name = 'months'"
AHEAD = "SELECT drop_activity_month(name) FROM activity_months() WHERE begins_at > now()"
LATER = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT 'a', id, 'other', 'd', now() + interval '8 months' FROM worktrees"
)


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    fill(database, activities=1_000)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def told(conn: Conn) -> tuple[str, str]:
    return conn.execute(HEALTH).fetchone() or ("", "")


def figures(url: str) -> dict[str, float]:
    async def measured() -> dict[str, float]:
        async with connect(url, "test") as conn:
            return {level.name: level.values[""] for level in await measure(conn) if level.values}

    return asyncio.run(measured())


def findings(url: str) -> list[str]:
    async def found() -> list[str]:
        async with connect(url, "test") as conn:
            return [one.text for one in (*await health_findings(conn), *await database_findings(conn, "S"))]

    return asyncio.run(found())


def locked(url: str) -> list[str]:
    async def found() -> list[str]:
        async with connect(url, "test", LOOKER) as conn:
            return await keepers(conn)

    return asyncio.run(found())


def test_a_move_and_whether_somebody_is_at_it(conn: Conn, database: str) -> None:
    assert told(conn) == ("ok", "activities are kept in one table")
    assert figures(database) == {}

    conn.execute("SELECT begin_activity_move(true)")
    stands = ("warn", "activities are kept in one table; a move stands still, about 0 % are copied")
    assert told(conn) == stands
    assert figures(database) == {"imi_activities_moved_ratio": 0}
    assert findings(database)[0].startswith(f"months: {stands[1]}; serve makes them ahead")
    with exclusive(conn):
        assert told(conn) == ("ok", stands[1].replace("stands still", "is under way"))
    conn.execute("SELECT copy_activities('agent_activities', 0, 10000)")
    assert 0.8 < figures(database)["imi_activities_moved_ratio"] <= 1

    months.move(conn, by_month=True)
    assert told(conn) == ("ok", "activities are kept by month, 3 months stand ahead")
    assert figures(database) == {"imi_activity_months_ahead": 3, "imi_activities_elsewhere": 0}


def test_months_that_do_not_stand_ahead_and_what_lies_in_none(conn: Conn, database: str) -> None:
    months.move(conn, by_month=True)
    conn.execute(AHEAD)
    assert told(conn) == ("warn", "activities are kept by month, 0 months stand ahead")

    conn.execute(LATER)
    wait_until(lambda: told(conn)[1].endswith("ahead; about 5 activities are in no month"))  # statistics come later
    assert figures(database) == {"imi_activity_months_ahead": 0, "imi_activities_elsewhere": 5}

    months.make_ahead(conn, 9)
    wait_until(lambda: told(conn) == ("ok", "activities are kept by month, 9 months stand ahead"))
    assert findings(database) == []

    conn.execute("DROP TABLE agent_activities_other")
    assert told(conn)[0] == "bad"


def test_a_trigger_that_is_off_in_one_month_is_told(conn: Conn, database: str) -> None:
    months.move(conn, by_month=True)
    name = months.state(conn).months[0].name
    conn.execute(f"ALTER TABLE {name} DISABLE TRIGGER agent_activities_worktree".encode())
    off = conn.execute("SELECT state, what FROM registry_health() WHERE name = 'triggers'").fetchone()
    assert off == ("bad", f"switched off: agent_activities_worktree of {name}")
    assert [text.split(" is ")[0] for text in findings(database)] == [
        f"trigger agent_activities_worktree of table {name}"
    ]


def test_who_has_locked_them_is_told(conn: Conn, database: str) -> None:
    months.move(conn, by_month=True)
    with conn.transaction():
        conn.execute("LOCK TABLE ONLY agent_activities")
        (found,) = locked(database)
    assert found.endswith(") has locked agent_activities: end that session")
