"""Two registries that register the same origins, while their services are killed again and again: one id each."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest

from publisher.agreement.standing import Standing
from tests.support.outbox_reader import events_behind
from tests.support.schema.rows import dictionaries, new_project, new_worktree, scalar
from tests.support.world import World

PATIENCE_SECONDS = 180
AT_ONCE = 3
"""Origins that are new in each round."""


class Site:
    """A registry, and what it registered."""

    def __init__(self, world: World, agent: str) -> None:
        self.world = world
        self.agent = agent
        self.registered: dict[str, Standing] = {}

    def register(self, origin: str) -> None:
        """The project, and a worktree that is claimed. What stands of it is read before anybody else sees it."""
        if origin in self.registered:
            return
        with dictionaries(self.world.database) as conn:
            with conn.transaction():
                project = new_project(conn, origin)
                at = scalar(conn, "SELECT created_at FROM projects WHERE id = %s", project)
            self.registered[origin] = Standing.of(origin, project, at)
            conn.execute("SELECT claim_worktree(%s, %s)", [new_worktree(conn, project), self.agent])

    def projects(self) -> dict[str, Any]:
        return {str(origin): id_ for origin, id_ in self.world.rows("SELECT remote_origin, id FROM projects")}

    def check(self, expected: dict[str, Any]) -> None:
        """All that it had it has, under ids of which each means the project; each id that went was told once."""
        assert self.projects() == expected
        query = "SELECT p.remote_origin FROM worktrees w JOIN projects p ON p.id = w.project_id WHERE w.agent_id = %s"
        found = [str(origin) for (origin,) in self.world.rows(query, self.agent)]
        assert sorted(found) == sorted(self.registered)
        with dictionaries(self.world.database) as conn:
            told = [event.data for event in events_behind(conn) if event.name == "project.merged"]
            for origin, standing in self.registered.items():
                assert scalar(conn, "SELECT current_project_id(%s)", standing.project_id) == expected[origin]
        losers = [data["loser"]["project_id"] for data in told]
        lost = {str(one.project_id) for origin, one in self.registered.items() if one.project_id != expected[origin]}
        assert lost <= set(losers)
        assert len(losers) == len(set(losers))


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.long)])
async def test_registries_whose_services_are_killed_end_at_one_id(world: World, second: World, kills: int) -> None:
    rng = Random(kills)
    sites = [Site(world, "x"), Site(second.at(prefix=f"{world.prefix}r"), "y")]
    agreed = {
        "agreement_nats_url": world.nats_url,
        "agreement_bucket": f"{world.prefix.upper()}_IDS",
        "agreement_replicas": 1,
    }
    origins: list[str] = []
    with ExitStack() as stack:
        processes = [stack.enter_context(site.world.process(**agreed)) for site in sites]
        for process in processes:
            await process.ready()
        for kill in range(kills):
            origins += [f"git@github.com:33god/p{kill}-{number}.git" for number in range(AT_ONCE)]
            for site in rng.sample(sites, 2):
                for origin in rng.sample(origins[-4 * AT_ONCE :], AT_ONCE):
                    await asyncio.to_thread(site.register, origin)
            await asyncio.sleep(rng.uniform(0, 1.5))  # its keeper looks once a second
            killed = rng.randrange(2)
            processes[killed].kill()
            processes[killed] = stack.enter_context(sites[killed].world.process(**agreed))
            await processes[killed].ready()
        for site in sites:
            for origin in origins:
                await asyncio.to_thread(site.register, origin)

        theirs = [site.registered for site in sites]
        expected = {origin: min(registered[origin] for registered in theirs).project_id for origin in origins}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(site.projects() != expected for site in sites):
                await asyncio.sleep(0.1)
        for site in sites:
            site.check(expected)
            await site.world.assert_exactly_once()
