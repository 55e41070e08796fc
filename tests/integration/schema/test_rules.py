"""What a value must be: the same rule for a function's parameter and a table's column, and one line that tells it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from registry.database import migrate
from registry.errors import Conflict
from tests.integration.schema.test_migrate import MIGRATIONS, NAMES, catalogs, psql, run_sql

Conn = psycopg.Connection[Any]

BLANK = "must not be blank"
LONG_NAME = "must have at most 512 bytes"
LONG_WORD = "must have at most 1024 bytes"
WORD = "must be one word"
PATH = 'must begin with "/" or "~" and have no ".." part'
LONG_PATH = "must have at most 2048 bytes"
COMMIT = "must be the hash of a commit"
COLOR = "must be a colour such as #10B981"

# kind of a value: what is refused, and the rule that the message tells
REFUSED = {
    "text": [("", BLANK), ("\t \u3000\u2003\u00a0", BLANK)],
    "name": [("", BLANK), (" \n", BLANK), ("n" * 10_000, LONG_NAME), ("é" * 257, LONG_NAME)],
    "word": [("", BLANK), ("a b", WORD), ("a\tb", WORD), ("a\n", WORD), ("w" * 1025, LONG_WORD)],
    "path": [("", BLANK), ("code/x", PATH), ("./x", PATH), ("/a/../b", PATH), ("/" + "p" * 2048, LONG_PATH)],
    "commit": [("", BLANK), ("not a hash!", COMMIT), ("abc-def", COMMIT), ("a" * 129, COMMIT)],
    "color": [("", COLOR), ("blurple", COLOR), ("#12345", COLOR), ("#10B98G", COLOR), ("#10B981\n", COLOR)],
}
TAKEN = {
    "text": ["x", "line\nline", "e\u0301", "t" * 100_000],
    "name": ["n" * 512, "a b", "ü/ñ", "\x1b[2J", "日本語"],
    "word": ["feat/x", "w" * 1024, "ünï/ço", "a\u00a0b"],
    "path": ["/", "~", "~/code", "/a b/ü", "/a/..b/c..", "/" + "p" * 2047],
    "commit": ["a", "deadbeef", "0" * 40, "f" * 64, "r1234"],
    "color": ["#fff", "#10B981", "#10b981"],
}

PARAMETERS = [
    ("register_project: p_name", "name", "SELECT register_project(%(value)s, 'git@github.com:o/b.git', 'main', '/b')"),
    ("register_project: p_default_branch", "word", "SELECT register_project('b', 'git@github.com:o/b.git', %(value)s)"),
    (
        "register_project: p_trunk_path",
        "path",
        "SELECT register_project('b', 'git@github.com:o/b.git', 'main', %(value)s)",
    ),
    ("update_project: p_name", "name", "SELECT update_project(%(project)s, p_name => %(value)s)"),
    ("update_project: p_default_branch", "word", "SELECT update_project(%(project)s, p_default_branch => %(value)s)"),
    ("update_project: p_trunk_path", "path", "SELECT update_project(%(project)s, p_trunk_path => %(value)s)"),
    ("update_project: p_description", "text", "SELECT update_project(%(project)s, p_description => %(value)s)"),
    ("register_worktree: p_name", "name", "SELECT register_worktree(%(project)s, 'fix', %(value)s, 'b', '/b')"),
    ("register_worktree: p_branch_name", "word", "SELECT register_worktree(%(project)s, 'fix', 'b', %(value)s, '/b')"),
    ("register_worktree: p_path", "path", "SELECT register_worktree(%(project)s, 'fix', 'b', 'b', %(value)s)"),
    (
        "register_worktree: p_agent_id",
        "name",
        "SELECT register_worktree(%(project)s, 'fix', 'b', 'b', '/b', %(value)s)",
    ),
    ("update_worktree: p_name", "name", "SELECT update_worktree(%(worktree)s, p_name => %(value)s)"),
    ("update_worktree: p_branch_name", "word", "SELECT update_worktree(%(worktree)s, p_branch_name => %(value)s)"),
    ("update_worktree: p_path", "path", "SELECT update_worktree(%(worktree)s, p_path => %(value)s)"),
    (
        "update_worktree_git_state: p_last_commit_hash",
        "commit",
        "SELECT update_worktree_git_state(%(worktree)s, p_last_commit_hash => %(value)s)",
    ),
    ("mark_worktree_merged: p_merged_by", "name", "SELECT mark_worktree_merged(%(worktree)s, %(value)s, 'abc')"),
    (
        "mark_worktree_merged: p_merge_commit_hash",
        "commit",
        "SELECT mark_worktree_merged(%(worktree)s, 'a', %(value)s)",
    ),
    ("claim_worktree: p_agent_id", "name", "SELECT claim_worktree(%(worktree)s, %(value)s)"),
    ("log_activity: p_agent_id", "name", "SELECT log_activity(%(value)s, %(worktree)s, 'other', 'x')"),
    ("log_activity: p_description", "text", "SELECT log_activity('a', %(worktree)s, 'other', %(value)s)"),
    ("add_worktree_type: p_name", "word", "SELECT add_worktree_type(%(value)s, '', 'x-')"),
    ("add_worktree_type: p_worktree_prefix", "name", "SELECT add_worktree_type('t', p_worktree_prefix => %(value)s)"),
    ("add_worktree_type: p_description", "text", "SELECT add_worktree_type('t', p_description => %(value)s)"),
    ("add_worktree_type: p_color", "color", "SELECT add_worktree_type('t', p_color => %(value)s)"),
    ("add_worktree_type: p_icon", "name", "SELECT add_worktree_type('t', p_icon => %(value)s)"),
    ("update_worktree_type: p_new_name", "word", "SELECT update_worktree_type('spike', %(value)s)"),
    (
        "update_worktree_type: p_worktree_prefix",
        "name",
        "SELECT update_worktree_type('spike', p_worktree_prefix => %(value)s)",
    ),
    ("update_worktree_type: p_description", "text", "SELECT update_worktree_type('spike', p_description => %(value)s)"),
    ("update_worktree_type: p_color", "color", "SELECT update_worktree_type('spike', p_color => %(value)s)"),
    ("update_worktree_type: p_icon", "name", "SELECT update_worktree_type('spike', p_icon => %(value)s)"),
]
COLUMNS = [
    ("projects", "name", "name"),
    ("projects", "default_branch", "word"),
    ("projects", "trunk_path", "path"),
    ("projects", "description", "text"),
    ("worktrees", "name", "name"),
    ("worktrees", "branch_name", "word"),
    ("worktrees", "path", "path"),
    ("worktrees", "agent_id", "name"),
    ("worktrees", "last_commit_hash", "commit"),
    ("worktrees", "merged_by", "name"),
    ("worktrees", "merge_commit_hash", "commit"),
    ("worktree_types", "name", "word"),
    ("worktree_types", "worktree_prefix", "name"),
    ("worktree_types", "description", "text"),
    ("worktree_types", "color", "color"),
    ("worktree_types", "icon", "name"),
]
TIMES = [
    ("projects", "created_at"),
    ("worktrees", "created_at"),
    ("worktrees", "last_sync_at"),
    ("worktrees", "merged_at"),
    ("worktree_types", "created_at"),
]


@pytest.fixture
def db(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ids(db: Conn) -> dict[str, UUID]:
    """A project, a worktree of it, and the type `spike` that no worktree has."""
    for statement in (
        "SELECT register_project('a', 'git@github.com:o/a.git', 'main', '/t')",
        "SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects",
        "SELECT add_worktree_type('spike')",
    ):
        db.execute(statement.encode())
    project, worktree = db.execute("SELECT p.id, w.id FROM projects p, worktrees w").fetchall()[0]
    return {"project": project, "worktree": worktree}


@pytest.mark.parametrize(("parameter", "kind", "call"), PARAMETERS, ids=[one[0] for one in PARAMETERS])
def test_a_parameter_is_refused_by_its_name_value_and_rule(
    db: Conn, ids: dict[str, UUID], parameter: str, kind: str, call: str
) -> None:
    for value, rule in REFUSED[kind]:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            db.execute(call.encode(), {**ids, "value": value})
        assert_told(caught.value, parameter, value, rule)


@pytest.mark.parametrize(("parameter", "kind", "call"), PARAMETERS, ids=[one[0] for one in PARAMETERS])
def test_a_parameter_at_the_edge_of_its_rule_is_taken(
    db: Conn, ids: dict[str, UUID], parameter: str, kind: str, call: str
) -> None:
    for value in TAKEN[kind]:
        with db.transaction(force_rollback=True):
            db.execute(call.encode(), {**ids, "value": value})


@pytest.mark.parametrize(("table", "column", "kind"), COLUMNS)
def test_a_column_is_refused_by_its_name_value_and_rule_and_its_constraint_is_named(
    db: Conn, ids: dict[str, UUID], table: str, column: str, kind: str
) -> None:
    which = "WHERE name = 'spike'" if table == "worktree_types" else ""
    for value, rule in REFUSED[kind]:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            db.execute(update(table, column, which), (value,))
        assert_told(caught.value, f"{table}: {column}", value, rule)
        assert caught.value.diag.constraint_name == f"{table}_{column}_check"
    for value in TAKEN[kind]:
        with db.transaction(force_rollback=True):
            db.execute(update(table, column, which), (value,))


@pytest.mark.parametrize(("column", "kind"), [("agent_id", "name"), ("description", "text")])
def test_a_column_of_the_log_is_refused_like_any_other(db: Conn, ids: dict[str, UUID], column: str, kind: str) -> None:
    values = {"agent_id": "a", "description": "words"}
    for value, rule in REFUSED[kind]:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            db.execute(
                "INSERT INTO agent_activities (worktree_id, activity_type, agent_id, description)"
                " VALUES (%(worktree)s, 'other', %(agent_id)s, %(description)s)",
                {**ids, **values, column: value},
            )
        assert_told(caught.value, f"agent_activities: {column}", value, rule)


@pytest.mark.parametrize(("table", "column"), TIMES)
@pytest.mark.parametrize(
    "time",
    ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "10000-01-01 00:00:00+00", "0001-12-31 23:59:59+00 BC"],
)
def test_a_time_that_no_reader_can_hold_is_refused(
    db: Conn, ids: dict[str, UUID], table: str, column: str, time: str
) -> None:
    db.execute("SET datestyle = 'German'; SET timezone = 'Pacific/Kiritimati'")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        db.execute(update(table, column), (time,))
    message = str(caught.value.diag.message_primary)
    assert message.startswith(f'{table}: {column} is "{time.split(" ")[0]}')
    assert message.endswith("; it must be within the years 1 to 9999")
    assert caught.value.diag.constraint_name == f"{table}_times_check"


@pytest.mark.parametrize("time", ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"])
def test_the_first_and_the_last_time_a_reader_can_hold_are_taken(db: Conn, ids: dict[str, UUID], time: str) -> None:
    for table, column in TIMES:
        if column != "merged_at":
            db.execute(update(table, column), (time,))
    db.execute("UPDATE worktrees SET merged_at = %s", (time,))


def test_every_time_column_of_the_registrys_tables_has_its_rule(db: Conn) -> None:
    rows = db.execute(
        "SELECT c.relname, a.attname, pg_get_constraintdef(k.oid) FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'timestamptz'::regtype AND a.attnum > 0"
        " LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.conname = c.relname || '_times_check'"
        " WHERE c.relname IN ('projects', 'worktrees', 'worktree_types', 'agent_activities', 'deleted_worktrees')"
        " AND c.relkind = 'r'"
    ).fetchall()
    assert len(rows) == 9
    for table, column, definition in rows:
        assert f"{column}" in (definition or ""), (table, column)


HUGE = {
    "1e5000": '{"huge": 1e5000}',
    "1e400": '{"a": [{"n": 1e400}]}',
    "negative": '{"n": -1e309}',
    "5,000 digits": f'{{"n": {"7" * 5000}}}',
}


@pytest.mark.parametrize("metadata", HUGE.values(), ids=HUGE.keys())
def test_a_number_beyond_a_double_is_refused_wherever_metadata_is_written(
    db: Conn, ids: dict[str, UUID], metadata: str
) -> None:
    told = (
        r"metadata has the number -?[17]\d{15,19}… \(\d+ characters\); it must have none beyond 1.7976931348623157e308$"
    )
    for call in (
        "SELECT register_project('a', 'git@github.com:o/a.git', p_metadata => %(value)s)",
        "SELECT register_worktree(%(project)s, 'feat', 'v', 'v', '/v', NULL, %(value)s)",
        "SELECT update_project(%(project)s, p_metadata => %(value)s)",
        "SELECT update_worktree(%(worktree)s, p_metadata => %(value)s)",
        "SELECT log_activity('a', %(worktree)s, 'other', 'x', NULL, %(value)s)",
        "SELECT add_worktree_type('t', p_metadata => %(value)s)",
        "SELECT update_worktree_type('spike', p_metadata => %(value)s)",
        "UPDATE projects SET metadata = %(value)s",
        "UPDATE worktrees SET metadata = metadata || %(value)s",
        "UPDATE worktree_types SET metadata = %(value)s",
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata)"
        " VALUES ('a', %(worktree)s, 'other', 'x', %(value)s)",
    ):
        with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.CheckViolation)) as caught:
            db.execute(call.encode(), {**ids, "value": metadata})
        assert re.search(told, str(caught.value.diag.message_primary)), call


def test_the_digits_of_a_number_are_kept(db: Conn, ids: dict[str, UUID]) -> None:
    kept = (
        '{"d": 0.12345678901234567890123, "i": 12345678901234567890123, "z": 1.10, '
        '"max": 179769313486231570000, "tiny": 0.' + "0" * 400 + "1}"
    )
    for call in (
        "SELECT update_project(%s, p_metadata => %s)",
        "SELECT register_project('a', 'git@github.com:o/a.git', p_metadata => %s)",
    ):
        db.execute("UPDATE projects SET metadata = '{}'")
        db.execute(call.encode(), (ids["project"], kept) if call.count("%s") == 2 else (kept,))
        assert db.execute("SELECT metadata = %s::jsonb, metadata ->> 'z' FROM projects", (kept,)).fetchone() == (
            True,
            "1.10",
        )
    told = db.execute("SELECT data -> 'metadata' ->> 'i' FROM outbox ORDER BY id DESC LIMIT 1").fetchone()
    assert told == ("12345678901234567890123",)


def test_metadata_nested_too_deep_is_refused_in_plain_writes_too(db: Conn, ids: dict[str, UUID]) -> None:
    deep = '{"a":' * 101 + "1" + "}" * 101
    with pytest.raises(
        psycopg.errors.CheckViolation, match="projects: metadata is nested too deep; it must not be deeper"
    ):
        db.execute("UPDATE projects SET metadata = %s", (deep,))


SECRET_ORIGINS = [
    "https://me@example.com:s3cret@github.com/o/r",
    "https://user:pa/s3cret@github.com/o/r",
    "https://user:s3cret@gitlab.com/a/b",
    "https://s3cret@gitlab.com/a/b",
    "https://u:a@b/c@s3cret/d@gitlab.com/x",
    "user:s3cret@gitlab.com:a/b",
    "s3cret@gitlab.com:a/b",
    "https:/user:s3cret@github.com/o/r",
    "https://user:s3cret",
    "https://user:s3cret%40github.com/o/r",
    "user:pa/s3cret",
    "https://gitlab.com/o/r?access_token=s3cret",
    "https://gitlab.com/o/r#s3cret",
    "https://user:\ns3cret@gitlab.com/o/r",
]


@pytest.mark.parametrize("origin", SECRET_ORIGINS)
def test_no_credential_of_an_origin_is_in_an_error_or_an_event(db: Conn, ids: dict[str, UUID], origin: str) -> None:
    for call in (
        "SELECT register_project('x', %(origin)s)",
        "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %(origin)s, '/x')",
        "UPDATE projects SET remote_origin = %(origin)s",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            db.execute(call.encode(), {"origin": origin})
        assert "s3cret" not in str(caught.value)
        assert "expected git@github.com:owner/repo.git" in str(caught.value)
    for command in ("project.register", "project.deactivate"):
        db.execute(
            "SELECT apply_command(gen_random_uuid(), %s, %s, %s, gen_random_uuid())",
            (command, json.dumps({"name": "x", "remote_origin": origin}), b"digest"),
        )
    recorded = db.execute(
        "SELECT count(*), string_agg(data::text, ' ') FROM outbox WHERE action = 'rejected'"
    ).fetchone()
    assert recorded is not None
    assert recorded[0] == 2
    assert "s3cret" not in recorded[1]
    assert "s3cret" not in str(db.execute("SELECT l::text FROM command_ledger l").fetchall())


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


def update(table: str, column: str, which: str = "") -> sql.Composed:
    """An UPDATE of one column with one parameter."""
    names = map(sql.Identifier, (table, column))
    return sql.SQL("UPDATE {} SET {} = %s {}").format(*names, sql.SQL(which))


def assert_told(error: psycopg.Error, field: str, value: str, rule: str) -> None:
    """One line that begins with the field, has the value, at least its begin, and ends with the rule."""
    message = str(error.diag.message_primary)
    assert message.startswith(f"{field} "), message
    assert f"it {rule}" in message
    assert json.dumps(value[:100], ensure_ascii=False)[1:-1] in message
    assert "\n" not in message
    assert len(message) < 300
