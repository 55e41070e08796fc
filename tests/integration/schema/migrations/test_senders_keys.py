"""A ledger of before 022, which knows no senders, is used on; on the way back one sender keeps a key of several."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg

from registry.database import migrate
from registry.database.stepping import back
from tests.support.schema.migrations import MIGRATIONS, NAMES, psql

BEFORE = 21
UNIQUE = (
    "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) LIKE '%sender%' FROM pg_index"
    " WHERE indrelid = 'command_ledger'::regclass AND indisunique AND NOT indisprimary"
)
CALL = "SELECT command_id, verdict FROM apply_command(%s, 'worktree_type.add', %s, %s, %s, %s"


def applied(conn: psycopg.Connection[Any], name: str, key: str, sender: str | None = None) -> tuple[UUID, str]:
    """The command that is answered for one with this key, and its verdict; without a sender as it was called before."""
    command = uuid4()
    given = "" if sender is None else ", p_sender := %s"
    values = [command, f'{{"name": "{name}"}}', name.encode(), command, key, *([sender] if sender else [])]
    answered, verdict = conn.execute(f"{CALL}{given})".encode(), values).fetchone() or (command, "")
    return answered, verdict


def test_a_ledger_of_before_answers_whoever_comes_and_one_sender_keeps_a_key_on_the_way_back(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        back.down(conn, to=BEFORE)
        old = applied(conn, "a", "of before")
        migrate.apply(conn)

        assert applied(conn, "a", "of before", "flume") == applied(conn, "a", "of before", "other") == old
        assert applied(conn, "b", "of before", "flume")[1] == "rejected"
        first, second = applied(conn, "c", "of two", "flume"), applied(conn, "d", "of two", "other")
        assert (first[1], second[1]) == ("applied", "applied")
        assert applied(conn, "c", "of two", "flume") == first

        back.down(conn, to=BEFORE)
        assert applied(conn, "a", "of before") == old
        assert applied(conn, "c", "of two") == first
        assert applied(conn, "d", "of two")[1] == "rejected"
        migrate.apply(conn)
        assert applied(conn, "c", "of two", "flume") == first


def test_the_key_of_a_sender_is_the_only_one_whichever_file_ran_last(database: str) -> None:
    of_senders = [("command_ledger_unique_idempotency_key", True, True)]
    with psycopg.connect(database, autocommit=True) as conn:
        for to in (25, 21):
            back.down(conn, to=to)
            assert psql(database, MIGRATIONS / "004_commands.sql").returncode == 0
            migrate.apply(conn)
            assert conn.execute(UNIQUE).fetchall() == of_senders
        last = NAMES[25]
        for name in ("022_keys.sql", last, last, "004_commands.sql", "022_keys.sql", last):
            assert psql(database, MIGRATIONS / name).returncode == 0
        assert conn.execute(UNIQUE).fetchall() == of_senders
