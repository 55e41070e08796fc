"""The search in all that people wrote and named."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import new_project


@pytest.fixture
def texts(db):
    """A project with a worktree and an activity, and others beside it, in which its words do not stand."""
    flume = new_project(db, "git@github.com:ada/flume.git", "flume")
    other = new_project(db, "git@github.com:ada/other.git", "other")
    db.execute("SELECT update_project(%s, p_description => 'Carries <b>tokens</b> of every kind')", (flume,))
    worktree = db.execute(
        "SELECT register_worktree(%s, 'feat', 'feat-user-auth', 'feat/user-auth', '/srv/flume/feat-user-auth') AS id",
        (flume,),
    ).fetchone()["id"]
    db.execute("SELECT register_worktree(%s, 'fix', 'fix-1', 'fix/1', '/srv/other/fix-1')", (other,))
    db.execute(
        "SELECT update_worktree_git_state(%s, p_last_commit_hash => 'abc', p_last_commit_message => %s)",
        (worktree, "Expire sessions\nafter an hour"),
    )
    activity = db.execute(
        "SELECT log_activity('ada', %s, 'modified', 'Rewrote the authentication', 'src/login_form.rs') AS id",
        (worktree,),
    ).fetchone()["id"]
    db.execute("ANALYZE")
    return {"project": flume, "worktree": worktree, "activity": activity}


def found(db, query, **arguments):
    named = "".join(f", {name} => %({name})s" for name in arguments)
    return db.execute(
        f"SELECT * FROM search_registry(%(query)s{named})",  # noqa: S608  # of constants
        {"query": query, **arguments},
    ).fetchall()


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("flume", "project"),
        ("flumme", "project"),
        ("ada/flume", "project"),
        ("carries tokens", "project"),
        ("TOKEN", "project"),
        ("feat-user-auth", "worktree"),
        ("feat/user-auth", "worktree"),
        ("/srv/flume/feat-user-auth", "worktree"),
        ("user aut", "worktree"),
        ("expire sess", "worktree"),
        ("sesions expire", "worktree"),
        ("hour", "worktree"),
        ("authentication", "activity"),
        ("authentcation", "activity"),
        ('"the authentication"', "activity"),
        ("login_form.rs", "activity"),
        ("src/login", "activity"),
        ("rewrote -nothing", "activity"),
        ("rewrote or zebra", "activity"),
    ],
)
def test_what_people_wrote_and_named_is_found_by_its_words(db, texts, query, kind):
    first = found(db, query)[0]

    assert (first["kind"], first["id"]) == (kind, texts[kind])
    assert 0 < first["relevance"] <= 1
    assert first["project_id"] == texts["project"]
    assert first["project_name"] == "flume"
    assert first["worktree_id"] == (None if kind == "project" else texts["worktree"])


@pytest.mark.parametrize("query", ["zebra", "rewrote -login", '"authentication the"', "%", "--", '"', "(", "🚀"])
def test_what_nothing_says_is_not_found(db, texts, query):
    assert found(db, query) == []


@pytest.mark.parametrize(
    ("query", "excerpt"),
    [
        ("token", ["Carries <b>", "tokens", "</b> of every kind"]),
        ("sess hour", ["Expire ", "sessions", " after an ", "hour", ""]),
        ("authentcation", ["Rewrote the ", "authentication", ""]),
        ("auth user", ["feat/", "user", "-", "auth", ""]),
        ("hour se", ["Expire ", "sessions", " after an ", "hour", ""]),
    ],
)
def test_an_excerpt_tells_what_was_looked_for_from_what_stands_around_it(db, texts, query, excerpt):
    assert excerpt in [row["excerpt"] for row in found(db, query)]


def test_what_must_not_be_there_does_not_change_how_well_a_row_fits(db, texts):
    (plain,) = found(db, "authentication", p_kinds=["activity"])

    (without,) = found(db, "authentication -nothing", p_kinds=["activity"])

    assert without["relevance"] == plain["relevance"] > 0.01


def test_an_excerpt_of_a_long_text_begins_near_the_word(db, texts):
    db.execute(
        "SELECT update_project(%s, p_description => %s)", (texts["project"], "much " * 500 + "zebra" + " more" * 500)
    )

    (row,) = found(db, "zebra", p_kinds=["project"])

    assert len(row["excerpt"]) == 3
    assert row["excerpt"][1] == "zebra"
    assert row["excerpt"][0].startswith("…")
    assert row["excerpt"][2].endswith("…")
    assert sum(map(len, row["excerpt"])) <= 162


def test_a_full_name_comes_first_however_many_have_its_words_and_merged_work_is_found(db, texts):
    for number in range(60):
        db.execute(
            "SELECT register_worktree(%s, 'feat', %s, %s, %s)",
            (texts["project"], f"feat-auth-{number}", f"feat/auth-{number}", f"/srv/user/feat-{number}"),
        )
    db.execute("SELECT mark_worktree_merged(%s, 'ada', 'abc')", (texts["worktree"],))

    first = found(db, "feat-user-auth", p_kinds=["worktree"])[0]

    assert (first["id"], first["active"]) == (texts["worktree"], False)


def test_the_newest_of_what_very_many_say_is_found(db, texts):
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
        " SELECT 'ada', %s, 'other', 'routine check ' || n, now() - n * interval '1 minute'"
        " FROM generate_series(1, 2000) AS n",
        (texts["worktree"],),
    )

    rows = found(db, "routine", p_kinds=["activity"])

    assert sorted(row["occurred_at"] for row in rows)[-1] == max(row["occurred_at"] for row in rows)
    assert {"".join(row["excerpt"]) for row in rows} == {f"routine check {n}" for n in range(1, 21)}


def test_an_activity_is_found_when_its_worktree_is_deleted(db, texts):
    db.execute("DELETE FROM worktrees WHERE id = %s", (texts["worktree"],))

    (row,) = found(db, "authentication")

    assert (row["name"], row["project_name"], row["active"]) == ("feat-user-auth", "flume", False)


def test_a_project_whose_name_is_the_text_comes_first_of_all_that_have_it(db, texts):
    named = new_project(db, "git@github.com:ada/carries.git", "carries")

    first, second = found(db, "carries", p_kinds=["project"])

    assert (first["id"], first["relevance"]) == (named, 1)
    assert (second["id"], second["relevance"] < 1) == (texts["project"], True)


def test_a_part_of_a_name_is_looked_for_where_no_project_has_it_as_a_word(db, texts):
    assert [row["id"] for row in found(db, "lum", p_kinds=["project"])] == [texts["project"]]
    named = new_project(db, "git@github.com:ada/lum.git", "lum")
    assert [row["id"] for row in found(db, "lum", p_kinds=["project"])] == [named]


def test_kinds_and_number_are_what_was_asked_for(db, texts):
    assert {row["kind"] for row in found(db, "flume")} == {"project", "worktree"}
    assert {row["kind"] for row in found(db, "flume", p_kinds=["worktree"])} == {"worktree"}
    assert len(found(db, "flume", p_limit=1)) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"query": " \t"}, 'p_query is " \\\\t"; it must not be blank'),
        ({"query": None}, "p_query is NULL; it must not be blank"),
        ({"query": "x" * 1_048_576}, r"p_query \"x{40}\"… has 1048576 characters; it must have at most 512"),
        ({"query": "-token"}, 'p_query "-token" says only what must not be there'),
        ({"query": "a", "p_limit": 0}, "p_limit is 0; it must be 1 to 100"),
        ({"query": "a", "p_limit": 101}, "p_limit is 101; it must be 1 to 100"),
        ({"query": "a", "p_limit": None}, "p_limit is NULL; it must be 1 to 100"),
        ({"query": "a", "p_kinds": []}, r"p_kinds is .*; it must have one or more of project, worktree, activity"),
        ({"query": "a", "p_kinds": ["branch"]}, r"p_kinds is .*branch.*; it must have one or more of project"),
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_refused_by_its_name(db, arguments, told):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"search_registry: {told}"):
        found(db, **arguments)


@pytest.mark.parametrize(
    "query",
    [
        "a" * 512,
        "'" * 512,
        '"' * 511,
        "or " * 170,
        "-a " * 100 + "b",
        "((((!!&&||",
        "a:*b<->c",
        "\\",
        "\x01\x02\x03",
        "!",
        "'a' & 'b",
        "\ufb01 ß \u0130 \u0131 \u01c4",
        "a" + " b" * 255,
        "\u202e\u200b x",
        "{1,2}",
        ".*",
        "[a-z]+",
    ],
    ids=ascii,
)
def test_no_syntax_is_an_error(db, texts, query):
    found(db, query)


def test_a_text_of_any_size_is_stored_and_found_by_its_beginning(db, texts):
    words = " ".join(f"w{number}" for number in range(300_000))
    db.execute("SELECT update_project(%s, p_description => %s)", (texts["project"], words + " " + "x" * 9_000_000))
    db.execute("SELECT log_activity('ada', %s, 'other', %s)", (texts["worktree"], "y" * 3_000_000 + " zebra"))

    assert [row["id"] for row in found(db, "w100", p_kinds=["project"])] == [texts["project"]]
    assert found(db, "w200000") == []


def test_a_rare_word_is_found_as_it_stands_and_by_its_beginning_and_misspelt_only_where_it_is_known(db, texts):
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'ada', %s, 'other', 'the parliament does the same as ever' FROM generate_series(1, 2000)",
        (texts["worktree"],),
    )
    leaves = db.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relname = 'idx_agent_activities_words' AND c.relkind = 'i' UNION ALL"
        " SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'idx_agent_activities_words'::regclass"
    ).fetchall()
    for leaf in leaves:  # the statistics of a small registry have every word, these have ten
        db.execute(f"ALTER INDEX {leaf['relname']} ALTER COLUMN 1 SET STATISTICS 1")
    db.execute("ANALYZE agent_activities")

    for query in ("authentication", "authent"):
        assert [row["id"] for row in found(db, query, p_kinds=["activity"])] == [texts["activity"]], query
    assert found(db, "authentcation") == []
    assert len(found(db, "parlament")) == 20


@pytest.mark.superuser
def test_without_trigrams_it_finds_what_is_spelled_right_and_says_so(db, texts):
    db.execute("DROP EXTENSION pg_trgm CASCADE")
    notices = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary))

    assert [row["id"] for row in found(db, "authentication")] == [texts["activity"]]
    assert [row["id"] for row in found(db, "flume", p_kinds=["project"])] == [texts["project"]]
    assert found(db, "authentcation") == []

    assert "misspelt words are not looked for" in str(notices)


def test_it_looks_where_its_indexes_are(db, texts):
    # so many that the newest of them are not all; so few that other ways would be as quick
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'ada', %s, 'other', 'routine' FROM generate_series(1, 2000)",
        (texts["worktree"],),
    )
    db.execute("DROP INDEX idx_projects_active, idx_projects_name, idx_projects_name_length")
    with db.transaction():
        found(db, "authentication")
        scans = db.execute(
            "SELECT name, pg_stat_get_xact_numscans(name::regclass) > 0 AS is_read FROM unnest(ARRAY["
            "'idx_projects_words', 'idx_worktrees_words', 'idx_agent_activities_words']) AS name"
        ).fetchall()
    assert all(row["is_read"] for row in scans), scans


def test_a_sync_that_finds_the_same_commit_makes_no_entry_in_any_index(db, texts):
    places = "SELECT ctid::text, pg_relation_size('idx_worktrees_words') FROM worktrees WHERE id = %s"
    others = "SELECT n_tup_upd - n_tup_hot_upd AS elsewhere FROM pg_stat_xact_user_tables WHERE relname = 'worktrees'"
    with db.transaction():
        place = db.execute(places, (texts["worktree"],)).fetchone()
        before = db.execute(others).fetchone()
        db.execute("SELECT update_worktree_git_state(%s, p_ahead => 3)", (texts["worktree"],))
        assert db.execute(others).fetchone() == before
        assert db.execute(places, (texts["worktree"],)).fetchone() != place


def test_a_phrase_is_told_from_its_words(db, texts):
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'ada', %s, 'other', CASE n WHEN 1 THEN 'a stitch, in time' ELSE 'time in stitch' END"
        " FROM generate_series(1, 2000) AS n",
        (texts["worktree"],),
    )
    db.execute("UPDATE worktrees SET last_commit_message = 'in time of a stitch'")

    assert ["".join(row["excerpt"]) for row in found(db, '"stitch in time"')] == ["a stitch, in time"]
