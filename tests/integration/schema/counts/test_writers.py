"""Counts that are kept are exact at each moment, whoever writes, folds, counts anew, and nobody waits for a count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count
from random import Random
from threading import Event
from typing import Any

import psycopg
import pytest

from tests.support.schema.counts import assert_exact, is_kept

Conn = psycopg.Connection[Any]

WRITERS = 16
TRANSACTIONS = 40
COMPARED = 20
# What writers of the same rows answer to each other, as they did before there were counts.
REFUSED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.IntegrityError)
REFUSED_STATES = (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.NoDataFound)


class RolledBack(Exception):
    """Ends a transaction on purpose."""


class Writer:
    """Does one thing after the other, each on projects that others write, too."""

    def __init__(self, conn: Conn, number: int) -> None:
        self._conn = conn
        self._rng = Random(number)
        self._names = (f"{number}-{step}" for step in count())
        self._kinds: list[Callable[[], object]] = [
            self._register, self._register, self._insert_several, self._copy, self._update, self._update, self._update,
            self._soft_delete, self._take_up, self._move, self._log, self._delete, self._delete_project,
            self._switch_project, self._several_in_one, self._retention,
        ]  # fmt: skip

    def run(self, transactions: int) -> None:
        """So many transactions, of which some are rolled back, wholly or in part, and some have an older snapshot."""
        for _ in range(transactions):
            with suppress(RolledBack, *REFUSED, *REFUSED_STATES), self._conn.transaction():
                if self._rng.random() < 0.1:
                    self._conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                for _ in range(self._rng.choice((1, 1, 2))):
                    self._rng.choice(self._kinds)()
                if self._rng.random() < 0.2:
                    with suppress(RolledBack), self._conn.transaction():
                        self._rng.choice(self._kinds)()
                        raise RolledBack
                if self._rng.random() < 0.2:
                    raise RolledBack

    def _do(self, statement: str, **values: object) -> None:
        self._conn.execute(
            statement.encode(), {"p": f"p{self._rng.randrange(8)}", "k": self._rng.randrange(3)} | values
        )

    def _register(self) -> None:
        name = next(self._names)
        self._do("SELECT register_project(%(p)s, %(o)s, 'main', '/code/' || %(p)s)", o=f"git@github.com:o/{name}.git")

    def _insert_several(self) -> None:
        self._do(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, ahead_of_trunk)"
            " SELECT p.id, 1, %(name)s || '-' || n, 'b', '/c/' || %(name)s || '/' || n || p.id, n %% 2"
            " FROM (SELECT id FROM projects WHERE active ORDER BY id LIMIT 5) p, generate_series(1, 3) n",
            name=next(self._names),
        )

    def _copy(self) -> None:
        found = self._conn.execute("SELECT id FROM worktrees ORDER BY random() LIMIT 3").fetchall()
        columns = "agent_id, worktree_id, activity_type, description"
        with self._conn.cursor().copy(f"COPY agent_activities ({columns}) FROM STDIN".encode()) as copy:
            for (worktree,) in found:
                copy.write_row(("a", worktree, "other", "copied"))

    def _update(self) -> None:
        self._do(
            "UPDATE worktrees SET ahead_of_trunk = %(k)s, behind_trunk = 0 WHERE name LIKE %(like)s", like=self._some()
        )

    def _soft_delete(self) -> None:
        self._do("UPDATE worktrees SET active = false WHERE name LIKE %(like)s", like=self._some())

    def _take_up(self) -> None:
        self._do("UPDATE worktrees SET active = true WHERE NOT active AND name LIKE %(like)s", like=self._some())

    def _move(self) -> None:
        self._do(
            "UPDATE worktrees SET project_id = (SELECT id FROM projects WHERE active ORDER BY random() LIMIT 1),"
            " name = %(name)s WHERE id = (SELECT id FROM worktrees ORDER BY random() LIMIT 1)",
            name=next(self._names),
        )

    def _log(self) -> None:
        self._do(
            "SELECT log_activity('a', id, 'other', 'words') FROM worktrees WHERE name LIKE %(like)s", like=self._some()
        )

    def _delete(self) -> None:
        self._do("DELETE FROM worktrees WHERE name LIKE %(like)s AND id > gen_random_uuid()", like=self._some())

    def _delete_project(self) -> None:
        self._do("DELETE FROM projects WHERE id = (SELECT id FROM projects ORDER BY random() LIMIT 1)")

    def _switch_project(self) -> None:
        self._do(
            "UPDATE projects SET active = NOT active WHERE id = (SELECT id FROM projects ORDER BY random() LIMIT 1)"
        )

    def _several_in_one(self) -> None:
        self._do(
            "WITH a AS (DELETE FROM worktrees WHERE name LIKE %(a)s RETURNING 1),"
            " b AS (UPDATE worktrees SET behind_trunk = %(k)s WHERE name LIKE %(b)s AND name NOT LIKE %(a)s)"
            " INSERT INTO projects (name, remote_origin, trunk_path) VALUES (%(p)s, %(o)s, '/x')",
            a=self._some(), b=self._some(), o=f"git@github.com:o/{next(self._names)}.git",
        )  # fmt: skip

    def _retention(self) -> None:
        self._do("SELECT cleanup_old_activities(0) FROM generate_series(1, %(few)s)", few=int(self._rng.random() < 0.1))

    def _some(self) -> str:
        """A pattern that a few worktrees match, those of one writer and of a few steps."""
        return f"{self._rng.randrange(WRITERS)}-%{self._rng.randrange(10)}-{self._rng.randrange(1, 4)}"


@pytest.fixture
def connections(database: str) -> Iterator[list[Conn]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(database, autocommit=True)) for _ in range(WRITERS + 4)]


@pytest.mark.parametrize("transactions", [TRANSACTIONS, pytest.param(2_000, marks=pytest.mark.long)])
def test_counts_are_exact_while_sixteen_clients_write(connections: list[Conn], transactions: int) -> None:
    reader, folder, counter, truncater, *clients = connections
    ended = Event()

    def again(conn: Conn, statement: str, pause_seconds: float) -> None:
        while not ended.wait(pause_seconds):
            with suppress(psycopg.errors.DeadlockDetected):
                conn.execute(statement.encode())

    with ThreadPoolExecutor(len(connections)) as threads:
        others = [
            threads.submit(again, folder, "CALL fold_counts()", 0.01),
            threads.submit(again, counter, "CALL recount_registry()", 0.3),
            threads.submit(again, truncater, "TRUNCATE agent_activities", 0.5),
        ]
        writing = [threads.submit(Writer(conn, number).run, transactions) for number, conn in enumerate(clients)]
        try:
            compared = kept = 0
            while compared < COMPARED or not all(one.done() for one in writing):
                assert_exact(reader)
                compared, kept = compared + 1, kept + is_kept(reader)
        finally:
            ended.set()
    for done in (*others, *writing):
        done.result()

    assert kept > 0
    assert_exact(reader)
    reader.execute("CALL fold_counts()")
    assert_exact(reader)
    assert reader.execute("SELECT * FROM differing_counts()").fetchall() == []


def test_nobody_waits_for_who_folds_or_writes_the_same_project(connections: list[Conn]) -> None:
    reader, folder, other, truncater, *_ = connections
    for number in (1, 2):
        reader.execute("SELECT register_project('p' || %(n)s, 'git@github.com:o/p' || %(n)s || '.git')", {"n": number})
    reader.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT id, 1, n::text, 'b', '/' || name || '/' || n FROM projects, generate_series(1, 2) n"
    )
    for conn in (other, truncater):
        conn.execute("SET lock_timeout = '20s'")

    def write(conn: Conn, project: str, worktree: str) -> None:
        conn.execute(
            "UPDATE worktrees SET behind_trunk = behind_trunk + 1, ahead_of_trunk = 1"
            " WHERE name = %s AND project_id = (SELECT id FROM projects WHERE name = %s)",
            [worktree, project],
        )

    # given two who write other worktrees of the same projects, crosswise, and fold
    with folder.transaction(), other.transaction():
        write(folder, "p1", "1")
        folder.execute("CALL fold_counts()")
        write(other, "p2", "2")
        other.execute("CALL fold_counts()")
        write(folder, "p2", "1")
        write(other, "p1", "2")
        # then neither waits for the other, nor does who truncates what neither has touched
        truncater.execute("TRUNCATE agent_activities")
        assert_exact(reader)

    assert_exact(reader)
