"""The search for projects: what it finds first, what it does not find, and how."""

from __future__ import annotations

import pytest

from tests.support.schema.rows import new_project, scalar


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


def test_of_a_text_without_end_the_beginning_is_looked_for(db):
    new_project(db, "git@github.com:o/imi-registry.git", "imi-registry")
    text = ("imi-registry " * 400)[:4000]

    found = db.execute("SELECT * FROM search_projects(%s)", (text + "zyx" * 3000,)).fetchall()

    assert found == db.execute("SELECT * FROM search_projects(%s)", (text[:512],)).fetchall()
    assert found != []
