"""Every function that takes or returns a path, asked from each of two hosts with equal paths, and by who names none."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, scalar

TRUNK, PATH = "/code/engine/trunk-main", "/code/engine/feat-a"
REGISTER = "SELECT register_project('engine', %s, 'main', %s)"
ADD = "SELECT register_worktree(%s, 'feat', 'feat-a', 'feat/a', %s)"
CALLERS = [None, "laptop", "server"]


@pytest.fixture
def project(db, on_host):
    """A project that all three have registered, each with a trunk and a worktree at the same paths."""
    for caller in CALLERS:
        with on_host(caller):
            project = scalar(db, REGISTER, ORIGIN, TRUNK)
            scalar(db, ADD, project, PATH)
    return project


@pytest.fixture
def worktrees(db, project, hosts):
    """Ids of the three worktrees at one path, by who registered each."""
    found = {row["host_id"]: row["id"] for row in db.execute("SELECT id, host_id FROM worktrees WHERE active")}
    default = scalar(db, "SELECT default_host_id()")
    return {name: found[host or default] for name, host in hosts.items()}


def test_equal_paths_on_two_hosts_are_three_worktrees_of_one_project(db, project, worktrees):
    assert scalar(db, "SELECT count(*) FROM projects") == 1
    assert len(set(worktrees.values())) == 3
    assert {row["path"] for row in db.execute("SELECT path FROM worktrees")} == {PATH}
    names = {row["id"]: row["name"] for row in db.execute("SELECT id, name FROM worktrees")}
    assert [names[worktrees[caller]] for caller in CALLERS] == ["feat-a", "feat-a@laptop", "feat-a@server"]


@pytest.mark.parametrize("caller", CALLERS)
def test_a_worktree_is_found_by_path_on_the_callers_host(db, on_host, worktrees, caller):
    with on_host(caller):
        found = db.execute("SELECT id FROM get_worktree_by_path(%s)", [PATH + "/"]).fetchall()

    assert [row["id"] for row in found] == [worktrees[caller]]


@pytest.mark.parametrize("caller", CALLERS)
def test_registering_again_is_the_same_worktree_and_no_event(db, on_host, project, worktrees, caller):
    before = scalar(db, "SELECT count(*) FROM outbox")
    with on_host(caller):
        assert scalar(db, REGISTER, ORIGIN, "/elsewhere") == project
        assert scalar(db, ADD, project, PATH) == worktrees[caller]

    assert scalar(db, "SELECT count(*) FROM outbox") == before


@pytest.mark.parametrize("caller", CALLERS)
def test_a_path_that_is_taken_on_the_callers_host_is_refused(db, on_host, project, worktrees, caller):
    with on_host(caller), pytest.raises(psycopg.errors.UniqueViolation, match="is taken by the active worktree"):
        db.execute("SELECT register_worktree(%s, 'feat', 'other', 'b', %s)", [project, PATH])


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("mover", ["update_project", "place_project"])
def test_the_trunk_is_moved_on_the_callers_host_alone(db, on_host, hosts, project, caller, mover):
    with on_host(caller):
        if mover == "update_project" or caller is None:
            db.execute("SELECT update_project(%s, p_trunk_path := '/moved/trunk-main/')", [project])
        else:
            db.execute("SELECT place_project(%s, %s, '/moved/trunk-main/', true)", [project, hosts[caller]])

    for asker in CALLERS:
        with on_host(asker):
            expected = "/moved/trunk-main" if asker == caller else TRUNK
            assert scalar(db, "SELECT get_project_working_path(%s)", project) == expected
            assert scalar(db, "SELECT trunk_path FROM get_project_by_origin(%s)", ORIGIN) == expected
            assert scalar(db, "SELECT trunk_path FROM search_projects('engine')") == expected


@pytest.mark.parametrize("caller", CALLERS)
def test_a_path_beside_the_trunk_is_that_of_the_callers_host(db, on_host, project, caller):
    with on_host("server"):
        db.execute("SELECT update_project(%s, p_trunk_path := '/srv/engine/trunk-main')", [project])
    with on_host(caller):
        name = f"feat-a@{caller}" if caller else "feat-a"
        expected = "/srv/engine/feat-a" if caller == "server" else PATH
        assert scalar(db, "SELECT get_project_working_path(%s, %s)", project, name) == expected


@pytest.mark.parametrize("caller", CALLERS)
def test_a_worktree_is_moved_to_a_path_that_another_host_has(db, on_host, project, worktrees, caller):
    with on_host(caller):
        new = scalar(db, "SELECT register_worktree(%s, 'feat', 'new', 'n', '/n')", project)
        with pytest.raises(psycopg.errors.UniqueViolation, match="is taken by the active worktree"):
            db.execute("SELECT update_worktree(%s, p_path := %s)", [new, PATH])
        db.execute("SELECT remove_worktree(%s)", [worktrees[caller]])
        db.execute("SELECT update_worktree(%s, p_path := %s)", [new, PATH])

        assert scalar(db, "SELECT id FROM get_worktree_by_path(%s)", PATH) == new


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("session", CALLERS)
@pytest.mark.parametrize("command", ["worktree.claim", "activity.log", "worktree.update", "worktree.remove"])
def test_a_command_means_the_path_on_the_host_that_it_names(db, on_host, worktrees, caller, session, command):
    data = {"path": PATH} | {
        "worktree.claim": {"agent_id": "a"},
        "activity.log": {"agent_id": "a", "activity_type": "other", "description": "d"},
        "worktree.update": {"new_path": "/new"},
        "worktree.remove": {},
    }[command]
    if caller is not None:
        data["host"] = caller
    with on_host(session):  # of whoever applies it, which is no matter
        result = scalar(db, "SELECT run_command(%s, %s)", command, json.dumps(data))

    assert result["worktree_id"] == str(worktrees[caller])


@pytest.mark.parametrize("caller", CALLERS)
def test_a_command_registers_on_the_host_that_it_names(db, hosts, caller):
    named = {} if caller is None else {"host": caller}
    origin = {"remote_origin": ORIGIN}
    first = {"name": "engine", "trunk_path": TRUNK} | origin
    elsewhere = named | {"type_name": "feat", "name": "w", "branch_name": "b", "path": "/w"} | origin
    scalar(db, "SELECT run_command('project.register', %s)", json.dumps(first))
    scalar(db, "SELECT run_command('project.register', %s)", json.dumps(named | first | {"trunk_path": "/there"}))
    result = scalar(db, "SELECT run_command('worktree.register', %s)", json.dumps(elsewhere))

    places = db.execute("SELECT host_name, trunk_path FROM v_project_hosts ORDER BY is_home DESC").fetchall()
    assert [tuple(place.values()) for place in places] == [("default", TRUNK)] + (
        [(caller, "/there")] if caller else []
    )
    assert scalar(db, "SELECT host_id FROM worktrees WHERE id = %s", result["worktree_id"]) == (
        hosts[caller] or scalar(db, "SELECT default_host_id()")
    )
