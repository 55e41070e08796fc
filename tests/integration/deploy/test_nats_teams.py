"""Accounts of other teams on the server of deploy/nats: what they are given works, and nothing else passes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import nats.errors
import pytest
from nats.aio.msg import Msg

from registry.broker.askers import CLIENT_INFO, asker_of
from registry.broker.connection import connect_nats, flushed
from registry.client import Access
from registry.errors import RegistryError
from registry.position import Last
from tests.support.commands import PROJECT
from tests.support.everything import first_handled
from tests.support.nats.deployed import DEPLOY, TEAMS, Deployed, deployed_server, first_buried, service
from tests.support.nats.permissions import (
    LAST_HEARD,
    LAST_SENT,
    PATIENCE_SECONDS,
    heard_by,
    in_registry,
    lines_of_teams,
)
from tests.support.world import World


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


async def test_a_durable_reader_of_another_team_reads_acknowledges_asks_and_sends_commands(
    there: World, deployed: Deployed
) -> None:
    async with service(there, deployed), deployed.client("flume") as client:
        project = await client.register_project(**PROJECT)
        with pytest.raises(RegistryError, match="project"):
            await client.update_project(project_id=project, name=" ")
        assert (await client.queries.project_by_id(project)).name == "p"

        assert (await first_handled(client, entity="project")).project_id == str(project)
        letter = await first_buried(client, there.nats, durable="flume")
        assert letter.failure.reason == "ValueError: never"


async def test_a_live_reader_of_another_team_follows_replays_and_takes_snapshots(
    there: World, deployed: Deployed
) -> None:
    async with service(there, deployed), deployed.client("panel") as client:
        there.write(1)
        await there.drained()
        assert len((await client.snapshot()).projects) == 1
        async with asyncio.timeout(PATIENCE_SECONDS), client.replay(Last(2)) as replayed:
            first, *_ = [event async for event in replayed]
        assert (await client.event(first.sequence)).payload == first.payload
        plain = await client._client.subscribe("imi.evt.v1.>")
        async with client.tail() as events, asyncio.timeout(PATIENCE_SECONDS):
            there.write(1)
            assert (await anext(events)).event.name == "project.registered"
            assert (await plain.next_msg(PATIENCE_SECONDS)).subject.startswith("imi.evt.v1.project.registered.")
        await there.drained()
        await there.trim(first.sequence + 2)  # from now on the history is asked for the beginning
        async with asyncio.timeout(PATIENCE_SECONDS), client.replay() as replayed:
            assert (await anext(replayed)).sequence == 1


async def test_a_replay_of_a_team_that_may_not_ask_for_a_message_ends_as_others_do(
    there: World, deployed: Deployed
) -> None:
    async with service(there, deployed), deployed.client("flume") as client:
        there.write(2)
        await there.drained()
        async with asyncio.timeout(PATIENCE_SECONDS), client.replay(entity="project", action="registered") as replayed:
            subjects = [event.subject async for event in replayed]
    assert [subject.split(".")[3:5] for subject in subjects] == [["project", "registered"]] * 2


@pytest.mark.parametrize(
    "subject", ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ"]
)
async def test_the_server_tells_a_team_of_itself_and_of_its_own_connections(
    there: World, deployed: Deployed, subject: str
) -> None:
    """What nats-server gives to each account, as the page says: of the connections of others it tells nothing."""
    async with (
        service(there, deployed),
        deployed.client("panel"),
        connect_nats(deployed.url, "test", Access(**deployed.access("flume"))) as client,
    ):
        told = json.loads((await client.request(subject, b"", timeout=PATIENCE_SECONDS)).data)
    assert {"name", "ver"} <= told["server"].keys()
    of_accounts = told["data"].get("connections") or told["data"]["account_statz"]
    assert [one.get("account", "FLUME") for one in of_accounts] == ["FLUME"], told


async def test_what_a_team_was_not_given_is_answered_by_nobody(there: World, deployed: Deployed) -> None:
    async with service(there, deployed), deployed.client("panel") as client:
        with pytest.raises(RegistryError):
            await client.queries.stats()
        with pytest.raises(RegistryError):
            await client.register_project(**PROJECT)
        with pytest.raises(nats.errors.NoRespondersError):
            await client._client.request("$JS.IMI.API.STREAM.PURGE.IMI_EVENTS", b"", timeout=PATIENCE_SECONDS)
    assert there.rows("SELECT count(*) FROM projects") == [(0,)]


def test_the_page_has_a_line_for_each_import() -> None:
    imported = re.findall(r'\{ (service|stream): \{ account: IMI, subject: "(.+?)"', teams())
    tried = {"service": "sends", "stream": "hears"}

    assert len(imported) > 20
    for kind, subject in imported:
        pattern = re.escape(subject).replace(r"\*", r"[^.]+").replace(">", r".+")
        rows = [line for line in lines_of_teams() if line.action == tried[kind] and line.allowed]
        assert any(re.fullmatch(pattern, in_registry(line.subject)) for line in rows), subject


def teams() -> str:
    return (DEPLOY / "teams.conf.example").read_text()


@pytest.mark.parametrize("team", TEAMS)
async def test_what_a_team_sends_arrives_as_the_page_says_and_nothing_else(
    there: World, deployed: Deployed, team: str
) -> None:
    rows = [line for line in lines_of_teams() if line.action == "sends"]
    assert len(rows) > 40
    async with connect_nats(deployed.url, "test", Access(**deployed.access(team))) as client:
        heard = await heard_by(there.nats, LAST_SENT[team], client, (line.subject for line in rows))

    assert heard == {in_registry(line.subject) for line in rows if team in line.allowed}


@pytest.mark.parametrize("team", TEAMS)
async def test_what_a_team_hears_of_the_registry_is_what_the_page_says(
    there: World, deployed: Deployed, team: str
) -> None:
    rows = [line for line in lines_of_teams() if line.action == "hears"]
    async with connect_nats(deployed.url, "test", Access(**deployed.access(team))) as client:
        heard = await heard_by(client, LAST_HEARD[team], there.nats, (line.subject for line in rows))

    assert heard == {line.subject for line in rows if team in line.allowed}


async def test_who_asks_is_known_by_the_account_whatever_the_request_claims(there: World, deployed: Deployed) -> None:
    forged = {CLIENT_INFO: '{"acc": "PANEL"}'}
    askers: list[str] = []

    async def answer(message: Msg) -> None:
        askers.append(asker_of(message))
        await message.respond(b"{}")

    access = Access(**deployed.access("publisher"))
    async with connect_nats(deployed.url, "test", access, answers=True) as publisher:
        await publisher.subscribe("imi.qry.v1.stats", cb=answer)
        await flushed(publisher)
        for user in ("query", "flume"):
            async with connect_nats(deployed.url, "test", Access(**deployed.access(user))) as client:
                await client.request("imi.qry.v1.stats", b"", headers=forged)

    assert askers == ["account QUERY", "account FLUME"]


FORGED = {
    "another in front of it": (b'NATS/1.0\r\nNats-Request-Info: {"acc":"x"}\r\n\r\n', "account QUERY"),
    "several": (b"NATS/1.0\r\n" + b'Nats-Request-Info: {"acc":"x"}\r\n' * 3 + b"\r\n", "account QUERY"),
    "one that reads the same": (b'NATS/1.0\r\n Nats-Request-Info : {"acc":"x"}\r\n\r\n', "account QUERY"),
    "joined to a line": (b'NATS/1.0\r\n Nats-Request-Info: {"acc":"x"}\r\nX: yz', "account "),
}


@pytest.mark.parametrize(("headers", "asker"), FORGED.values(), ids=FORGED.keys())
async def test_who_asks_is_known_by_the_line_of_the_server_whatever_bytes_the_request_has(
    there: World, deployed: Deployed, headers: bytes, asker: str
) -> None:
    askers: list[str] = []

    async def note(message: Msg) -> None:
        askers.append(asker_of(message))

    publisher = Access(**deployed.access("publisher"))
    query = Access(**deployed.access("query"))
    async with (
        connect_nats(deployed.url, "test", publisher, answers=True) as answering,
        connect_nats(deployed.url, "test", query) as client,
    ):
        await answering.subscribe("imi.qry.v1.stats", cb=note)
        await flushed(answering)
        inbox = client.new_inbox().encode()
        await client._send_command(
            b"HPUB imi.qry.v1.stats %s %d %d\r\n%s\r\n" % (inbox, len(headers), len(headers), headers)
        )
        await flushed(client)
        async with asyncio.timeout(20):
            while not askers:
                await asyncio.sleep(0.01)

    assert askers == [asker]
