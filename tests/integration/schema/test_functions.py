"""What each function of the registry does when used as intended."""

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


def scalar(db, query: str, *values: Any) -> Any:
    """First column of the first row."""
    return next(iter(db.execute(query, values).fetchone().values()))


def row(db, table: str, key: UUID) -> dict[str, Any]:
    return db.execute(f"SELECT * FROM {table} WHERE id = %s", (key,)).fetchone()  # noqa: S608  # table names of this file


def new_project(db, origin: str = ORIGIN, name: str = "my-project") -> UUID:
    return scalar(db, "SELECT register_project(%s, %s, 'main', %s)", name, origin, f"/code/{name}/trunk-main")


def new_worktree(db, project: UUID, name: str = "feat-auth") -> UUID:
    return scalar(
        db,
        "SELECT register_worktree(%s, 'feat', %s, %s, %s)",
        project,
        name,
        f"feat/{name}",
        f"/code/{project}/{name}",
    )


def events(db) -> list[str]:
    return [f"{e['entity']}.{e['action']}" for e in db.execute("SELECT entity, action FROM outbox ORDER BY id")]


def backdate(db, table: str, column: str, key: UUID, days: int) -> None:
    db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    db.execute(
        f"UPDATE {table} SET {column} = now() - make_interval(days => %s) WHERE id = %s",  # noqa: S608  # as above
        (days, key),
    )
    db.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


# Projects


def test_registering_a_project_stores_what_was_given(db):
    project = scalar(
        db,
        "SELECT register_project(%s, %s, %s, %s, %s)",
        "my-project",
        ORIGIN,
        "develop",
        "/code/my-project/trunk-develop",
        '{"language": "rust"}',
    )

    stored = row(db, "projects", project)
    assert stored["name"] == "my-project"
    assert stored["remote_origin"] == ORIGIN
    assert stored["default_branch"] == "develop"
    assert stored["trunk_path"] == "/code/my-project/trunk-develop"
    assert stored["metadata"] == {"language": "rust"}
    assert stored["active"] is True


def test_a_trunk_path_is_derived_from_home_name_and_branch(db):
    db.execute("SET imi.home_dir = '/home/jarad'")

    project = scalar(db, "SELECT register_project('my-project', %s, 'release/1.0')", ORIGIN)

    assert row(db, "projects", project)["trunk_path"] == "/home/jarad/code/my-project/trunk-release-1.0"


def test_registering_the_same_project_again_changes_nothing_and_causes_no_event(db):
    project = new_project(db)
    before, told = row(db, "projects", project), events(db)

    assert new_project(db) == project

    assert row(db, "projects", project) == before
    assert events(db) == told


def test_registering_again_keeps_name_branch_and_path_and_merges_metadata(db):
    project = scalar(db, """SELECT register_project('a', %s, 'main', '/x/trunk-main', '{"a": 1, "b": 1}')""", ORIGIN)

    again = scalar(db, """SELECT register_project('b', %s, 'develop', '/y/trunk-develop', '{"b": 2}')""", ORIGIN)

    assert again == project
    stored = row(db, "projects", project)
    assert (stored["name"], stored["default_branch"], stored["trunk_path"]) == ("a", "main", "/x/trunk-main")
    assert stored["metadata"] == {"a": 1, "b": 2}
    assert stored["updated_at"] > stored["created_at"]


@pytest.mark.parametrize(
    "arguments",
    [
        "'b', '{}', 'main', '/x/trunk-main'",
        "'a', '{}', 'develop', '/x/trunk-main'",
        "'a', '{}', 'main', '/y/trunk-main'",
        "'b', 'https://github.com/DeLorenJ/My-Project', 'develop', '/y/trunk-main'",
    ],
)
def test_a_second_host_that_registers_a_known_origin_changes_nothing_and_causes_no_event(db, arguments):
    project = scalar(db, "SELECT register_project('a', %s, 'main', '/x/trunk-main')", ORIGIN)
    before, told = row(db, "projects", project), events(db)

    assert scalar(db, f"SELECT register_project({arguments.format(ORIGIN)})") == project

    assert row(db, "projects", project) == before
    assert events(db) == told


def test_metadata_that_differs_is_enough_to_update_a_project(db):
    project = scalar(db, "SELECT register_project('a', %s, 'main', '/x/trunk-main')", ORIGIN)
    before = row(db, "projects", project)

    scalar(db, """SELECT register_project('a', %s, 'main', '/x/trunk-main', '{"a": 1}')""", ORIGIN)

    after = row(db, "projects", project)
    assert {c for c in before if before[c] != after[c]} == {"metadata", "updated_at"}


@pytest.mark.parametrize(
    ("column", "arguments"),
    [
        ("type_id", "'fix', 'w', 'b', '/w'"),
        ("branch_name", "'feat', 'w', 'c', '/w'"),
        ("path", "'feat', 'w', 'b', '/v'"),
        ("agent_id", "'feat', 'w', 'b', '/w', 'agent-2'"),
        ("metadata", """'feat', 'w', 'b', '/w', NULL, '{"a": 1}'"""),
    ],
)
def test_one_difference_is_enough_to_update_a_worktree(db, column, arguments):
    project = new_project(db)
    worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w', 'agent-1')", project)
    before = row(db, "worktrees", worktree)

    db.execute(f"SELECT register_worktree(%s, {arguments})", (project,))

    after = row(db, "worktrees", worktree)
    assert {c for c in before if before[c] != after[c]} == {column, "updated_at"}


def test_registering_again_keeps_what_the_call_leaves_out(db):
    project = scalar(db, """SELECT register_project('a', %s, 'develop', '/x/trunk-develop', '{"a": 1}')""", ORIGIN)
    before = row(db, "projects", project)

    scalar(db, "SELECT register_project('a', %s)", ORIGIN)

    assert row(db, "projects", project) == before


def test_name_branch_and_path_are_changed_by_update(db):
    project = scalar(db, "SELECT register_project('a', %s, 'master', '/x/trunk-master')", ORIGIN)

    db.execute("SELECT update_project(%s, 'b', 'main', '/x/trunk-main')", (project,))

    stored = row(db, "projects", project)
    assert (stored["name"], stored["default_branch"], stored["trunk_path"]) == ("b", "main", "/x/trunk-main")


def test_an_inactive_project_is_reactivated_by_registering_it_again(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    db.execute("SELECT deactivate_project(%s)", (project,))

    assert new_project(db) == project

    assert row(db, "projects", project)["active"] is True
    assert row(db, "worktrees", worktree)["active"] is False
    assert events(db)[-1] == "project.reactivated"


def test_a_project_is_found_by_any_form_of_its_origin_while_active(db):
    project = new_project(db)
    found = db.execute("SELECT * FROM get_project_by_origin('https://github.com/DeLorenJ/My-Project')").fetchall()
    assert [p["id"] for p in found] == [project]
    assert list(found[0]) == [
        "id",
        "name",
        "remote_origin",
        "default_branch",
        "trunk_path",
        "active",
        "created_at",
        "updated_at",
    ]

    db.execute("SELECT deactivate_project(%s)", (project,))

    assert db.execute("SELECT * FROM get_project_by_origin(%s)", (ORIGIN,)).fetchall() == []


def test_deactivating_a_project_deactivates_its_worktrees_once(db):
    project = new_project(db)
    worktree = new_worktree(db, project)

    db.execute("SELECT deactivate_project(%s)", (project,))
    db.execute("SELECT deactivate_project(%s)", (project,))

    assert row(db, "projects", project)["active"] is False
    assert row(db, "worktrees", worktree)["active"] is False
    assert events(db)[-2:] == ["worktree.removed", "project.deactivated"]


def test_a_plain_update_of_active_takes_the_worktrees_along(db):
    project = new_project(db)
    worktree = new_worktree(db, project)

    db.execute("UPDATE projects SET active = FALSE WHERE id = %s", (project,))

    assert row(db, "worktrees", worktree)["active"] is False


# Worktrees


def test_registering_a_worktree_stores_what_was_given(db):
    project = new_project(db)

    worktree = scalar(
        db,
        "SELECT register_worktree(%s, %s, %s, %s, %s, %s, %s)",
        project,
        "fix",
        "fix-login",
        "fix/login",
        "/code/fix-login",
        "agent-1",
        '{"ticket": 7}',
    )

    detail = row(db, "v_worktrees_detail", worktree)
    assert detail["project_name"] == "my-project"
    assert detail["type_name"] == "fix"
    assert (detail["worktree_name"], detail["branch_name"]) == ("fix-login", "fix/login")
    assert (detail["path"], detail["agent_id"]) == ("/code/fix-login", "agent-1")
    assert detail["active"] is True
    assert row(db, "worktrees", worktree)["metadata"] == {"ticket": 7}


def test_registering_the_same_worktree_again_changes_nothing_and_causes_no_event(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    before, told = row(db, "worktrees", worktree), events(db)

    assert new_worktree(db, project) == worktree

    assert row(db, "worktrees", worktree) == before
    assert events(db) == told


def test_registering_a_worktree_again_updates_what_differs_and_keeps_what_is_left_out(db):
    project = new_project(db)
    worktree = scalar(
        db, """SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/a/w', 'agent-1', '{"a": 1}')""", project
    )

    again = scalar(db, "SELECT register_worktree(%s, 'fix', 'w', 'fix/w', '/b/w')", project)

    assert again == worktree
    stored = row(db, "worktrees", worktree)
    assert (stored["branch_name"], stored["path"], stored["agent_id"]) == ("fix/w", "/b/w", "agent-1")
    assert stored["type_id"] == scalar(db, "SELECT id FROM worktree_types WHERE name = 'fix'")
    assert stored["metadata"] == {"a": 1}


def test_a_worktree_is_found_by_path_while_active(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    path = f"/code/{project}/feat-auth"

    found = db.execute("SELECT * FROM get_worktree_by_path(%s)", (path + "/",)).fetchall()
    assert [(w["id"], w["project_name"], w["type_name"]) for w in found] == [(worktree, "my-project", "feat")]

    db.execute("UPDATE worktrees SET active = false WHERE id = %s", (worktree,))
    assert db.execute("SELECT * FROM get_worktree_by_path(%s)", (path,)).fetchall() == []


def test_a_path_of_an_active_worktree_cannot_be_taken_but_that_of_an_inactive_one_can(db):
    project = new_project(db)
    other = new_project(db, "git@github.com:o/other.git", "other")
    worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/code/w')", project)

    with pytest.raises(psycopg.errors.UniqueViolation, match='"/code/w/" is taken by the active worktree "w"'):
        scalar(db, "SELECT register_worktree(%s, 'feat', 'v', 'feat/v', '/code/w/')", other)
    db.execute("UPDATE worktrees SET active = false WHERE id = %s", (worktree,))

    assert scalar(db, "SELECT register_worktree(%s, 'feat', 'v', 'feat/v', '/code/w/')", other)


def test_git_state_is_stored_and_parameters_left_out_keep_their_value(db):
    worktree = new_worktree(db, new_project(db))

    db.execute("SELECT update_worktree_git_state(%s, true, 3, 2, 1, 'abc', 'Message')", (worktree,))
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 0)", (worktree,))

    stored = row(db, "worktrees", worktree)
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == (True, 3)
    assert (stored["ahead_of_trunk"], stored["behind_trunk"]) == (2, 0)
    assert (stored["last_commit_hash"], stored["last_commit_message"]) == ("abc", "Message")
    assert stored["last_sync_at"] == stored["updated_at"]


def test_merging_records_who_and_what_and_deactivates(db):
    worktree = new_worktree(db, new_project(db))

    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))
    merged = row(db, "worktrees", worktree)
    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))

    assert (merged["merged_by"], merged["merge_commit_hash"], merged["active"]) == ("agent-2", "deadbeef", False)
    assert merged["merged_at"] is not None
    assert row(db, "worktrees", worktree) == merged
    assert events(db).count("worktree.merged") == 1


def test_a_merge_is_not_overwritten_by_another_one(db):
    worktree = new_worktree(db, new_project(db))
    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was merged by agent-2 as deadbeef"):
        db.execute("SELECT mark_worktree_merged(%s, 'agent-3', 'cafe')", (worktree,))


# Agents


def test_logging_an_activity_touches_the_worktree(db):
    worktree = new_worktree(db, new_project(db))
    before = row(db, "worktrees", worktree)["updated_at"]

    activity = scalar(
        db,
        """SELECT log_activity('agent-1', %s, 'modified', 'Updated login', 'src/auth.rs', '{"lines": 3}')""",
        worktree,
    )

    stored = row(db, "agent_activities", activity)
    assert (stored["agent_id"], stored["worktree_id"], stored["activity_type"]) == ("agent-1", worktree, "modified")
    assert (stored["description"], stored["file_path"]) == ("Updated login", "src/auth.rs")
    assert stored["metadata"] == {"lines": 3}
    assert row(db, "worktrees", worktree)["updated_at"] > before


def test_recent_work_of_an_agent_comes_newest_first_and_limited(db):
    worktree = new_worktree(db, new_project(db))
    for n in range(4):
        db.execute("SELECT log_activity('agent-1', %s, 'modified', %s)", (worktree, f"step {n}"))
    db.execute("SELECT log_activity('agent-2', %s, 'modified', 'not mine')", (worktree,))

    recent = db.execute("SELECT * FROM get_agent_recent_work('agent-1', 3)").fetchall()

    assert [a["description"] for a in recent] == ["step 3", "step 2", "step 1"]
    assert {(a["worktree_name"], a["project_name"], a["worktree_type"]) for a in recent} == {
        ("feat-auth", "my-project", "feat")
    }
    assert len(db.execute("SELECT * FROM get_agent_recent_work('agent-1')").fetchall()) == 4


# Queries


@pytest.mark.parametrize(
    ("flag", "ahead", "behind", "status"),
    [
        (True, 0, 0, "uncommitted"),
        (True, 2, 3, "uncommitted"),
        (False, 2, 0, "ahead"),
        (False, 0, 3, "behind"),
        (False, 2, 3, "diverged"),
        (False, 0, 0, "clean"),
        (None, None, None, "clean"),
    ],
)
def test_status_of_a_worktree(db, flag, ahead, behind, status):
    assert scalar(db, "SELECT worktree_status(%s::boolean, %s::integer, %s::integer)", flag, ahead, behind) == status


def test_inflight_work_is_that_of_unfinished_worktrees_latest_first(db):
    project = new_project(db)
    other = new_project(db, "git@github.com:o/other.git", "other")
    clean, behind, dirty, merged = (new_worktree(db, project, n) for n in ("clean", "behind", "dirty", "merged"))
    elsewhere = new_worktree(db, other, "elsewhere")
    db.execute("SELECT update_worktree_git_state(%s, p_ahead := 1)", (merged,))
    db.execute("SELECT mark_worktree_merged(%s, 'agent-1', 'abc')", (merged,))
    db.execute("SELECT update_worktree_git_state(%s, p_ahead := 1)", (elsewhere,))
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 4)", (behind,))
    db.execute("SELECT update_worktree_git_state(%s, true, 2)", (dirty,))

    everything = db.execute("SELECT * FROM get_inflight_work()").fetchall()
    of_project = db.execute("SELECT * FROM get_inflight_work(%s)", (project,)).fetchall()

    assert [w["worktree_id"] for w in everything] == [dirty, behind, elsewhere]
    assert [(w["worktree_name"], w["status"]) for w in of_project] == [("dirty", "uncommitted"), ("behind", "behind")]
    assert (of_project[0]["uncommitted_count"], of_project[1]["behind"]) == (2, 4)
    assert clean not in {w["worktree_id"] for w in everything}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("imi-registry", "imi-registry"),
        ("IMI-Registry", "imi-registry"),
        ("imi-regsitry", "imi-registry"),
        ("registr", "imi-registry"),
        ("blodbank", "bloodbank"),
        ("bloodbnak", "bloodbank"),
        ("https://github.com/delorenj/bloodbank", "bloodbank"),
        ("holyfeild", "Holy Fields"),
        ("jelmore/", "other-thing"),
        ("im", "imi"),
    ],
)
def test_search_finds_the_project_meant_first_in_spite_of_typos(db, query, first):
    for name in ("imi", "imi-registry", "bloodbank", "jelmore", "flume", "yi", "theboard"):
        new_project(db, f"git@github.com:delorenj/{name}.git", name)
    new_project(db, "git@github.com:delorenj/holyfields.git", "Holy Fields")
    new_project(db, "git@github.com:jelmore/other-thing.git", "other-thing")

    found = db.execute("SELECT * FROM search_projects(%s)", (query,)).fetchall()

    assert found[0]["name"] == first
    assert [f["relevance"] for f in found] == sorted((f["relevance"] for f in found), reverse=True)
    assert all(0 < f["relevance"] <= 1 for f in found)


def test_search_does_not_find_what_only_the_host_name_resembles_nor_inactive_projects(db):
    new_project(db)
    gone = new_project(db, "git@github.com:o/forgotten.git", "forgotten")
    db.execute("SELECT deactivate_project(%s)", (gone,))

    for query in ("github", "git", "forgotten", "zzzz"):
        assert db.execute("SELECT * FROM search_projects(%s)", (query,)).fetchall() == []


@pytest.mark.parametrize("query", ["%", "_", "\\", "100%", "my_project", "%%%"])
def test_wildcards_in_a_search_are_plain_characters(db, query):
    new_project(db)
    wanted = new_project(db, "git@github.com:o/odd.git", f"odd {query} name")

    found = db.execute("SELECT * FROM search_projects(%s)", (query,)).fetchall()

    assert found[0]["id"] == wanted
    if len(query.strip("%_\\")) == 0:
        assert len(found) == 1


def test_search_answers_at_most_twenty_in_a_stable_order(db):
    for n in range(30):
        new_project(db, f"git@github.com:o/service-{n}.git", f"service-{n}")

    first = db.execute("SELECT id FROM search_projects('service')").fetchall()

    assert len(first) == 20
    assert db.execute("SELECT id FROM search_projects('service')").fetchall() == first


def test_search_uses_its_index(db):
    new_project(db)
    # so few rows are as quickly read any other way
    db.execute("DROP INDEX idx_projects_active, idx_projects_name, idx_projects_name_length")

    with db.transaction():
        db.execute("SELECT * FROM search_projects('my-project')")
        assert scalar(db, "SELECT pg_stat_get_xact_numscans('idx_projects_search_trgm'::regclass)") > 0


def test_search_for_a_text_that_very_many_projects_contain_finds_the_shortest_names(db):
    db.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path)"
        " SELECT 'service-' || n, 'git@github.com:o/service-' || n || '.git', '/code/' || n"
        " FROM generate_series(1, 6000) AS n"
    )

    found = db.execute("SELECT name FROM search_projects('service')").fetchall()

    assert len(found) == 20
    assert {f"service-{n}" for n in range(1, 10)} <= {f["name"] for f in found}


@pytest.mark.parametrize(("query", "found"), [("f", 2), ("fl", 2), ("en", 1), ("lo", 0)])
def test_one_or_two_letters_are_looked_for_where_a_word_begins(db, query, found):
    new_project(db, "git@github.com:o/flow-engine.git", "flow-engine")
    new_project(db, "git@github.com:o/flume.git", "flume")

    assert len(db.execute("SELECT * FROM search_projects(%s)", (query,)).fetchall()) == found


# Maintenance


def test_cleanup_removes_activities_older_than_the_days_given(db):
    worktree = new_worktree(db, new_project(db))
    old, young = (scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", worktree) for _ in range(2))
    backdate(db, "agent_activities", "created_at", old, 91)

    assert scalar(db, "SELECT cleanup_old_activities()") == 1
    assert scalar(db, "SELECT cleanup_old_activities(90)") == 0

    assert [a["id"] for a in db.execute("SELECT id FROM agent_activities")] == [young]


def test_pruning_deletes_long_inactive_worktrees_only(db):
    project = new_project(db)
    old, young, active = (new_worktree(db, project, n) for n in ("old", "young", "active"))
    db.execute("UPDATE worktrees SET active = false WHERE id <> %s", (active,))
    backdate(db, "worktrees", "updated_at", old, 31)
    backdate(db, "worktrees", "updated_at", active, 31)

    assert scalar(db, "SELECT prune_inactive_worktrees()") == 1

    assert {w["id"] for w in db.execute("SELECT id FROM worktrees")} == {young, active}


def test_statistics_count_every_kind(db):
    project = new_project(db)
    new_project(db, "git@github.com:o/other.git", "other")
    db.execute("SELECT deactivate_project(id) FROM projects WHERE name = 'other'")
    a, b, c = (new_worktree(db, project, n) for n in "abc")
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 1)", (a,))
    db.execute("SELECT update_worktree_git_state(%s, true)", (b,))
    db.execute("SELECT mark_worktree_merged(%s, 'x', 'y')", (c,))
    old = scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", a)
    scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", a)
    backdate(db, "agent_activities", "created_at", old, 2)

    assert db.execute("SELECT * FROM get_registry_stats()").fetchone() == {
        "total_projects": 2,
        "active_projects": 1,
        "total_worktrees": 3,
        "active_worktrees": 2,
        "in_flight_worktrees": 2,
        "total_activities": 2,
        "activities_last_24h": 1,
    }


def test_summary_counts_the_worktrees_of_active_projects(db):
    project = new_project(db)
    new_project(db, "git@github.com:o/empty.git", "empty")
    a, _, c = (new_worktree(db, project, n) for n in "abc")
    db.execute("SELECT update_worktree_git_state(%s, true)", (a,))
    db.execute("SELECT mark_worktree_merged(%s, 'x', 'y')", (c,))

    summary = {s["name"]: s for s in db.execute("SELECT * FROM v_projects_summary")}

    counts = ("active_worktrees_count", "uncommitted_worktrees_count", "unmerged_worktrees_count")
    assert [summary["my-project"][c] for c in counts] == [2, 1, 2]
    assert [summary["empty"][c] for c in counts] == [0, 0, 0]
    assert summary["my-project"]["last_worktree_activity"] is not None
