"""Texts: the same rule for a function's parameter and a table's column, and one line that tells it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.schema.rows import update

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
    "commit or none": [(" ", BLANK), ("not a hash!", COMMIT), ("abc-def", COMMIT), ("a" * 129, COMMIT)],
    "commit": [("", BLANK), ("not a hash!", COMMIT), ("abc-def", COMMIT), ("a" * 129, COMMIT)],
    "color": [("", COLOR), ("blurple", COLOR), ("#12345", COLOR), ("#10B98G", COLOR), ("#10B981\n", COLOR)],
}
TAKEN = {
    "text": ["x", "line\nline", "e\u0301", "t" * 100_000],
    "name": ["n" * 512, "a b", "ü/ñ", "\x1b[2J", "日本語"],
    "word": ["feat/x", "w" * 1024, "ünï/ço", "a\u00a0b"],
    "path": ["/", "~", "~/code", "/a b/ü", "/a/..b/c..", "/" + "p" * 2047],
    "commit or none": ["", "a", "deadbeef", "0" * 40, "f" * 64, "r1234"],
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
        "commit or none",  # an empty one says that there is none
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


def assert_told(error: psycopg.Error, field: str, value: str, rule: str) -> None:
    """One line that begins with the field, has the value, at least its begin, and ends with the rule."""
    message = str(error.diag.message_primary)
    assert message.startswith(f"{field} "), message
    assert f"it {rule}" in message
    assert json.dumps(value[:100], ensure_ascii=False)[1:-1] in message
    assert "\n" not in message
    assert len(message) < 300
