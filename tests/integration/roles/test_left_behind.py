"""docs/security.md, Strangers: what who may only connect leaves behind, how it is found, and how it is refused."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.roles.cluster import as_login, connect, login, migrated

FOUND = "SELECT lomowner::regrole::text, count(*) FROM pg_largeobject_metadata GROUP BY 1"
REMOVED = "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE lomowner = %s::text::regrole"
REVOKED = "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC"
MADE = (
    "SELECT lo_from_bytea(0, repeat('x', 100000)::bytea)",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
)
SENT = "SELECT pg_logical_emit_message({}, 'x', repeat('x', 1000000))"


def test_large_objects_of_a_stranger_are_found_removed_and_refused(cluster: str) -> None:
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as stranger, connect(as_superuser) as admin:
        with connect(as_login(as_owner, stranger)) as conn:
            for statement in MADE:
                conn.execute(statement.encode())
        # he has ended, and they stay until somebody looks
        assert admin.execute(FOUND).fetchall() == [(stranger.name, 3)]
        admin.execute(REMOVED, [stranger.name])
        assert admin.execute(FOUND).fetchall() == []

        admin.execute(REVOKED)
        with connect(as_login(as_owner, stranger)) as conn:
            for statement in MADE:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement.encode())


@pytest.mark.parametrize("transactional", ["true", "false"])
def test_messages_of_a_stranger_cost_log_until_they_are_refused(cluster: str, transactional: str) -> None:
    with (
        migrated(cluster) as (as_owner, as_superuser),
        login(cluster) as stranger,
        connect(as_superuser) as admin,
        connect(as_login(as_owner, stranger)) as conn,
    ):
        (before,) = admin.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ("",)
        conn.execute(SENT.format(transactional).encode())
        (written,) = admin.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before]).fetchone() or (0,)
        assert written > 1_000_000

        admin.execute(
            "DO $$ DECLARE f regprocedure; BEGIN"
            " FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP"
            " EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f); END LOOP; END $$"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(SENT.format(transactional).encode())
