"""Statements that take long: asked over NATS, and shown by the console, which says so where none are recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import psycopg
import pytest

from registry.client import RegistryClient
from registry.errors import Conflict, Invalid
from tests.support.postgres.recording import RECORD, recording_registry
from tests.support.web.console import served
from tests.support.web.hostile import RAW, SCRIPT
from tests.support.world import World

HOSTILE = f'SELECT count(*) AS "{SCRIPT}" FROM worktrees'  # noqa: S608  # of a constant
"""Of a statement that is recorded the values go, the names stay."""


@pytest.fixture(scope="module")
def recording() -> Iterator[str]:
    with recording_registry() as url:
        yield url


@pytest.fixture
def there(world: World, recording: str) -> World:
    """A world whose database records statements, once it is told to."""
    return world.at(database=recording)


async def test_where_nothing_is_recorded_query_and_page_say_what_is_needed(world: World) -> None:
    needed = "pg_stat_statements is not there; needed are shared_preload_libraries"
    async with world.queries(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(Conflict, match=needed):
            await client.queries.slow_queries()
    async with served(world, works=False) as (visitor, _):
        page = await visitor.until("/health", "misspelt words")
    assert needed in page
    assert "are not recorded: pg_stat_statements is not there" in page


async def test_statements_are_told_in_order_of_their_time(there: World) -> None:
    with psycopg.connect(there.database, autocommit=True) as conn:
        conn.execute(RECORD.encode())
        conn.execute("SELECT register_project('flume', 'git@github.com:a/flume.git')")
        for _ in range(3):
            conn.execute(HOSTILE.encode())

    async with there.queries(), RegistryClient.connect(there.nats_url, prefix=there.prefix) as client:
        told = await client.queries.slow_queries(limit=100)
        few = await client.queries.slow_queries(limit=1)
        with pytest.raises(Invalid, match="limit: 101"):
            await client.queries.slow_queries(limit=101)
    assert [one.calls for one in told if one.query == HOSTILE] == [3]
    assert any("register_project($1, $2)" in one.query for one in told)
    assert [one.total_ms for one in told] == sorted((one.total_ms for one in told), reverse=True)
    assert len(few) == 1

    async with served(there, works=False) as (visitor, _):
        page = await visitor.until("/health", "What takes long")
    statements = [unescape(text) for text in re.findall(r'<pre class="code">([^<]*)</pre>', page)]
    assert HOSTILE in statements
    assert not any(raw in page for raw in RAW)
