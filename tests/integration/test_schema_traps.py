"""One test or more for each trap of the first version of this schema; docs/schema.md has a paragraph on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from registry import errors

ORIGIN = "git@github.com:delorenj/my-project.git"


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def schema_files() -> list[str]:
    """The text of 001 and 002, as psql is given it."""
    directory = Path(__file__).parents[2] / "migrations"
    return [(directory / name).read_text() for name in ("001_create_schema.sql", "002_functions_and_helpers.sql")]


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


# 1. The trigram index needs pg_trgm


def test_the_extension_of_the_trigram_indexes_comes_with_the_schema(db):
    assert scalar(db, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == 1
    assert "gin_trgm_ops" in scalar(
        db, "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_projects_remote_origin_trgm'"
    )


# 2. Two unique guards on one key: see also test_schema_races.py


def test_one_constraint_guards_the_origin_of_active_and_inactive_projects(db, project):
    guards = db.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = 'projects'::regclass AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary"
    ).fetchall()
    assert [g["relname"] for g in guards] == ["projects_unique_remote_origin"]

    db.execute("UPDATE projects SET active = false")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %s, '/x')", (ORIGIN,))


# 3. VACUUM inside a function


def test_maintenance_is_callable_even_in_a_transaction_and_analyzes_every_table(db, worktree):
    with db.transaction():
        db.execute("SELECT maintenance_vacuum()")

    sizes = {t["relname"]: t["reltuples"] for t in db.execute("SELECT relname, reltuples FROM pg_class")}
    assert (sizes["projects"], sizes["worktrees"], sizes["worktree_types"]) == (1, 1, 6)
    assert sizes["agent_activities"] == 0


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

    db.execute(f"SELECT update_worktree_git_state(%s, {given})", (worktree,))  # noqa: S608  # from the list above

    stored = row(db, worktree)
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == after


@pytest.mark.parametrize(("flag", "count"), [(True, 0), (False, 3)])
def test_a_flag_that_contradicts_its_count_is_refused(db, worktree, flag, count):
    with pytest.raises(
        psycopg.errors.InvalidParameterValue, match="p_has_uncommitted . contradicts p_uncommitted_count"
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
        db.execute(f"SELECT update_worktree_git_state(%s, {parameter} := -1)", (worktree,))  # noqa: S608  # as above


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
    db.execute("SET session_replication_role = replica")
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
    ],
)
def test_optional_texts_may_be_left_out_but_not_blank(db, project, worktree, call, blank):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must not be blank"):
        db.execute(call, {"blank": blank, "project": project, "worktree": worktree})


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
        ("main", "trunk-main", "feat-auth", "feat-auth"),
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


# 8. Merged worktrees


def test_a_merged_worktree_that_is_registered_again_is_active_and_no_longer_merged(db, project, worktree):
    db.execute("SELECT mark_worktree_merged(%s, 'agent', 'abc')", (worktree,))

    again = scalar(db, "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')", project)

    stored = row(db, again)
    assert again == worktree
    assert stored["active"] is True
    assert (stored["merged_at"], stored["merged_by"], stored["merge_commit_hash"]) == (None, None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE worktrees SET active = true",
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT project_id, type_id, name, branch_name, path FROM worktrees"
        " ON CONFLICT (project_id, name) DO UPDATE SET active = true",
    ],
)
def test_a_merged_worktree_that_is_reactivated_by_plain_sql_is_no_longer_merged(db, worktree, statement):
    db.execute("SELECT mark_worktree_merged(%s, 'agent', 'abc')", (worktree,))

    db.execute(statement)

    stored = row(db, worktree)
    assert (stored["active"], stored["merged_at"], stored["merged_by"]) == (True, None, None)


def test_a_plain_write_of_merged_at_deactivates(db, project, worktree):
    db.execute("UPDATE worktrees SET merged_at = now(), merged_by = 'agent'")
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, merged_at)"
        " VALUES (%s, 1, 'old', 'old', '/old', now())",
        (project,),
    )

    assert scalar(db, "SELECT count(*) FROM worktrees WHERE active") == 0
    assert scalar(db, "SELECT count(*) FROM worktrees WHERE merged_at IS NOT NULL") == 2


# 9. Worktrees of an inactive project


def test_an_inactive_project_takes_no_active_worktree(db, project, worktree):
    db.execute("SELECT deactivate_project(%s)", (project,))

    for statement in (
        "SELECT register_worktree(%s, 'feat', 'new', 'new', '/new')",
        "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')",
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) VALUES (%s, 1, 'new', 'new', '/new')",
        "UPDATE worktrees SET active = true WHERE project_id = %s",
    ):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="inactive.*register.* again first"):
            db.execute(statement, (project,))
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, active)"
        " VALUES (%s, 1, 'old', 'old', '/old', false)",
        (project,),
    )


def test_a_worktree_is_not_moved_actively_into_an_inactive_project(db, worktree):
    other = scalar(db, "SELECT register_project('other', 'git@github.com:o/other.git')")
    db.execute("SELECT deactivate_project(%s)", (other,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute("UPDATE worktrees SET project_id = %s", (other,))


# 10. Statistics: behind-only work


def test_work_that_is_only_behind_is_in_flight(db, worktree):
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 2)", (worktree,))

    assert scalar(db, "SELECT in_flight_worktrees FROM get_registry_stats()") == 1
    assert scalar(db, "SELECT status FROM get_inflight_work()") == "behind"


# 11. Append-only activities, protected built-ins


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agent_activities SET description = 'never happened'",
        "DELETE FROM agent_activities",
        "INSERT INTO agent_activities SELECT * FROM agent_activities"
        " ON CONFLICT (id) DO UPDATE SET description = 'never happened'",
    ],
)
def test_the_activity_log_is_append_only(db, worktree, statement):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="agent_activities: the log is append-only"):
        db.execute(statement)

    assert scalar(db, "SELECT description FROM agent_activities") == "it happened"


def test_retention_does_not_leave_the_log_open(db, worktree):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))

    with db.transaction():
        assert scalar(db, "SELECT cleanup_old_activities(90)") == 0
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), db.transaction():
            db.execute("DELETE FROM agent_activities")
    assert scalar(db, "SELECT cleanup_old_activities(0)") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM worktrees",
        "DELETE FROM projects",
        "DO $$ BEGIN PERFORM deactivate_project(id) FROM projects; PERFORM prune_inactive_worktrees(0); END $$",
    ],
)
def test_the_activities_of_a_deleted_worktree_stay_and_say_which_one_it_was(db, project, worktree, statement):
    activity = scalar(db, "SELECT log_activity('agent', %s, 'committed', 'it happened')", worktree)
    before = db.execute("SELECT * FROM agent_activities").fetchall()
    if "prune" in statement:
        db.execute("SELECT deactivate_project(%s)", (project,))
        assert scalar(db, "SELECT prune_inactive_worktrees(0)") == 1
    else:
        db.execute(statement)

    assert scalar(db, "SELECT count(*) FROM worktrees") == 0
    assert db.execute("SELECT * FROM agent_activities").fetchall() == before
    seen = db.execute("SELECT * FROM v_recent_agent_activity").fetchone()
    recent = db.execute("SELECT * FROM get_agent_recent_work('agent')").fetchone()
    assert (seen["id"], recent["activity_id"]) == (activity, activity)
    for told in (seen, recent):
        assert (told["worktree_name"], told["project_name"], told["worktree_type"]) == (
            "feat-auth",
            "my-project",
            "feat",
        )
    remembered = db.execute("SELECT * FROM deleted_worktrees").fetchone()
    assert (remembered["id"], remembered["project_id"]) == (worktree, project)
    assert (remembered["remote_origin"], remembered["path"]) == (ORIGIN, "/code/feat-auth")


def test_deleted_worktrees_are_remembered_as_long_as_their_activities(db, worktree):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))
    db.execute("DELETE FROM worktrees")

    assert scalar(db, "SELECT cleanup_old_activities(1)") == 0
    assert scalar(db, "SELECT count(*) FROM deleted_worktrees") == 1
    assert scalar(db, "SELECT cleanup_old_activities(0)") == 1
    assert scalar(db, "SELECT count(*) FROM deleted_worktrees") == 0


def test_an_activity_of_a_worktree_that_does_not_exist_is_refused(db, worktree):
    for key in (uuid4(), worktree):
        db.execute("DELETE FROM worktrees")
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f"worktree_id {key} is no worktree"):
            db.execute(
                "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
                " VALUES ('agent', %s, 'other', 'x')",
                (key,),
            )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM worktree_types WHERE name = 'trunk'",
        "UPDATE worktree_types SET name = 'feature' WHERE name = 'feat'",
        "UPDATE worktree_types SET branch_prefix = 'f/' WHERE name = 'feat'",
        "UPDATE worktree_types SET worktree_prefix = 'f-' WHERE name = 'feat'",
        "UPDATE worktree_types SET is_builtin = false WHERE name = 'feat'",
    ],
)
def test_a_built_in_type_keeps_its_name_and_cannot_be_deleted(db, statement):
    before = db.execute("SELECT * FROM worktree_types ORDER BY id").fetchall()

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='worktree type ".*": it is built in'):
        db.execute(statement)

    assert db.execute("SELECT * FROM worktree_types ORDER BY id").fetchall() == before


def test_a_built_in_type_may_look_different_and_a_custom_type_may_go(db):
    db.execute("UPDATE worktree_types SET color = '#000000', icon = 'x' WHERE name = 'feat'")
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')")

    assert db.execute("DELETE FROM worktree_types WHERE is_builtin = FALSE").rowcount == 1


def test_a_type_in_use_cannot_be_deleted(db, project):
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')")
    db.execute("SELECT register_worktree(%s, 'spike', 's', 'spike/s', '/s')", (project,))

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        db.execute("DELETE FROM worktree_types WHERE name = 'spike'")


@pytest.mark.parametrize(
    ("table", "key"), [("projects", "gen_random_uuid()"), ("worktrees", "gen_random_uuid()"), ("worktree_types", "99")]
)
def test_primary_keys_are_immutable(db, worktree, table, key):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f"cannot change {table}.id"):
        db.execute(f"UPDATE {table} SET id = {key}")  # noqa: S608  # from the list above


# 12. Unknown ids


@pytest.mark.parametrize(
    "call",
    [
        "SELECT deactivate_project(%(id)s::uuid)",
        "SELECT register_worktree(%(id)s::uuid, 'feat', 'n', 'b', '/p')",
        "SELECT update_worktree_git_state(%(id)s::uuid, true)",
        "SELECT mark_worktree_merged(%(id)s::uuid, 'agent', 'abc')",
        "SELECT log_activity('agent', %(id)s::uuid, 'other', 'x')",
        "SELECT get_project_working_path(%(id)s::uuid)",
    ],
)
@pytest.mark.parametrize("key", [uuid4(), None])
def test_an_unknown_id_is_an_error(db, worktree, call, key):
    with pytest.raises(psycopg.errors.NoDataFound, match=f"p_[a-z]+_id {key or 'NULL'} is no ") as raised:
        db.execute(call, {"id": key})
    assert isinstance(errors.from_database(raised.value), errors.NotFound)


def test_inflight_work_of_an_unknown_project_is_an_error(db, worktree):
    with pytest.raises(psycopg.errors.NoDataFound, match="is no project"):
        db.execute("SELECT * FROM get_inflight_work(%s)", (uuid4(),))


def test_the_working_path_of_an_inactive_project_is_an_error(db, project):
    db.execute("SELECT deactivate_project(%s)", (project,))

    with pytest.raises(psycopg.errors.NoDataFound, match="is no active project"):
        db.execute("SELECT get_project_working_path(%s)", (project,))


def test_an_unknown_worktree_type_is_an_error_that_lists_the_known_ones(db, project):
    for name in ("feature", "FEAT", "", None):
        with pytest.raises(psycopg.errors.NoDataFound, match="there are feat, fix, aiops, devops, review, trunk"):
            db.execute("SELECT register_worktree(%s, %s, 'n', 'b', '/p')", (project, name))


@pytest.mark.parametrize(
    "call",
    [
        "SELECT cleanup_old_activities(-1)",
        "SELECT cleanup_old_activities(NULL)",
        "SELECT prune_inactive_worktrees(-1)",
        "SELECT prune_inactive_worktrees(NULL)",
        "SELECT * FROM get_agent_recent_work('agent', -1)",
    ],
)
def test_negative_and_missing_limits_are_refused(db, call):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="it must be 0 or more"):
        db.execute(call)


# 13. Migrations: running the files twice (the way back is tested with the migrations)


def test_running_the_schema_again_changes_nothing_and_causes_no_event(db, worktree, schema_files):
    db.execute("UPDATE worktree_types SET color = '#000000' WHERE name = 'feat'")
    before = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608

    for statements in schema_files:
        db.execute(statements)

    after = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608
    assert after == before


def test_a_file_that_fails_leaves_nothing_half_done(empty_database, schema_files):
    with psycopg.connect(empty_database, autocommit=True) as db:
        db.execute("CREATE TABLE worktrees (id uuid)")  # in the way: an index of 001 cannot be built on it
        with pytest.raises(psycopg.errors.UndefinedColumn):
            db.execute(schema_files[0])
        db.rollback()
        left = db.execute("SELECT count(*) FROM pg_class WHERE relname IN ('projects', 'worktree_types')").fetchone()
    assert left == (0,)


# 14. Names in use by existing callers


@pytest.mark.parametrize(
    "kind",
    ["created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"],
)
def test_every_activity_type_in_use_is_accepted(db, worktree, kind):
    assert scalar(db, "SELECT log_activity('agent', %s, %s, 'x')", worktree, kind)


def test_an_unknown_activity_type_is_refused(db, worktree):
    with pytest.raises(psycopg.errors.CheckViolation, match="agent_activities_activity_type_check"):
        scalar(db, "SELECT log_activity('agent', %s, 'pondered', 'x')", worktree)


def test_pr_is_an_alias_of_review_unless_a_type_has_that_name(db, project):
    first = scalar(db, "SELECT register_worktree(%s, 'pr', 'pr-1', 'pr-review/1', '/pr-1')", project)
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('pr', 'pr/', 'pr-')")
    second = scalar(db, "SELECT register_worktree(%s, 'pr', 'pr-2', 'pr/2', '/pr-2')", project)

    kinds = {w["id"]: w["type_name"] for w in db.execute("SELECT id, type_name FROM v_worktrees_detail")}
    assert (kinds[first], kinds[second]) == ("review", "pr")
