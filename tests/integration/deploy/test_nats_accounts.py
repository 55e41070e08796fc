"""The server configuration in deploy/nats, as it is: each user can do what it is for, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest

from publisher.doctor import examine
from registry.broker.connection import connect_nats
from registry.broker.permitted import NotPermitted
from registry.client import Access, RegistryClient
from registry.commands.catalogue import COMMANDS
from registry.errors import RegistryError, Unavailable
from registry.position import Last
from tests.support.everything import first_handled
from tests.support.nats.command_limits import command_limits
from tests.support.nats.deployed import DEPLOY, Deployed, deployed_server, first_buried, service
from tests.support.nats.permissions import USERS, lines_of_users, refusals
from tests.support.relay_process import RelayProcess
from tests.support.world import World

PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server() as server:
        yield server


async def test_each_user_can_do_what_it_is_for(there: World, deployed: Deployed) -> None:
    async with service(there, deployed, **command_limits("compose")):
        async with deployed.client("command") as client:
            project = await client.register_project(**PROJECT)
            with pytest.raises(RegistryError, match="project"):
                await client.update_project(project_id=uuid4(), name="q")

        async with deployed.client("query") as client:
            assert (await client.queries.project_by_id(project)).name == "p"
            assert (await client.queries.stats()).total_projects == 1
            assert (await client._client.request("$SRV.PING.imi-registry", b"", timeout=10)).data

        async with deployed.client("durable") as client:
            assert (await first_handled(client, entity="project")).project_id == str(project)
            letter = await first_buried(client, there.nats)
            assert letter.failure.reason == "ValueError: never"

        async with deployed.client("live") as client:
            assert list((await client.snapshot()).projects) == [project]
            async with asyncio.timeout(20), client.replay(Last(2)) as replayed:
                first, *_ = [event async for event in replayed]
            assert (await client.event(first.sequence)).payload == first.payload
            async with client.tail() as events, asyncio.timeout(20):
                there.write(1)
                assert (await anext(events)).event.name == "project.registered"
            await there.drained()
            await there.trim(first.sequence + 2)  # from now on the history is asked for the beginning
            async with asyncio.timeout(20), client.replay() as replayed:
                assert (await anext(replayed)).sequence == 1

        await there.send("project.register", b"no command")
        await there.commands_done()
        findings = await examine(there.settings(**deployed.settings("publisher")))
        assert [one.text for one in findings if not one.is_well] == [
            "1 event is a dead letter of subscription component: look with imi-registry events dead-letters list, then "
            "redeliver or drop",
            "1 dead letter waits: look with imi-registry commands dead-letters list, then retry or drop",
        ]


async def test_a_process_for_each_half_of_the_service_is_enough(there: World, deployed: Deployed) -> None:
    halves = [
        RelayProcess(
            there.database, there.nats_url, there.prefix, parts=part, canary_seconds=0.5, **deployed.settings(part)
        )
        for part in ("publisher", "applier")
    ]
    try:
        for half in halves:
            await half.ready()
        async with deployed.client("command") as client:
            await client.register_project(**PROJECT)
        await there.drained()
        events = [event.envelope["type"] for event in await there.published()]
        assert sorted({*events}) == [
            "imi.command.applied.v1",
            "imi.project.registered.v1",
            "imi.registry.heartbeat.v1",
        ]
        for half, role in zip(halves, ("leader", "elsewhere"), strict=True):
            status, body = await half.readyz()
            assert (status, body["problems"], body["role"]) == (200, [], role)
            assert [line for line in half.log() if line["level"] not in {"info", "debug"}] == []
    finally:
        for half in halves:
            half.close()


def test_what_a_component_may_publish_is_what_its_account_imports() -> None:
    configuration = (DEPLOY / "nats.conf").read_text()
    for user in ("command", "query", "durable", "live"):
        account = re.search(rf"^  {user.upper()} \{{$(.*?)^  \}}$", configuration, re.MULTILINE | re.DOTALL)
        assert account is not None
        permitted, _, imported = account[1].partition("subscribe:")
        services = re.findall(r'\{ service: \{ account: IMI, subject: "(.+?)" \}(?:, to: "(.+?)")?', imported)

        answers = ["_R_.>"] if user == "live" else []
        assert [to or subject for subject, to in services] + answers == re.findall(r'"(.+?)"', permitted)
        assert all(to in {"", subject.replace("$JS.API", "$JS.IMI.API")} for subject, to in services)


def test_who_sends_commands_may_send_each_kind_under_its_own_name() -> None:
    for file, account in (("nats.conf", "command"), ("teams.conf.example", "flume")):
        imported = re.findall(r'account: IMI, subject: "imi\.cmd\.v1\.(.+?)"', (DEPLOY / file).read_text())
        assert imported == [f"{kind}.{account}" for kind in COMMANDS], file


def test_the_page_has_a_line_for_each_permission() -> None:
    configuration = re.sub(r"imports: \[.*?\]", "", (DEPLOY / "nats.conf").read_text(), flags=re.DOTALL)
    given = set(re.findall(r'"([^"\s]+\.[^"\s]+)"', re.sub(r"#.*", "", configuration)))
    tried = [line.subject for line in lines_of_users()]

    for permission in given - {"./local.conf"}:
        pattern = re.escape(permission).replace(r"\*", r"[^.]+").replace(">", r".+")
        assert any(re.fullmatch(pattern, subject) for subject in tried), permission


@pytest.mark.parametrize("user", USERS)
async def test_everything_else_is_refused(there: World, deployed: Deployed, user: str) -> None:
    table = lines_of_users()
    assert len(table) > 60

    refused = await refusals(deployed, user, table)

    expected = {(line.action, line.subject.lower()) for line in table if user not in line.allowed}
    assert refused == expected


async def test_a_client_without_a_user_is_refused(deployed: Deployed) -> None:
    for access in (Access(tls_ca=deployed.authority.certificate), Access(user="system", password="x")):  # noqa: S106  # of a test
        with pytest.raises(RegistryError):
            async with connect_nats(deployed.url, "test", access, reconnect=False):
                pass


async def test_who_runs_the_servers_sees_them_and_touches_nothing_of_the_registry(
    there: World, deployed: Deployed
) -> None:
    async with (
        service(there, deployed),
        connect_nats(there.nats_url, "test", Access(**deployed.access("system"))) as who,
    ):
        there.write(1)
        report = await who.request("$SYS.REQ.SERVER.PING.JSZ", b"", timeout=20)
        assert json.loads(report.data)["data"]["streams"] >= 1
        for subject in ("$JS.API.ACCOUNT.PURGE.IMI", "$JS.API.STREAM.DELETE.IMI_EVENTS", "imi.qry.v1.stats"):
            with pytest.raises(NotPermitted):
                await who.request(subject, b"", timeout=20)
        await there.drained()
        assert [(len(await there.published()),)] == there.rows("SELECT count(*) FROM outbox")


async def tail(client: RegistryClient) -> None:
    async with client.tail() as events:
        await anext(events)


async def replayed(client: RegistryClient) -> None:
    async with client.replay() as events:
        await anext(events)


CALLS: dict[str, tuple[str, str, Callable[[RegistryClient], Awaitable[object]], str]] = {
    "query": ("command", "", lambda client: client.queries.stats(), "publish to imi.qry.v1.stats"),
    "command": (
        "query",
        "",
        lambda client: client.register_project(**PROJECT),
        "publish to imi.cmd.v1.project.register",
    ),
    "post": ("query", "", lambda client: client.post("project.register", PROJECT), "publish to imi.cmd.v1.project.reg"),
    "snapshot": ("command", "", lambda client: client.snapshot(), "publish to imi.qry.v1.snapshot"),
    "tail": ("query", "", tail, "publish to $JS.API.STREAM.INFO.IMI_EVENTS"),
    "replay": ("command", "", replayed, "publish to $JS.API.STREAM.INFO.IMI_EVENTS"),
    "event": ("durable", "", lambda client: client.event(1), "publish to $JS.IMI.API.STREAM.MSG.GET.IMI_EVENTS"),
    "query, inbox": ("query", "_INBOX.x", lambda client: client.queries.stats(), "subscription to _INBOX.x."),
    "command, inbox": ("command", "_INBOX.x", lambda c: c.register_project(**PROJECT), "subscription to _INBOX.x."),
    "snapshot, inbox": ("live", "_INBOX.x", lambda client: client.snapshot(), "subscription to _INBOX.x."),
    "tail, inbox": ("live", "_INBOX.x", tail, "subscription to _INBOX.x."),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_without_permission_fails_at_once_and_names_the_subject(
    there: World, deployed: Deployed, call: str
) -> None:
    user, inbox, ask, told = CALLS[call]
    access = Access(**deployed.access(user) | ({"inbox_prefix": inbox} if inbox else {}))
    async with service(there, deployed), RegistryClient.connect(there.nats_url, access=access) as client:
        there.write(1)
        await there.drained()
        async with asyncio.timeout(4):  # less than any of them waits for an answer
            with pytest.raises(Unavailable) as error:
                await ask(client)
    assert f"permissions violation for {told}" in str(error.value)
