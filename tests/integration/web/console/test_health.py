"""The page Health: what the database says of itself, the worst first, and what to do; also when it says nothing."""

from __future__ import annotations

import re

import psycopg

from registry.database import months
from tests.support.proxy import postgres_proxy
from tests.support.schema.months import fill
from tests.support.web.console import served
from tests.support.world import World


def checks_in(text: str) -> list[tuple[str, str]]:
    """Name and state of each check of the database."""
    return re.findall(r'<tr><td class="nowrap">([^<]+)</td><td><span class="badge \w+">(\w+)</span>', text)


async def test_what_is_wrong_comes_first_with_what_to_do(world: World) -> None:
    world.write(1)
    async with served(world) as (visitor, _):
        await world.drained()
        before = dict(checks_in(await visitor.until("/health", "transaction ids")))
        assert (before["publisher"], before["triggers"]) == ("ok", "ok")
        with psycopg.connect(world.database) as conn:
            conn.execute("ALTER TABLE worktrees DISABLE TRIGGER worktrees_updated_at")
        text = (await visitor.get("/health")).text
    assert checks_in(text)[0] == ("triggers", "bad")
    assert 'switched off: worktrees_updated_at of worktrees</td><td class="small whole">ALTER TABLE' in text
    assert [state for _, state in checks_in(text)] == sorted(
        (state for _, state in checks_in(text)), key=["bad", "warn", "unknown", "ok"].index
    )
    with psycopg.connect(world.database) as conn:
        assert {name for name, _ in checks_in(text)} == {
            name for (name,) in conn.execute("SELECT name FROM registry_health()")
        }


async def test_months_are_shown_with_what_is_made_and_dropped_next_and_one_table_has_none(world: World) -> None:
    fill(world.database, activities=100)
    async with served(world) as (visitor, _):
        assert "Activities by month" not in await visitor.until("/health", "activities are kept in one table")
        with psycopg.connect(world.database) as conn:
            months.move(conn, by_month=True)
            found = months.state(conn).months
        text = (await visitor.get("/health")).text
    assert re.findall(r"<tr><td>([\d-]{7}|all other times)</td>", text) == [
        f"{month.begins_at:%Y-%m}" if month.begins_at else "all other times" for month in found
    ]
    assert re.search(rf"<dt>Dropped next</dt><dd>{found[0].begins_at:%Y-%m}, by <code>imi-registry maintain", text)


async def test_without_its_database_the_page_says_so_and_tells_of_the_service(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), served(world.at(database=url)) as (visitor, _):
        await visitor.until("/health", "transaction ids")
        proxy.refuse()
        text = await visitor.until("/health", "The database does not tell:", seconds=60)
        assert "Start PostgreSQL, or look into its log." in text
        assert checks_in(text) == []
        assert '<span class="name">NATS</span>' in text
