"""What the registry says of itself: its schema, how it is, and what of it takes long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from registry.database import migrate
from registry.database.stepping import back
from tests.support.postgres.recording import RECORD, recording_registry
from tests.support.schema.rows import dictionaries, new_project, new_worktree

PACKAGED = migrate.load()


def health(db: Any) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in db.execute("SELECT * FROM registry_health()").fetchall()}


def state(db: Any, name: str) -> tuple[str, str]:
    row = health(db)[name]
    assert (row["hint"] is None) == (row["state"] == "ok")
    return row["state"], row["what"]


def test_a_new_registry_is_well_but_for_what_nobody_started(db):
    found = health(db)

    told = {name: row["state"] for name, row in found.items() if row["state"] != "ok"}
    assert {name: one for name, one in told.items() if name not in ("transactions", "connections")} == {
        "publisher": "warn",
        "slow queries": "unknown",
    }
    assert found["schema"]["what"].startswith(f"schema 2.0.0, migration {PACKAGED[-1].version} since ")


def test_the_metadata_tell_which_schema_there_is_forward_and_back(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn)
        query = "SELECT schema_version, migration, registry_id, installed_at <= upgraded_at FROM registry_metadata"
        before = conn.execute(query).fetchone()
        conn.commit()
        assert before is not None
        assert (before[0], before[1], before[3]) == ("2.0.0", PACKAGED[-1].version, True)

        for one in PACKAGED[:8:-1]:
            back.down(conn, to=one.version - 1)
            assert conn.execute("SELECT migration FROM registry_metadata").fetchone() == (one.version - 1,)
            conn.commit()
        migrate.apply(conn)
        assert conn.execute(query).fetchone() == before


def test_a_registry_that_was_there_before_is_as_old_as_its_first_migration(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn, migrations=PACKAGED[:8])
        migrate.apply(conn)
        query = "SELECT installed_at = (SELECT min(applied_at) FROM schema_migrations) FROM registry_metadata"
        assert conn.execute(query).fetchone() == (True,)


def test_events_that_wait_and_a_publisher_that_is_gone_are_told(db):
    db.execute("INSERT INTO publisher_cursor (stream, leader) VALUES ('S', 'host 1')")
    new_project(db)

    assert state(db, "publisher")[0] == "ok"
    waiting = db.execute("SELECT count(*) AS n FROM outbox").fetchone()["n"]
    assert state(db, "events that wait")[0] == "ok"
    assert f"S: {waiting}, the oldest for" in state(db, "events that wait")[1]

    db.execute("UPDATE publisher_cursor SET heartbeat_at = now() - interval '1 hour'")
    told, what = state(db, "publisher")
    assert (told, bool(re.match(r"S: host 1 was heard 01:00:0\d ago", what))) == ("bad", True)

    # a row in a gap below what is published waits, too
    db.execute("UPDATE publisher_cursor SET published = '{[2,9000000)}'")
    assert "S: 1, the oldest for" in state(db, "events that wait")[1]
    db.execute("UPDATE publisher_cursor SET published = '{[1,9000000)}'")
    assert state(db, "events that wait") == ("ok", "S: none")


def test_an_event_that_waits_for_long_is_bad(db):
    db.execute("INSERT INTO publisher_cursor (stream) VALUES ('S')")
    db.execute(
        "INSERT INTO outbox (entity, action, data, occurred_at) VALUES ('x', 'y', '{}', now() - interval '2 minutes')"
    )
    assert state(db, "events that wait")[0] == "bad"


@pytest.mark.parametrize(
    ("table", "trigger"),
    [
        ("worktrees", "worktrees_updated_at"),
        ("hosts", "hosts_outbox"),
        ("project_hosts", "project_hosts_outbox"),
        ("command_ledger", "command_ledger_outbox"),
    ],
)
def test_a_trigger_that_is_off_is_told_as_doctor_tells_it(db, table, trigger):
    db.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    assert state(db, "triggers") == ("bad", f"switched off: {trigger} of {table}")
    db.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
    assert state(db, "triggers")[0] == "ok"


def test_an_index_that_is_not_valid_is_told(db):
    project = new_project(db)
    new_worktree(db, project, "a")
    new_worktree(db, project, "b")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("CREATE UNIQUE INDEX CONCURRENTLY mine ON worktrees (project_id)")

    assert state(db, "indexes") == ("warn", "not valid: public.mine")


def test_work_that_nobody_touched_is_counted(db):
    worktree = new_worktree(db, new_project(db))
    db.execute("SELECT update_worktree_git_state(%s, p_ahead => 1)", (worktree,))
    assert state(db, "work in flight") == ("ok", "1 worktrees, 0 of them untouched for more than 30 days")

    db.execute("ALTER TABLE worktrees DISABLE TRIGGER USER")
    db.execute("UPDATE worktrees SET updated_at = now() - interval '31 days'")
    db.execute("ALTER TABLE worktrees ENABLE TRIGGER USER")
    assert state(db, "work in flight") == ("warn", "1 worktrees, 1 of them untouched for more than 30 days")


def test_rows_without_events_and_events_without_data_are_told(db):
    db.execute("INSERT INTO outbox_backlog (entity, row_id) VALUES ('project', 'x')")
    db.execute("INSERT INTO outbox_fault (outbox_id, reason, detail) VALUES (7, 'too large', 'x')")
    assert state(db, "rows without events") == ("warn", "1")
    assert state(db, "events without data") == ("warn", "1 went out as references, the last one, 7: too large")


@pytest.mark.superuser
def test_what_the_caller_may_not_read_is_unknown_and_hides_nothing_else(db):
    name = "nobody_" + db.info.dbname[-12:]
    db.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    db.execute("ALTER TABLE worktrees DISABLE TRIGGER worktrees_updated_at")
    db.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
    try:
        found = health(db)
    finally:
        db.execute("RESET ROLE")
        db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    assert (found["publisher"]["state"], found["triggers"]["state"]) == ("unknown", "bad")
    assert found["publisher"]["what"] == "permission denied for table publisher_cursor"


@pytest.fixture(scope="module")
def recording() -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A registry on a server that records statements and takes prepared transactions."""
    with recording_registry() as url, dictionaries(url) as conn:
        yield conn


def test_slow_queries_are_those_of_the_registry_and_it_says_so_when_none_are_recorded(recording):
    with pytest.raises(
        psycopg.errors.ObjectNotInPrerequisiteState, match="pg_stat_statements is not there; needed are"
    ):
        recording.execute("SELECT * FROM registry_slow_queries()")
    recording.execute(RECORD)
    recording.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.foreign_to_it (n integer)")
    recording.execute("SELECT count(*) FROM elsewhere.foreign_to_it")
    new_project(recording)
    recording.execute("vacuum worktrees")

    rows = recording.execute("SELECT * FROM registry_slow_queries()").fetchall()

    assert any("register_project(" in row["query"] for row in rows)
    assert not any("foreign_to_it" in row["query"] or row["query"].startswith(("CREATE", "vacuum")) for row in rows)
    assert [row["total_ms"] for row in rows] == sorted((row["total_ms"] for row in rows), reverse=True)
    assert health(recording)["slow queries"]["state"] == "ok"
    for limit in (0, 1001, None):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"p_limit is .*; it must be 1 to 1000"):
            recording.execute("SELECT * FROM registry_slow_queries(%s)", (limit,))


def test_a_prepared_transaction_is_told_when_it_is_old(recording):
    recording.execute("BEGIN; SELECT 1; PREPARE TRANSACTION 'forgotten'")
    try:
        assert state(recording, "prepared transactions")[0] == "ok"  # it is young yet
    finally:
        recording.execute("ROLLBACK PREPARED 'forgotten'")
