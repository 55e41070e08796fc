"""A registry by month, or on its way there or back, is the same one when it is restored elsewhere from a dump."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from publisher.history.verification import verify
from publisher.settings import Settings
from registry.database import drift, migrate, months
from tests.support.databases import Role, new_database
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.postgres.shell import shell
from tests.support.schema.counts import assert_exact
from tests.support.schema.migrations import NAMES
from tests.support.schema.months import everything, fill
from tests.support.services import POSTGRES_SETTINGS, scratch_directory

Conn = psycopg.Connection[Any]

CUSTOM = (
    'pg_dump --format=custom --no-owner --no-privileges --file=all "$FROM"',
    'pg_restore --no-owner --no-privileges --exit-on-error --dbname="$TO" all',
)
PLAIN = (
    'pg_dump --no-owner --no-privileges --file=all "$FROM"',
    'psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname="$TO" --file=all --output=/dev/null',
)
SCHEMA_ALONE = (PLAIN[0].replace("--file", "--schema-only --file"), PLAIN[1])
THROUGH_THE_ROOT = (PLAIN[0].replace("--file", "--load-via-partition-root --file"), PLAIN[1])
DATA_ALONE = 'pg_dump --data-only --load-via-partition-root --file=all -t {} "$FROM"'
NOW = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'w', id, 'other', 'now' FROM worktrees"
)


@pytest.fixture(params=["18", "14"])
def source(request: pytest.FixtureRequest, owner: Role) -> Iterator[str]:
    """A registry with activities, on the server of the tests or on the oldest one."""
    if request.param == "18":
        url = request.getfixturevalue("database")
        fill(url, activities=1_000)
        yield url
        return
    binaries = binaries_of_14()
    with scratch_directory() as folder, postgres(folder, settings=POSTGRES_SETTINGS, bin_dir=binaries) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        fill(server.url, activities=1_000)
        yield server.url


def by_month(conn: Conn) -> None:
    months.move(conn, by_month=True)


def on_the_way_there(conn: Conn) -> None:
    conn.execute("SELECT begin_activity_move(true)")
    conn.execute("SELECT copy_activities('agent_activities', 0, 3)")


def on_the_way_back(conn: Conn) -> None:
    months.move(conn, by_month=True)
    conn.execute("SELECT begin_activity_move(false)")
    conn.execute("SELECT copy_activities(m.name::regclass, 0, 3) FROM activity_months() m")


@pytest.mark.parametrize(
    ("source", "brought", "commands"),
    [
        ("18", by_month, CUSTOM),
        ("18", on_the_way_there, PLAIN),
        ("18", by_month, THROUGH_THE_ROOT),
        ("14", on_the_way_back, CUSTOM),
    ],
    indirect=["source"],
)
def test_a_dump_restored_elsewhere_is_the_registry(
    source: str, brought: Any, commands: tuple[str, str], admin_url: str, owner: Role, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        there = stack.enter_context(psycopg.connect(source, autocommit=True))
        brought(there)
        url = stack.enter_context(new_database(admin_url, owner))
        for command in commands:
            shell(command, tmp_path, FROM=source, TO=url)
        conn = stack.enter_context(psycopg.connect(url, autocommit=True))

        before = everything(there)
        assert everything(conn) == before
        assert months.state(conn)[:2] == months.state(there)[:2]
        assert_is_whole(conn)

        conn.execute(NOW)
        state = months.state(conn)
        if state.is_moving:
            months.move(conn, by_month=not state.by_month)
        months.move(conn, by_month=True)
        assert months.make_ahead(conn, 5) == 2
        assert len(everything(conn)) == len(before) + 5
        conn.execute("SELECT cleanup_old_activities(70)")
        months.move(conn, by_month=False)
        assert_is_whole(conn)


def assert_is_whole(conn: Conn) -> None:
    assert_exact(conn)
    assert drift.differing(conn) == []
    assert conn.execute("SELECT name, what FROM registry_health() WHERE state = 'bad'").fetchall() == []
    found = asyncio.run(verify(Settings(database_url=conn.info.dsn + f" password={conn.info.password}")))
    assert found.differences == []
    assert found.equal["worktrees"] == 5


def test_the_schema_alone_is_made_a_registry_by_the_migrations(
    database: str, admin_url: str, owner: Role, tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        months.move(conn, by_month=True)
    with new_database(admin_url, owner) as url:
        for command in SCHEMA_ALONE:
            shell(command, tmp_path, FROM=database, TO=url)
        with psycopg.connect(url, autocommit=True) as conn:
            assert migrate.apply(conn) == NAMES
            fill(url, activities=100)
            assert (months.state(conn).by_month, len(everything(conn))) == (True, 100)
            assert drift.differing(conn) == []


def test_data_alone_goes_into_a_registry_in_one_table(
    database: str, admin_url: str, owner: Role, template_database: str, tmp_path: Path
) -> None:
    fill(database, activities=100)
    with psycopg.connect(database, autocommit=True) as there, new_database(admin_url, owner, template_database) as url:
        months.move(there, by_month=True)
        for tables in ("projects -t worktrees", "'agent_activities*'"):
            for command in (DATA_ALONE.format(tables), PLAIN[1]):
                shell(command, tmp_path, FROM=database, TO=url)
        with psycopg.connect(url, autocommit=True) as conn:
            assert everything(conn) == everything(there)
            assert conn.execute("SELECT count(*) FROM outbox WHERE action = 'logged'").fetchone() == (100,)
            assert_exact(conn)
