"""docs/pgbouncer.md: who works through a pooler of sessions, or of transactions, and what `serve` takes of it."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.pgbouncer import BINARY, left_behind, pgbouncer, pooler
from tests.support.world import World

pytestmark = pytest.mark.skipif(BINARY is None, reason="needs Debian's package pgbouncer")

PAGE = (Path(__file__).parents[3] / "docs" / "pgbouncer.md").read_text()
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

BY_THE_REGISTRY = [
    ["project", "register", "--origin", "git@github.com:ada/engine.git"],
    ["project", "list"],
    ["worktree", "list"],
    ["type", "list"],
    ["host", "list"],
    ["activity", "list"],
    ["search", "engine"],
    ["inflight"],
    ["stats"],
    ["path", "engine"],
    ["maintain", "cleanup-commands", "--yes"],
]
OF_ITS_OWN = [
    ["migrate", "status"],
    ["migrate"],
    ["history", "verify"],
    ["history", "show", "project", "engine"],
    ["events", "export", "-"],
    ["maintain", "vacuum"],
    ["months", "status"],
    ["roles"],
]


@pytest.fixture
def cli(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix)


def test_a_command_leaves_nothing_behind_a_pooler_of_transactions_or_is_refused_by_it(
    world: World, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(world.database) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        for command in BY_THE_REGISTRY:
            done = cli(*command)
            assert done.code == 0, (command, done.err)
        for command in [*OF_ITS_OWN, ["status"], ["doctor"]]:
            done = cli(*command)
            assert (done.code, done.out) == (1, ""), command
            assert done.err.endswith("a session of its own: give the URL of PostgreSQL itself\n")
        assert left_behind(url) == []


def test_every_command_works_through_a_pooler_of_sessions(
    world: World, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooler(world.database, 8, mode="session") as pooled:
        monkeypatch.setenv("DATABASE_URL", pooled.url)
        for command in [*BY_THE_REGISTRY, *OF_ITS_OWN]:
            done = cli(*command)
            assert done.code == 0, (command, done.err)


async def test_a_service_works_through_a_pooler_of_sessions(world: World) -> None:
    (most,) = re.findall(r"`serve` takes up to (\d+) connections", PAGE)
    with pooler(world.database, 2 * int(most), mode="session") as pooled:
        through = world.at(database=pooled.url)
        with through.process() as service:
            await service.ready()
            with psycopg.connect(pooled.url, prepare_threshold=None) as conn:
                conn.execute("SELECT register_project('p', 'git@github.com:ada/p.git')")
            await world.assert_exactly_once()
            ((taken,),) = world.rows(CONNECTED)
            assert 0 < taken <= int(most)  # the pooler would give twice as many
            assert (await service.readyz())[0] == 200
