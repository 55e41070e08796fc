"""docs/security.md: with its policies an agent writes its own claims and activities, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.roles.cluster import Conn, members, with_policies
from tests.support.roles.matrix import PAGE

POLICIES = re.search(r"```sql\n(CREATE ROLE imi_agents.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def owner(cluster: str) -> Iterator[Conn]:
    """The owner of a registry with these policies and two worktrees, `free` and `taken`, which `somebody` holds."""
    assert POLICIES is not None
    with with_policies(cluster, POLICIES[1], "imi_agents") as conn:
        for statement in (
            "SELECT register_project('p', 'git@github.com:o/p.git')",
            "SELECT register_worktree(id, 'feat', 'free', 'free', '/free') FROM projects",
            "SELECT register_worktree(id, 'feat', 'taken', 'taken', '/taken', 'somebody') FROM projects",
        ):
            conn.execute(statement.encode())
        yield conn


@pytest.fixture
def agents(cluster: str, owner: Conn) -> Iterator[list[Conn]]:
    """Two agents, each logged in as itself."""
    with members(cluster, owner, "imi_agents", 2) as found:
        yield found


def call(conn: Conn, statement: str, name: str) -> None:
    conn.execute(statement.encode(), {"agent": conn.info.user, "worktree": name})


CLAIM = "SELECT claim_worktree(id, %(agent)s) FROM worktrees WHERE name = %(worktree)s"
RELEASE = "SELECT release_worktree(id) FROM worktrees WHERE name = %(worktree)s"
LOG = "SELECT log_activity(%(agent)s, id, 'other', 'words') FROM worktrees WHERE name = %(worktree)s"


def test_an_agent_claims_what_is_free_logs_and_releases_what_is_its_own(owner: Conn, agents: list[Conn]) -> None:
    one, other = agents
    call(one, CLAIM, "free")
    call(one, LOG, "free")
    with pytest.raises(psycopg.errors.NoDataFound):
        call(other, CLAIM, "free")
    with pytest.raises(psycopg.errors.NoDataFound):
        call(other, RELEASE, "free")
    call(one, RELEASE, "free")
    call(other, CLAIM, "free")
    told = owner.execute("SELECT action, data ->> 'agent_id' FROM outbox WHERE entity IN ('worktree', 'activity')")
    assert told.fetchall()[2:] == [
        ("claimed", one.info.user),
        ("logged", one.info.user),
        ("released", None),
        ("claimed", other.info.user),
    ]


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT claim_worktree(id, 'somebody') FROM worktrees WHERE name = 'free'",
        "UPDATE worktrees SET agent_id = 'somebody' WHERE name = 'free'",
        "UPDATE worktrees SET branch_name = 'mine' WHERE name = 'free'",
        "SELECT log_activity('somebody', id, 'other', 'words') FROM worktrees WHERE name = 'free'",
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'somebody', id, 'other', 'words' FROM worktrees",
        "SELECT register_project('q', 'git@github.com:o/q.git')",
        "DELETE FROM worktrees",
        "ALTER TABLE worktrees DISABLE ROW LEVEL SECURITY",
        "SET ROLE imi_writer",
    ],
)
def test_what_an_agent_does_as_somebody_else_is_refused(agents: list[Conn], attack: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        agents[0].execute(attack.encode())


def test_the_claim_of_another_cannot_be_taken(owner: Conn, agents: list[Conn]) -> None:
    for statement in ("UPDATE worktrees SET agent_id = current_user", "UPDATE worktrees SET agent_id = NULL"):
        agents[0].execute(statement.encode())
    assert owner.execute("SELECT agent_id FROM worktrees WHERE name = 'taken'").fetchone() == ("somebody",)
    with pytest.raises(psycopg.errors.NoDataFound):
        call(agents[0], LOG, "taken")


def test_writers_and_the_owner_work_as_before(cluster: str, owner: Conn) -> None:
    with members(cluster, owner, "imi_writer", 1) as (conn,):
        call(conn, RELEASE, "taken")
        call(conn, LOG, "taken")
        conn.execute("DELETE FROM worktrees")
    assert owner.execute("SELECT count(*) FROM worktrees").fetchone() == (0,)
