"""Traps 4 to 7 of docs/schema.md: values that must not get in, by function or by plain SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

ORIGIN = "git@github.com:delorenj/my-project.git"


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def project(db) -> UUID:
    return scalar(db, "SELECT register_project('my-project', %s, 'main', '/code/my-project/trunk-main')", ORIGIN)


@pytest.fixture
def worktree(db, project: UUID) -> UUID:
    return scalar(db, "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')", project)


def scalar(db, query: str, *values: Any) -> Any:
    """First column of the first row."""
    return next(iter(db.execute(query, values).fetchone().values()))


def row(db, key: UUID) -> dict[str, Any]:
    return db.execute("SELECT * FROM worktrees WHERE id = %s", (key,)).fetchone()


# 4. The flag and the count of uncommitted changes


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ((False, 0), "p_has_uncommitted := true", (True, 1)),
        ((True, 5), "p_has_uncommitted := true", (True, 5)),
        ((True, 5), "p_has_uncommitted := false", (False, 0)),
        ((False, 0), "p_uncommitted_count := 4", (True, 4)),
        ((True, 5), "p_uncommitted_count := 0", (False, 0)),
        ((True, 5), "p_has_uncommitted := true, p_uncommitted_count := 2", (True, 2)),
        ((True, 5), "p_has_uncommitted := false, p_uncommitted_count := 0", (False, 0)),
        ((True, 5), "p_ahead := 1", (True, 5)),
    ],
)
def test_flag_and_count_of_uncommitted_changes_follow_each_other(db, worktree, before, given, after):
    db.execute("SELECT update_worktree_git_state(%s, %s, %s)", (worktree, *before))

    db.execute(f"SELECT update_worktree_git_state(%s, {given})", (worktree,))

    stored = row(db, worktree)
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == after


@pytest.mark.parametrize(("flag", "count"), [(True, 0), (False, 3)])
def test_a_flag_that_contradicts_its_count_is_refused(db, worktree, flag, count):
    with pytest.raises(
        psycopg.errors.InvalidParameterValue, match=r"p_has_uncommitted . contradicts p_uncommitted_count"
    ):
        db.execute("SELECT update_worktree_git_state(%s, %s, %s)", (worktree, flag, count))


@pytest.mark.parametrize(
    ("before", "assignment", "after"),
    [
        ((0, False), "has_uncommitted_changes = true", (1, True)),
        ((3, True), "has_uncommitted_changes = false", (0, False)),
        ((0, False), "uncommitted_files_count = 2", (2, True)),
        ((3, True), "uncommitted_files_count = 0", (0, False)),
        ((3, True), "uncommitted_files_count = NULL", (1, True)),
        ((3, True), "has_uncommitted_changes = NULL", (3, True)),
    ],
)
def test_flag_and_count_follow_each_other_in_a_plain_update(db, worktree, before, assignment, after):
    db.execute("UPDATE worktrees SET uncommitted_files_count = %s, has_uncommitted_changes = %s", before)

    db.execute(f"UPDATE worktrees SET {assignment}")  # noqa: S608  # from the list above

    stored = row(db, worktree)
    assert (stored["uncommitted_files_count"], stored["has_uncommitted_changes"]) == after


def test_a_plain_update_that_contradicts_itself_is_refused(db, worktree):
    db.execute("UPDATE worktrees SET uncommitted_files_count = 3")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="contradicts uncommitted_files_count 4"):
        db.execute("UPDATE worktrees SET has_uncommitted_changes = false, uncommitted_files_count = 4")


@pytest.mark.parametrize(
    ("columns", "values", "after"),
    [
        ("uncommitted_files_count", "4", (True, 4)),
        ("has_uncommitted_changes", "true", (True, 1)),
        ("has_uncommitted_changes, uncommitted_files_count", "NULL, NULL", (False, 0)),
        ("ahead_of_trunk, behind_trunk", "NULL, NULL", (False, 0)),
    ],
)
def test_flag_and_count_follow_each_other_in_a_plain_insert(db, project, columns, values, after):
    db.execute(
        f"INSERT INTO worktrees (project_id, type_id, name, branch_name, path, {columns})"  # noqa: S608  # from above
        f" VALUES (%s, 1, 'w', 'b', '/w', {values})",
        (project,),
    )

    stored = db.execute("SELECT * FROM worktrees WHERE name = 'w'").fetchone()
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == after
    assert (stored["ahead_of_trunk"], stored["behind_trunk"]) == (0, 0)


@pytest.mark.parametrize("parameter", ["p_uncommitted_count", "p_ahead", "p_behind"])
def test_negative_counts_are_refused(db, worktree, parameter):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{parameter} is -1; it must be 0 or more"):
        db.execute(f"SELECT update_worktree_git_state(%s, {parameter} := -1)", (worktree,))


# 5. Remote origins


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


# 6. Metadata that is no object, blank names


@pytest.mark.parametrize("metadata", ["[]", '"text"', "1", "null", "true"])
def test_metadata_must_be_an_object(db, project, worktree, metadata):
    calls = {
        "register_project": f"SELECT register_project('x', '{ORIGIN}', p_metadata := %s)",
        "register_worktree": f"SELECT register_worktree('{project}', 'feat', 'x', 'x', '/x', NULL, %s)",
        "log_activity": f"SELECT log_activity('agent', '{worktree}', 'other', 'x', NULL, %s)",
    }
    for function, call in calls.items():
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{function}: p_metadata is the JSON .* object"):
            db.execute(call, (metadata,))
    for table in ("projects", "worktrees", "worktree_types"):
        with pytest.raises(psycopg.errors.CheckViolation, match=f"{table}_metadata_check"):
            db.execute(f"UPDATE {table} SET metadata = %s", (metadata,))  # noqa: S608  # from the list above
    with pytest.raises(psycopg.errors.CheckViolation, match="agent_activities_metadata_check"):
        db.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata)"
            " VALUES ('a', %s, 'other', 'x', %s)",
            (worktree, metadata),
        )


def test_metadata_is_never_null(db, project, worktree):
    db.execute("SELECT register_project('other', 'git@github.com:o/other.git', p_metadata := NULL)")
    db.execute("SELECT register_worktree(%s, 'feat', 'x', 'x', '/x', NULL, NULL)", (project,))
    db.execute("SELECT log_activity('agent', %s, 'other', 'x', NULL, NULL)", (worktree,))

    for table in ("projects", "worktrees", "agent_activities"):
        assert scalar(db, f"SELECT bool_and(metadata = '{{}}') FROM {table}") is True  # noqa: S608  # as above
    for table in ("projects", "worktrees", "worktree_types"):
        with pytest.raises(psycopg.errors.NotNullViolation):
            db.execute(f"UPDATE {table} SET metadata = NULL")  # noqa: S608  # from the list above


@pytest.mark.parametrize("blank", ["", "   ", "\t\n", None])
@pytest.mark.parametrize(
    ("parameter", "call"),
    [
        ("register_project: p_name", "SELECT register_project(%(blank)s, 'git@github.com:o/new.git')"),
        ("register_worktree: p_name", "SELECT register_worktree(%(project)s, 'feat', %(blank)s, 'b', '/b')"),
        ("register_worktree: p_branch_name", "SELECT register_worktree(%(project)s, 'feat', 'n', %(blank)s, '/b')"),
        ("register_worktree: p_path", "SELECT register_worktree(%(project)s, 'feat', 'n', 'b', %(blank)s)"),
        ("log_activity: p_agent_id", "SELECT log_activity(%(blank)s, %(worktree)s, 'other', 'x')"),
        ("log_activity: p_activity_type", "SELECT log_activity('agent', %(worktree)s, %(blank)s, 'x')"),
        ("search_projects: p_query", "SELECT * FROM search_projects(%(blank)s)"),
    ],
)
def test_blank_texts_are_refused_by_name(db, project, worktree, parameter, call, blank):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"^{parameter} is .*; it must not be blank"):
        db.execute(call, {"blank": blank, "project": project, "worktree": worktree})


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize(
    "call",
    [
        "SELECT register_project('x', 'git@github.com:o/new.git', %(blank)s)",
        "SELECT register_project('x', 'git@github.com:o/new.git', 'main', %(blank)s)",
        "SELECT register_worktree(%(project)s, 'feat', 'n', 'b', '/b', %(blank)s)",
        "SELECT mark_worktree_merged(%(worktree)s, %(blank)s, 'abc')",
        "SELECT mark_worktree_merged(%(worktree)s, 'agent', %(blank)s)",
        "SELECT update_project(%(project)s, p_name => %(blank)s)",
        "SELECT update_project(%(project)s, p_default_branch => %(blank)s)",
        "SELECT update_project(%(project)s, p_trunk_path => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_name => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_branch_name => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_path => %(blank)s)",
    ],
)
def test_optional_texts_may_be_left_out_but_not_blank(db, project, worktree, call, blank):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must not be blank"):
        db.execute(call, {"blank": blank, "project": project, "worktree": worktree})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "SELECT update_worktree(%(worktree)s, p_name => 'b')",
            'p_name "b" is taken by another worktree of the project',
        ),
        (
            "SELECT update_worktree(%(worktree)s, p_path => '/b/')",
            'p_path "/b/" is taken by the active worktree "b" of',
        ),
    ],
)
def test_what_another_worktree_has_is_refused_by_name(db, project, worktree, call, message):
    db.execute("SELECT register_worktree(%s, 'feat', 'b', 'b', '/b')", (project,))
    with pytest.raises(psycopg.errors.UniqueViolation, match=message):
        db.execute(call, {"worktree": worktree})


def test_the_name_of_a_worktree_type_is_one_word(db):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='p_name "two words" has a blank in it'):
        db.execute("SELECT add_worktree_type('two words')")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("projects", "name"),
        ("projects", "default_branch"),
        ("projects", "trunk_path"),
        ("worktrees", "name"),
        ("worktrees", "branch_name"),
        ("worktrees", "path"),
        ("worktrees", "agent_id"),
    ],
)
def test_blank_columns_are_refused_in_plain_writes(db, worktree, table, column):
    for blank in ("", " "):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"UPDATE {table} SET {column} = %s", (blank,))  # noqa: S608  # from the list above


# 7. Working paths


@pytest.mark.parametrize(
    ("branch", "trunk", "name", "path"),
    [
        ("main", "/code/p/trunk-main", None, "/code/p/trunk-main"),
        ("main", "/code/p/trunk-main/", None, "/code/p/trunk-main"),
        ("main", "/code/p/trunk-main", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/trunk-main/", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code//p//trunk-main//", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/trunk-main", "feat/auth", "/code/p/feat-auth"),
        ("release/1.0", "/code/p/trunk-release/1.0", "feat-auth", "/code/p/feat-auth"),
        ("release/1.0", "/code/p/trunk-release-1.0", "feat-auth", "/code/p/feat-auth"),
        ("a%", "/code/p/trunk-abc", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/other-trunk-main", "feat-auth", "/code/p/feat-auth"),
        ("main", "~/code/p/trunk-main", "feat-auth", "~/code/p/feat-auth"),
        ("main", "/trunk-main", "feat-auth", "/feat-auth"),
        ("main", "/code/p/checkout", "..feat..", "/code/p/..feat.."),
    ],
)
def test_working_path_is_the_trunk_or_a_sibling_of_it(db, branch, trunk, name, path):
    project = scalar(db, "SELECT register_project('p', %s, %s, %s)", ORIGIN, branch, trunk)

    assert scalar(db, "SELECT get_project_working_path(%s, %s)", project, name) == path


@pytest.mark.parametrize("name", ["../evil", "..", ".", "a/../../b", "a/..", "/etc", "a//b", "a/", "", " ", "a\nb"])
def test_a_worktree_name_that_leads_elsewhere_is_refused(db, project, name):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="get_project_working_path: p_worktree_name"):
        scalar(db, "SELECT get_project_working_path(%s, %s)", project, name)


def test_stored_paths_have_no_parent_parts_and_no_trailing_slash(db, project, worktree):
    for statement in (
        "UPDATE projects SET trunk_path = '/code/../etc'",
        "UPDATE worktrees SET path = '../code'",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(statement)

    db.execute("UPDATE projects SET trunk_path = '/code//my-project/'")
    db.execute("UPDATE worktrees SET path = '/code/feat-auth//'")
    assert scalar(db, "SELECT trunk_path FROM projects") == "/code/my-project"
    assert row(db, worktree)["path"] == "/code/feat-auth"


def test_a_project_name_that_is_no_directory_needs_a_trunk_path(db):
    for name in ("a/b", "..", "../x"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no directory name; give p_trunk_path"):
            scalar(db, "SELECT register_project(%s, %s)", name, ORIGIN)
    assert scalar(db, "SELECT register_project('a/b', %s, 'main', '/code/ab')", ORIGIN)
