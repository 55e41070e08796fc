"""Concurrent registration: whoever comes first, everybody gets the same id, and nobody gets an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any

import psycopg
import pytest

from tests.support.services import wait_until

CONNECTIONS = 16
ROUNDS = 25

REGISTER_PROJECT = "SELECT register_project(%(name)s, %(origin)s, 'main', %(path)s)"
INSERT_PROJECT = (
    "INSERT INTO projects (name, remote_origin, trunk_path) VALUES (%(name)s, %(origin)s, %(path)s)"
    " ON CONFLICT (remote_origin) DO UPDATE SET active = true RETURNING id"
)
REGISTER_WORKTREE = "SELECT register_worktree(%(project)s, 'feat', %(name)s, %(name)s, %(path)s)"
INSERT_WORKTREE = (
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
    " VALUES (%(project)s, 1, %(name)s, %(name)s, %(path)s)"
    " ON CONFLICT (project_id, name) DO UPDATE SET active = true RETURNING id"
)


@pytest.fixture
def connections(database: str) -> Iterator[list[psycopg.Connection[Any]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(database, autocommit=True)) for _ in range(CONNECTIONS)]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        yield pool


def at_once(threads: ThreadPoolExecutor, connections, statement: Callable[[int], str], values) -> list[Any]:
    """The first column each connection gets for `statement(its number)`, all of them started together."""
    start = Barrier(len(connections))

    def run(number: int) -> Any:
        start.wait()
        return connections[number].execute(statement(number), values).fetchone()[0]

    return list(threads.map(run, range(len(connections))))


def wait_until_blocked(observer: psycopg.Connection[Any], waiting: psycopg.Connection[Any]) -> None:
    pid = waiting.info.backend_pid
    wait_until(lambda: observer.execute("SELECT pg_blocking_pids(%s) <> '{}'", (pid,)).fetchone()[0])


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(lambda _: REGISTER_PROJECT, id="functions"),
        pytest.param(lambda number: (REGISTER_PROJECT, INSERT_PROJECT)[number % 2], id="functions and plain inserts"),
    ],
)
def test_concurrent_registrations_of_one_project_all_get_its_id(threads, connections, statement):
    for n in range(ROUNDS):
        values = {"name": "p", "origin": f"git@github.com:o/repo-{n}.git", "path": f"/code/{n}/trunk-main"}

        ids = at_once(threads, connections, statement, values)

        assert len(ids) == CONNECTIONS
        assert len(set(ids)) == 1
    registered = "SELECT count(*), count(DISTINCT entity_id) FROM outbox WHERE action = 'registered'"
    assert connections[0].execute(registered).fetchone() == (ROUNDS, ROUNDS)


def test_concurrent_registrations_of_one_project_in_different_forms_all_get_its_id(threads, connections):
    forms = ["git@github.com:O/Repo-{}.git", "https://github.com/o/repo-{}", "ssh://git@github.com/o/REPO-{}.git"]
    for n in range(ROUNDS):

        def statement(number: int, n: int = n) -> str:
            origin = forms[number % 3].format(n)
            return f"SELECT register_project('p', '{origin}', 'main', '/code/p')"

        assert len(set(at_once(threads, connections, statement, None))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(lambda _: REGISTER_WORKTREE, id="functions"),
        pytest.param(lambda number: (REGISTER_WORKTREE, INSERT_WORKTREE)[number % 2], id="functions and plain inserts"),
        pytest.param(lambda _: INSERT_WORKTREE, id="plain inserts"),
    ],
)
def test_concurrent_registrations_of_one_worktree_all_get_its_id(threads, connections, statement):
    project = connections[0].execute("SELECT register_project('p', 'git@github.com:o/p.git')").fetchone()[0]
    for n in range(ROUNDS):
        values = {"project": project, "name": f"feat-{n}", "path": f"/code/p/feat-{n}"}

        ids = at_once(threads, connections, statement, values)

        assert len(ids) == CONNECTIONS
        assert len(set(ids)) == 1


@pytest.mark.parametrize("second", [REGISTER_PROJECT, INSERT_PROJECT])
@pytest.mark.parametrize("first", [REGISTER_PROJECT, INSERT_PROJECT])
def test_a_project_registration_waits_for_one_that_is_not_committed(threads, connections, first, second):
    one, two, observer = connections[:3]
    values = {"name": "p", "origin": "git@github.com:o/p.git", "path": "/code/p"}

    with one.transaction():
        expected = one.execute(first, values).fetchone()[0]
        later: Future[Any] = threads.submit(lambda: two.execute(second, values).fetchone()[0])
        wait_until_blocked(observer, two)

    assert later.result() == expected


@pytest.mark.parametrize("second", [REGISTER_WORKTREE, INSERT_WORKTREE])
@pytest.mark.parametrize("first", [REGISTER_WORKTREE, INSERT_WORKTREE])
def test_a_worktree_registration_waits_for_one_that_is_not_committed(threads, connections, first, second):
    one, two, observer = connections[:3]
    project = one.execute("SELECT register_project('p', 'git@github.com:o/p.git')").fetchone()[0]
    values = {"project": project, "name": "feat", "path": "/code/p/feat"}

    with one.transaction():
        expected = one.execute(first, values).fetchone()[0]
        later: Future[Any] = threads.submit(lambda: two.execute(second, values).fetchone()[0])
        wait_until_blocked(observer, two)

    assert later.result() == expected


def test_a_registration_that_waited_for_one_rolled_back_creates_the_row(threads, connections):
    one, two, observer = connections[:3]
    values = {"name": "p", "origin": "git@github.com:o/p.git", "path": "/code/p"}

    with one.transaction() as transaction:
        gone = one.execute(REGISTER_PROJECT, values).fetchone()[0]
        later: Future[Any] = threads.submit(lambda: two.execute(REGISTER_PROJECT, values).fetchone()[0])
        wait_until_blocked(observer, two)
        raise psycopg.Rollback(transaction)

    assert later.result() != gone
    assert observer.execute("SELECT id FROM projects").fetchall() == [(later.result(),)]


def test_two_worktrees_cannot_take_one_path_at_the_same_time(threads, connections):
    one, two, observer = connections[:3]
    projects = [
        one.execute("SELECT register_project(%s, %s)", (n, f"git@github.com:o/{n}.git")).fetchone()[0] for n in "pq"
    ]
    values = {"name": "feat", "path": "/code/shared"}

    with one.transaction():
        one.execute(REGISTER_WORKTREE, {**values, "project": projects[0]})
        later: Future[Any] = threads.submit(two.execute, REGISTER_WORKTREE, {**values, "project": projects[1]})
        wait_until_blocked(observer, two)

    with pytest.raises(psycopg.errors.UniqueViolation, match="worktrees_unique_active_path"):
        later.result()


def test_a_worktree_registered_while_its_project_is_deactivated_does_not_stay_active(threads, connections):
    one, two, observer = connections[:3]
    project = one.execute("SELECT register_project('p', 'git@github.com:o/p.git')").fetchone()[0]
    values = {"project": project, "name": "feat", "path": "/code/p/feat"}

    with one.transaction():
        one.execute(REGISTER_WORKTREE, values)
        deactivation: Future[Any] = threads.submit(two.execute, "SELECT deactivate_project(%s)", (project,))
        wait_until_blocked(observer, two)
    deactivation.result()
    assert observer.execute("SELECT active FROM worktrees").fetchall() == [(False,)]

    one.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
    with one.transaction():
        one.execute("SELECT deactivate_project(%s)", (project,))
        registration: Future[Any] = threads.submit(two.execute, REGISTER_WORKTREE, values)
        wait_until_blocked(observer, two)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is inactive"):
        registration.result()


def test_an_activity_logged_while_its_worktree_is_deleted_is_kept_and_stays_readable(threads, connections):
    one, two, observer = connections[:3]
    project = one.execute("SELECT register_project('p', 'git@github.com:o/p.git')").fetchone()[0]
    worktree = one.execute(REGISTER_WORKTREE, {"project": project, "name": "w", "path": "/w"}).fetchone()[0]

    with one.transaction():
        one.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
            " VALUES ('agent', %s, 'other', 'just in time')",
            (worktree,),
        )
        deletion: Future[Any] = threads.submit(two.execute, "DELETE FROM projects")
        wait_until_blocked(observer, two)
    deletion.result()

    seen = observer.execute("SELECT description, worktree_name, project_name FROM v_recent_agent_activity").fetchall()
    assert seen == [("just in time", "w", "p")]
