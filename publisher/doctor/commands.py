"""Whether commands wait that nobody takes, for long, or more of them than an applier leaves behind that keeps up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nats.aio.client import Client

from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import api_of
from registry.errors import NotFound, Unprepared
from registry.profiles.profile import Profile

MANY = 1000
"""As of the alert ImiCommandsWait."""
LONG_SECONDS = 10.0
"""An applier that works carries out thousands in that time."""
LOOK_SECONDS = 1.0
"""Then it is looked again: the oldest of those that are worked off has become another one."""


class Waiting(NamedTuple):
    """What the stream of commands holds, by the clock of nats-server."""

    messages: int
    is_taken: bool
    """Whether somebody takes them."""
    first: int
    """Sequence of the oldest."""
    seconds: float
    """How long it has waited."""

    def __str__(self) -> str:
        since = timedelta(seconds=round(self.seconds))
        wait = "1 command waits," if self.messages == 1 else f"{self.messages:,} commands wait, the oldest"
        return f"{wait} for {since}"


async def command_findings(client: Client, settings: Settings, long_seconds: float = LONG_SECONDS) -> list[Finding]:
    """Look at the stream of commands; again, when one has waited for `long_seconds`. Raises `Unavailable`."""
    profile = profile_of(settings)
    try:
        found = await _waiting(client, profile)
        if found is None:
            return []
        if not found.is_taken:
            them = "it" if found.messages == 1 else "them"
            start = "start imi-registry serve, with IMI_PARTS all or applier; see the log of one that runs"
            return [Finding(False, f"{found}, and nobody takes {them}: {start}", is_hindrance=False)]
        is_stuck = found.seconds >= long_seconds and await _is_stuck(client, profile, found)
    except (NotFound, Unprepared):  # no applier ever ran, or an account that may not ask
        return []
    if not is_stuck and found.messages <= MANY:
        return []
    why = "the applier does not keep up, is interrupted, tries one again and again, or has died: see its log"
    return [Finding(False, f"{found}: {why}", is_hindrance=False)]


async def _is_stuck(client: Client, profile: Profile, found: Waiting) -> bool:
    """Whether the oldest is the same a moment later. In a shared stream it may be somebody else's."""
    if profile.is_shared:
        return False
    await asyncio.sleep(LOOK_SECONDS)
    later = await _waiting(client, profile)
    return later is not None and later.first == found.first


async def _waiting(client: Client, profile: Profile) -> Waiting | None:
    """What waits, None when nothing does. nats-py leaves out since when."""
    stream = profile.commands.stream
    with translated_nats(f"cannot read stream {stream}"):
        subject = f"{api_of(client)}.STREAM.INFO.{stream}"
        answer = answer_in((await client.request(subject, timeout=REQUEST_TIMEOUT_SECONDS)).data)
    state = answer["state"]
    if not state["messages"]:
        return None
    now = datetime.fromisoformat(answer["ts"]) if "ts" in answer else datetime.now(UTC)  # before 2.10
    seconds = max((now - datetime.fromisoformat(state["first_ts"])).total_seconds(), 0)
    return Waiting(state["messages"], state["consumer_count"] > 0, state["first_seq"], seconds)
