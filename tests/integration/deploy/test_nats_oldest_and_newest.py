"""The configuration in deploy/nats on the oldest and the newest nats-server: each account can do its part, no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access
from registry.position import Last
from tests.support.commands import PROJECT
from tests.support.everything import first_handled
from tests.support.nats.deployed import TEAMS, Deployed, deployed_server, service
from tests.support.nats.old import OLDEST, VERSIONS, old_nats_binary
from tests.support.nats.permissions import (
    LAST_HEARD,
    LAST_SENT,
    USERS,
    heard_by,
    in_registry,
    lines_of_teams,
    lines_of_users,
    refusals,
)
from tests.support.world import World

NEWEST = VERSIONS[-1]


@pytest.fixture(scope="module", params=(OLDEST, NEWEST))
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    with deployed_server(has_teams=True, binary=old_nats_binary(request.param)) as server:
        yield server


async def test_each_account_does_its_part(there: World, deployed: Deployed) -> None:
    async with service(there, deployed), asyncio.timeout(60):
        async with deployed.client("command") as client:
            project = await client.register_project(**PROJECT)
        async with deployed.client("query") as client:
            assert (await client.queries.project_by_id(project)).name == "p"
        async with deployed.client("durable") as client:
            assert (await first_handled(client, entity="project")).project_id == str(project)
        async with deployed.client("live") as client:
            assert list((await client.snapshot()).projects) == [project]

        async with deployed.client("flume") as client:
            await client.update_project(project_id=project, description="of another team")
        await there.drained()
        async with deployed.client("panel") as client, client.replay(Last(2)) as events:
            subjects = [event.subject async for event in events]
            assert [subject.split(".")[3:5] for subject in subjects] == [["project", "updated"], ["command", "applied"]]


@pytest.mark.parametrize("user", USERS)
async def test_a_user_is_refused_everything_else(there: World, deployed: Deployed, user: str) -> None:
    table = lines_of_users()

    refused = await refusals(deployed, user, table)

    assert refused == {(line.action, line.subject.lower()) for line in table if user not in line.allowed}


@pytest.mark.parametrize("team", TEAMS)
async def test_nothing_else_passes_to_or_from_a_team(there: World, deployed: Deployed, team: str) -> None:
    table = lines_of_teams()
    sent = [line.subject for line in table if line.action == "sends"]
    said = [line.subject for line in table if line.action == "hears"]
    async with connect_nats(deployed.url, "test", Access(**deployed.access(team))) as client:
        arrived = await heard_by(there.nats, LAST_SENT[team], client, sent)
        heard = await heard_by(client, LAST_HEARD[team], there.nats, said)

    allowed = [line for line in table if team in line.allowed]
    assert arrived == {in_registry(line.subject) for line in allowed if line.action == "sends"}
    assert heard == {line.subject for line in allowed if line.action == "hears"}
