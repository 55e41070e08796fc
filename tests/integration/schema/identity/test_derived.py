"""Ids that follow from the origin: the same in SQL and in Python, for every form, in every registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from threading import Barrier
from uuid import uuid5

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.origin import PROJECTS, derived_project_id, normalized_origin
from tests.support.schema.rows import ORIGIN, dictionaries, row, scalar

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
PARTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", fullmatch=True),
    st.sampled_from(["..", ".git", "a.git", "\u017f", "\u212a"]),
    TEXT,
)
BEFORE = [
    "git@github.com:",
    "https://github.com/",
    "ssh://git@ssh.github.com:443/",
    "git+ssh://me@www.GitHub.com/",
    "github.com:/",
]
ORIGINS = st.one_of(
    TEXT,
    st.builds(
        "{}{}/{}{}".format,
        st.sampled_from([*BEFORE, "http://a:b@github.com/", "\ngit@github.com:", "git@gitlab.com:"]),
        PARTS,
        PARTS,
        st.sampled_from(["", ".git", ".git/", "/", "\n", ".GIT", ".git.git", " "]),
    ),
)
IN_ONE_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)


@IN_ONE_DATABASE
@given(origin=ORIGINS)
def test_sql_and_python_derive_the_same_from_every_text(db, origin):
    found = db.execute(
        "SELECT normalize_remote_origin(%s) AS origin, derived_project_id(%s) AS id", [origin, origin]
    ).fetchone()

    assert found == {"origin": normalized_origin(origin), "id": derived_project_id(origin)}
    if found["origin"] is not None:
        assert found["id"] == uuid5(PROJECTS, found["origin"])


@settings(IN_ONE_DATABASE, max_examples=100)
@given(data=st.binary(max_size=300))
def test_the_hash_is_sha_1(db, data):
    assert scalar(db, "SELECT sha1_of(%s)", data) == sha1(data, usedforsecurity=False).digest()


def test_the_namespace_never_changes(db):
    # By uuidgen: --sha1 --namespace 5128c89b-5812-5ac4-a011-e7a33083f9cd --name git@github.com:33god/imi.git
    assert (
        str(scalar(db, "SELECT derived_project_id('https://github.com/33god/imi')"))
        == "0ed48ae6-1955-5bf8-b770-8339e3f8a016"
    )


def test_the_id_is_derived_where_it_is_asked_for_or_the_registry_is_set_so(db):
    plain = scalar(db, "SELECT register_project('p', 'git@github.com:33god/plain.git')")
    db.execute("SELECT set_config('imi.project_id', 'derived', false)")
    asked = scalar(db, "SELECT register_project('p', 'HTTPS://github.com/33GOD/Asked')")
    db.execute("RESET imi.project_id")
    db.execute("SELECT derive_project_ids(true)")
    default = scalar(db, "SELECT register_project('p', 'git@github.com:33god/default.git')")
    db.execute("SELECT set_config('imi.project_id', 'random', false)")
    refused = scalar(db, "SELECT register_project('p', 'git@github.com:33god/refused.git')")

    assert asked == derived_project_id("git@github.com:33god/asked.git")
    assert default == derived_project_id("git@github.com:33god/default.git")
    assert plain != derived_project_id("git@github.com:33god/plain.git")
    assert refused != derived_project_id("git@github.com:33god/refused.git")


def test_a_setting_that_says_no_id_is_refused(db):
    db.execute("SELECT set_config('imi.project_id', 'perhaps', false)")
    with pytest.raises(
        psycopg.errors.InvalidParameterValue,
        match=r'setting imi\.project_id is "perhaps"; it must be derived',
    ):
        db.execute("SELECT register_project('p', %s)", [ORIGIN])


def test_a_project_that_is_known_keeps_its_id(db):
    known = scalar(db, "SELECT register_project('p', %s)", ORIGIN)
    db.execute("SELECT set_config('imi.project_id', 'derived', false)")

    assert scalar(db, "SELECT register_project('p', %s)", ORIGIN) == known


def test_a_derived_id_that_another_origin_has_is_left_to_it(db):
    db.execute("SELECT set_config('imi.project_id', 'derived', false)")
    first = scalar(db, "SELECT register_project('p', %s)", ORIGIN)
    db.execute("SELECT change_project_origin(%s, 'git@github.com:33god/renamed.git')", [first])

    second = scalar(db, "SELECT register_project('q', %s)", ORIGIN)

    assert second != first
    assert row(db, "projects", first)["remote_origin"] == "git@github.com:33god/renamed.git"


@pytest.mark.parametrize("wanted", [("derived",), ("derived", "random")], ids=["all", "some"])
def test_registrations_of_one_origin_by_many_are_one_project(database, wanted):
    barrier = Barrier(12)

    def register(number):
        with dictionaries(database) as conn:
            conn.execute("SELECT set_config('imi.project_id', %s, false)", [wanted[number % len(wanted)]])
            barrier.wait(60)
            return [scalar(conn, f"SELECT register_project('p', 'git@github.com:33god/p{n}.git')") for n in range(5)]

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(register, range(12)))

    assert all(one == found[0] for one in found)
    if wanted == ("derived",):
        assert found[0] == [derived_project_id(f"git@github.com:33god/p{n}.git") for n in range(5)]
