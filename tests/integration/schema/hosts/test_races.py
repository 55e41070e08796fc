"""Many at once register one project and one worktree from two hosts and from none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN

EACH = 4
CALLERS = (None, "laptop", "server")
REGISTER = (
    "SELECT register_worktree(register_project('p', %s, 'main', '/p/trunk-main'), 'feat', 'w', 'b', '/p/w')::text"
)


@pytest.mark.parametrize("isolation", ["read committed", "with the hosts unknown"])
def test_registrations_of_one_path_by_many_are_one_worktree_a_host(database: str, isolation: str) -> None:
    barrier = Barrier(EACH * len(CALLERS))
    if isolation == "read committed":
        with psycopg.connect(database) as conn:
            conn.execute("SELECT register_host('laptop'), register_host('server')")

    def register(caller: str | None) -> tuple[str | None, str]:
        with psycopg.connect(database, autocommit=True) as conn:
            barrier.wait(60)
            if caller is not None:
                conn.execute("SELECT use_host(%s)", [caller])
            (found,) = conn.execute(REGISTER, [ORIGIN]).fetchone() or ("",)
            return caller, found

    with ThreadPoolExecutor(EACH * len(CALLERS)) as threads:
        found = set(threads.map(register, CALLERS * EACH))

    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT h.name, w.id::text FROM worktrees w JOIN hosts h ON h.id = w.host_id").fetchall()
        homes = conn.execute("SELECT count(*) FROM v_project_hosts WHERE is_home").fetchone()
        places = conn.execute("SELECT count(*) FROM project_hosts WHERE trunk_path IS NOT NULL").fetchone()
    assert {pair for pair in found if pair[0]} == {row for row in rows if row[0] != "default"}
    # Who names none goes on with the worktree of the name, if another one was first.
    assert {id_ for caller, id_ in found if caller is None} <= {id_ for _, id_ in rows}
    assert len(rows) in (2, 3)
    assert homes == (1,)
    assert places in [(1,), (2,)]
