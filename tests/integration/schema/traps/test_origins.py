"""Trap 5 of docs/schema.md: remote origins, in every form, and what is none."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import scalar


@pytest.mark.parametrize(
    "form",
    [
        "git@github.com:owner/repo.git",
        "git@github.com:Owner/REPO.git",
        "git@github.com:owner/repo",
        "git@github.com:/owner/repo.git",
        "github.com:owner/repo.git",
        "org-1234@github.com:owner/repo.git",
        "ssh://git@github.com/owner/repo.git",
        "ssh://git@github.com:22/owner/repo",
        "ssh://git@ssh.github.com:443/owner/repo.git",
        "git+ssh://git@github.com/owner/repo.git",
        "https://github.com/owner/repo.git",
        "https://github.com/owner/repo",
        "https://github.com/owner/repo/",
        "HTTPS://GitHub.com/Owner/Repo.git",
        "https://www.github.com/owner/repo",
        "http://github.com/owner/repo",
        "https://user:secret@github.com/owner/repo.git",
        "git://github.com/owner/repo.git",
    ],
)
def test_every_form_of_an_origin_is_the_same_project(db, form):
    project = scalar(db, "SELECT register_project('repo', 'git@github.com:owner/repo.git')")

    assert scalar(db, "SELECT register_project('repo', %s)", form) == project
    assert scalar(db, "SELECT id FROM get_project_by_origin(%s)", form) == project
    assert scalar(db, "SELECT remote_origin FROM projects") == "git@github.com:owner/repo.git"
    db.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('plain', %s, '/x')"
        " ON CONFLICT (remote_origin) DO UPDATE SET name = excluded.name",
        (form,),
    )
    assert scalar(db, "SELECT name FROM projects WHERE id = %s", project) == "plain"


@pytest.mark.parametrize(
    "origin",
    [
        "git@github.com:a/b/c.git",
        "git@github.com:a b/c.git",
        "git@github.com:a/b c.git",
        " git@github.com:a/b.git",
        "git@github.com:a/b.git\n",
        "git@github.com:a/../b.git",
        "git@github.com:../b.git",
        "git@github.com:a/...git",
        "git@github.com:a/..git",
        "git@github.com:a/.git",
        "git@github.com:a/b.git.git",
        "git@github.com:/b.git",
        "git@github.com:b.git",
        "git@github.com:-a/b.git",
        "git@gitlab.com:a/b.git",
        "git@github.com.evil.org:a/b.git",
        "https://evil.org/github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/tree/main",
        "file:///a/b.git",
        "github.com/x",
        "git@github.com:a/" + "b" * 200 + ".git",
        "",
    ],
)
def test_what_is_no_github_repository_is_refused_by_functions_and_plain_writes(db, project, origin):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("SELECT register_project('x', %s)", (origin,))
    assert "register_project: p_remote_origin" in str(refused.value)
    assert "expected git@github.com:owner/repo.git" in str(refused.value)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %s, '/x')", (origin,))
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("UPDATE projects SET remote_origin = %s WHERE id = %s", (origin, project))
    assert db.execute("SELECT * FROM get_project_by_origin(%s)", (origin,)).fetchall() == []


def test_a_password_in_a_refused_origin_is_not_repeated(db):
    for statement in (
        "SELECT register_project('x', 'https://user:secret@gitlab.com/a/b')",
        "INSERT INTO projects (name, remote_origin, trunk_path)"
        " VALUES ('x', 'https://user:secret@gitlab.com/a/b', '/x')",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            db.execute(statement)
        assert "//***@gitlab.com/a/b" in refused.value.diag.message_primary
        assert "secret" not in refused.value.diag.message_primary


def test_the_constraint_holds_where_no_trigger_runs(db, project):
    db.execute("ALTER TABLE projects DISABLE TRIGGER USER")
    for origin in ("git@github.com:A/b.git", "git@github.com:a/b/c.git", "git@github.com:a/..git"):
        with pytest.raises(psycopg.errors.CheckViolation, match="projects_remote_origin_check"):
            db.execute("UPDATE projects SET remote_origin = %s", (origin,))
