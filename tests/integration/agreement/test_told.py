"""What differs from what registries agreed on is told by doctor and console, with what to do; so are former ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

import pytest
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError
from prometheus_client import CollectorRegistry

from publisher.agreement.bucket import Bucket
from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import Keeper, settle
from publisher.agreement.standing import Standing
from publisher.doctor import Finding, examine
from publisher.settings import Settings
from tests.support.schema.rows import dictionaries, new_project
from tests.support.web.browser import check_accessible, check_fits, chromium, needs_chromium, window
from tests.support.web.console import Visitor, served
from tests.support.world import World, running

ORIGIN = "git@github.com:33god/engine.git"
OTHER = "git@github.com:33god/flow.git"
PATIENCE_SECONDS = 90
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def unsettled(world: World, bucket: Bucket) -> tuple[UUID, UUID]:
    """The id of a project, and that of another one here that registries agreed on for its origin."""
    with dictionaries(world.database) as conn:
        agreed, project = new_project(conn, ORIGIN), new_project(conn, OTHER)
    await bucket.agree(OTHER, Standing(True, LONG_AGO, agreed))
    return project, agreed


@asynccontextmanager
async def visited(world: World, settings: Settings) -> AsyncIterator[Visitor]:
    """A console beside a keeper that has looked."""
    keeper = Keeper(settings, AgreementHealth(CollectorRegistry()))
    async with served(world) as (visitor, console), running(keeper):
        console.others.append(keeper.health)
        yield visitor


async def told_by_doctor(world: World, settings: Settings) -> list[Finding]:
    async with world.relay():
        await world.drained()
        return [finding for finding in await examine(settings) if finding.check == "agreement"]


async def test_doctor_tells_which_projects_a_person_must_settle_and_how(
    world: World, agreeing: Settings, bucket: Bucket
) -> None:
    project, agreed = await unsettled(world, bucket)

    (finding,) = await told_by_doctor(world, agreeing)

    assert not finding.is_well
    assert not finding.is_hindrance
    assert finding.text.startswith(f"{OTHER} keeps the id {project}: registries agreed on {agreed}, which is {ORIGIN}")
    assert f"imi-registry project merge {agreed} {project}" in finding.text
    assert finding.text.endswith(f"imi-registry agreement forget {OTHER}")


async def test_doctor_tells_that_nobody_brings_projects_and_bucket_together_and_changes_nothing(
    world: World, agreeing: Settings, bucket: Bucket
) -> None:
    with dictionaries(world.database) as conn:
        project = new_project(conn, ORIGIN)
    await bucket.agree(ORIGIN, Standing(True, LONG_AGO, UUID(int=1)))

    (finding,) = await told_by_doctor(world, agreeing)

    assert finding.text.startswith("projects that are to go on under the ids that registries agreed on: 1;")
    assert world.rows("SELECT id FROM projects") == [(project,)]
    await settle(agreeing, "test")
    assert await told_by_doctor(world, agreeing) == []


async def test_doctor_does_not_make_the_bucket_and_says_when_it_cannot_ask(
    world: World, agreeing: Settings, nats: Client
) -> None:
    world.write(1)

    assert await told_by_doctor(world, agreeing) == []
    with pytest.raises(BucketNotFoundError):
        await nats.jetstream().key_value(agreeing.agreement_bucket)

    away = agreeing.model_copy(update={"agreement_nats_url": "nats://127.0.0.1:1"})
    (finding,) = await told_by_doctor(world, away)
    assert finding.text.startswith("whether projects have the ids that registries agreed on is not known: cannot conn")


async def test_the_console_says_which_projects_are_unsettled_and_what_to_do(
    world: World, agreeing: Settings, bucket: Bucket
) -> None:
    project, agreed = await unsettled(world, bucket)
    async with visited(world, agreeing) as visitor:
        await visitor.until("/projects", "One project keeps another id than registries agreed on")

        page = (await visitor.get(f"/projects/{project}")).text
        assert f'<a href="/projects/{agreed}">' in page
        assert f"<code>imi-registry project merge {agreed} {project}</code>" in page
        assert f"<code>imi-registry agreement forget {OTHER}</code>" in page
        assert "registries agreed on" not in (await visitor.get(f"/projects/{agreed}")).text.lower()

        health = (await visitor.get("/health")).text
        assert f"{OTHER}: adopt_project_id" in health
        assert "imi-registry project merge OTHER THIS" in health

        await bucket.forget(OTHER)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "notice note" in (await visitor.get(f"/projects/{project}")).text:
                await asyncio.sleep(0.05)


async def test_every_former_id_leads_to_the_project(world: World) -> None:
    with dictionaries(world.database) as conn:
        loser, winner = new_project(conn, ORIGIN), new_project(conn, OTHER)
        conn.execute("SELECT merge_projects(%s, %s)", [loser, winner])
        conn.execute("SELECT adopt_project_id(%s, %s)", [winner, UUID(int=1)])
    async with served(world) as (visitor, _):
        page = await visitor.until(f"/projects/{UUID(int=1)}", "<dt>Former ids</dt>")
        for former in (loser, winner):
            assert str(former) in page
            found = (await visitor.get(f"/search?q={quote(str(former))}")).text
            assert f'href="/projects/{UUID(int=1)}"' in found
            assert "had this id" in found


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")])
async def test_it_fits_and_is_accessible(
    world: World, agreeing: Settings, bucket: Bucket, width: int, scheme: str
) -> None:
    project, agreed = await unsettled(world, bucket)
    with dictionaries(world.database) as conn:
        conn.execute("SELECT merge_projects(%s, %s)", [new_project(conn, "git@github.com:33god/old.git"), project])
    async with visited(world, agreeing) as visitor, chromium() as browser:
        await visitor.until("/projects", "One project keeps another id")
        origin = f"http://127.0.0.1:{visitor.port}"
        async with window(browser, origin, width=width, color_scheme=scheme) as page:
            for path in ("/projects", f"/projects/{project}", "/health"):
                await page.goto(path)
                await check_fits(page)
                await check_accessible(page)
            await page.goto("/projects")
            await page.locator(".notice").get_by_role("link").click()
            await page.locator(".notice").get_by_role("link").click()
            assert page.url.endswith(f"/projects/{agreed}")
