"""Whether commands wait that nobody takes, for long, or more of them than an applier leaves behind that keeps up."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from publisher.stream.waiting import Waiting, waiting_commands
from registry.errors import NotFound, Unprepared
from registry.profiles.profile import Profile

MANY = 1000
"""As of the alert ImiCommandsWait."""
LONG_SECONDS = 10.0
"""An applier that works carries out thousands in that time."""
LOOK_SECONDS = 1.0
"""Then it is looked again: the oldest of those that are worked off has become another one."""


async def command_findings(client: Client, settings: Settings, long_seconds: float = LONG_SECONDS) -> list[Finding]:
    """Look at the stream of commands; again, when one has waited for `long_seconds`. Raises `Unavailable`."""
    profile = profile_of(settings)
    try:
        found = await waiting_commands(client, profile.commands.stream)
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
    later = await waiting_commands(client, profile.commands.stream)
    return later is not None and later.first == found.first
