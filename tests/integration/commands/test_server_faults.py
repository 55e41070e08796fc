"""What the server is to blame for is no verdict on a command: apply_command raises it, and nothing is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from publisher.applier import ledger
from registry.broker.answers import outcome_code
from registry.commands.reading import read
from registry.database.errors import from_database
from registry.errors import Unavailable, Unprepared
from tests.support.commands import envelope

Conn = psycopg.Connection[Any]

REGISTER = """
SELECT verdict, code FROM apply_command(
    %s, 'project.register', '{"name": "a", "remote_origin": "git@github.com:o/a.git"}', 'digest', gen_random_uuid()
)
"""


STATES = sorted(
    {
        error.sqlstate
        for error in vars(psycopg.errors).values()
        if isinstance(error, type) and issubclass(error, psycopg.Error) and error.sqlstate is not None
    }
    - {"02000", "02001"}  # no errors
)
"""Every SQLSTATE that psycopg knows, those of the newest PostgreSQL among them."""


@pytest.fixture
def db(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(db: Conn) -> Iterator[str]:
    """A role with every right a service needs, but for writing projects."""
    role = f"service_{secrets.token_hex(6)}"
    db.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    for right in (
        "SELECT, INSERT, UPDATE, DELETE ON worktrees, worktree_types, agent_activities, command_ledger",
        "SELECT, INSERT ON outbox",
        "SELECT ON projects",
        "SELECT, USAGE ON SEQUENCE outbox_id_seq, publisher_doorbell",
    ):
        db.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(right), sql.Identifier(role)))
    yield role
    db.execute("RESET ROLE")
    db.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def refuse_with(db: Conn, state: str) -> None:
    """Let every insert of a project fail with this SQLSTATE."""
    db.execute(
        sql.SQL(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN RAISE EXCEPTION 'the server failed' USING ERRCODE = {}; END $$;"
            " CREATE TRIGGER fail BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION fail()"
        ).format(state)
    )


def code_of(db: Conn, query: str, *values: object) -> str | None:
    """The code that `query` answers, or that stands for what it raises; None where it is to be tried again."""
    try:
        (answer,) = db.execute(query.encode(), values).fetchall()
    except psycopg.Error as raised:
        error = from_database(raised)
        return None if isinstance(error, Unavailable) else outcome_code(error)
    return str(answer[1])


def recorded(db: Conn) -> int:
    """How many verdicts there are, in the ledger and as events."""
    row = db.execute("SELECT (SELECT count(*) FROM command_ledger) + count(*) FROM outbox WHERE entity = 'command'")
    return int((row.fetchone() or (0,))[0])


@pytest.mark.superuser
def test_a_right_that_is_missing_is_raised_and_the_command_is_applied_once_it_is_granted(
    db: Conn, service: str
) -> None:
    command: UUID = uuid4()
    db.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(service)))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table projects"):
        db.execute(REGISTER, (command,))
    assert recorded(db) == 0

    db.execute("RESET ROLE")
    db.execute(sql.SQL("GRANT INSERT, UPDATE ON projects TO {}").format(sql.Identifier(service)))
    db.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(service)))

    assert db.execute(REGISTER, (command,)).fetchone() == ("applied", None)


@pytest.mark.superuser
async def test_a_row_that_a_policy_hides_is_no_verdict_on_the_command(db: Conn, database: str, service: str) -> None:
    data = {"remote_origin": "git@github.com:o/a.git", "description": "d"}
    known = read(envelope("project.update", data), "project.update")
    db.execute("SELECT register_project('a', 'git@github.com:o/a.git')")
    db.execute(sql.SQL("GRANT INSERT, UPDATE ON projects TO {}").format(sql.Identifier(service)))
    db.execute("ALTER TABLE projects ENABLE ROW LEVEL SECURITY")

    async with ledger.connect(database, "imi-registry test", lock_seconds=1) as conn:
        await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(service)))
        with pytest.raises(Unprepared, match="row-level security"):
            await ledger.apply_one(conn, known)
        assert recorded(db) == 0
        db.execute("ALTER TABLE projects DISABLE ROW LEVEL SECURITY")
        assert (await ledger.apply_one(conn, known)).verdict == "applied"


@pytest.mark.parametrize(
    "state",
    [
        "08006",
        "25006",
        "28000",
        "40001",
        "40P01",
        "42501",
        "42883",
        "42P01",
        "53100",
        "55P03",
        "57P01",
        "58030",
        "XX001",
    ],
)
def test_a_fault_of_the_server_is_raised_and_leaves_no_verdict(db: Conn, state: str) -> None:
    refuse_with(db, state)
    command = uuid4()

    with pytest.raises(psycopg.Error, match="the server failed") as caught:
        db.execute(REGISTER, (command,))

    assert caught.value.sqlstate == state
    assert recorded(db) == 0
    db.execute("DROP TRIGGER fail ON projects")
    assert db.execute(REGISTER, (command,)).fetchone() == ("applied", None)


def test_each_sqlstate_means_the_same_to_a_command_and_to_whoever_calls_the_function(db: Conn) -> None:
    db.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'the server failed' USING ERRCODE = current_setting('test.state'); END $$;"
        " CREATE TRIGGER fail BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    differing = {}
    for state in STATES:
        db.execute("SELECT set_config('test.state', %s, false)", [state])
        direct = code_of(db, "SELECT register_project('a', 'git@github.com:o/a.git')")
        by_command = code_of(db, REGISTER, uuid4())
        if by_command != direct:
            differing[state] = (by_command, direct)

    assert len(STATES) > 240
    assert differing == {}


def test_a_session_that_may_only_read_raises(db: Conn) -> None:
    db.execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute(REGISTER, (uuid4(),))
    assert recorded(db) == 0


@pytest.mark.parametrize(
    ("state", "code"),
    [("P0001", "INTERNAL_ERROR"), ("22023", "VALIDATION_ERROR"), ("P0002", "NOT_FOUND"), ("55000", "CONFLICT")],
)
def test_what_the_command_is_to_blame_for_is_recorded(db: Conn, state: str, code: str) -> None:
    refuse_with(db, state)
    assert db.execute(REGISTER, (uuid4(),)).fetchone() == ("rejected", code)
    assert recorded(db) == 2
