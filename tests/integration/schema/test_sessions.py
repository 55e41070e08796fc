"""The session is ours: what database, role, environment or URL set changes nothing that is read or written."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from publisher.applier import ledger
from publisher.outbox.connection import LEADER, READER, connect
from registry.database import Registry, migrate
from registry.database.connection import connect_blocking
from registry.errors import Conflict, Unavailable
from tests.support import pgbouncer
from tests.support.commandline import command_line
from tests.support.relay_process import relay_process
from tests.support.services import wait_until

ROOT = Path(__file__).parents[3]

HOSTILE = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "America/New_York",
    "search_path": "app, public",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "gin_fuzzy_search_limit": "1",
    "exit_on_error": "on",
    "check_function_bodies": "off",
    "client_min_messages": "debug5",
    "xmloption": "document",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "idle_session_timeout": "200",
    "idle_in_transaction_session_timeout": "200",
    "synchronous_commit": "off",
    "session_replication_role": "replica",
    "row_security": "off",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "plan_cache_mode": "force_generic_plan",
}
# An application's own tables of the same names, where an unqualified name would find them first.
APPLICATION = """
CREATE SCHEMA app;
CREATE TABLE app.outbox (id integer);
CREATE TABLE app.projects (id integer);
CREATE TABLE app.publisher_cursor (stream text);
CREATE TABLE app.schema_migrations (version text);
"""

MAKES_A_CONNECTION = {
    "psycopg.connect",
    "psycopg.Connection.connect",
    "Connection.connect",
    "psycopg.AsyncConnection.connect",
    "AsyncConnection.connect",
    "ConnectionPool",
    "psycopg_pool.ConnectionPool",
    "AsyncConnectionPool",
    "psycopg_pool.AsyncConnectionPool",
}


def set_for_database(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as conn:
        for name, value in HOSTILE.items():
            conn.execute(_setting("ALTER DATABASE {} SET {} = {}", conn.info.dbname, name, value))
    return url


@contextmanager
def role_of_its_own(url: str) -> Iterator[str]:
    """`url` as a superuser for whom everything is set."""
    role, password = sql.Identifier(f"imi_test_{secrets.token_hex(6)}"), secrets.token_hex(6)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        for name, value in HOSTILE.items():
            conn.execute(_setting("ALTER ROLE {} SET {} = {}", role.as_string().strip('"'), name, value))
    yield make_conninfo(url, user=role.as_string().strip('"'), password=password)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
        conn.execute(sql.SQL("DROP ROLE {}").format(role))


def set_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"client_encoding": "PGCLIENTENCODING", "DateStyle": "PGDATESTYLE", "TimeZone": "PGTZ"}
    for name, variable in variables.items():
        monkeypatch.setenv(variable, HOSTILE[name])
    monkeypatch.setenv("PGOPTIONS", _options(HOSTILE.keys() - variables.keys()))


def set_in_connection_string(url: str) -> str:
    return make_conninfo(url, options=_options(HOSTILE.keys() - {"client_encoding"}), client_encoding="LATIN1")


def _setting(statement: str, owner: str, name: str, value: str) -> sql.Composed:
    values = [sql.Literal(part.strip()) for part in value.split(",")]
    return sql.SQL(statement).format(  # type: ignore[arg-type]
        sql.Identifier(owner), sql.Identifier(name), sql.SQL(", ").join(values)
    )


def _options(names: set[str]) -> str:
    return " ".join(f"-c {name}={HOSTILE[name].replace(' ', '')}" for name in sorted(names))


@pytest.fixture(params=["database", "role", "environment", "connection string"])
def hostile_url(request: pytest.FixtureRequest, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty database that has an application's tables, with everything set against us in one place."""
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(APPLICATION)
    if request.param == "role":
        with role_of_its_own(empty_database) as url:
            yield url
    elif request.param == "database":
        yield set_for_database(empty_database)
    elif request.param == "environment":
        set_in_environment(monkeypatch)
        yield empty_database
        monkeypatch.undo()
    else:
        yield set_in_connection_string(empty_database)


@pytest.mark.superuser
def test_every_command_and_the_service_run_as_in_a_plain_session(
    hostile_url: str,
    nats_url: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    cli = command_line(
        monkeypatch,
        capsys,
        DATABASE_URL=hostile_url,
        NATS_URL=nats_url,
        IMI_PREFIX=prefix,
        IMI_STATE_DIR=str(tmp_path / "none"),
    )
    # given the schema, and a project by the command line
    assert cli("migrate").code == 0
    assert cli("migrate", "status").code == 0
    project = cli(
        "project", "register", "--name", "日本", "--origin", "git@github.com:ada/engine.git",
        "--metadata", '{"日": 0.1, "s": "a\\\\b"}', "--json",
    ).json  # fmt: skip
    with relay_process(hostile_url, nats_url, prefix) as service:
        wait_until(lambda: service.logged("ready"), 60)
        # when the service carries out a command and people write beside it
        command = {"remote_origin": "git@github.com:ada/engine.git", "description": "日本語"}
        assert cli("commands", "send", "project.update", json.dumps(command)).code == 0
        worktree = ("worktree", "register", "/code/x", "--project", project["id"], "--type", "feat")
        assert cli(*worktree, "--branch", "feat/x").code == 0
        assert cli("worktree", "claim", "/code/x", "--agent", "ada").code == 0
        # then everything is read as it was written
        (listed,) = cli("project", "list", "--json").json
        assert (listed["name"], listed["description"]) == ("日本", "日本語")
        assert listed["metadata"] == {"日": 0.1, "s": "a\\b"}
        assert listed["created_at"].endswith(("Z", "+00:00"))
        icons = [kind["icon"] for kind in cli("type", "list", "--json").json]
        assert "🚀" in icons
        for arguments in (["inflight"], ["search", "engine"], ["stats"], ["doctor"], ["history", "verify"]):
            done = cli(*arguments)
            assert done.code == 0, (arguments, done.err)
        # then the stream has each event once, and a snapshot is the same state
        told = [json.loads(line) for line in cli("events", "replay", "--json").out.splitlines()]
        assert [event["data"]["name"] for event in told if event["type"].endswith("project.registered.v1")] == ["日本"]
        assert any(event["data"].get("description") == "日本語" for event in told)
        assert "日本語" in cli("events", "snapshot", "--json").out
    cleanup = ["maintain", "cleanup-commands", "--yes"]
    for arguments in (["maintain", "vacuum"], cleanup, ["events", "export", tmp_path / "x"]):
        done = cli(*arguments)
        assert done.code == 0, (arguments, done.err)


@pytest.mark.superuser
@pytest.mark.skipif(pgbouncer.BINARY is None, reason="needs PgBouncer")
async def test_through_a_pooler_the_session_of_nobody_is_changed_and_values_are_right(database: str) -> None:
    set_for_database(database)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(_setting("ALTER DATABASE {} SET {} = {}", conn.info.dbname, "session_replication_role", "origin"))
    with pgbouncer.pgbouncer(database) as pooled:
        async with Registry.connect(pooled, max_connections=4) as registry:
            project_id = await registry.register_project("日本", "git@github.com:ada/engine.git", metadata={"d": "\\"})
            project = await registry.get_project(project_id)
            assert project is not None
            assert (project.name, project.metadata) == ("日本", {"d": "\\"})
            assert project.created_at.utcoffset() == timedelta(0)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(16):
                    tasks.create_task(registry.register_project("日本", "git@github.com:ada/engine.git"))
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as conn:
            for _ in range(2 * pgbouncer.SERVER_CONNECTIONS):
                found = conn.execute("SELECT current_setting('search_path'), current_setting('IntervalStyle')")
                assert found.fetchone() == ("app, public", "iso_8601")
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                _setting("ALTER DATABASE {} SET {} = {}", conn.info.dbname, "session_replication_role", "replica")
            )
    with pgbouncer.pgbouncer(database) as pooled, pytest.raises(Conflict, match="no trigger fires"):
        async with Registry.connect(pooled):
            pass


async def test_time_limits_of_the_database_do_not_hold_for_what_may_take_long(database: str) -> None:
    limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    with psycopg.connect(database, autocommit=True) as conn:
        if conn.info.server_version >= 170000:
            limits.append("transaction_timeout")
        for name in limits:
            conn.execute(_setting("ALTER DATABASE {} SET {} = {}", conn.info.dbname, name, "5s"))
    query = "SELECT array_agg(current_setting(name)) FROM unnest(%s::text[]) AS name"
    unlimited = (["0"] * len(limits),)

    with connect_blocking(database) as blocking:
        assert blocking.execute(query, [limits]).fetchone() == unlimited
    for session in (READER, LEADER):
        async with connect(database, "imi-registry test", session) as reading:
            assert await (await reading.execute(query, [limits])).fetchone() == unlimited
    async with ledger.connect(database, "imi-registry test", lock_seconds=7) as applying:
        limited = {"statement_timeout": "1min", "lock_timeout": "7s"}
        assert await (await applying.execute(query, [limits])).fetchone() == (
            [limited.get(name, "0") for name in limits],
        )


def test_a_database_without_writers_now_is_tried_again_later(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(_setting("ALTER DATABASE {} SET {} = {}", conn.info.dbname, "default_transaction_read_only", "on"))
    with pytest.raises(Unavailable, match="read-only"), connect_blocking(database) as conn:
        conn.execute("SELECT public.register_project('engine', 'git@github.com:ada/engine.git')")


def test_each_name_in_sql_has_its_schema() -> None:
    """Through a pooler search_path is what others set."""
    tables = "|".join({table for migration in migrate.load() for table in migration.tables})
    functions = "|".join(
        {name for migration in migrate.load() for name in re.findall(r"FUNCTION (\w+)\(", migration.sql)}
    )
    bare = re.compile(
        rf"\b(?:FROM|JOIN|INTO|UPDATE|COPY|TABLE|NULL::) ?(?:{tables})\b(?!\.)|(?<![\w.])(?:{functions})\("
    )
    found = {
        f"{file.relative_to(ROOT)}:{text.lineno}: {match[0]}"
        for file in [*ROOT.glob("registry/**/*.py"), *ROOT.glob("publisher/**/*.py")]
        for text in ast.walk(ast.parse(file.read_text()))
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        for match in bare.finditer(text.value)
    }
    assert found == set()


def test_no_other_place_connects_to_postgresql() -> None:
    """The one place is `registry/database/connection.py`: a connection made elsewhere would be what others set.

    A connection that is asked once whether another one is silent says every name with its schema.
    """
    made_here = {ROOT / "registry/database/connection.py", ROOT / "registry/database/connecting/look.py"}
    connecting = {
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in [*ROOT.glob("registry/**/*.py"), *ROOT.glob("publisher/**/*.py")]
        if file not in made_here
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in MAKES_A_CONNECTION
    }
    assert connecting == set()
