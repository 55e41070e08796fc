"""A value with a credential in it, wherever it is given, is in no error, no event and no row of the ledger."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from registry.urls import without_credentials
from registry.validation import NOT_SHOWN, printable_origin
from tests.support.credentials import HARMLESS, ORIGINS, SECRET_VALUES

Conn = psycopg.Connection[Any]

REFUSING = [
    "SELECT register_project('x', 'git@github.com:a/x.git', p_trunk_path := ' ' || %(value)s)",
    "SELECT register_project('x', 'git@github.com:a/x.git', p_default_branch := ' ' || %(value)s)",
    "SELECT register_project(%(value)s || '/', 'git@github.com:a/x.git')",
    "SELECT register_project(%(value)s || repeat('x', 600), 'git@github.com:a/x.git', p_trunk_path := '/x')",
    "SELECT register_project('x', 'git@github.com:a/x.git', p_metadata := to_jsonb(%(value)s::text))",
    "SELECT register_project('x', 'git@github.com:a/x.git', p_metadata := jsonb_build_array(%(value)s::text))",
    "UPDATE projects SET trunk_path = ' ' || %(value)s",
    "UPDATE projects SET default_branch = ' ' || %(value)s",
    "UPDATE projects SET metadata = to_jsonb(%(value)s::text)",
    "UPDATE projects SET remote_origin = ' ' || %(value)s || ' '",
    "SELECT register_worktree(%(project)s, %(value)s, 'w', 'b', '/w')",
    "SELECT register_worktree(%(project)s, 'feat', 'w', ' ' || %(value)s, '/w')",
    "SELECT register_worktree(%(project)s, 'feat', 'w', 'b', ' ' || %(value)s)",
    "SELECT get_project_working_path(%(project)s, %(value)s || '/..')",
    "SELECT mark_worktree_merged(%(worktree)s, 'ada', ' ' || %(value)s)",
    "SELECT update_worktree_git_state(%(worktree)s, p_last_commit_hash := ' ' || %(value)s)",
    "SELECT log_activity('ada', %(worktree)s, %(value)s, 'x')",
    "SELECT add_worktree_type('x', '', 'x', p_color := %(value)s)",
    "SELECT remove_worktree_type(%(value)s)",
    "SELECT set_config('imi.correlation_id', %(value)s, true), register_project('x', 'git@github.com:a/x.git')",
]
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("project.register", {"name": "x", "remote_origin": "git@github.com:a/x.git", "trunk_path": " VALUE"}),
    ("project.register", {"name": "x", "remote_origin": "git@github.com:a/x.git", "default_branch": " VALUE"}),
    ("worktree.update_git_state", {"worktree_id": "WORKTREE", "has_uncommitted": "VALUE"}),
    ("worktree.remove", {"path": "VALUE"}),
    (
        "worktree.register",
        {"project_id": "PROJECT", "type_name": "VALUE", "name": "x", "branch_name": "b", "path": "/"},
    ),
    ("worktree_type.remove", {"name": "VALUE"}),
    ("activity.log", {"path": "VALUE", "agent_id": "a", "activity_type": "other", "description": "x"}),
]


@pytest.fixture
def ids(database: str) -> dict[str, Any]:
    with psycopg.connect(database) as conn:
        project = conn.execute(
            "SELECT register_project('p', 'git@github.com:a/p.git', p_trunk_path := '/p')"
        ).fetchone()
        assert project is not None
        worktree = conn.execute("SELECT register_worktree(%s, 'feat', 'f', 'b', '/f')", project).fetchone()
        assert worktree is not None
    return {"project": project[0], "worktree": worktree[0]}


@pytest.mark.parametrize("statement", REFUSING)
def test_no_error_has_a_credential(database: str, ids: dict[str, Any], statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for value in SECRET_VALUES:
            with pytest.raises(psycopg.Error) as caught, conn.transaction():
                conn.execute(statement.encode(), ids | {"value": value})
            assert "s3cret" not in str(caught.value.diag.message_primary)


@pytest.mark.parametrize(("command", "data"), COMMANDS)
def test_no_rejection_has_a_credential(database: str, ids: dict[str, Any], command: str, data: dict[str, Any]) -> None:
    known = {"PROJECT": str(ids["project"]), "WORKTREE": str(ids["worktree"])}
    with psycopg.connect(database, autocommit=True) as conn:
        for value in SECRET_VALUES:
            filled = known | {"VALUE": value, " VALUE": f" {value}"}
            given = {name: filled.get(one, one) for name, one in data.items()}
            answer = conn.execute(
                "SELECT verdict, message FROM apply_command(gen_random_uuid(), %s, %s, sha256(%s), gen_random_uuid())",
                (command, json.dumps(given), value.encode()),
            ).fetchone()
            assert answer is not None
            assert answer[0] == "rejected"
            assert "s3cret" not in answer[1]
        told = conn.execute("SELECT string_agg(data::text, ' ') FROM outbox WHERE action = 'rejected'").fetchone()
        kept = conn.execute("SELECT string_agg(l::text, ' ') FROM command_ledger l").fetchone()
        assert "s3cret" not in str((told, kept))


def test_the_database_and_the_programs_hide_the_same(database: str) -> None:
    with psycopg.connect(database) as conn:
        for value in SECRET_VALUES + HARMLESS:
            hidden = conn.execute("SELECT without_credentials(%s)", (value,)).fetchone()
            assert hidden == (without_credentials(value),)


def test_the_database_and_the_programs_show_the_same_of_an_origin(database: str) -> None:
    with psycopg.connect(database) as conn:
        for value in SECRET_VALUES + HARMLESS + ORIGINS:
            (by_database,) = conn.execute("SELECT quote_origin(%s)", (value,)).fetchone() or ("",)
            assert (by_database == NOT_SHOWN) == (printable_origin(value) == NOT_SHOWN), value
