"""PostgreSQL stops in the middle of a query: a command that reads ends, and says so."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import psutil
import psycopg
import pytest
from typer.main import get_command

from publisher.cli.arguments.deferred import loaded
from publisher.cli.main import app
from publisher.cli.servers import session
from publisher.embedded.postgres import postgres
from publisher.embedded.process import EmbeddedServer
from registry.database import migrate
from registry.database.connecting import look
from tests.support.commandline import CommandLine, command_line
from tests.support.services import scratch_directory, wait_until

UNREACHABLE = 3
STOPPED_SECONDS = 60.0
"""Then it goes on, whoever waits for it still."""
WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'imi-registry%'"
OTHERS = {
    *("agreement settle", "config show", "events import", "import-sqlite", "mirror run", "rebuild-stream", "serve"),
    *("maintain recount", "maintain vacuum", "migrate up", "months ahead", "months cancel", "months off", "months on"),
    *("replica publish", "replica run", "roles grant", "roles revoke", "roles setup"),
}
"""Commands with a database that do more than read it, or less, beside those that name an actor, or ask first."""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of the tests' own, with a registry in it."""
    with scratch_directory() as folder, postgres(folder) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            migrate.apply(conn)
            conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        yield server


@pytest.fixture
def cli(
    server: EmbeddedServer, nats_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setattr(look, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(look, "ARRIVING_SECONDS", 0.2)
    monkeypatch.setattr(look, "LOOK_SECONDS", 2.0)
    monkeypatch.setattr(session, "READ_SECONDS", 1.0)
    return command_line(monkeypatch, capsys, DATABASE_URL=server.url, NATS_URL=nats_url)


@contextmanager
def stopping(server: EmbeddedServer, table: str, *, is_all: bool) -> Iterator[None]:
    """Inside the block, whoever reads `table` is stopped in the middle of that, or all of PostgreSQL with him."""
    ended = threading.Event()

    def waiting() -> list[Any]:
        return conn.execute(WAITS).fetchall()

    def stop() -> None:
        processes: list[psutil.Process] = []
        try:
            wait_until(waiting)
            ((pid,),) = waiting()
            postmaster = psutil.Process(server.pid)
            processes += [postmaster, *postmaster.children()] if is_all else [psutil.Process(pid)]
            for process in processes:
                process.suspend()
            if not is_all:
                holder.rollback()
            ended.wait(STOPPED_SECONDS)
        finally:
            for process in processes:
                process.resume()
            holder.rollback()

    with psycopg.connect(server.url, autocommit=True) as conn, psycopg.connect(server.url) as holder:
        wait_until(lambda: not waiting())  # who was stopped before
        holder.execute(f"LOCK TABLE {table}".encode())
        stopper = threading.Thread(target=stop)
        stopper.start()
        try:
            yield
        finally:
            ended.set()
            stopper.join()


@pytest.mark.parametrize(("is_all", "reason"), [(False, "worked on a statement for 1 s"), (True, "does not answer")])
@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        ("status", "schema_migrations"),
        ("doctor", "schema_migrations"),
        ("migrate status", "schema_migrations"),
        ("project list", "projects"),
        ("history show project p", "outbox"),
    ],
)
def test_a_command_that_reads_ends_and_says_so(
    cli: CommandLine, server: EmbeddedServer, arguments: str, table: str, is_all: bool, reason: str
) -> None:
    with stopping(server, table, is_all=is_all):
        done = cli(*arguments.split())
    assert (done.code, done.out) == (UNREACHABLE, "")
    assert reason in done.err.splitlines()[-1]


def test_a_lock_is_waited_for_longer_than_work(cli: CommandLine, server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as holder:
        holder.execute("LOCK TABLE projects")
        release = threading.Timer(5.0, holder.rollback)
        release.start()
        done = cli("project", "list")
        release.join()
    assert done.code == 0
    assert "waiting for pid" in done.err


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(path), command
        return
    for name, child in children.items():
        yield from commands(loaded(child), (*path, name))


def is_bounded(command: Any) -> bool:
    """Whether it is one that `session.reads` made, below what typer makes of it."""
    (made,) = [code for code in session.reads.__code__.co_consts if isinstance(code, CodeType)]
    return inspect.unwrap(command.callback, stop=lambda function: function.__code__ is made).__code__ is made


def test_each_command_that_reads_is_bounded() -> None:
    for name, command in commands(get_command(app)):
        options = {parameter.name for parameter in command.params}
        if "database_url" in options:
            assert is_bounded(command) != (name in OTHERS or bool(options & {"actor", "yes"})), name
