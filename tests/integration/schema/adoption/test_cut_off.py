"""An upgrade that is cut off behind 006: a registry with all rows, and when it is run again it goes on from there."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from registry.database import migrate
from registry.errors import Invalid, Unavailable
from tests.support.before.adopted import all_rows, assert_as_new, changed
from tests.support.commandline import CommandLine
from tests.support.databases import Role
from tests.support.schema.migrations import NAMES
from tests.support.services import wait_until

Conn = psycopg.Connection[Any]

PENDING = NAMES[7:]
BROKEN = [
    replace(one, sql=one.sql.replace("\nCOMMIT;\n", "\nSELECT 1 / 0;\nCOMMIT;\n")) if one.name == PENDING[0] else one
    for one in migrate.load()
]
WAITS = """
SELECT FROM pg_stat_activity
WHERE pid = %s AND query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event = 'virtualxid'
"""
UNFINISHED = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


def by_an_error(url: str) -> list[str]:
    with psycopg.connect(url) as conn, pytest.raises(Invalid, match=r"migration 008_search\.sql .*division by zero"):
        migrate.apply(conn, migrations=BROKEN)
    return []


def by_the_end_of_its_connection(url: str) -> list[str]:
    """While it builds an index, which waits there for a snapshot that somebody else has."""
    with (
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(url) as conn,
        psycopg.connect(url, autocommit=True) as looker,
        psycopg.connect(url) as reader,
    ):
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        upgrade, pid = thread.submit(migrate.apply, conn), conn.info.backend_pid
        wait_until(lambda: upgrade.done() or looker.execute(WAITS, [pid]).fetchone() is not None)
        looker.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(Unavailable, match=r"migration 008_search\.sql"):
            upgrade.result(20)
    return ["idx_projects_words"]


@pytest.mark.parametrize("cut_off", [by_an_error, by_the_end_of_its_connection])
def test_an_upgrade_that_is_cut_off_behind_006_keeps_all_rows_and_goes_on_when_it_is_run_again(
    db: Conn, empty_database: str, admin_url: str, owner: Role, cli: CommandLine, cut_off: Callable[[str], list[str]]
) -> None:
    before, plan = all_rows(db), migrate.plan(db)
    expected = changed(before, plan)

    unfinished = cut_off(empty_database)

    assert all_rows(db) == expected
    assert [one.name for one in migrate.status(db) if one.state != "applied"] == PENDING
    assert [name for (name,) in db.execute(UNFINISHED)] == unfinished
    db.execute("SELECT register_project('meanwhile', 'git@github.com:o/meanwhile.git')")

    again = cli("migrate", "up")

    assert (again.code, again.err) == (0, "")
    assert re.findall(r"^applied (.*)$", again.out, re.MULTILINE) == PENDING
    assert f"wrote the events of {len(before)} rows that are older than the outbox\n" in again.out
    found = all_rows(db)
    assert {key: row for key, row in found.items() if key in expected} == expected
    assert [row["name"] for key, row in found.items() if key not in expected] == ["meanwhile"]
    assert db.execute(UNFINISHED).fetchall() == []
    assert_as_new(db, empty_database, admin_url, owner)
