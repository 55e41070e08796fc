"""Whoever may create something in the schema public puts nothing into our functions, which others call.

On PostgreSQL 14 that is everybody. A function or operator whose parameters fit exactly is chosen before one of
pg_catalog that takes anything, wherever it stands in the search path.
"""

from __future__ import annotations

import psycopg
import pytest

TRAP = """
CREATE FUNCTION public.{name}({types}) RETURNS {returns} LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'trapped' USING ERRCODE = 'XX000'; END $$
"""
TRAPS = [
    *[("format", ", ".join(["text", *rest]), "text") for rest in (["text"], ["text", "text"], ["text", "integer"])],
    *[("jsonb_build_object", f"text, {of}", "jsonb") for of in ("uuid", "integer", "text")],
    ("jsonb_build_object", "text, uuid, text, uuid", "jsonb"),
    ("array_to_string", "text[], text", "text"),
    ("num_nonnulls", "text, text", "integer"),
]
OPERATORS = [("text", "integer"), ("text", "jsonb"), ("text", "name")]


APPLY = """
SELECT verdict, code
FROM apply_command(gen_random_uuid(), %s, %s, sha256(%s), gen_random_uuid())
"""
COMMANDS = {
    "project.register": '{"name": "p", "remote_origin": "git@github.com:o/p.git"}',
    "worktree.register": '{"remote_origin": "git@github.com:o/p.git", "type": "feat", "name": "w", "branch_name": "b", '
    '"path": "/w", "type_name": "feat"}',
    "worktree.claim": '{"path": "/w", "agent_id": "ada"}',
    "worktree_type.add": '{"name": "load"}',
}
REFUSED = [
    "SELECT register_project(repeat('x', 3000), 'git@github.com:o/p.git')",
    "SELECT register_project('p', 'git@github.com:o/p.git', p_metadata := '[1]')",
    "SELECT log_activity('a', gen_random_uuid(), 'nothing', 'd')",
    "INSERT INTO projects (name, remote_origin, trunk_path, metadata) VALUES ('p', 'git@github.com:o/p.git', '/', '1')",
]


@pytest.fixture
def conn(database: str) -> psycopg.Connection:
    conn = psycopg.connect(database, autocommit=True)
    for name, types, returns in TRAPS:
        conn.execute(TRAP.format(name=name, types=types, returns=returns).encode())
    for left, right in OPERATORS:
        conn.execute(TRAP.format(name="trap", types=f"{left}, {right}", returns="text").encode())
        conn.execute(
            f"CREATE OPERATOR public.|| (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trap)".encode()
        )
    return conn


def test_commands_run_nothing_of_others(conn: psycopg.Connection) -> None:
    with conn:
        for name, data in COMMANDS.items():
            outcome = conn.execute(APPLY, [name, data, data.encode()]).fetchone()
            assert outcome == ("applied", None), name


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_refused_runs_nothing_of_others(conn: psycopg.Connection, call: str) -> None:
    with conn, pytest.raises(psycopg.Error) as raised:
        conn.execute(call.encode())
    assert "trapped" not in str(raised.value)
