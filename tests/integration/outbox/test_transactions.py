"""Events and the transaction that makes them: its id, its preparation, and the doorbell that it rings once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


def refuse_ids(conn: Conn) -> None:
    """The next outbox id cannot be allocated: what a statement did before it tried stays to be seen."""
    row = conn.execute("SELECT last_value FROM outbox_id_seq").fetchone()
    assert row is not None
    conn.execute(f"ALTER SEQUENCE outbox_id_seq MINVALUE 0 MAXVALUE {row[0]}".encode())


WRITES = [
    "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', 'git@github.com:owner/x.git', '/t')",
    "UPDATE projects SET name = 'y'",
    "DELETE FROM projects",
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) SELECT id, 1, 'n', 'b', '/n' FROM projects",
    "UPDATE worktrees SET agent_id = 'a'",
    "DELETE FROM worktrees",
    "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't/', 't-')",
    "UPDATE worktree_types SET color = '#ff0000'",
    "DELETE FROM worktree_types WHERE name = 'docs'",
    "SELECT log_activity('a', id, 'other', 'words') FROM worktrees",
    "TRUNCATE agent_activities",
    "TRUNCATE worktrees",
    "TRUNCATE projects CASCADE",
    "SELECT bare_insert()",
    "INSERT INTO outbox (entity, action, data) SELECT 'x', 'y', '{}' FROM generate_series(1, 3) n ORDER BY n DESC",
]


@pytest.mark.parametrize("statement", WRITES)
def test_a_transaction_has_its_id_before_it_allocates_an_outbox_id(
    conn: Conn, outbox: OutboxReader, statement: str
) -> None:
    add_worktree(conn, add_project(conn))
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('docs', 'd/', 'd-')")
    conn.execute(
        "CREATE FUNCTION bare_insert() RETURNS void LANGUAGE sql SECURITY DEFINER AS"
        " $$ INSERT INTO outbox (entity, action, data) VALUES ('x', 'y', '{}') $$"
    )
    refuse_ids(conn)
    with conn.transaction():
        conn.execute("SAVEPOINT before")
        assert conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
        with pytest.raises(psycopg.errors.SequenceGeneratorLimitExceeded):
            conn.execute(statement.encode())
        conn.execute("ROLLBACK TO before")
        row = conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
    assert row is not None
    assert row[0] is not None, "the outbox id came first: the gap rule would take it for dead"


def test_the_transaction_id_of_an_event_is_that_of_the_whole_transaction(conn: Conn, outbox: OutboxReader) -> None:
    with conn.transaction():
        add_project(conn)
        with conn.transaction():
            add_project(conn, "beta")
            with conn.transaction():
                add_project(conn, "gamma")
        row = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    assert [event.transaction_id for event in outbox.new()] == [row[0]] * 3


def test_a_prepared_transaction_needs_the_doorbell_off_while_the_publisher_sleeps(state_dir: Path) -> None:
    with (
        postgres(state_dir, settings={"max_prepared_transactions": "2", "fsync": "off"}) as server,
        psycopg.connect(server.url, autocommit=True) as conn,
    ):
        migrate.apply(conn)
        outbox = OutboxReader(conn)
        conn.execute("SELECT setval('publisher_doorbell', 1)")
        conn.execute("BEGIN")
        add_project(conn)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            conn.execute("PREPARE TRANSACTION 'loud'")
        assert outbox.names() == []

        conn.execute("BEGIN")
        conn.execute("SET LOCAL imi.doorbell = off")
        add_project(conn)
        conn.execute("PREPARE TRANSACTION 'quiet'")
        assert outbox.names() == [], "not before it commits"
        conn.execute("COMMIT PREPARED 'quiet'")
        assert outbox.names() == ["project.registered"]


@pytest.mark.parametrize(
    ("doorbell", "statement", "rings"),
    [
        (1, "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1", 1),
        (0, "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1", 0),
        (1, "UPDATE worktrees SET last_sync_at = now()", 0),
        (1, "UPDATE worktrees SET agent_id = 'a' WHERE false", 0),
        (1, "TRUNCATE agent_activities", 1),
    ],
)
def test_the_doorbell_rings_once_for_a_transaction_with_events_while_the_publisher_sleeps(
    conn: Conn, database: str, doorbell: int, statement: str, rings: int
) -> None:
    add_worktree(conn, add_project(conn))
    conn.execute("SELECT setval('publisher_doorbell', %s)", (doorbell,))
    with psycopg.connect(database, autocommit=True) as publisher:
        publisher.execute("LISTEN imi_outbox")
        with conn.transaction():
            conn.execute(statement.encode())
            conn.execute(statement.encode())
        # Notifications arrive in the order of commits: the marker is the last of them.
        conn.execute("NOTIFY imi_outbox, 'marker'")
        heard = []
        for notice in publisher.notifies(timeout=10):
            if notice.payload == "marker":
                break
            heard.append(notice.payload)
        else:
            pytest.fail("the marker was never heard")
    assert len(heard) == rings
