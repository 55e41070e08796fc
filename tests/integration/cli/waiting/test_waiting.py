"""A command that waits for a lock in PostgreSQL says behind whom, and goes on when it is free."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from registry.database.stepping.lock import LOCK
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until
from tests.support.world import World

NOW = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ')"
ADVISORY = f"SELECT pg_advisory_lock({LOCK})"


@contextmanager
def started(url: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs meanwhile."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(DATABASE_URL=url, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "held", "done"),
    [
        (["migrate"], ADVISORY, "nothing to apply\n"),
        (["migrate", "rollback", "--yes"], "SELECT FROM worktrees", "removed\n"),
        (["maintain", "vacuum"], "LOCK TABLE projects IN SHARE UPDATE EXCLUSIVE MODE", "vacuumed projects"),
        (["project", "update", "p", "--description", "d"], "SELECT FROM projects FOR UPDATE", "updated"),
        (["project", "list"], "LOCK TABLE projects", "p"),
        (["events", "export", "-"], "LOCK TABLE outbox", "1 events exported\n"),
        (["history", "show", "project", "p"], "LOCK TABLE outbox", "registered"),
        (["history", "verify"], "LOCK TABLE outbox", "1 projects are what the events tell"),
    ],
    ids=" ".join,
)
def test_who_holds_the_lock_is_told_while_it_is_waited_for(
    database: str, arguments: list[str], held: str, done: str
) -> None:
    user = conninfo_to_dict(database)["user"]
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
    with psycopg.connect(database, application_name="psql of Ada") as stranger:
        stranger.execute(held.encode())
        with started(database, *arguments) as process:
            assert process.stderr is not None

            line = process.stderr.readline()

            ((began,),) = stranger.execute(NOW).fetchall()
            assert line == (
                f'waiting for pid {stranger.info.backend_pid} (application "psql of Ada", user {user}, '
                f"in a transaction since {began}), which holds or asks for a lock that is needed here\n"
            )
            assert process.poll() is None
            stranger.close()
            out, err = process.communicate(timeout=60)
    assert (process.returncode, err.removeprefix(done)) == (0, "")
    assert done in out + err


@pytest.mark.parametrize(
    ("command", "said"), [("rebuild-stream", "has published nothing"), ("phantoms", "stream not found")]
)
def test_a_command_of_both_servers_says_who_holds_the_lock_that_it_waits_for(
    world: World, command: str, said: str
) -> None:
    places = {"NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    with psycopg.connect(world.database, application_name="psql of Ada") as stranger:
        stranger.execute("LOCK TABLE publisher_cursor")
        pid = stranger.info.backend_pid
        with started(world.database, command, **places) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            stranger.close()
            _, err = process.communicate(timeout=60)
    assert line.startswith(f'waiting for pid {pid} (application "psql of Ada", user ')
    assert said in err


def test_ctrl_c_ends_a_command_that_waits_and_its_session(database: str) -> None:
    with psycopg.connect(database) as stranger:
        stranger.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        stranger.commit()
        stranger.execute("SELECT FROM projects FOR UPDATE")
        with started(database, "project", "update", "p", "--description", "d") as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("waiting for pid ")

            process.send_signal(signal.SIGINT)

            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "")
        left = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: not stranger.execute(left).fetchall())
