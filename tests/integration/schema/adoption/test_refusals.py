"""What only resembles the original schema, or cannot be upgraded whole, is refused and stays as it was."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from registry.database import migrate
from registry.errors import Conflict, Invalid
from tests.support.before.adopted import all_rows
from tests.support.schema.migrations import MIGRATIONS, NAMES, catalogs, psql, run_sql

Conn = psycopg.Connection[Any]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE projects ADD host_id text", "table projects .* its column host_id is not of that schema"),
        ("ALTER TABLE worktrees DROP merged_by CASCADE", "has a worktrees that .* lacks merged_by"),
        (
            "ALTER TABLE projects ALTER description TYPE varchar",
            "its column description is character varying, not text",
        ),
        (
            "ALTER TABLE projects DROP CONSTRAINT projects_unique_active_remote",
            "table worktrees .* projects is missing",
        ),
    ],
)
def test_what_resembles_it_is_refused_by_the_name_of_its_table(
    db: Conn, empty_database: str, change: str, told: str
) -> None:
    db.execute(change.encode())
    before = catalogs(empty_database)
    for attempt in (migrate.plan, migrate.apply):
        with pytest.raises(Conflict, match=told):
            attempt(db)
    assert catalogs(empty_database) == before


def test_a_schema_of_the_name_that_the_upgrade_takes_is_named(db: Conn, empty_database: str) -> None:
    db.execute("CREATE SCHEMA imi_adoption")
    before = catalogs(empty_database)
    for attempt in (migrate.plan, migrate.apply):
        with pytest.raises(Conflict, match="the schema imi_adoption is in the way; rename it"):
            attempt(db)
    assert catalogs(empty_database) == before


def test_tables_of_the_same_columns_that_are_no_registry_of_either_kind_are_refused(db: Conn) -> None:
    for table, constraint in [
        ("projects", "projects_unique_active_remote"),
        ("worktrees", "worktrees_unique_active_path"),
        ("agent_activities", "agent_activities_worktree_id_fkey"),
    ]:
        db.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}".encode())
    with pytest.raises(
        Conflict, match=r"has a \w+ that is not the registry's \(it lacks the constraint \w+_times_check\)"
    ):
        migrate.apply(db)


def test_a_migration_that_fails_leaves_the_original_as_it_was(db: Conn, empty_database: str) -> None:
    before = catalogs(empty_database), all_rows(db)
    broken = migrate.Migration(6, "006_broken.sql", "BEGIN;\nSELECT 1 / 0;\nCOMMIT;\n")
    with pytest.raises(Invalid, match="division by zero"):
        migrate.apply(db, migrations=[*migrate.load(), broken])
    assert (catalogs(empty_database), all_rows(db)) == before


ORIGINAL = [
    (
        "projects",
        "CREATE TABLE projects (id uuid PRIMARY KEY, name text, remote_origin text UNIQUE, default_branch text,"
        " trunk_path text, description text, metadata jsonb, created_at timestamptz, updated_at timestamptz,"
        " active boolean, CONSTRAINT projects_unique_active_remote EXCLUDE (remote_origin WITH =) WHERE (active))",
    ),
]


@pytest.mark.parametrize(("table", "statement"), ORIGINAL)
def test_the_schema_as_it_was_first_shipped_is_refused_by_the_name_of_its_table(
    empty_database: str, table: str, statement: str
) -> None:
    run_sql(empty_database, statement)
    before = catalogs(empty_database)
    told = f"has the table {table} of the first schema 2.0.0"

    with psycopg.connect(empty_database) as conn, pytest.raises(Conflict, match=told):
        migrate.apply(conn)
    done = psql(empty_database, MIGRATIONS / NAMES[0])

    assert done.returncode != 0
    assert told in done.stderr
    assert catalogs(empty_database) == before
