"""A service whose parts log in to PostgreSQL as users of their own does all that it does as the owner."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from publisher.agreement.bucket import connect_bucket
from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import Keeper
from publisher.agreement.standing import Standing
from publisher.doctor.examination import examine
from registry.commands import COMMANDS
from registry.commands.catalogue import PROJECT_ID, WORKTREE_ID
from tests.support.commandline import command_line
from tests.support.commands import envelope
from tests.support.every_event import change_everything
from tests.support.roles.cluster import connect
from tests.support.web.console import served
from tests.support.world import World, running

PROJECT = "INSERT INTO projects (id, name, remote_origin, trunk_path) VALUES (%s, 'a', 'git@github.com:o/a.git', '/a')"
WORKTREE = """
INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path) VALUES (%s, %s, 1, 'w', 'w', '/w')
"""
LAST = ("worktree.merge", "worktree.remove", "project.deactivate")


async def test_relay_applier_and_queries_work_under_urls_of_their_own(world: World, urls: dict[str, str]) -> None:
    there = world.at(database=urls["owner"])
    parts = {f"{part}_database_url": urls[part] for part in ("publisher", "applier", "reader")}
    with there.process(**parts) as process:
        await process.ready()
        for number in range(3):
            data = {"name": f"p{number}", "remote_origin": f"git@github.com:o/p{number}.git"}
            assert (await there.ask("project.register", envelope("project.register", data)))["verdict"] == "applied"
        with connect(urls["writer"]) as conn:
            conn.execute("UPDATE projects SET description = 'by a writer'")
        await there.assert_exactly_once(at_least=9)
        users = dict(
            there.rows(
                "SELECT DISTINCT usename::text, '' FROM pg_stat_activity WHERE application_name LIKE 'imi-reg%%'"
            )
        )
        code, body = await process.readyz()
        assert (code, body["problems"]) == (200, [])
    for part in ("publisher", "applier", "reader"):
        assert any(user in urls[part] for user in users), "each part is a user of its own"
    assert not any(user in urls["owner"] for user in users), "nobody is the owner"


async def test_doctor_names_functions_that_are_closed_to_the_role_of_its_login(
    world: World, urls: dict[str, str]
) -> None:
    with connect(urls["owner"]) as conn:
        conn.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    for part in ("publisher", "reader"):
        found = await examine(world.at(database=urls[part]).settings())
        (told,) = [finding.text for finding in found if finding.check == "roles"]
        assert told.startswith(f"role imi_{part} lacks ")
        assert told.endswith("…: imi-registry roles setup")


async def test_the_applier_carries_out_every_command(world: World, urls: dict[str, str]) -> None:
    there = world.at(database=urls["owner"])
    with connect(urls["owner"]) as conn:
        conn.execute(PROJECT, [PROJECT_ID])
        conn.execute(WORKTREE, [WORKTREE_ID, PROJECT_ID])
    verdicts = {}
    async with there.at(database=urls["applier"]).applier():
        for name in sorted(COMMANDS, key=lambda name: (name in LAST, name)):
            (example,) = COMMANDS[name].model_config["json_schema_extra"]["examples"]
            outcome = await there.ask(name, envelope(name, example))
            verdicts[name] = (outcome["verdict"], outcome["message"])
    assert {name: told for name, told in verdicts.items() if told[0] != "applied"} == {}


async def test_every_event_is_published_and_told_without_the_owner(world: World, urls: dict[str, str]) -> None:
    there = world.at(database=urls["owner"])
    with connect(urls["owner"]) as conn:
        change_everything(conn, world.nats.max_payload)
    publisher = there.at(database=urls["publisher"])
    async with publisher.relay(), publisher.history(), publisher.queries():
        await there.assert_exactly_once(at_least=20)
        assert len(await there.replayed()) > 20


async def test_projects_go_on_under_agreed_ids_with_the_rights_of_an_applier(
    world: World, urls: dict[str, str]
) -> None:
    there = world.at(database=urls["owner"])
    with connect(urls["owner"]) as conn:
        conn.execute(PROJECT, [PROJECT_ID])
    agreed = {"agreement_nats_url": world.nats_url, "agreement_bucket": f"{world.prefix}_IDS", "agreement_replicas": 1}
    settings = there.at(database=urls["applier"]).settings(**agreed)
    async with connect_bucket(settings, "test") as bucket:
        known = await bucket.agree("git@github.com:o/a.git", Standing(True, datetime(2020, 1, 1, tzinfo=UTC), uuid4()))
    async with running(Keeper(settings, AgreementHealth(CollectorRegistry()))), asyncio.timeout(60):
        while there.rows("SELECT id FROM projects") != [(known.project_id,)]:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("role", ["reader", "publisher"])
def test_who_reads_can_ask_for_everything_on_the_command_line(
    urls: dict[str, str], role: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(urls["owner"]) as conn:
        conn.execute(PROJECT, [PROJECT_ID])
    cli = command_line(monkeypatch, capsys, DATABASE_URL=urls[role])
    for command in (
        ["history", "verify"],
        ["history", "show", "project", PROJECT_ID],
        ["project", "show", "a"],
        ["inflight"],
        ["stats"],
        ["migrate", "status"],
        ["roles"],
    ):
        done = cli(*command)
        assert (done.code, done.err) == (0, ""), (command, done)


async def test_the_console_works_as_a_reader(world: World, urls: dict[str, str]) -> None:
    there = world.at(database=urls["owner"])
    with connect(urls["owner"]) as conn:
        conn.execute(PROJECT, [PROJECT_ID])
        conn.execute(WORKTREE, [WORKTREE_ID, PROJECT_ID])
    async with there.relay():
        await there.drained()
        async with served(there.at(database=urls["reader"]), works=False) as (visitor, _):
            await visitor.until("/", "worktrees in flight")
            await visitor.until("/events", "worktree.created")
            paths = ["/events/1", "/events/1/causes", "/commands", "/streams", "/projects", f"/search?q={PROJECT_ID}"]
            paths += [
                f"/projects/{PROJECT_ID}/history",
                f"/worktrees/{WORKTREE_ID}",
                f"/worktrees/{WORKTREE_ID}/history",
            ]
            for path in paths:
                assert (await visitor.get(path)).status == 200, path
