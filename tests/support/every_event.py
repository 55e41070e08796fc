"""Changes that together cause every event: with the values that are hardest on a contract, or with plain ones."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg

from tests.support.outbox_reader import add_project, add_worktree

UNICODE = 'größer “quoted” \\ " \n \t end \u2028 👩‍💻 שלום \x7f'
WORD = "".join(UNICODE.split())
LARGE = json.dumps({"blob": "x" * 900_000, "deep": [[[[[None, True, 1e-7, 12345678901234567890]]]]]})


def change_everything(conn: psycopg.Connection[Any], max_payload: int) -> None:
    """Cause each event of VERSIONS at least once, `command.…` included, and some larger than `max_payload` bytes."""
    _projects(conn, json.dumps({"blob": "x" * max_payload}))
    _worktrees(conn)
    _worktree_types(conn)
    change_hosts(conn)
    _commands(conn)
    conn.execute("SELECT registry_heartbeat(%s)", [UNICODE])
    conn.execute("TRUNCATE agent_activities")
    conn.execute("TRUNCATE projects CASCADE")


def _projects(conn: psycopg.Connection[Any], too_large: str) -> None:
    project = add_project(conn, "every")
    for column, value in [
        ("name", UNICODE),
        ("description", UNICODE),
        ("description", None),
        ("metadata", LARGE),
        ("metadata", too_large),
        ("metadata", "{}"),
        ("default_branch", "trunk"),
        ("remote_origin", "git@github.com:owner/moved.git"),
        ("trunk_path", f"/{UNICODE}"),
        ("created_at", "1970-01-01T00:00:00.000001-12:34"),
    ]:
        statement = psycopg.sql.SQL("UPDATE projects SET {} = %s WHERE id = %s").format(psycopg.sql.Identifier(column))
        conn.execute(statement, [value, project])
    conn.execute(
        "UPDATE projects SET updated_at = updated_at + interval '1 s', description = 'x' WHERE id = %s", [project]
    )
    conn.execute("UPDATE projects SET active = false, name = 'two aspects' WHERE id = %s", [project])
    conn.execute("UPDATE projects SET active = true, description = NULL WHERE id = %s", [project])
    conn.execute("SELECT deactivate_project(%s)", [project])
    conn.execute("SELECT adopt_project_id(%s, gen_random_uuid())", [project])
    conn.execute("SELECT merge_projects(%s, %s)", [project, add_project(conn, "merged")])
    conn.execute("DELETE FROM projects WHERE id = current_project_id(%s)", [project])


def _worktrees(conn: psycopg.Connection[Any]) -> None:
    project, other = add_project(conn, "one"), add_project(conn, "other")
    worktree = add_worktree(conn, project)
    everything_at_once = """
        UPDATE worktrees
        SET name = %(text)s, branch_name = %(word)s, path = '/' || %(text)s, agent_id = %(text)s,
            project_id = %(other)s, type_id = 2, metadata = %(json)s, created_at = 'epoch', last_sync_at = now(),
            uncommitted_files_count = 3, ahead_of_trunk = 1, behind_trunk = 2147483647, last_commit_hash = 'abc',
            last_commit_message = %(text)s, merged_at = now(), merged_by = %(text)s, merge_commit_hash = 'def',
            active = false
        WHERE id = %(worktree)s
    """
    conn.execute(
        everything_at_once, {"text": UNICODE, "word": WORD, "json": LARGE, "other": other, "worktree": worktree}
    )
    for statement in [
        "UPDATE worktrees SET merged_by = NULL WHERE id = %s",
        "UPDATE worktrees SET agent_id = NULL, last_sync_at = NULL WHERE id = %s",
        "UPDATE worktrees SET merged_at = NULL, merge_commit_hash = NULL, active = true WHERE id = %s",
        "UPDATE worktrees SET agent_id = 'a' WHERE id = %s",
        "UPDATE worktrees SET agent_id = 'b' WHERE id = %s",
        "UPDATE worktrees SET agent_id = NULL WHERE id = %s",
        "SELECT update_worktree_git_state(%s, p_uncommitted_count := 0, p_ahead := 0, p_behind := 0)",
        "UPDATE worktrees SET last_commit_hash = NULL, last_commit_message = NULL WHERE id = %s",
        "SELECT mark_worktree_merged(%s, 'a', 'abc1234')",
        "UPDATE worktrees SET merged_at = NULL WHERE id = %s",
        "UPDATE worktrees SET merged_at = now() WHERE id = %s",
        "UPDATE worktrees SET active = true, merged_at = NULL WHERE id = %s",
        "UPDATE worktrees SET active = false WHERE id = %s",
        "SELECT log_activity('a', %s, 'other', 'words')",
        "UPDATE worktrees SET active = true WHERE id = %s",
    ]:
        conn.execute(statement.encode(), [worktree])
    conn.execute(
        "SELECT log_activity(%s, %s, 'committed', %s, p_file_path := %s, p_metadata := %s)",
        [UNICODE, worktree, UNICODE, UNICODE, LARGE],
    )
    _names_that_are_gone(conn, other)
    conn.execute("DELETE FROM worktrees WHERE id = %s", [worktree])


def _names_that_are_gone(conn: psycopg.Connection[Any], project: UUID) -> None:
    """The project is deleted by the statement that changes its worktree: the event cannot name it."""
    lost = add_worktree(conn, add_project(conn, "lost"))
    conn.execute(
        "WITH gone AS (DELETE FROM projects WHERE name = 'lost') UPDATE worktrees SET branch_name = 'b' WHERE id = %s",
        [lost],
    )
    conn.execute("UPDATE projects SET description = NULL WHERE id = %s", [project])


def _worktree_types(conn: psycopg.Connection[Any]) -> None:
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', '', 's')")
    conn.execute(
        "UPDATE worktree_types SET branch_prefix = %(word)s, worktree_prefix = %(text)s, description = %(text)s,"
        " color = NULL, icon = %(text)s, metadata = %(json)s, created_at = 'epoch'"
        " WHERE name = 'spike'",
        {"text": UNICODE, "word": WORD, "json": LARGE},
    )
    conn.execute("UPDATE worktree_types SET name = 'spikes', icon = NULL WHERE name = 'spike'")
    conn.execute("DELETE FROM worktree_types WHERE name = 'spikes'")
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('kept', 'k', 'k')")
    conn.execute("UPDATE worktree_types SET is_builtin = true WHERE name = 'kept'")


def change_hosts(conn: psycopg.Connection[Any]) -> None:
    """Two hosts with one project at equal paths, told of from each; names and descriptions change, and all go again."""
    for host in ("laptop", "server"):
        conn.execute("SELECT use_host(%s)", [host])
        project = conn.execute(
            "SELECT register_project('hosted', 'git@github.com:owner/hosted.git', 'main', %s)", [f"/{UNICODE}"]
        ).fetchone()
        conn.execute("SELECT register_worktree(%s, 'feat', 'w', 'w', '/w')", project)
    for statement in [
        "UPDATE worktrees SET host_id = host_named('laptop'), active = false WHERE name = 'w@server'",
        "SELECT update_project(id, p_trunk_path := '/elsewhere') FROM projects WHERE name = 'hosted'",
        "UPDATE project_hosts SET created_at = 'epoch' WHERE trunk_path IS NOT NULL",
        "SELECT displace_project(id, host_named('server')) FROM projects WHERE name = 'hosted'",
        "SELECT set_config('imi.host_id', '', false)",
        "SELECT update_host(host_named('server'), 'box')",
        "UPDATE hosts SET created_at = 'epoch', description = NULL WHERE name = 'box'",
        "SELECT remove_host(host_named('box'))",
    ]:
        conn.execute(statement.encode())
    conn.execute("UPDATE hosts SET description = %s WHERE name = 'laptop'", [UNICODE])


def _commands(conn: psycopg.Connection[Any]) -> None:
    """As the applier calls it: applied, idempotent, and rejected by each kind of mistake."""
    register = {"name": "by command", "remote_origin": "git@github.com:a/by-command.git"}
    for number, (name, data, key, problem) in enumerate(
        [
            ("project.register", register, "key", None),
            ("project.register", register, None, None),
            ("project.register", register | {"remote_origin": "nowhere"}, UNICODE.replace("\n", ""), None),
            ("project.deactivate", {"project_id": str(UUID(int=1))}, None, None),
            ("worktree_type.remove", {"name": "feat"}, None, None),
            ("project.register", {}, None, "name: field required"),
        ]
    ):
        conn.execute(
            "SELECT apply_command(%s, %s, %s, sha256(%s), %s, %s, 'actor', p_problem := %s)",
            [UUID(int=number), name, json.dumps(data), str(number).encode(), UUID(int=99), key, problem],
        )


def do_everything(conn: psycopg.Connection[Any]) -> None:
    """Cause every event that a trigger can write, with plain values."""
    project = add_project(conn)
    worktree = add_worktree(conn, project, "feat-x")
    for statement, values in [
        ("UPDATE projects SET description = 'd' WHERE id = %s", [project]),
        ("UPDATE worktrees SET agent_id = 'ada' WHERE id = %s", [worktree]),
        ("UPDATE worktrees SET agent_id = NULL WHERE id = %s", [worktree]),
        ("UPDATE worktrees SET metadata = '{\"k\": 1}' WHERE id = %s", [worktree]),
        ("SELECT update_worktree_git_state(%s, p_ahead := 2)", [worktree]),
        ("SELECT log_activity('ada', %s, 'modified', 'd')", [worktree]),
        ("SELECT mark_worktree_merged(%s, 'ada', 'abc1234')", [worktree]),
        ("SELECT register_worktree(%s, 'feat', 'feat-x', 'feat/feat-x', %s)", [project, f"/code/{project}/feat-x"]),
        ("UPDATE worktrees SET active = false WHERE id = %s", [worktree]),
        ("DELETE FROM worktrees WHERE id = %s", [worktree]),
        ("SELECT deactivate_project(%s)", [project]),
        ("SELECT register_project('alpha', 'git@github.com:owner/alpha.git')", []),
        ("SELECT merge_projects(register_project('beta', 'git@github.com:owner/beta.git'), %s)", [project]),
        ("DELETE FROM projects WHERE id = %s", [project]),
        ("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')", []),
        ("UPDATE worktree_types SET color = '#112233' WHERE name = 'spike'", []),
        ("DELETE FROM worktree_types WHERE name = 'spike'", []),
        ("TRUNCATE projects CASCADE", []),
    ]:
        conn.execute(statement, values)
