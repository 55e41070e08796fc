"""What only a person can decide before the original schema becomes ours: it is listed, refused, and then taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from registry.database import migrate
from registry.database.adoption import Undecided
from tests.support.before import original
from tests.support.before.adopted import all_rows, changed
from tests.support.before.original import id_of
from tests.support.schema.migrations import NAMES, catalogs

Conn = psycopg.Connection[Any]


def update(table: str, field: str, number: int) -> str:
    """What a person is told to run."""
    return f"UPDATE public.{table} SET {field} = … WHERE id = '{id_of(number)}'"  # noqa: S608  # never run


DECIDED = """
UPDATE projects SET remote_origin = 'git@github.com:owner/deep.git' WHERE id = uuid(5);
UPDATE projects SET trunk_path = '/code/relative' WHERE id = uuid(6);
UPDATE worktree_types SET name = 'my-type' WHERE id = '20';
UPDATE worktrees SET active = false WHERE id = uuid(19);
UPDATE agent_activities SET description = '(none)' WHERE id = uuid(105);
"""


def test_what_only_a_person_can_put_right_is_listed_refused_and_then_taken(
    db: Conn, empty_database: str, more: Callable[[str], None]
) -> None:
    more("undecidable")
    before = catalogs(empty_database), all_rows(db)

    with pytest.raises(
        Undecided, match=r"has the original schema 2\.0\.0, and 5 decisions are open; nothing was changed"
    ):
        migrate.apply(db)
    assert (catalogs(empty_database), all_rows(db)) == before
    decisions = migrate.plan(db).decisions
    assert [(one.table, one.id[-3:], one.name) for one in decisions] == [
        ("projects", "005", "deep"),
        ("projects", "006", "relative"),
        ("worktree_types", "20", "my type"),
        ("worktrees", "019", "same"),
        ("agent_activities", "105", "agent-2"),
    ]
    assert decisions[0].problem == 'remote_origin "git@github.com:owner/group/repo.git" is not owner/repo on GitHub'
    assert "with its 1 worktrees and 1 activities: DELETE FROM public.projects" in decisions[0].how
    assert 'it must begin with "/" or "~"' in decisions[1].problem
    assert decisions[1].how == update("projects", "trunk_path", 6)
    assert "worktrees_unique_active_path" in decisions[3].problem

    original.add(db, DECIDED)
    assert migrate.apply(db) == NAMES


def test_projects_of_one_repository_are_one_where_somebody_says_so(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    before = all_rows(db)
    (decision,) = migrate.plan(db).decisions
    assert (decision.id, decision.name) == (id_of(4), "lower")
    assert "is the same repository as git@github.com:Owner/iMi.git" in decision.problem
    assert "--merge-duplicates" in decision.how
    with pytest.raises(Undecided, match="1 decision is open"):
        migrate.apply(db)

    plan = migrate.plan(db, merge_duplicates=True)
    assert migrate.upgrade(db, merge_duplicates=True) == (NAMES, plan)
    rows = all_rows(db)
    assert rows == changed(before, plan)
    assert rows["worktrees", id_of(17)]["project_id"] == id_of(1), "the active one is kept"
    (merged,) = rows["projects", id_of(1)]["metadata"]["merged_projects"]
    assert merged == before["projects", id_of(4)]


def test_of_two_active_projects_the_older_one_is_kept(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    db.execute("UPDATE projects SET active = true")
    migrate.upgrade(db, merge_duplicates=True)
    assert db.execute("SELECT id::text FROM projects WHERE remote_origin LIKE '%imi%'").fetchall() == [(id_of(4),)]


def test_worktrees_of_one_name_in_projects_that_become_one_are_to_be_decided(
    db: Conn, more: Callable[[str], None]
) -> None:
    more("duplicates")
    db.execute("UPDATE worktrees SET name = 'again' WHERE id = %s", [id_of(17)])
    (decision,) = migrate.plan(db, merge_duplicates=True).decisions
    assert decision.how == update("worktrees", "name", 11)
    assert "worktrees_unique_project_name" in decision.problem


def test_rows_of_others_that_refer_to_a_project_which_is_merged_are_to_be_decided(
    db: Conn, more: Callable[[str], None]
) -> None:
    more("duplicates")
    more("identity")
    db.execute("UPDATE identities SET project_id = %s", [id_of(4)])
    (decision,) = migrate.plan(db, merge_duplicates=True).decisions
    assert decision.table == "identities"
    assert decision.problem == f"1 rows refer by project_id to project {id_of(4)}, which is merged into {id_of(1)}"


ADDED = {
    "trigger mine": (
        "CREATE TRIGGER mine BEFORE DELETE ON worktrees FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    ),
    "view mine": "CREATE VIEW mine AS SELECT name FROM projects",
    "index mine": "CREATE INDEX mine ON projects (created_at)",
    "constraint mine": "ALTER TABLE projects ADD CONSTRAINT mine UNIQUE (name)",
    "constraint projects_name_check1": "ALTER TABLE projects ADD CHECK (name <> 'x')",
    "constraint short_name": "ALTER TABLE projects ADD CONSTRAINT short_name CHECK (length(name) < 20)",
    "default 'master'::text of column default_branch": (
        "ALTER TABLE projects ALTER default_branch SET DEFAULT 'master'"
    ),
    "default value for column n of table counter": (
        "CREATE TABLE counter (n integer DEFAULT nextval('worktree_types_id_seq'))"
    ),
    "materialized view mine": "CREATE MATERIALIZED VIEW mine AS SELECT name FROM projects",
    "rule mine": "CREATE RULE mine AS ON DELETE TO projects DO INSTEAD NOTHING",
    "statistics mine": "CREATE STATISTICS mine ON name, active FROM projects",
    "row level security": "ALTER TABLE projects ENABLE ROW LEVEL SECURITY",
    "policy mine": "CREATE POLICY mine ON projects USING (true)",
    "publication mine": "CREATE PUBLICATION mine FOR TABLE projects",
    "function mine(projects)": "CREATE FUNCTION mine(projects) RETURNS text LANGUAGE sql AS 'SELECT $1.name'",
    "function register_project(text)": "CREATE FUNCTION register_project(text) RETURNS int AS 'SELECT 1' LANGUAGE sql",
}


@pytest.mark.parametrize("what", ADDED)
def test_what_somebody_added_is_named_and_neither_lost_nor_in_the_way(db: Conn, what: str) -> None:
    db.execute(ADDED[what].encode())
    (decision,) = migrate.plan(db).decisions
    assert decision.name == what
    with pytest.raises(Undecided):
        migrate.apply(db)
