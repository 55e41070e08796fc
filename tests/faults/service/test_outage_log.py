"""A server that is away makes few log lines, from every part, and one when it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import structlog

from registry.client import RegistryClient
from registry.concurrency import outage
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.commands import envelope
from tests.support.proxy import nats_proxy, postgres_proxy
from tests.support.world import World

LOUD = {"info", "warning", "error", "critical"}
TRIES = 6


@pytest.mark.parametrize("away", ["PostgreSQL", "NATS"])
async def test_a_server_that_is_away_makes_few_lines_of_each_part_and_one_when_it_is_back(
    world: World, away: str
) -> None:
    async with (
        postgres_proxy(world.database) as (database, database_url),
        nats_proxy(world.nats_url) as (nats, nats_url),
    ):
        proxy = database if away == "PostgreSQL" else nats
        with world.at(database=database_url, nats_url=nats_url).process(log_level="debug") as process:
            await process.ready()
            data = {"name": "p", "remote_origin": "git@github.com:o/p.git"}

            # given an outage that every part notices more than once
            proxy.refuse()
            await world.send("project.register", envelope("project.register", data))
            proxy.cut()
            parts = {"relay", "applier"}  # queries and history: their client connects again by itself
            async with asyncio.timeout(60):
                while not parts <= {part for part, tries in failures(process.log()).items() if tries >= TRIES}:
                    await asyncio.sleep(0.05)

            # when
            proxy.go_on()
            await world.commands_done()
            async with asyncio.timeout(60):
                while (await process.readyz())[0] != 200:
                    await asyncio.sleep(0.05)
            log = [line for line in process.log() if line.get("level") in LOUD]

    # then
    lines = Counter(line["event"] for line in log)
    for part in parts:
        told = sum(count for event, count in lines.items() if event in interrupted(part))
        assert 1 <= told <= 2 * outage.MOST_REASONS, (part, lines)
        assert 1 <= lines[f"{part} goes on"] <= told, (part, lines)
    seconds = [line["outage_seconds"] for line in log if line["event"] == "relay goes on"]
    assert seconds[0] > 1
    assert max(lines.values()) <= 2 * outage.MOST_REASONS


def interrupted(part: str) -> set[str]:
    """How the failures of a part are called."""
    own = {"relay": "publishing interrupted", "applier": "commands wait for the database"}
    return {f"{part} interrupted", own.get(part, "")}


def failures(log: list[dict[str, Any]]) -> Counter[str]:
    """How often each part failed, with what is logged at level debug alone."""
    counted: Counter[str] = Counter()
    for line in log:
        for part in ("relay", "applier"):
            counted[part] += line.get("event") in interrupted(part)
    return counted


async def test_a_subscription_says_once_that_it_is_interrupted_and_once_that_it_goes_on(world: World) -> None:
    seen = Seen()
    with structlog.testing.capture_logs() as logged:
        async with (
            world.relay(),
            nats_proxy(world.nats_url) as (proxy, url),
            RegistryClient.connect(url, prefix=world.prefix) as client,
            subscribed(client, seen, durable="d", from_start=True),
        ):
            change_projects(world.database, 1)
            await seen.until(1)
            proxy.refuse()
            proxy.cut()
            async with asyncio.timeout(60):
                while sum(line["event"] == "subscription interrupted" for line in logged) < 2:
                    await asyncio.sleep(0.05)
            proxy.go_on()
            change_projects(world.database, 2)  # the first one changes nothing
            await seen.until(2)
    told = [line for line in logged if line["event"].startswith("subscription") and line["log_level"] in LOUD]
    assert told[0]["event"] == "subscription interrupted"
    assert told[-1]["event"] == "subscription goes on"
    assert told[-1]["outage_seconds"] > 0
    assert (told[-1]["durable"], told[-1]["after"]) == ("d", 1)
    assert len(told) <= 4
