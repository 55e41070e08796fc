"""What is deleted while a batch that has read it is not committed yet, is not in the copy afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.support.schema.months import fill
from tests.support.services import wait_until

WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"


def test_who_deletes_waits_for_the_batch(database: str) -> None:
    fill(database, activities=100)
    with (
        psycopg.connect(database) as mover,
        psycopg.connect(database, autocommit=True) as retention,
        psycopg.connect(database, autocommit=True) as other,
    ):
        other.execute("SELECT begin_activity_move(true)")
        mover.execute("SELECT copy_activities('agent_activities', 0, 1000)")
        with ThreadPoolExecutor(1) as pool:
            deleting = pool.submit(lambda: retention.execute("SELECT cleanup_old_activities(100)"))
            wait_until(lambda: deleting.done() or other.execute(WAITS, [retention.info.backend_pid]).fetchone() == (1,))
            mover.commit()
            deleting.result(60)

        assert other.execute("SELECT count(*) FROM missed_by_activity_move()").fetchone() == (0,)
        assert other.execute("SELECT count(*) < 100 FROM agent_activities").fetchone() == (True,)
