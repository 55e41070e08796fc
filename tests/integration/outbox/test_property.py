"""Every changed column of every row is reported exactly once, in the most specific event.

Random sequences of statements, each held against the rows before and after it: what differs must be what the events
say, no more and no less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.outbox_reader import Event, OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]
Rows = dict[tuple[str, str], dict[str, Any]]

GIT = {
    "has_uncommitted_changes",
    "uncommitted_files_count",
    "ahead_of_trunk",
    "behind_trunk",
    "last_commit_hash",
    "last_commit_message",
}
MERGE = {"merged_at", "merged_by", "merge_commit_hash"}
STAMPS = {"updated_at", "last_sync_at"}
# What the schema may answer to a random statement; an error of the outbox itself is none of these.
REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.DivisionByZero,
)
DEFAULT_HOST = "00000000-0000-0000-0000-000000000000"
KEY = {"project": "project_id", "worktree": "worktree_id", "worktree_type": "type_id"}
ADDED = {"project": "registered", "worktree": "created", "worktree_type": "added"}
GONE = {"project": "deleted", "worktree": "deleted", "worktree_type": "removed"}

texts = st.one_of(
    st.none(),
    st.sampled_from(["x", "naïve 🚀", "'; --", '"\\u0000"', "x" * 3000]),
    st.text(st.characters(exclude_characters="\0"), max_size=5),
)
names = st.sampled_from(["one", "two", "drei", "ünïcode"])
counts = st.integers(0, 3)
flags = st.booleans()
moments = st.sampled_from(["2020-01-01 00:00:00.000001+05:45", "infinity", "1969-12-31 23:59:59Z"])
times = st.one_of(st.none(), moments)
objects = st.sampled_from(["{}", '{"a": null}', '{"a": [1, 2.50, "é"]}', '{"changed": {"name": 1}}'])


def some_of(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """New values of up to four columns: few enough that most statements touch one or two aspects."""
    chosen = st.lists(st.sampled_from(sorted(columns)), unique=True, max_size=4)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: columns[name] for name in names}))


worktree_values = some_of(
    {
        "type_id": st.integers(1, 6),
        "name": names,
        "branch_name": names,
        "agent_id": st.one_of(st.none(), names),
        "uncommitted_files_count": counts,
        "ahead_of_trunk": counts,
        "behind_trunk": counts,
        "last_commit_hash": texts,
        "last_commit_message": texts,
        "last_sync_at": times,
        "merged_at": times,
        "merged_by": texts,
        "merge_commit_hash": texts,
        "metadata": objects,
        "created_at": moments,
        "active": flags,
    }
)
project_values = some_of(
    {
        "name": names,
        "default_branch": names,
        "trunk_path": st.sampled_from(["/a", "/b"]),
        "description": texts,
        "metadata": objects,
        "created_at": moments,
        "active": flags,
    }
)
type_values = some_of({"description": texts, "color": texts, "icon": texts, "metadata": objects, "created_at": moments})
rows = st.sampled_from(
    ["true", "name <> 'one'", "id IN (SELECT max(id::text)::uuid FROM worktrees)", "active", "NOT active"]
)
statements = st.one_of(
    st.tuples(st.just("worktrees"), worktree_values, rows),
    st.tuples(st.just("projects"), project_values, st.sampled_from(["true", "name = 'alpha'", "active"])),
    st.tuples(st.just("worktree_types"), type_values, st.sampled_from(["true", "name = 'fix'"])),
    st.tuples(
        st.sampled_from(
            [
                "INSERT INTO worktrees AS w (project_id, type_id, name, branch_name, path)"
                " SELECT id, 1, 'new', 'b', name || '/n' FROM projects"
                " ON CONFLICT (project_id, name) DO UPDATE SET branch_name = w.branch_name || '+'",
                "DELETE FROM worktrees WHERE name IN ('one', 'drei')",
                "DELETE FROM projects WHERE name = 'beta'",
                "SELECT register_project('gamma', 'git@github.com:owner/gamma.git')",
                "SELECT register_worktree(id, 'pr', 'one', 'b', '/re/' || id) FROM projects WHERE active",
                "SELECT update_worktree_git_state(id, p_uncommitted_count := 2, p_behind := 1) FROM worktrees",
                "SELECT update_worktree_git_state(id) FROM worktrees",
                "UPDATE worktrees SET active = true, last_sync_at = now()",
                "SELECT mark_worktree_merged(id, 'm', 'h') FROM worktrees WHERE merged_at IS NULL",
                "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't/', 't-')"
                " ON CONFLICT DO NOTHING",
                "DELETE FROM worktree_types WHERE name = 't'",
                "UPDATE projects SET name = 'x' WHERE 1 / (length(name) - 4) > 0",
            ]
        ),
        st.none(),
        st.none(),
    ),
)
steps = st.lists(st.tuples(statements, st.sampled_from(["keep", "keep", "keep", "undo"])), min_size=1, max_size=6)


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database) as connection:
        for name in ("alpha", "beta"):
            project_id = add_project(connection, name)
            for worktree in ("one", "two", "drei"):
                add_worktree(connection, project_id, worktree)
        connection.execute("SELECT mark_worktree_merged(id, 'm', 'h') FROM worktrees WHERE name = 'two'")
        connection.commit()
        yield connection


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_each_changed_column_is_reported_once_in_the_most_specific_event(conn: Conn, steps: list[Any]) -> None:
    outbox = OutboxReader(conn)
    try:
        for (statement, values, where), fate in steps:
            before = snapshot(conn)
            try:
                with conn.transaction() as savepoint:
                    run(conn, statement, values, where)
                    events = outbox.new()
                    after = snapshot(conn)
                    event(f"{min(len(events), 5)} events")
                    assert_reported(before, after, events)
                    if fate == "undo":
                        raise psycopg.Rollback(savepoint)
            except REFUSALS as error:
                event(f"refused: {error.sqlstate}")
                fate = "undo"
            if fate == "undo":
                assert snapshot(conn) == before
                assert outbox.new() == [], "a rolled back write has no event"
    finally:
        conn.rollback()


def run(conn: Conn, statement: str, values: dict[str, Any] | None, where: str | None) -> None:
    """The statement, by a session whose settings must not matter."""
    conn.execute("SET LOCAL timezone = 'Asia/Kathmandu'")
    conn.execute("SET LOCAL datestyle = 'German'")
    if values is None:
        conn.execute(statement.encode())
    else:
        assignments = ", ".join(f"{column} = %s" for column in values) or "metadata = metadata"
        conn.execute(f"UPDATE {statement} SET {assignments} WHERE {where}".encode(), list(values.values()))  # noqa: S608  # of constants
    conn.execute("SET LOCAL timezone = 'UTC'")
    conn.execute("SET LOCAL datestyle = 'ISO'")


def snapshot(conn: Conn) -> Rows:
    """(entity, id) → the row as JSON, times in UTC."""
    conn.execute("SET LOCAL timezone = 'UTC'")
    found = conn.execute(
        "SELECT 'project', id::text, to_jsonb(p) FROM projects p"
        " UNION ALL SELECT 'worktree', id::text, to_jsonb(w) FROM worktrees w"
        " UNION ALL SELECT 'worktree_type', id::text, to_jsonb(t) FROM worktree_types t"
    ).fetchall()
    return {(entity, key): row for entity, key, row in found}


def assert_reported(before: Rows, after: Rows, events: list[Event]) -> None:
    """The events tell the difference of the rows, each part once."""
    by_row: dict[tuple[str, str], list[Event]] = {}
    for one in events:
        by_row.setdefault((one.entity, str(one.data[KEY[one.entity]])), []).append(one)
    for key in before.keys() | after.keys() | by_row.keys():
        entity = key[0]
        told = by_row.get(key, [])
        old, new = before.get(key), after.get(key)
        for one in told:
            assert_row(one, new or old)
        if old is None:
            assert [one.action for one in told] == [ADDED[entity]]
        elif new is None:
            assert [one.action for one in told] == [GONE[entity]]
        else:
            assert_changes(entity, old, new, told)


def assert_row(told: Event, row: dict[str, Any] | None) -> None:
    """`data` is the row after the statement (before it, when it is gone)."""
    assert row is not None
    own = {KEY[told.entity] if column == "id" else column: value for column, value in row.items()}
    if own.get("host_id") == DEFAULT_HOST:  # of which events say nothing
        assert "host_id" not in told.data
        del own["host_id"]
    assert {column: told.data[column] for column in own} == own
    if told.entity_id is not None:
        assert str(told.entity_id) == row["id"]


def assert_changes(entity: str, old: dict[str, Any], new: dict[str, Any], told: list[Event]) -> None:
    different = {column for column in old if old[column] != new[column]}
    keys = [column for one in told for column in one.changed]
    if different <= STAMPS:
        assert told == [], "a stamp alone is no event"
        return
    assert sorted(keys) == sorted(different), "each changed column once"
    assert len({one.action for one in told}) == len(told), "one event per aspect"
    for one in told:
        assert one.changed == {column: old[column] for column in one.changed}, "previous values"
        assert one.changed.keys() - STAMPS, "a stamp alone is no event"
        for column in one.changed.keys() - STAMPS:
            assert one.action == action_of(entity, column, old, new)


def action_of(entity: str, column: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """The catalogue's rule for one column."""
    is_merged = old.get("merged_at") is None and new.get("merged_at") is not None
    is_reactivated = bool(new.get("active")) and not old.get("active")
    if entity == "worktree" and column in GIT:
        return "git_state_updated"
    if entity == "worktree" and column == "agent_id":
        return "released" if new["agent_id"] is None else "claimed"
    if entity == "worktree" and column in MERGE and (is_merged or is_reactivated):
        return "merged" if is_merged else "reactivated"
    if column == "active":
        if is_reactivated:
            return "reactivated"
        if entity == "project":
            return "deactivated"
        return "merged" if is_merged else "removed"
    return "updated"
