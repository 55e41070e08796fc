"""Hosts: how they are named, known again and removed, and what is on which."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, events, new_project, new_worktree, row, scalar

NO_HOST = "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"


def test_a_name_is_one_host_in_either_case_and_by_a_former_name(db):
    host = scalar(db, "SELECT register_host('Laptop.Local')")
    db.execute("SELECT update_host(%s, 'desk')", [host])
    db.execute("SELECT update_host(%s, 'den')", [host])

    assert row(db, "hosts", host)["former_names"] == ["laptop.local", "desk"]
    for name in ("DEN", "desk", "laptop.LOCAL"):
        assert scalar(db, "SELECT register_host(%s)", name) == host
    assert events(db) == ["host.registered", "host.updated", "host.updated"]


def test_a_name_that_is_given_back_is_no_former_one(db):
    host = scalar(db, "SELECT register_host('a')")
    db.execute("SELECT update_host(%s, 'b')", [host])
    db.execute("SELECT update_host(%s, 'a')", [host])

    assert row(db, "hosts", host)["former_names"] == ["b"]


def test_a_name_that_another_host_has_now_is_that_one(db):
    first = scalar(db, "SELECT register_host('a')")
    db.execute("SELECT update_host(%s, 'b')", [first])
    second = scalar(db, "SELECT register_host('c')")
    db.execute("SELECT update_host(%s, 'a')", [second])

    assert scalar(db, "SELECT host_named('a')") == second
    assert scalar(db, "SELECT host_named('b')") == first


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a-", "a@b", "a/b", "ü", NO_HOST, "a" * 254, "a\nb"])
def test_a_name_that_is_none_is_refused_by_function_and_table(db, name):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="register_host: p_name"):
        db.execute("SELECT register_host(%s)", [name])
    with pytest.raises(psycopg.errors.CheckViolation, match="hosts: name"):
        db.execute("INSERT INTO hosts (name) VALUES (%s)", [name])


def test_another_machine_of_the_same_name_is_refused_until_the_first_is_forgotten(db):
    host = scalar(db, "SELECT register_host('build', 'machine-1')")

    assert scalar(db, "SELECT register_host('build')") == host
    assert scalar(db, "SELECT register_host('build', 'machine-1')") == host
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is another machine; give this one another"):
        db.execute("SELECT register_host('build', 'machine-2')")

    db.execute("SELECT update_host(%s, p_machine := '')", [host])
    assert scalar(db, "SELECT register_host('build', 'machine-2')") == host
    assert row(db, "hosts", host)["machine"] == "machine-2"


def test_the_default_host_is_there_may_be_renamed_and_stays(db):
    default = UUID(int=0)
    db.execute("SELECT update_host(%s, 'workshop')", [default])

    assert scalar(db, "SELECT register_host('workshop')") == default
    assert scalar(db, "SELECT register_host('default')") == default
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="it is the default host"):
        db.execute("SELECT remove_host(%s)", [default])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot truncate hosts"):
        db.execute("TRUNCATE hosts CASCADE")


def test_a_host_is_removed_once_nothing_is_on_it(db, on_host, hosts):
    with on_host("laptop"):
        project = new_project(db)
        worktree = new_worktree(db, project)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="1 worktrees and 1 projects are on it"):
        db.execute("SELECT remove_host(%s)", [hosts["laptop"]])

    db.execute("SELECT move_worktree(%s, %s)", [worktree, hosts["server"]])
    db.execute("DELETE FROM projects WHERE id = %s", [project])
    db.execute("SELECT remove_host(%s)", [hosts["laptop"]])

    assert scalar(db, "SELECT host_named('laptop')") is None
    with pytest.raises(psycopg.errors.NoDataFound):
        db.execute("SELECT remove_host(%s)", [hosts["laptop"]])


@pytest.mark.parametrize(("value", "error"), [("laptop", "InvalidParameterValue"), (NO_HOST, "ForeignKeyViolation")])
def test_a_setting_that_is_no_host_is_refused_by_a_write(db, value, error):
    project = new_project(db)
    db.execute("SELECT set_config('imi.host_id', %s, false)", [value])

    with pytest.raises(getattr(psycopg.errors, error), match=r"imi\.host_id|is no host"):
        db.execute("SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", [project])


def test_a_project_that_is_not_on_the_callers_host_has_no_path_there(db, on_host):
    with on_host("laptop"):
        project = new_project(db)
    with on_host("server"), pytest.raises(psycopg.errors.NoDataFound, match="which is not on the host of"):
        db.execute("SELECT get_project_working_path(%s)", [project])

    # Who names no host sees what he always saw.
    assert scalar(db, "SELECT get_project_working_path(%s)", project) == "/code/my-project/trunk-main"


def test_who_names_no_host_finds_what_only_one_other_has_and_nothing_among_several(db, on_host):
    ids = []
    for host in ("laptop", "server"):
        with on_host(host):
            project = scalar(db, "SELECT register_project('p', %s)", ORIGIN)
            ids.append(scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", project))
        found = [found["id"] for found in db.execute("SELECT id FROM get_worktree_by_path('/w')")]
        assert found == (ids if len(ids) == 1 else [])


def test_who_names_no_host_goes_on_with_the_worktree_of_the_name_wherever_it_is(db, on_host, hosts):
    with on_host("laptop"):
        project = new_project(db)
        worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", project)

    assert scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/moved')", project) == worktree
    after = row(db, "worktrees", worktree)
    assert (after["path"], after["host_id"]) == ("/moved", hosts["laptop"])


def test_a_host_that_was_renamed_finds_its_worktrees_again(db, on_host, hosts):
    project = new_project(db)
    scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", project)
    with on_host("laptop"):
        worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", project)
        db.execute("SELECT update_host(%s, 'desk')", [hosts["laptop"]])

        assert scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w')", project) == worktree


def test_plain_statements_are_of_the_callers_host_too(db, on_host, hosts):
    with on_host("server"):
        project = scalar(
            db, "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('p', %s, '/t') RETURNING id", ORIGIN
        )
    statement = (
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) VALUES (%s, 1, 'w', 'b', '/w')"
        " ON CONFLICT (project_id, name) DO UPDATE SET branch_name = excluded.branch_name RETURNING id"
    )
    ids = {}
    for caller in (None, "laptop", None, "laptop"):
        with on_host(caller):
            assert scalar(db, statement, project) == ids.setdefault(caller, scalar(db, statement, project))

    homes = db.execute("SELECT host_name, is_home FROM v_project_hosts").fetchall()
    assert homes == [{"host_name": "server", "is_home": True}]
    assert row(db, "worktrees", ids["laptop"])["host_id"] == hosts["laptop"]
    assert row(db, "worktrees", ids[None])["host_id"] == UUID(int=0)


def test_a_project_leaves_a_host_but_not_its_home(db, on_host, hosts):
    project = new_project(db)
    with on_host("laptop"):
        new_project(db)
    db.execute("SELECT displace_project(%s, %s)", [project, hosts["laptop"]])

    assert scalar(db, "SELECT project_trunk(%s, %s)", project, hosts["laptop"]) is None
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is the home of the project"):
        db.execute("SELECT displace_project(%s, default_host_id())", [project])


@pytest.mark.parametrize("statement", ["DELETE FROM projects", "TRUNCATE agent_activities, worktrees, projects"])
def test_places_go_with_their_project_and_only_that_is_told(db, on_host, statement):
    with on_host("laptop"):
        new_project(db)
    with on_host("server"):
        new_project(db)
    before = len(events(db))

    db.execute(statement)

    assert scalar(db, "SELECT count(*) FROM project_hosts") == 0
    assert {event.split(".")[0] for event in events(db)[before:]} <= {"project", "registry"}
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="is no project"):
        db.execute("INSERT INTO project_hosts (project_id, host_id) VALUES (%s, default_host_id())", [NO_HOST])


def test_of_a_worktree_that_is_deleted_its_host_is_remembered(db, on_host, hosts):
    with on_host("laptop"):
        project = new_project(db)
        new_worktree(db, project, "feat-a")
        new_worktree(db, project, "feat-b")
    new_worktree(db, project, "feat-c")
    db.execute("DELETE FROM worktrees WHERE name = 'feat-a'")
    db.execute("DELETE FROM projects")

    found = db.execute("SELECT name, host_id FROM deleted_worktrees ORDER BY name").fetchall()
    assert [(one["name"], one["host_id"]) for one in found] == [
        ("feat-a", hosts["laptop"]),
        ("feat-b", hosts["laptop"]),
        ("feat-c", UUID(int=0)),
    ]
