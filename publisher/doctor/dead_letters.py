"""What lies among the dead letters: commands that failed for good, and events that subscriptions could not handle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nats.aio.client import Client

from publisher.applier.dead_letters import DeadLetters
from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from registry.dead_letters import DeadLetterDesk
from registry.errors import NotFound

LISTED = 5


async def dead_letter_findings(client: Client, settings: Settings) -> list[Finding]:
    """Count both. Raises `Unavailable`."""
    profile = profile_of(settings)
    counts = await DeadLetterDesk(client, profile).counts(if_permitted=True)
    findings = list(_of_events({durable: count for durable, count in counts.items() if count}))
    try:
        waiting = await DeadLetters(client, profile, settings).count()
    except NotFound:  # no applier ever ran
        return findings
    if not waiting:
        return [*findings, Finding(True, "no dead letters of commands")]
    what = "1 dead letter waits" if waiting == 1 else f"{waiting:,} dead letters wait"
    look = "look with imi-registry commands dead-letters list, then retry or drop"
    return [*findings, Finding(False, f"{what}: {look}", is_hindrance=False)]


def _of_events(counts: Mapping[str, int]) -> Iterator[Finding]:
    look = "look with imi-registry events dead-letters list, then redeliver or drop"
    for durable, count in list(counts.items())[:LISTED]:
        what = "1 event is a dead letter" if count == 1 else f"{count:,} events are dead letters"
        yield Finding(False, f"{what} of subscription {durable}: {look}", is_hindrance=False)
    if len(counts) > LISTED:
        more = f"{len(counts) - LISTED} more subscriptions have dead letters: {look}"
        yield Finding(False, more, is_hindrance=False)
