"""What doctor says where a part of the schema is gone: what it is, and how it comes back."""

from __future__ import annotations

import psycopg
import pytest

from publisher.doctor import examine
from tests.support.schema.migrations import MIGRATIONS, NAMES, psql
from tests.support.world import World

GONE = {
    "publisher_cursor": ("DROP TABLE publisher_cursor CASCADE", "table publisher_cursor is missing, with all that was"),
    "published_batch": ("DROP TABLE published_batch CASCADE", "table published_batch is missing, with all that was"),
    "command_ledger": ("DROP TABLE command_ledger CASCADE", "table command_ledger is missing, with all that was in it"),
    "deleted_worktrees": ("DROP TABLE deleted_worktrees CASCADE", "table deleted_worktrees is missing, with all that"),
    "a column": (
        "ALTER TABLE publisher_cursor DROP COLUMN hindrance",
        "column hindrance of table publisher_cursor is missing: it is made by the migrations, and stands in ",
    ),
    "the doorbell": (
        "DROP SEQUENCE publisher_doorbell CASCADE",
        "sequence publisher_doorbell is missing: it is made by the",
    ),
    "a function": ("DROP FUNCTION published_ids CASCADE", "function published_ids is missing: it is made by the"),
}


async def told(world: World) -> list[str]:
    return [one.text for one in await examine(world.settings()) if one.check == "schema"]


@pytest.mark.parametrize("name", GONE)
async def test_what_of_the_schema_is_gone_is_named_with_how_it_comes_back(world: World, name: str) -> None:
    # given
    drop, expected = GONE[name]
    async with world.relay():
        world.write(1)
        await world.drained()
    assert await told(world) == []
    # when
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(drop.encode())
    # then
    (found,) = [text for text in await told(world) if text.startswith(expected)]
    if "psql -f" not in found:
        return
    # when
    first = found.split("psql -f with ")[1].split(" of the migrations")[0]
    for file in NAMES[NAMES.index(first) :]:
        assert psql(world.database, MIGRATIONS / file).returncode == 0
    # then
    assert await told(world) == []
