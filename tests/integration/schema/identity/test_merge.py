"""Two ids of a project become one: everything goes along, nothing is lost, and the former id goes on to work."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader
from tests.support.schema.rows import ORIGIN, new_project, new_worktree, row, scalar

OTHER = "git@github.com:33god/other.git"
MOVED = {"worktrees", "deleted_worktrees", "project_hosts", "project_aliases"}
LEFT = {
    "outbox": "what happened, happened to the id of then",
    "command_ledger": "what was answered, was answered with the id of then",
    "count_delta": "what is added and taken: moved worktrees are taken from one and added to the other",
    "project_counts": "follows from count_delta; a row that counts nothing is removed when it is folded",
}


def name_of(db, worktree):
    return scalar(db, "SELECT name FROM worktrees WHERE id = %s", worktree)


def test_every_table_that_names_a_project_is_thought_of(db):
    tables = db.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'project_id'"
        " UNION SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = 'projects'::regclass"
    ).fetchall()

    assert {table["relname"] for table in tables} == MOVED | set(LEFT)


def test_all_that_is_of_the_loser_is_of_the_winner(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    worktree = new_worktree(db, loser, "feat-a")
    db.execute("SELECT claim_worktree(%s, 'ada')", [worktree])
    activity = scalar(db, "SELECT log_activity('ada', %s, 'committed', 'work')", worktree)
    gone = new_worktree(db, loser, "gone")
    db.execute("DELETE FROM worktrees WHERE id = %s", [gone])

    assert scalar(db, "SELECT merge_projects(%s, %s)", loser, winner) == winner

    moved = row(db, "worktrees", worktree)
    assert (moved["project_id"], moved["agent_id"], moved["name"], moved["active"]) == (winner, "ada", "feat-a", True)
    assert row(db, "agent_activities", activity)["worktree_id"] == worktree
    assert row(db, "deleted_worktrees", gone)["project_id"] == winner
    assert row(db, "projects", winner)["metadata"]["former_origins"] == [OTHER]
    for table in MOVED:
        assert scalar(db, f"SELECT count(*) FROM {table} WHERE project_id = %s", loser) == 0  # noqa: S608  # from the list above
    assert scalar(db, "SELECT count(*) FROM projects") == 1


def test_again_and_the_other_way_round_it_changes_nothing(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])
    events = OutboxReader(db)

    for first, second in [(loser, winner), (winner, loser), (winner, winner), (loser, loser)]:
        assert scalar(db, "SELECT merge_projects(%s, %s)", first, second) == winner
    assert events.names() == []


def test_a_chain_of_merges_ends_at_its_last_winner(db):
    ids = [new_project(db, f"git@github.com:33god/p{number}.git") for number in range(4)]
    db.execute("SELECT merge_projects(%s, %s)", ids[0:2])
    db.execute("SELECT merge_projects(%s, %s)", ids[1:3])
    db.execute("SELECT merge_projects(%s, %s)", [ids[0], ids[3]])

    assert {scalar(db, "SELECT current_project_id(%s)", id_) for id_ in ids} == {ids[3]}
    assert scalar(db, "SELECT count(*) FROM project_aliases WHERE project_id <> %s", ids[3]) == 0


def test_a_circle_of_adoptions_ends_at_its_last(db):
    first, second = new_project(db, ORIGIN), uuid4()
    worktree = new_worktree(db, first, "feat-a")
    for id_ in (second, first, second, first):
        db.execute("SELECT adopt_project_id(%s, %s)", [first, id_])

        assert scalar(db, "SELECT id FROM projects") == id_
        assert {scalar(db, "SELECT current_project_id(%s)", one) for one in (first, second)} == {id_}
        assert row(db, "worktrees", worktree)["project_id"] == id_


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_a_project_goes_on_under_another_id_with_all_it_has(db, state):
    db.execute("SELECT use_host('laptop')")
    project, adopted = new_project(db, ORIGIN), uuid4()
    worktree = new_worktree(db, project, "feat-a")
    gone = new_worktree(db, project, "gone")
    db.execute("DELETE FROM worktrees WHERE id = %s", [gone])
    places = db.execute("SELECT host_id, trunk_path FROM project_hosts").fetchall()
    if state == "inactive":
        db.execute("SELECT deactivate_project(%s)", [project])
    before = row(db, "projects", project)
    events = OutboxReader(db)

    assert scalar(db, "SELECT adopt_project_id(%s, %s)", project, adopted) == adopted

    after = row(db, "projects", adopted)
    assert before | {"id": adopted, "updated_at": after["updated_at"]} == after
    told = events.new()
    assert [event.name for event in told if event.entity != "project_host"] == [
        "project.merged",
        "worktree.updated",
        "project.deleted",
    ]
    merged, updated = told[0], told[1]
    assert (merged.project_id, merged.data["loser"]["project_id"]) == (adopted, str(project))
    assert merged.data["updated_at"] == scalar(db, "SELECT to_jsonb(updated_at) FROM projects")
    assert (updated.entity_id, updated.changed["project_id"]) == (worktree, str(project))
    assert (told[-1].entity_id, told[-1].name) == (project, "project.deleted")
    assert db.execute("SELECT host_id, trunk_path FROM project_hosts").fetchall() == places
    for table in MOVED - {"project_aliases"}:
        assert scalar(db, f"SELECT count(*) FROM {table} WHERE project_id <> %s", adopted) == 0  # noqa: S608  # from the list above
    assert scalar(db, "SELECT count(*) FROM deleted_worktrees WHERE project_id = %s", adopted) == 1


def test_an_id_that_another_project_has_or_had_is_not_adopted(db):
    project, other, former = new_project(db, ORIGIN), new_project(db, OTHER), uuid4()
    db.execute("SELECT adopt_project_id(%s, %s)", [other, former])

    for id_ in (other, former):
        with pytest.raises(psycopg.errors.UniqueViolation, match=f"p_id {id_} is project .*merge_projects"):
            db.execute("SELECT adopt_project_id(%s, %s)", [project, id_])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("id_", [None, UUID(int=7)], ids=["none", "unknown"])
def test_what_is_no_project_is_named(db, place, id_):
    given = [new_project(db, ORIGIN)] * 2
    given[place] = id_
    with pytest.raises(psycopg.errors.NoDataFound, match=f"merge_projects: {id_ or 'NULL'} is no project"):
        db.execute("SELECT merge_projects(%s::uuid, %s::uuid)", given)


def test_an_id_changes_in_no_other_way(db):
    project, other = new_project(db, ORIGIN), new_project(db, OTHER)
    db.execute("SELECT merge_projects(%s, %s)", [other, project])
    for id_ in (uuid4(), other):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="a primary key is immutable"):
            db.execute("UPDATE projects SET id = %s WHERE id = %s", [id_, project])


def test_worktrees_of_one_name_both_stay_and_the_loser_s_is_renamed_by_a_rule(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    here = [new_worktree(db, project, "feat-a") for project in (winner, loser)]
    db.execute("SELECT use_host('laptop')")
    there = new_worktree(db, loser, "feat-b")
    db.execute("RESET imi.host_id")
    new_worktree(db, winner, "feat-b")
    taken = new_worktree(db, winner, f"feat-a@{str(loser)[:8]}")

    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])

    assert name_of(db, here[0]) == "feat-a"
    assert name_of(db, here[1]) == f"feat-a@{loser}"
    assert name_of(db, taken) == f"feat-a@{str(loser)[:8]}"
    assert name_of(db, there) == "feat-b@laptop"


@pytest.mark.parametrize("name", ["n" * 512, "ü" * 256, "👩" * 128])
def test_a_name_without_room_for_a_mark_is_cut(db, name):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    kept, renamed = [
        scalar(db, "SELECT register_worktree(%s, 'feat', %s, 'feat/a', %s)", project, name, f"/{project}")
        for project in (winner, loser)
    ]

    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])

    assert name_of(db, kept) == name
    assert name_of(db, renamed).endswith(f"@{str(loser)[:8]}")


def test_names_that_are_one_when_they_are_cut_stay_apart(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    names = ["n" * 508 + end for end in "abc"]
    for project in (winner, loser):
        for name in names:
            db.execute("SELECT register_worktree(%s, 'feat', %s, 'feat/a', %s)", [project, name, f"/{project}/{name}"])

    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])

    found = db.execute("SELECT name FROM worktrees WHERE project_id = %s ORDER BY created_at, id", [winner]).fetchall()
    assert len({worktree["name"] for worktree in found}) == 2 * len(names)
    ends = sorted(worktree["name"].partition("@")[2] for worktree in found if "@" in worktree["name"])
    assert ends[:1] != ends[1:2]
    assert {str(loser)[:8], str(loser)} < set(ends)


def test_an_active_loser_makes_the_winner_active(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    worktree = new_worktree(db, loser, "feat-a")
    db.execute("SELECT deactivate_project(%s)", [winner])
    events = OutboxReader(db)

    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])

    assert row(db, "projects", winner)["active"]
    assert row(db, "worktrees", worktree)["active"]
    assert events.names()[:3] == ["project.reactivated", "project.updated", "project.merged"]


def test_counts_are_those_of_the_rows_afterwards(db):
    winner, loser = new_project(db, ORIGIN), new_project(db, OTHER)
    worktree = new_worktree(db, loser, "feat-a")
    db.execute("SELECT update_worktree_git_state(%s, p_uncommitted_count := 3)", [worktree])
    db.execute("CALL fold_counts()")
    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])
    db.execute("SELECT adopt_project_id(%s, %s)", [winner, uuid4()])

    assert db.execute("SELECT * FROM differing_counts()").fetchall() == []
    db.execute("CALL fold_counts()")
    assert db.execute("SELECT * FROM differing_counts()").fetchall() == []
    assert [found["worktree_id"] for found in db.execute("SELECT worktree_id FROM get_inflight_work()")] == [worktree]


def test_places_of_the_loser_are_places_of_the_winner_where_it_has_none(db):
    winner = new_project(db, ORIGIN)
    db.execute("SELECT use_host('laptop')")
    loser = new_project(db, OTHER)
    path = scalar(db, "SELECT get_project_working_path(%s)", loser)

    db.execute("SELECT merge_projects(%s, %s)", [loser, winner])

    for id_ in (loser, winner):
        assert scalar(db, "SELECT get_project_working_path(%s)", id_) == path
