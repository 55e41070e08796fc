"""Every operation of the specification by SQL, by command and on the command line: same rows, same events."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest
from psycopg import sql

from registry.commands import COMMANDS
from tests.support.commandline import command_line
from tests.support.commands import envelope
from tests.support.nats.reading import connected
from tests.support.world import World

TABLES = ("projects", "worktrees", "worktree_types", "agent_activities")
ORIGIN = "git@github.com:ways/WAY.git"
PROJECT = {"remote_origin": ORIGIN}
PATH = "/code/WAY/feat-x"
WORKTREE = {"path": PATH}
OF_PROJECT = "(SELECT id FROM projects WHERE remote_origin = 'git@github.com:ways/WAY.git')"
OF_WORKTREE = "(SELECT id FROM worktrees WHERE path = '/code/WAY/feat-x')"


class Operation(NamedTuple):
    """One operation in three forms; WAY stands for the name of what it is applied to."""

    sql: str
    command: str
    data: dict[str, Any]
    arguments: list[str]


OPERATIONS = {
    "register a project": Operation(
        """SELECT register_project('new-WAY', 'https://github.com/ways/new-WAY', 'dev', '/code/new-WAY', '{"n": 1}')""",
        "project.register",
        {
            "name": "new-WAY",
            "remote_origin": "https://github.com/ways/new-WAY",
            "default_branch": "dev",
            "trunk_path": "/code/new-WAY",
            "metadata": {"n": 1},
        },
        [
            *("project", "register", "--name", "new-WAY", "--origin", "https://github.com/ways/new-WAY"),
            *("--branch", "dev", "--trunk-path", "/code/new-WAY", "--metadata", '{"n": 1}'),
        ],
    ),
    "register a project again": Operation(
        f"SELECT register_project('WAY', '{ORIGIN}', p_metadata => '{{\"again\": true}}')",
        "project.register",
        {"name": "WAY", "metadata": {"again": True}, **PROJECT},
        ["project", "register", "--name", "WAY", "--origin", ORIGIN, "--metadata", '{"again": true}'],
    ),
    "update a project": Operation(
        f"SELECT update_project({OF_PROJECT}, p_description => 'größer', p_metadata => '{{\"a\": [1]}}')",
        "project.update",
        {"description": "größer", "metadata": {"a": [1]}, **PROJECT},
        ["project", "update", ORIGIN, "--description", "größer", "--metadata", '{"a": [1]}'],
    ),
    "deactivate a project": Operation(
        f"SELECT deactivate_project({OF_PROJECT})",
        "project.deactivate",
        PROJECT,
        ["project", "deactivate", ORIGIN, "--yes"],
    ),
    "register a worktree": Operation(
        f"SELECT register_worktree({OF_PROJECT}, 'fix', 'fix-WAY', 'fix/WAY', '/code/WAY/fix', 'ada')",
        "worktree.register",
        {
            "type_name": "fix",
            "name": "fix-WAY",
            "branch_name": "fix/WAY",
            "path": "/code/WAY/fix",
            "agent_id": "ada",
            **PROJECT,
        },
        [
            *("worktree", "register", "/code/WAY/fix", "--project", ORIGIN, "--type", "fix", "--name", "fix-WAY"),
            *("--branch", "fix/WAY", "--agent", "ada"),
        ],
    ),
    "update a worktree": Operation(
        f"SELECT update_worktree({OF_WORKTREE}, 'sign-in-WAY', 'fix/WAY', '/code/WAY/sign-in', 'fix', '{{\"n\": 1}}')",
        "worktree.update",
        {
            "name": "sign-in-WAY",
            "branch_name": "fix/WAY",
            "new_path": "/code/WAY/sign-in",
            "type_name": "fix",
            "metadata": {"n": 1},
            **WORKTREE,
        },
        [
            *("worktree", "update", PATH, "--name", "sign-in-WAY", "--branch", "fix/WAY"),
            *("--path", "/code/WAY/sign-in", "--type", "fix", "--metadata", '{"n": 1}'),
        ],
    ),
    "store a git state": Operation(
        f"SELECT update_worktree_git_state({OF_WORKTREE}, NULL, 2, 3, 1, 'abc1234', 'Say so')",
        "worktree.update_git_state",
        {
            "uncommitted_count": 2,
            "ahead": 3,
            "behind": 1,
            "last_commit_hash": "abc1234",
            "last_commit_message": "Say so",
            **WORKTREE,
        },
        [
            *("worktree", "git-state", PATH, "--uncommitted", "2", "--ahead", "3", "--behind", "1"),
            *("--commit", "abc1234", "--message", "Say so"),
        ],
    ),
    "claim a worktree": Operation(
        f"SELECT claim_worktree({OF_WORKTREE}, 'ada')",
        "worktree.claim",
        {"agent_id": "ada", **WORKTREE},
        ["worktree", "claim", PATH, "--agent", "ada"],
    ),
    "release a worktree": Operation(
        "SELECT release_worktree((SELECT id FROM worktrees WHERE path = '/code/WAY/held'), 'bob')",
        "worktree.release",
        {"agent_id": "bob", "path": "/code/WAY/held"},
        ["worktree", "release", "/code/WAY/held", "--agent", "bob"],
    ),
    "merge a worktree": Operation(
        f"SELECT mark_worktree_merged({OF_WORKTREE}, 'ada', 'abc1234')",
        "worktree.merge",
        {"merged_by": "ada", "merge_commit_hash": "abc1234", **WORKTREE},
        ["worktree", "merge", PATH, "abc1234", "--by", "ada"],
    ),
    "remove a worktree": Operation(
        f"SELECT remove_worktree({OF_WORKTREE})",
        "worktree.remove",
        WORKTREE,
        ["worktree", "remove", PATH, "--yes"],
    ),
    "add a worktree type": Operation(
        "SELECT add_worktree_type('new-WAY', p_description => 'Documentation', p_color => '#0EA5E9')",
        "worktree_type.add",
        {"name": "new-WAY", "description": "Documentation", "color": "#0EA5E9"},
        ["type", "add", "new-WAY", "--description", "Documentation", "--color", "#0EA5E9"],
    ),
    "remove a worktree type": Operation(
        "SELECT remove_worktree_type('type-WAY')",
        "worktree_type.remove",
        {"name": "type-WAY"},
        ["type", "remove", "type-WAY", "--yes"],
    ),
    "log an activity": Operation(
        f"SELECT log_activity('ada', {OF_WORKTREE}, 'modified', 'Wrote it', 'a.py', '{{\"lines\": 3}}')",
        "activity.log",
        {
            "agent_id": "ada",
            "activity_type": "modified",
            "description": "Wrote it",
            "file_path": "a.py",
            "metadata": {"lines": 3},
            **WORKTREE,
        },
        [
            *("activity", "log", "modified", "Wrote it", "--worktree", PATH, "--agent", "ada", "--file", "a.py"),
            *("--metadata", '{"lines": 3}'),
        ],
    ),
}
ROWS = sql.SQL("SELECT to_jsonb(t)::text FROM {} t")
WAYS = ("viasql", "viacmd", "viacli")


def given(conn: psycopg.Connection, way: str) -> None:
    """What every operation may be applied to, for one way."""
    project = conn.execute("SELECT register_project(%s, %s)", [way, ORIGIN.replace("WAY", way)]).fetchone()
    assert project is not None
    register = "SELECT register_worktree(%s, 'feat', %s, %s, %s, %s)"
    conn.execute(register, [project[0], f"feat-{way}", f"feat/{way}", PATH.replace("WAY", way), None])
    conn.execute(register, [project[0], f"held-{way}", f"feat/held-{way}", f"/code/{way}/held", "bob"])
    conn.execute("SELECT add_worktree_type(%s)", [f"type-{way}"])


def found(conn: psycopg.Connection, way: str, after: int) -> tuple[list[str], list[str]]:
    """The way's rows of all tables, and the events behind an outbox id, without what differs from way to way."""
    rows = [
        row[0]
        for table in TABLES
        for row in conn.execute(ROWS.format(sql.Identifier(table))).fetchall()
        if way in row[0] or table == "agent_activities"
    ]
    events = conn.execute(
        "SELECT entity || ' ' || action || ' ' || data::text FROM outbox WHERE id > %s AND entity <> 'command'",
        [after],
    ).fetchall()
    conn.execute("TRUNCATE agent_activities")
    # The events of several rows of one statement stand in no order of their own.
    return sorted(neutral(row, way) for row in rows), sorted(neutral(event[0], way) for event in events)


async def apply(world: World, command: str, payload: bytes) -> None:
    """Send a command and have it carried out."""
    async with connected(world.nats_url) as client, world.applier():
        assert (await world.at(nats=client).ask(command, payload))["verdict"] != "rejected"


def neutral(text: str, way: str) -> str:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text.replace(way, "WAY"))
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+\+00:00", "TIME", text)
    return re.sub(r'"(id|type_id)": \d+', r'"\1": N', text)


def in_way(value: Any, way: str) -> Any:
    """A value with WAY filled in, wherever it stands."""
    return orjson.loads(orjson.dumps(value).replace(b"WAY", way.encode()))


def test_every_command_is_among_the_operations() -> None:
    assert {operation.command for operation in OPERATIONS.values()} == set(COMMANDS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_three_ways_of_an_operation_do_the_same(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operation = OPERATIONS[name]
    results = []

    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SET timezone = 'UTC'")
        for way in WAYS:
            given(conn, way)
        for way in WAYS:
            mark = conn.execute("SELECT max(id) FROM outbox").fetchone()
            assert mark is not None
            if way == "viasql":
                conn.execute(in_way(operation.sql, way))
            elif way == "viacmd":
                payload = envelope(operation.command, in_way(operation.data, way))
                asyncio.run(apply(world, operation.command, payload))
            else:
                done = command_line(monkeypatch, capsys, DATABASE_URL=world.database)(*in_way(operation.arguments, way))
                assert done.code == 0, done.err
            results.append(found(conn, way, mark[0]))

    assert results[1] == results[0]
    assert results[2] == results[0]
    assert results[0][1] != []
