"""Two registries cut off from each other register one origin, claim and merge, and are killed: one id, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from publisher.agreement.standing import Standing
from registry.origin import derived_project_id
from tests.support.nats.cluster import Cluster, cluster
from tests.support.outbox_reader import events_behind
from tests.support.processes import run
from tests.support.relay_process import RelayProcess
from tests.support.schema.rows import dictionaries, new_project, new_worktree, scalar
from tests.support.world import World

BUCKET = "PARTED"
ORIGINS = [f"git@github.com:33god/parted{number}.git" for number in range(4)]
TOGETHER, ALONE = "git@github.com:33god/together.git", "git@github.com:33god/alone.git"
PATIENCE_SECONDS = 180


class Site(NamedTuple):
    """A registry, and the node of the cluster beside it: the only one that it reaches."""

    world: World
    nats_url: str

    @property
    def settings(self) -> dict[str, object]:
        return {"agreement_nats_url": self.nats_url, "agreement_bucket": BUCKET}

    def serve(self, stack: ExitStack) -> RelayProcess:
        return stack.enter_context(self.world.process(**self.settings))

    async def register(self, origin: str, **settings: str) -> tuple[int, str]:
        """Exit code and output of `imi-registry project register`."""
        variables = {f"IMI_{name.upper()}": str(value) for name, value in (self.settings | settings).items()}
        arguments = ("project", "register", "--origin", origin)
        done = await asyncio.to_thread(run, *arguments, DATABASE_URL=self.world.database, **variables)
        return done.returncode, done.stdout + done.stderr

    def register_in_sql(self, origins: list[str]) -> None:
        """Without asking anybody."""
        with dictionaries(self.world.database) as conn:
            for origin in origins:
                new_project(conn, origin)

    def work(self, agent: str) -> dict[str, Standing]:
        """Each origin registered by SQL, with a worktree that is claimed, and one that is merged."""
        with dictionaries(self.world.database) as conn:
            for origin in ORIGINS:
                project = new_project(conn, origin)
                conn.execute("SELECT claim_worktree(%s, %s)", [new_worktree(conn, project, "feat-a"), agent])
                merged = new_worktree(conn, project, f"feat-{agent}")
                conn.execute("SELECT mark_worktree_merged(%s, %s, %s)", [merged, agent, "ab" * 20])
        rows = self.world.rows("SELECT remote_origin, id, created_at FROM projects")
        return {origin: Standing.of(origin, id_, at) for origin, id_, at in rows if origin in ORIGINS}

    def ids(self) -> dict[str, UUID]:
        return {str(origin): id_ for origin, id_ in self.world.rows("SELECT remote_origin, id FROM projects")}

    def worktrees(self) -> list[tuple[Any, ...]]:
        query = (
            "SELECT p.remote_origin, w.id, w.name, w.agent_id, w.merged_by, w.path FROM worktrees w"
            " JOIN projects p ON p.id = w.project_id ORDER BY w.id"
        )
        return self.world.rows(query)


@pytest.fixture
async def nodes(state_dir: Path) -> AsyncIterator[Cluster]:
    async with cluster(state_dir) as found:
        yield found


@pytest.fixture
def sites(world: World, second: World, nodes: Cluster) -> list[Site]:
    """One beside two nodes, which have a quorum when the third is cut off, and one beside that third node."""
    left = ",".join(node.url() for node in nodes.nodes[:2])
    return [Site(world, left), Site(second.at(prefix=f"{world.prefix}r"), nodes.nodes[2].url())]


async def until_registered(site: Site, origin: str) -> None:
    """Register as soon as a quorum can be heard: a cluster that was cut chooses its leader first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await site.register(origin))[0] == 3:
            pass
    assert origin in site.ids()


async def until_same(*sites: Site) -> None:
    """Wait until all have the same ids for the same origins."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(site.ids() != sites[0].ids() for site in sites):
            await asyncio.sleep(0.1)


async def test_a_partition_in_which_both_register_claim_and_merge_ends_at_one_id(
    sites: list[Site], nodes: Cluster
) -> None:
    left, right = sites
    with ExitStack() as stack:
        processes = [site.serve(stack) for site in sites]
        for process in processes:
            await process.ready()
        await until_registered(right, TOGETHER)
        await until_registered(left, TOGETHER)
        assert left.ids() == right.ids()
        nodes.part(2)

        left.register_in_sql(ORIGINS[:2])
        right.register_in_sql(ORIGINS)  # of the others it has the older registration, and no quorum to tell it
        theirs = [site.work(agent) for site, agent in zip(sites, "xy", strict=True)]
        had = [site.worktrees() for site in sites]
        code, told = await right.register(ALONE)
        assert (code, "no quorum" in told) == (3, True), told
        code, told = await right.register(ALONE, agreement_without_quorum="derive")
        assert code == 0, told
        await until_registered(left, ALONE)

        processes[0].kill()
        await nodes.kill(0)
        nodes.join()
        processes[1].kill()
        for site in sites:
            await site.serve(stack).ready()
        await until_same(*sites)

        check(sites, theirs, had)
        for site in sites:
            await site.world.assert_exactly_once()


def check(sites: list[Site], theirs: list[dict[str, Standing]], had: list[list[tuple[Any, ...]]]) -> None:
    """The rule says who won; all that each site had it has, under ids of which each means the project."""
    expected = {origin: min(standings[origin] for standings in theirs).project_id for origin in ORIGINS}
    for site, standings, worktrees in zip(sites, theirs, had, strict=True):
        ids = site.ids()
        assert {origin: ids[origin] for origin in ORIGINS} == expected
        assert ids[ALONE] == derived_project_id(ALONE)
        assert site.worktrees() == worktrees
        with dictionaries(site.world.database) as conn:
            events = [event for event in events_behind(conn) if event.name == "project.merged"]
            for origin, standing in standings.items():
                assert scalar(conn, "SELECT current_project_id(%s)", standing.project_id) == expected[origin]
        told = {event.data["loser"]["project_id"] for event in events}
        lost = {str(one.project_id) for origin, one in standings.items() if one.project_id != expected[origin]}
        assert lost <= told
        assert len(events) == len(told)
