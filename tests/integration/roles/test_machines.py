"""docs/security.md: with its policies a machine writes what is on its own host, and on nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.roles.cluster import Conn, members, with_policies
from tests.support.roles.matrix import PAGE

POLICIES = re.search(r"```sql\n(CREATE ROLE imi_machines.*?)```", PAGE.read_text(), re.DOTALL)
REGISTER = """
SELECT register_worktree(
    register_project('p', 'git@github.com:o/p.git', 'main', '/code/p/trunk-main'), 'feat', 'feat-x', 'feat/x', '/code/x'
)
"""
WORK = """
SELECT update_worktree_git_state(id, true, 3), log_activity('ada', id, 'other', 'words')
FROM worktrees
WHERE host_id = host_named(current_user)
"""


@pytest.fixture
def owner(cluster: str) -> Iterator[Conn]:
    """The owner of a registry with these policies."""
    assert POLICIES is not None
    with with_policies(cluster, POLICIES[1], "imi_machines") as conn:
        yield conn


@pytest.fixture
def machines(cluster: str, owner: Conn) -> Iterator[list[Conn]]:
    """Two machines, each on the host of its login, on which it has registered a worktree at the same path."""
    with members(cluster, owner, "imi_machines", 2) as found:
        for number, conn in enumerate(found):
            owner.execute("SELECT register_host(%s)", [conn.info.user])
            conn.execute("SELECT use_host(%s, %s)", [conn.info.user, f"machine-{number}"])
            conn.execute(REGISTER.encode())
        yield found


def test_each_machine_works_on_its_own_host_at_the_same_path(owner: Conn, machines: list[Conn]) -> None:
    for conn in machines:
        conn.execute(WORK.encode())
    found = owner.execute(
        "SELECT h.name, w.path, w.uncommitted_files_count FROM worktrees AS w JOIN hosts AS h ON h.id = w.host_id"
    )
    assert sorted(found.fetchall()) == sorted((conn.info.user, "/code/x", 3) for conn in machines)
    placed = owner.execute("SELECT host_name FROM v_project_hosts").fetchall()
    assert sorted(placed) == sorted((conn.info.user,) for conn in machines)
    assert owner.execute("SELECT count(*) FROM agent_activities").fetchone() == (2,)


ATTACKS = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'ada', id, 'other', 'words' FROM worktrees WHERE host_id <> host_named(current_user)",
    "SELECT log_activity('ada', id, 'other', 'words') FROM worktrees WHERE host_id <> host_named(current_user)",
    "SELECT set_config('imi.host_id', '', false), register_worktree(id, 'fix', 'y', 'y', '/code/y') FROM projects",
    "SELECT set_config('imi.host_id', host_id::text, false), register_worktree(project_id, 'fix', 'y', 'y', '/code/y')"
    " FROM worktrees WHERE host_id <> host_named(current_user)",
    "UPDATE worktrees SET host_id = default_host_id()",
    "INSERT INTO project_hosts (project_id, host_id, trunk_path) SELECT id, default_host_id(), '/x' FROM projects",
    "UPDATE projects SET name = 'mine'",
    "SELECT register_host('a-third')",
    "DELETE FROM worktrees",
    "ALTER TABLE worktrees DISABLE ROW LEVEL SECURITY",
    "SET ROLE imi_writer",
)
HARMLESS = (
    "UPDATE worktrees SET branch_name = 'mine'",
    "UPDATE project_hosts SET trunk_path = '/mine' WHERE trunk_path IS NOT NULL",
    "UPDATE hosts SET machine = 'mine'",
)
"""They find rows of their own host alone."""


def test_what_a_machine_does_on_another_host_is_refused_or_finds_nothing(owner: Conn, machines: list[Conn]) -> None:
    for attack in ATTACKS:
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.NoDataFound)):
            machines[0].execute(attack.encode())
    for statement in HARMLESS:
        machines[0].execute(statement.encode())
    changed = owner.execute(
        "SELECT count(*) FILTER (WHERE w.branch_name = 'mine'), count(*) FILTER (WHERE h.machine = 'mine'), count(w.id)"
        " FROM hosts AS h LEFT JOIN worktrees AS w ON w.host_id = h.id"
    )
    assert changed.fetchone() == (1, 1, 2)


def test_writers_work_as_before(cluster: str, owner: Conn, machines: list[Conn]) -> None:
    with members(cluster, owner, "imi_writer", 1) as (conn,):
        conn.execute("SELECT use_host('a-third')")
        conn.execute("SELECT log_activity('ada', id, 'other', 'words') FROM worktrees")
        conn.execute("DELETE FROM worktrees")
    assert owner.execute("SELECT count(*) FROM worktrees").fetchone() == (0,)
    assert len(machines) == 2
