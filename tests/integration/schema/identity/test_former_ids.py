"""Who has the former id of a project goes on: each function takes it, also while the merge is under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, dictionaries, new_project, new_worktree, row, scalar
from tests.support.services import wait_until

CALLS = {
    "update": "SELECT update_project(%s, 'new name')",
    "origin": "SELECT change_project_origin(%s, 'git@github.com:33god/renamed.git')",
    "deactivate": "SELECT deactivate_project(%s)",
    "register": "SELECT register_worktree(%s, 'feat', 'feat-b', 'feat/b', '/b')",
    "again": "SELECT register_worktree(%s, 'feat', 'feat-a', 'feat/a', '/code/feat-a')",
    "insert": "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) VALUES (%s, 1, 'n', 'n', '/n')",
}
READS = {
    "path": "SELECT get_project_working_path(%s)",
    "inflight": "SELECT count(*) FROM get_inflight_work(%s)",
    "place": "SELECT place_project(%s, default_host_id(), '/elsewhere')",
    "command": "SELECT run_command('project.update', jsonb_build_object('project_id', %s::uuid, 'name', 'n'))",
}


@pytest.mark.parametrize("name", [*CALLS, *READS])
def test_each_function_takes_a_former_id(db, name):
    former, now = new_project(db, ORIGIN), uuid4()
    worktree = new_worktree(db, former, "feat-a")
    db.execute("SELECT adopt_project_id(%s, %s)", [former, now])

    db.execute((CALLS | READS)[name], [former])

    assert scalar(db, "SELECT count(*) FROM projects") == 1
    assert row(db, "worktrees", worktree)["project_id"] == now
    assert scalar(db, "SELECT count(*) FROM worktrees WHERE project_id <> %s", now) == 0


@pytest.mark.parametrize("way", ["adopt", "merge"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_waits_for_the_merge_goes_on_with_the_winner(database, name, way):
    with dictionaries(database) as conn:
        former = new_project(conn, ORIGIN)
        new_worktree(conn, former, "feat-a")
        now = uuid4() if way == "adopt" else new_project(conn, "git@github.com:33god/winner.git")
    function = "adopt_project_id" if way == "adopt" else "merge_projects"

    with psycopg.connect(database) as merging, dictionaries(database) as caller:
        merging.execute(f"SELECT {function}(%s, %s)", [former, now])
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(caller.execute, CALLS[name], [former])
            with dictionaries(database) as watch:
                while not scalar(watch, "SELECT cardinality(pg_blocking_pids(%s))", caller.info.backend_pid):
                    assert not call.done()
            merging.commit()
            call.result(60)

    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT DISTINCT project_id FROM worktrees").fetchall() == [(now,)]
        assert conn.execute("SELECT id FROM projects").fetchall() == [(now,)]


def test_two_merges_the_other_way_round_at_once_end_as_one(database):
    with dictionaries(database) as conn:
        ids = [new_project(conn, f"git@github.com:33god/p{number}.git") for number in range(6)]
        for number, id_ in enumerate(ids):
            new_worktree(conn, id_, f"feat-{number}")
    pairs = [pair for number in range(6) for pair in [(ids[number], ids[number - 1]), (ids[number - 1], ids[number])]]

    def merge(pair):
        with dictionaries(database) as conn:
            conn.execute("SELECT merge_projects(%s, %s)", pair)

    with ThreadPoolExecutor(len(pairs)) as threads:
        list(threads.map(merge, pairs))

    with psycopg.connect(database) as conn:
        ((winner,),) = conn.execute("SELECT id FROM projects").fetchall()
        assert conn.execute("SELECT DISTINCT current_project_id(id) FROM unnest(%s) AS i (id)", [ids]).fetchall() == [
            (winner,)
        ]
        assert conn.execute("SELECT project_id, count(*) FROM worktrees GROUP BY 1").fetchall() == [(winner, 6)]


def test_a_registration_that_waits_for_the_new_id_is_told_it(database):
    with dictionaries(database) as conn:
        former, now = new_project(conn, ORIGIN), uuid4()
    with psycopg.connect(database) as merging, dictionaries(database) as caller:
        merging.execute("SELECT adopt_project_id(%s, %s)", [former, now])
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(
                scalar, caller, "SELECT register_project('p', %s, p_metadata := '{\"a\": 1}')", ORIGIN
            )
            with dictionaries(database) as watch:
                while not scalar(watch, "SELECT cardinality(pg_blocking_pids(%s))", caller.info.backend_pid):
                    assert not call.done()
            merging.commit()
            assert call.result(60) == now


def test_an_id_is_adopted_while_the_events_of_earlier_rows_are_written(database):
    with dictionaries(database) as conn:
        former, now = new_project(conn, ORIGIN), uuid4()
        new_worktree(conn, former, "feat-a")
        conn.execute("INSERT INTO outbox_backlog (entity, row_id) VALUES ('project', %s)", [str(former)])
    with (
        dictionaries(database) as watch,
        dictionaries(database) as adopting,
        dictionaries(database) as writing,
        psycopg.connect(database) as holder,
        ThreadPoolExecutor(2) as threads,
    ):
        holder.execute("SELECT FROM worktrees FOR UPDATE")
        adopted = threads.submit(scalar, adopting, "SELECT adopt_project_id(%s, %s)", former, now)
        wait_until(lambda: scalar(watch, "SELECT cardinality(pg_blocking_pids(%s))", adopting.info.backend_pid))
        written = threads.submit(scalar, writing, "SELECT backfill_outbox()")
        wait_until(lambda: scalar(watch, "SELECT cardinality(pg_blocking_pids(%s))", writing.info.backend_pid))
        holder.commit()
        assert adopted.result(60) == now
        assert written.result(60) == 1
        assert scalar(watch, "SELECT max(entity_id::text) FROM outbox WHERE data ? 'backfill'") == str(now)
