"""The triggers stay cheap: plans that were cached for small tables and single rows hold for large ones.

The plans are those PostgreSQL really ran, as auto_explain reports them to the session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

pytestmark = pytest.mark.superuser  # to load auto_explain

Conn = psycopg.Connection[Any]
ROWS = 10_000


class Plans:
    """The plans of the statements run inside the triggers of a session."""

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self._seen: list[dict[str, Any]] = []
        conn.add_notice_handler(self._take)
        try:
            conn.execute("LOAD 'auto_explain'")
        except psycopg.errors.UndefinedFile:
            pytest.skip("this PostgreSQL has no auto_explain")
        for setting in (
            "auto_explain.log_nested_statements = on",
            "auto_explain.log_format = 'json'",
            "auto_explain.log_level = 'notice'",
            "auto_explain.log_analyze = on",
            "auto_explain.log_timing = off",
        ):
            conn.execute(f"SET {setting}".encode())

    def of(self, statement: str) -> list[dict[str, Any]]:
        """Run the statement; the nodes of every plan that wrote the outbox, with whether it was compiled."""
        self._seen.clear()
        self._conn.execute("SET auto_explain.log_min_duration = 0")
        self._conn.execute(statement.encode())
        self._conn.execute("SET auto_explain.log_min_duration = -1")
        return [one for one in self._seen if one["Query Text"].lstrip().startswith("INSERT INTO public.outbox")]

    def _take(self, notice: psycopg.errors.Diagnostic) -> None:
        message = notice.message_primary or ""
        if "plan:\n" in message:
            self._seen.append(json.loads(message.split("plan:\n", 1)[1]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.fixture
def plans(conn: Conn) -> Plans:
    """Of a session whose trigger plans were made when there was one row of everything."""
    worktree_id = add_worktree(conn, add_project(conn))
    conn.execute("ANALYZE")  # of tables this small, a scan looks cheaper than any index
    for number in range(8):
        conn.execute("UPDATE worktrees SET ahead_of_trunk = %s", (number,))
        conn.execute("UPDATE projects SET description = %s", (str(number),))
        conn.execute("UPDATE worktree_types SET description = %s WHERE name = 'fix'", (str(number),))
        conn.execute("SELECT log_activity('a', %s, 'other', 'words')", (worktree_id,))
        conn.execute(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
            " SELECT id, 1, %(n)s, 'b', '/w/' || %(n)s FROM projects",
            {"n": f"w{number}"},
        )
        conn.execute("DELETE FROM worktrees WHERE name = %s", (f"w{number}",))
    return Plans(conn)


def fill(database: str) -> None:
    """Grow the tables from another session: nothing there throws away the plans of the first."""
    with psycopg.connect(database) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO projects (name, remote_origin, trunk_path)"
            " SELECT 'p' || n, 'git@github.com:owner/p' || n || '.git', '/p' || n FROM generate_series(1, %s) n",
            (ROWS,),
        )
        conn.execute(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
            " SELECT id, 2, 'w', 'b', trunk_path || '/w' FROM projects"
        )


# Updates are told row by row: a hundred rows show what ten thousand would.
STATEMENTS = [
    "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1, agent_id = 'a', name = name || '+'"
    " WHERE path LIKE '/p%00/w'",
    "UPDATE worktrees SET last_commit_hash = 'h' WHERE name = 'one'",
    "UPDATE projects SET description = 'words', default_branch = 'trunk' WHERE name LIKE 'p%00'",
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
    " SELECT id, 1, 'n', 'b', trunk_path || '/n' FROM projects",
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'a', id, 'other', 'words' FROM worktrees",
    "DELETE FROM worktrees WHERE type_id = 2",
    "DELETE FROM worktrees WHERE name = 'one'",
    "DELETE FROM projects WHERE name LIKE 'p%5'",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_plan_compares_all_with_all_or_reads_a_table_whole(database: str, plans: Plans, statement: str) -> None:
    fill(database)
    ran = plans.of(statement)
    assert ran, "the trigger's statement was seen"
    for one in ran:
        assert "JIT" not in one
        for node in nodes(one["Plan"]):
            assert node["Node Type"] != "Seq Scan", node
            if node["Node Type"] == "Named Tuplestore Scan":
                assert node.get("Actual Loops", 1) <= 1, "a transition table is read once, not once per row"
            if node["Node Type"] == "Index Scan":
                assert node["Actual Rows"] <= 1, "a joined name is one row by key"


def test_ten_thousand_rows_in_one_statement_are_each_told_once(conn: Conn, database: str) -> None:
    fill(database)
    outbox = OutboxReader(conn)
    conn.execute("UPDATE worktrees SET agent_id = 'a', ahead_of_trunk = 1")
    events = outbox.new()
    told = [(event.entity_id, event.action) for event in events]
    rows = conn.execute("SELECT id FROM worktrees").fetchall()
    assert len(told) == len(set(told)) == 2 * len(rows) == 2 * ROWS
    assert {entity_id for entity_id, _ in told} == {row[0] for row in rows}
    by_row: dict[object, list[str]] = {}
    for entity_id, action in told:
        by_row.setdefault(entity_id, []).append(action)
    assert set(map(tuple, by_row.values())) == {("claimed", "git_state_updated")}
