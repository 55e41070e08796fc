"""docs/security.md, Checklist: the right to remove activities is taken from writers, as it stands there."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest

from publisher.doctor.accounts import account_findings
from publisher.outbox.connection import connect as connect_outbox
from publisher.outbox.retention import remove_old
from registry.database import migrate, months
from registry.database.roles import roles_of
from tests.support.commandline import CommandLine
from tests.support.roles.cluster import connect
from tests.support.roles.matrix import PAGE
from tests.support.schema.migrations import migration
from tests.support.world import World

TAKEN = re.search(r"`(REVOKE EXECUTE ON FUNCTION remove_old_activities.*?)`", PAGE.read_text())
LOGGED = "SELECT log_activity('ada', id, 'other', 'words') FROM worktrees"
WRITES = [
    "SELECT register_project('p', 'git@github.com:o/p.git')",
    "SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects",
    LOGGED,
    "UPDATE worktrees SET agent_id = 'ada'",
]
REMOVES = [
    "SELECT cleanup_old_activities(0)",
    "SELECT cleanup_old_activities(36500)",
    "SELECT remove_old_activities(now())",
    "SELECT forget_deleted_worktrees(now())",
    "DELETE FROM agent_activities",
]
NEXT = migrate.load()[-1].version + 1
AGAIN = "GRANT EXECUTE ON FUNCTION remove_old_activities(timestamptz) TO imi_writer"


def take(owner: str) -> None:
    assert TAKEN is not None
    with connect(owner) as conn:
        conn.execute(TAKEN[1].encode())


def assert_refused(writer: str) -> None:
    with connect(writer) as conn:
        for statement in REMOVES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


def count(owner: str) -> int:
    with connect(owner) as conn:
        ((activities,),) = conn.execute("SELECT count(*) FROM agent_activities").fetchall()
    return int(activities)


def test_who_may_remove_no_activity_writes_on_and_the_owner_removes_what_is_old(
    urls: dict[str, str], cli: CommandLine
) -> None:
    with connect(urls["writer"]) as conn:
        for statement in (*WRITES, REMOVES[0], LOGGED):
            conn.execute(statement.encode())

    take(urls["owner"])

    assert_refused(urls["writer"])
    with connect(urls["writer"]) as conn:
        for statement in (*WRITES, "UPDATE worktrees SET active = false", "SELECT prune_inactive_worktrees(0)"):
            conn.execute(statement.encode())
    assert count(urls["owner"]) == 2
    done = cli("maintain", "cleanup-activities", "--days", "0", "--yes", "--database-url", urls["owner"])
    assert (done.code, done.out) == (0, "removed 2 activities\n")
    assert count(urls["owner"]) == 0


async def test_where_writers_remove_nothing_retention_goes_on(world: World, urls: dict[str, str]) -> None:
    there = world.at(database=urls["owner"])
    take(urls["owner"])
    with connect(urls["writer"]) as conn:
        for statement in WRITES:
            conn.execute(statement.encode())

    async with there.at(database=urls["publisher"]).relay():
        await there.drained()
    async with connect_outbox(urls["publisher"], "test") as publisher:
        assert (await remove_old(publisher, timedelta(0))).events > 0

    assert there.rows("SELECT count(*) FROM outbox") == [(0,)]
    assert count(urls["owner"]) == 1


def test_what_was_taken_from_writers_is_given_back_by_nothing_but_a_grant(
    cluster: str, urls: dict[str, str], cli: CommandLine
) -> None:
    take(urls["owner"])

    assert cli("roles", "setup", "--database-url", urls["owner"]).out == "nothing to do\n"
    with connect(urls["owner"]) as conn:
        conn.execute("REVOKE SELECT ON projects FROM imi_writer")
        later = migration(NEXT, "DO $$ BEGIN PERFORM grant_role_rights(); END $$;")
        assert migrate.apply(conn, migrations=[*migrate.load(), later]) == [later.name]
        for by_month in (True, False):
            months.move(conn, by_month=by_month)
        assert roles_of(conn).missing == {}
    assert_refused(urls["writer"])
    assert [one for one in account_findings(urls["writer"]) if "lacks" in one.text] == []

    with connect(urls["owner"]) as conn:
        conn.execute(AGAIN.encode())
        conn.execute("SELECT grant_role_rights()")
    with connect(urls["writer"]) as conn:
        conn.execute(REMOVES[0].encode())
