"""Parts of the service by name, and what they tell of themselves."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.part import Part
from publisher.query_service import QueryService
from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from tests.support.world import World


def part_named(name: str, world: World) -> Part:
    """relay, applier, history or queries, not yet running."""
    settings = world.settings()
    match name:
        case "relay":
            return Relay(settings, RelayMetrics())
        case "applier":
            return Applier(settings, ApplierMetrics(CollectorRegistry()))
        case "history":
            return HistoryService(settings, Health("history", CollectorRegistry()))
        case _:
            return QueryService(settings, Health("queries", CollectorRegistry()))


async def until(part: Part, told: str) -> None:
    """Wait until `part` tells this problem, or none when `told` is empty."""
    try:
        async with asyncio.timeout(40):
            while not (told in " ".join(part.health.problems()) if told else not part.health.problems()):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not told: {told}; but: {part.health.problems()}") from None
