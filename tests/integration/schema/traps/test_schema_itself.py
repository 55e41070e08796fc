"""Traps 1 to 3 and 13 of docs/schema.md: the extension, the unique guards, the upkeep, and files that are run again."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from tests.support.schema.migrations import MIGRATIONS
from tests.support.schema.rows import ORIGIN, scalar


@pytest.fixture
def schema_files() -> list[str]:
    """The text of 001 and 002, as psql is given it."""
    return [(MIGRATIONS / name).read_text() for name in ("001_create_schema.sql", "002_functions_and_helpers.sql")]


# 1. The trigram index needs pg_trgm


def test_the_extension_of_the_trigram_indexes_comes_with_the_schema(db):
    assert scalar(db, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == 1
    assert "gin_trgm_ops" in scalar(
        db, "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_projects_remote_origin_trgm'"
    )


# 2. Two unique guards on one key: see also test_races.py


def test_one_constraint_guards_the_origin_of_active_and_inactive_projects(db, project):
    guards = db.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = 'projects'::regclass AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary"
    ).fetchall()
    assert [g["relname"] for g in guards] == ["projects_unique_remote_origin"]

    db.execute("UPDATE projects SET active = false")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %s, '/x')", (ORIGIN,))


# 3. VACUUM inside a function


def test_maintenance_is_callable_even_in_a_transaction_and_analyzes_every_table(db, worktree):
    with db.transaction():
        db.execute("SELECT maintenance_vacuum()")

    sizes = {t["relname"]: t["reltuples"] for t in db.execute("SELECT relname, reltuples FROM pg_class")}
    assert (sizes["projects"], sizes["worktrees"], sizes["worktree_types"]) == (1, 1, 6)
    assert sizes["agent_activities"] == 0


# 13. Migrations: running the files twice (the way back is tested with the migrations)


def test_running_the_schema_again_changes_nothing_and_causes_no_event(db, worktree, schema_files):
    db.execute("UPDATE worktree_types SET color = '#000000' WHERE name = 'feat'")
    before = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608  # of constants

    for statements in schema_files:
        db.execute(statements)

    after = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608  # of constants
    assert after == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_stops_before_its_end_leaves_nothing_half_done(empty_database, schema_files, number):
    count = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    with psycopg.connect(empty_database, autocommit=True) as db:
        for complete in schema_files[:number]:
            db.execute(complete)
        before = db.execute(count).fetchone()
        assert schema_files[number].endswith("\nCOMMIT;\n")

        db.execute(schema_files[number].removesuffix("COMMIT;\n"))

        assert db.info.transaction_status == TransactionStatus.INTRANS
        db.rollback()
        assert db.execute(count).fetchone() == before
