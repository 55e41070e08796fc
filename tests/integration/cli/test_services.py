"""The command line as a user meets it: real processes, exit codes, one clear line for each mistake."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from publisher.cli.demo import Demo
from registry.concurrency.tasks import run_until
from registry.errors import RegistryError
from tests.support.processes import COMMAND, environment, run
from tests.support.world import World

CLOSED_PORT = "nats://127.0.0.1:1"


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line of an error message."""
    (line,) = done.stderr.strip().splitlines()
    assert "Traceback" not in line
    return line


def test_help_names_every_command() -> None:
    done = run("--help")

    assert done.returncode == 0
    for command in ("up", "serve", "demo", "migrate", "events"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["up", "--nope"], ["serve", "--http-port", "99999"]])
def test_usage_mistakes_exit_with_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_a_missing_url_is_named_with_the_variable_to_set() -> None:
    done = run("serve")
    assert done.returncode == 2
    assert one_line(done) == "imi-registry: setting database_url: missing; set DATABASE_URL or give --database-url"


def test_a_url_that_is_none_is_refused_without_showing_its_password(database: str) -> None:
    done = run("serve", DATABASE_URL="mysql://user:secret@host/db", NATS_URL=CLOSED_PORT)

    assert done.returncode == 2
    assert 'setting database_url: value "mysql://host/db": must be of the form postgresql://' in one_line(done)
    assert "secret" not in done.stderr
    done = run("serve", DATABASE_URL=database, NATS_URL="http://token@host")
    assert done.returncode == 2
    assert 'NATS URL "http://host" is not of the form nats://' in one_line(done)


def test_a_host_that_nobody_can_be_asked_for_is_a_mistake_and_no_outage(database: str, nats_url: str) -> None:
    for variables in (
        {"DATABASE_URL": "postgresql://db..example/x", "NATS_URL": nats_url},
        {"DATABASE_URL": database, "NATS_URL": "nats://nats..example"},
    ):
        done = run("serve", **variables)
        assert done.returncode == 2
        assert "its host must have 1 to 63 characters between two dots" in one_line(done)
    done = run("migrate", "status", DATABASE_URL="dbname=x", PGHOST="db..example")
    assert (done.returncode, "its host must have" in one_line(done)) == (1, True)


def test_servers_that_are_down_exit_with_3(database: str, nats_url: str) -> None:
    done = run("doctor", DATABASE_URL="postgresql://127.0.0.1:1/x", NATS_URL=nats_url)

    assert done.returncode == 3
    assert "Connection refused" in one_line(done)
    done = run("doctor", DATABASE_URL=database, NATS_URL=CLOSED_PORT)
    assert done.returncode == 3
    assert "cannot connect to NATS at nats://127.0.0.1:1: " in one_line(done)


def test_a_database_without_the_schema_is_refused_with_the_command_to_run(empty_database: str, nats_url: str) -> None:
    done = run("serve", DATABASE_URL=empty_database, NATS_URL=nats_url)
    assert done.returncode == 1
    assert "run: imi-registry migrate" in one_line(done)


def test_a_schema_of_a_newer_version_is_refused(database: str, nats_url: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (900, '900_future.sql', 'x')")

    done = run("serve", DATABASE_URL=database, NATS_URL=nats_url)
    assert done.returncode == 1
    assert "900" in one_line(done)


def test_a_status_port_in_use_is_refused(database: str, nats_url: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--http-port", str(port), DATABASE_URL=database, NATS_URL=nats_url)
    assert done.returncode == 1
    assert f'cannot listen on "127.0.0.1:{port}": Address already in use\n' in done.stderr


def test_migrate_shows_applies_and_removes(empty_database: str) -> None:
    def migrate(*arguments: str) -> str:
        done = run("migrate", *arguments, DATABASE_URL=empty_database)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert {item["state"] for item in json.loads(migrate("status", "--json"))} == {"pending"}
    assert migrate("up", "--dry-run").splitlines()[0] == "would apply 001_create_schema.sql"
    assert {item["state"] for item in json.loads(migrate("status", "--json"))} == {"pending"}
    assert migrate().splitlines()[0] == "applied 001_create_schema.sql"
    assert migrate("up") == "nothing to apply\n"
    assert {item["state"] for item in json.loads(migrate("status", "--json"))} == {"applied"}
    assert migrate("rollback", "--yes") == "removed\n"
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_rollback_asks_first(database: str) -> None:
    done = run("migrate", "rollback", DATABASE_URL=database, stdin="n\n")
    assert done.returncode == 1

    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM projects").fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--entity", "foo"], 2, 'entity "foo" is none of project, worktree'),
        (["--entity", "project", "--action", "moved"], 2, 'action "moved" of project is none of registered, updated'),
        (["--project", "12"], 3, "query projects: nobody answers"),  # a name, or the beginning of an id: who knows it?
        ([], 1, "no stream "),
    ],
)
def test_tail_refuses_what_no_event_can_match(arguments: list[str], code: int, message: str, world: World) -> None:
    done = run("events", "tail", *arguments, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix)
    assert done.returncode == code
    assert message in one_line(done)


def test_the_demo_measures_and_ends_by_itself(tmp_path: Path) -> None:
    done = run("demo", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert set(measured) == {"changes", "events", "lost", "duplicated", "out_of_order", "p50_ms", "p99_ms"}
    assert measured["events"] >= measured["changes"] > 100
    assert (measured["lost"], measured["duplicated"], measured["out_of_order"]) == (0, 0, 0)
    assert 0 < measured["p50_ms"] <= measured["p99_ms"]


def test_the_demo_registers_the_git_checkouts_it_finds(tmp_path: Path) -> None:
    checkout = tmp_path / "my-own"
    git = ["git", "-c", "init.defaultBranch=trunk", "-C", str(checkout)]
    checkout.mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://github.com/someone/my-own"], check=True)

    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "my-own" in done.stdout
    assert "flow-engine" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


async def test_what_postgresql_refuses_in_the_demo_is_one_error(world: World, tmp_path: Path) -> None:
    # given a fault that nobody foresees
    with psycopg.connect(world.database) as conn:
        conn.execute("DROP FUNCTION register_worktree")

    async def demo() -> None:
        await Demo(world.settings(), tmp_path).run()

    async with world.relay():
        with pytest.raises(RegistryError, match=r"function public\.register_worktree.* does not exist"):
            await run_until(asyncio.Event(), [demo()])


def test_output_into_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [*COMMAND, "--help"], stdout=closed, stderr=subprocess.PIPE, text=True, env=environment(), check=False
        )

    assert "Traceback" not in done.stderr


def test_the_module_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "publisher", "--help"], capture_output=True, text=True, env=environment(), check=False
    )

    assert done.returncode == 0
    assert "Usage: python -m publisher" in done.stdout
