"""A file of somebody else has more than is allowed: it says of what and how to allow it, and nothing is taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from publisher.history import archive
from publisher.outbox.connection import connect
from registry.allowance import Allowance
from registry.errors import Unusable
from tests.support.before.importing import count, everything
from tests.support.before.sqlite import OldDatabase
from tests.support.commandline import CommandLine, command_line
from tests.support.histories import export, write
from tests.support.world import World

TOO_MUCH = [("--most-rows", "2"), ("--most-bytes", "100"), ("--most-time", "0.000001s")]


@pytest.fixture
def call(second: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, of the empty registry."""
    return command_line(monkeypatch, capsys, DATABASE_URL=second.database, NATS_URL=second.nats_url)


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.zst"])
@pytest.mark.parametrize(("option", "least"), TOO_MUCH)
def test_of_a_history_with_more_than_is_allowed_nothing_is_taken(
    world: World, second: World, call: CommandLine, tmp_path: Path, name: str, option: str, least: str
) -> None:
    file = tmp_path / name
    write(world.database)
    asyncio.run(export(world, file))

    refused = call("events", "import", file, option, least)

    assert (refused.code, f"{option} allows more" in refused.err) == (1, True)
    assert count(second.database, "outbox") == count(second.database, "projects") == 0
    assert call("events", "import", file).code == 0


@pytest.mark.parametrize(("option", "least"), TOO_MUCH)
def test_of_an_old_database_with_more_than_is_allowed_nothing_is_taken(
    second: World, call: CommandLine, tmp_path: Path, option: str, least: str
) -> None:
    old = OldDatabase(tmp_path / "imi.db")
    everything(old)

    refused = call("import-sqlite", old.file, option, least)

    assert (refused.code, f"{option} allows more" in refused.err) == (1, True)
    assert count(second.database, "projects") == 0
    assert call("import-sqlite", old.file).code == 0


async def test_an_import_that_waits_for_the_database_ends_in_its_time(
    world: World, second: World, tmp_path: Path
) -> None:
    write(world.database)
    await export(world, tmp_path / "x")

    async with await psycopg.AsyncConnection.connect(second.database) as holder, connect(second.database, "t") as conn:
        await holder.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        with archive.reading(tmp_path / "x") as lines, pytest.raises(Unusable, match="--most-time allows more"):
            await archive.import_history(conn, second.settings(), lines, Allowance(1000, 10**9, 0.2))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--most-bytes", "much"), ("--most-bytes", "0GiB"), ("--most-bytes", "9999TiB"), ("--most-time", "6 weeks")],
)
def test_a_limit_that_is_none_is_refused(call: CommandLine, tmp_path: Path, option: str, value: str) -> None:
    (tmp_path / "x").write_bytes(b"")

    for command in (("events", "import"), ("import-sqlite",)):
        refused = call(*command, tmp_path / "x", option, value)

        assert (refused.code, option in refused.err, value in refused.err) == (2, True, True)
