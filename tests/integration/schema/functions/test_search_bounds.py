"""What the search does not read: what it finds is what it would find without that, but where docs/search.md says so."""

from __future__ import annotations

import pytest

from tests.support.schema.rows import new_project, new_worktree, scalar


@pytest.fixture
def worktree(db):
    """A worktree of the project flume."""
    return new_worktree(db, new_project(db, "git@github.com:ada/flume.git", "flume"))


def found(db, query, limit=20, kinds=("project", "worktree", "activity")):
    return db.execute("SELECT * FROM search_registry(%s, %s, %s)", (query, limit, list(kinds))).fetchall()


def log(db, worktree, description, count):
    """Activities, one a minute, the newest first; `description` is SQL in which that is number n."""
    insert = (
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
        " SELECT 'ada', %s, 'other', {}, now() - n * interval '1 minute' FROM generate_series(1, %s) AS n"
    )
    db.execute(insert.format(description), (worktree, count))


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("'updated' & 'parser'", "'parser'"),
        ("'updated' <-> 'parser'", "'parser'"),
        ("'parser' <-> 'lexer'", "'parser' & 'lexer'"),
        ("'updated' & 'file'", "'file'"),
        ("'updated'", "'updated'"),
        ("'updated' | 'parser'", "'updated' | 'parser'"),
        ("'updated' & !'parser'", "'updated' & !'parser'"),
        ("'parser' & 'lex':*", "'parser'"),
        ("'updated' & 'lex':*", "'lex':*"),
        ("'parser' & 'lexe':*", "'parser' & 'lexe':*"),
    ],
)
def test_the_index_is_asked_for_rare_words_alone(db, query, asked):
    newest = ["updated the file"] * 5 + ["updated"] * 5
    assert scalar(db, "SELECT search_rare_words(%s, %s)::text", query, newest) == asked


@pytest.mark.parametrize("query", ["routine zebra", "zebra routine", '"check zebra"', "routine zeb", "zebra rou"])
def test_an_old_row_is_found_by_a_word_that_all_the_newest_have_and_one_that_it_has_alone(db, worktree, query):
    log(db, worktree, "'routine check' || CASE n WHEN 1999 THEN ' zebra' ELSE '' END", 2000)

    assert ["".join(row["excerpt"]) for row in found(db, query)] == ["routine check zebra"]


@pytest.mark.parametrize(("query", "is_there"), [('"every kind"', True), ('"kind every"', False)])
def test_a_phrase_of_a_project_is_told_from_its_words(db, worktree, query, is_there):
    db.execute("UPDATE projects SET description = 'Tokens of every (kind)'")

    assert [row["kind"] for row in found(db, query)] == ["project"] * is_there


def test_activities_are_not_asked_for_a_word_that_enough_names_have(db, worktree):
    for number in range(3):
        new_worktree(db, new_project(db), f"feat-authentication-{number}")
    log(db, worktree, "'authentication'", 1)
    asked = "SELECT pg_stat_get_xact_numscans('idx_agent_activities_words'::regclass) > 0"

    for limit, kinds in ((3, {"worktree"}), (4, {"worktree", "activity"})):
        with db.transaction():
            assert {row["kind"] for row in found(db, "authentication", limit)} == kinds
            assert scalar(db, asked) == ("activity" in kinds)


def test_activities_of_a_beginning_with_three_letters_are_the_newest_alone(db, worktree):
    log(db, worktree, "CASE n WHEN 5000 THEN 'zebras' WHEN 1500 THEN 'zebra' ELSE 'routine' END", 5000)

    for query, said in (("zeb", ["zebra"]), ("zebr", ["zebra", "zebras"])):
        assert sorted("".join(row["excerpt"]) for row in found(db, query)) == said, query


def test_of_worktrees_that_have_a_frequent_word_the_active_ones_come_first(db, worktree):
    project = new_project(db)
    for number in range(60):
        one = new_worktree(db, project, f"feat-routine-{number}")
        log(db, one, "'routine'", 1)
        if number % 4:
            db.execute("SELECT mark_worktree_merged(%s, 'ada', 'abc')", (one,))

    assert [row["active"] for row in found(db, "routine", kinds=["worktree"])] == [True] * 15 + [False] * 5


def test_a_name_that_contains_the_text_is_found_where_no_project_has_it_and_one_that_resembles_it_where_nothing_has(
    db, worktree
):
    assert [row["kind"] for row in found(db, "flumme")] == ["project"]
    log(db, worktree, "'flumme lum'", 1)

    assert [row["kind"] for row in found(db, "flumme")] == ["activity"]
    assert [row["kind"] for row in found(db, "lum")] == ["project", "activity"]


@pytest.mark.parametrize(
    "name",
    [
        "fix(auth-api)",
        "fix\\auth",
        "*ixauth",
        "fix+auth",
        "fix'auth",
        'fix"auth',
        "fix[auth",
        "fix{2}au",
        "^fixaut$",
        "fix|auth!",
    ],
)
def test_a_misspelt_word_is_looked_for_beside_whatever_worktrees_are_called(db, name):
    project = new_project(db, "git@github.com:ada/flume.git", "flume")
    new_worktree(db, project, name)
    meant = new_worktree(db, project, "fixauths")
    assert meant in [row["id"] for row in found(db, "fixauthx")]
